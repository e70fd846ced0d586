//! What a gateway is to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use exitgate_policy::SecretValue;
use sha2::{Digest as _, Sha256};

use super::part::Part;

/// Where a manifest stands in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Raised by an operator, or when the store was restored from an older state.
    pub epoch: u64,
    /// By kind of source.
    pub sources: BTreeMap<String, u64>,
}

impl Position {
    /// The kinds of source that this position lies behind `other` in, under the same epoch.
    pub fn behind(&self, other: &Self) -> Vec<String> {
        if self.epoch != other.epoch {
            return Vec::new();
        }
        let behind = |(kind, number): (&String, &u64)| {
            let known = self.sources.get(kind).copied().unwrap_or(0);
            (known < *number).then(|| kind.clone())
        };
        other.sources.iter().filter_map(behind).collect()
    }
}

/// The value of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub namespace: String,
    pub name: String,
    pub value: SecretValue,
}

/// Everything that the gateways of one scope are to hold.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// In the order of their lines.
    pub resources: Arc<[Arc<Part>]>,
    /// The hash of the list of names and digests.
    pub revision: Arc<str>,
    pub position: Arc<Position>,
    /// Values of the credentials that some policy adds to requests of some workload of the scope.
    pub secrets: Arc<[Secret]>,
    /// The namespaces that have a workload in the scope.
    pub namespaces: Arc<BTreeSet<String>>,
}

impl Manifest {
    /// Puts the parts in order and hashes them.
    pub(super) fn new(
        mut parts: Vec<Arc<Part>>,
        secrets: Vec<Secret>,
        namespaces: BTreeSet<String>,
        position: Arc<Position>,
    ) -> Self {
        // Mostly runs in order already, which this sort makes use of.
        parts.sort_by(|left, right| left.order(right));
        let mut hash = Sha256::new();
        for part in &parts {
            hash.update(part.line().as_bytes());
            hash.update(b"\n");
        }
        let mut revision = String::with_capacity(64);
        for byte in hash.finalize() {
            for digit in [byte >> 4, byte & 15] {
                revision.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self {
            resources: parts.into(),
            revision: revision.into(),
            position,
            secrets: secrets.into(),
            namespaces: Arc::new(namespaces),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_parts(parts: Vec<Arc<Part>>) -> Self {
        Self::new(parts, Vec::new(), BTreeSet::new(), Arc::default())
    }

    /// Whether a gateway with the other has nothing to do. The position alone is no reason to send something.
    pub(super) fn says(&self, other: &Self) -> bool {
        self.revision == other.revision && self.secrets == other.secrets
    }

    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<&Arc<Part>> {
        self.resources.iter().find(|part| part.name() == name)
    }
}
