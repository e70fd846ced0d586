//! What a gateway holds, and what an update makes of it.
//!
//! An update is taken as a whole, but each resource in it may be refused by itself: the gateway goes on with the version
//! that it has, or with what stands in for a policy. Removals always take effect. Nothing here waits or writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use exitgate_policy::resource::{self, Body, Content};
use exitgate_policy::{Digest, Feature, Mode, Resource, ResourceName, Snapshot, StandIn};

use super::brief;

/// How often a candidate is repaired. Every round takes something from what caused the last fault.
const MAX_ROUNDS: usize = 64;

/// Where a manifest stands in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    /// By kind of source.
    pub(crate) sources: BTreeMap<String, u64>,
}

impl Position {
    /// What of this position lies before `other`. A kind that is missing lies before every number.
    fn behind(&self, other: &Self) -> Option<String> {
        if self.epoch != other.epoch {
            return (self.epoch < other.epoch)
                .then(|| format!("epoch {} is before {}", self.epoch, other.epoch));
        }
        other.sources.iter().find_map(|(kind, &known)| {
            let now = self.sources.get(kind).copied().unwrap_or(0);
            (now < known).then(|| format!("{kind} {now} is before {known}"))
        })
    }
}

/// An update whose artifacts have been fetched, or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update {
    pub(crate) position: Position,
    pub(crate) revision: String,
    pub(crate) upserts: Vec<Upsert>,
    pub(crate) removals: Vec<String>,
    pub(crate) complete: bool,
}

/// One resource of an update.
#[derive(Clone, Debug)]
pub(crate) struct Upsert {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// The bytes, or why there are none.
    pub(crate) body: Result<Body, String>,
    /// The bytes are an artifact, which is kept apart.
    pub(crate) artifact: bool,
    pub(crate) needs: Vec<Feature>,
    pub(crate) stand_in: Vec<u8>,
}

/// A version of a resource that this build can read.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: ResourceName,
    pub(crate) digest: Digest,
    pub(crate) content: Content,
    /// None for an artifact.
    pub(crate) body: Option<Body>,
    pub(crate) needs: Vec<Feature>,
    pub(crate) stand_in: Option<StandIn>,
}

impl Version {
    /// Reads a resource.
    pub(crate) fn read(resource: Resource, artifact: bool) -> Result<Self, String> {
        let content = resource.read().map_err(|error| brief(&error))?;
        Ok(Self {
            name: resource.name,
            digest: resource.digest,
            content,
            body: (!artifact).then_some(resource.body),
            needs: resource.needs,
            stand_in: resource.stand_in,
        })
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// What the controller sent last.
    wanted: Digest,
    /// What is used: that, or what came before it.
    used: Option<Arc<Version>>,
    /// Why what is wanted is not used.
    refusal: Option<String>,
    /// What stands in if nothing is used.
    stand_in: Option<StandIn>,
}

/// One resource that is not used as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) reason: String,
}

/// Something in a snapshot that cannot be put in force.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) name: Option<ResourceName>,
    pub(crate) reason: String,
}

/// Why an update was not taken at all. The stream has to begin again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("the manifest is older than what is held: {0}")]
    Stale(String),
    #[error("the update does not fit what is held: {0}")]
    OutOfStep(String),
    #[error("nothing of it can be put in force: {0}")]
    Unusable(String),
}

/// What the gateway holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: BTreeMap<String, Entry>,
    position: Option<Position>,
    revision: Option<String>,
    /// A complete update came after the last hello.
    synced: bool,
}

impl Held {
    /// What was used when this was stored, before the manifest that is then applied.
    pub(crate) fn restore(earlier: Vec<Version>) -> Self {
        let entries = earlier.into_iter().map(|version| {
            let name = version.name.to_string();
            let entry = Entry {
                wanted: version.digest,
                stand_in: version.stand_in.clone(),
                used: Some(Arc::new(version)),
                refusal: None,
            };
            (name, entry)
        });
        Self {
            entries: entries.collect(),
            synced: true,
            ..Self::default()
        }
    }

    /// A new stream begins. What the controller is told to be held; all else it has to send again.
    pub(crate) fn hello(&mut self) -> Vec<(String, Digest)> {
        self.synced = false;
        let held =
            |(name, entry): (&String, &Entry)| Some((name.clone(), entry.used.as_ref()?.digest));
        self.entries.iter().filter_map(held).collect()
    }

    /// Whether a complete update came on this stream.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The revision in force.
    pub(crate) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Every resource with the digest that is wanted, what is used of it and what stands in.
    pub(crate) fn parts(
        &self,
    ) -> impl Iterator<Item = (&str, Digest, Option<&Version>, Option<&StandIn>)> {
        self.entries.iter().map(|(name, entry)| {
            (
                name.as_str(),
                entry.wanted,
                entry.used.as_deref(),
                entry.stand_in.as_ref(),
            )
        })
    }

    /// Whether this is what the controller sent last.
    pub(crate) fn wants(&self, name: &str, digest: &Digest) -> bool {
        self.entries
            .get(name)
            .is_some_and(|entry| entry.wanted == *digest)
    }

    /// Everything that is not used as it was sent.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let refusal = |(name, entry): (&String, &Entry)| {
            Some(Refusal {
                name: name.clone(),
                digest: entry.wanted,
                reason: entry.refusal.clone()?,
            })
        };
        self.entries.iter().filter_map(refusal).collect()
    }

    /// What is used, with its revision. No snapshot where there are no settings.
    pub(crate) fn in_use(&self) -> (Option<Snapshot>, String) {
        let mut snapshot = Snapshot::default();
        let mut lines = Vec::with_capacity(self.entries.len());
        for entry in self.entries.values() {
            if let Some(used) = &entry.used {
                // A second EgressGateway has been refused before.
                if snapshot.add(used.content.clone()).is_ok() {
                    lines.push((&used.name, &used.digest));
                }
            } else {
                let acts = |one: &&StandIn| one.mode() == Mode::Enforce;
                let stand_in = entry.stand_in.as_ref().filter(acts);
                snapshot.stand_ins.extend(stand_in.cloned());
            }
        }
        let revision = resource::revision_with(lines, &snapshot.stand_ins);
        ((!snapshot.gateway.is_empty()).then_some(snapshot), revision)
    }

    /// Takes an update: `put` puts what is to be used in force (nothing, where there are no settings), or says what is
    /// wrong with it, until it fits. Where the update is not taken, everything stays as it is.
    pub(crate) fn apply(
        &mut self,
        update: Update,
        mut put: impl FnMut(Option<Snapshot>, &str) -> Result<(), Vec<Fault>>,
    ) -> Result<(), NotTaken> {
        if !self.synced && !update.complete {
            let reason = "the first update of a stream must be complete";
            return Err(NotTaken::OutOfStep(reason.to_owned()));
        }
        if let Some(behind) = self
            .position
            .as_ref()
            .and_then(|held| update.position.behind(held))
        {
            return Err(NotTaken::Stale(behind));
        }
        let mut next = self.changed(&update);
        let wanted = next.wanted_revision();
        if wanted != update.revision {
            return Err(NotTaken::OutOfStep(format!(
                "it makes revision {wanted}, and {} was announced",
                update.revision
            )));
        }
        next.position = Some(update.position);
        for _ in 0..MAX_ROUNDS {
            let (snapshot, revision) = next.in_use();
            let Err(faults) = put(snapshot, &revision) else {
                next.revision = Some(revision);
                *self = next;
                return Ok(());
            };
            if !next.retreat(&faults, &self.entries) {
                let reasons: Vec<_> = faults.into_iter().map(|fault| fault.reason).collect();
                return Err(NotTaken::Unusable(brief(&reasons.join("; "))));
            }
        }
        let reason = "too many of its resources cannot be used";
        Err(NotTaken::Unusable(reason.to_owned()))
    }

    /// What the update would make of this.
    fn changed(&self, update: &Update) -> Self {
        let mut entries = self.entries.clone();
        if update.complete {
            // What was not announced, and is not sent again, is gone.
            entries.retain(|_, entry| match &entry.used {
                Some(used) => {
                    entry.wanted = used.digest;
                    entry.refusal = None;
                    entry.stand_in.clone_from(&used.stand_in);
                    true
                }
                None => false,
            });
        }
        for name in &update.removals {
            entries.remove(name);
        }
        let mut gateway = entries.keys().find(|name| is_settings(name)).cloned();
        for upsert in &update.upserts {
            let before = entries.remove(&upsert.name).and_then(|entry| entry.used);
            let mut entry = upsert.read(before);
            if is_settings(&upsert.name) {
                match &gateway {
                    Some(other) if *other != upsert.name => {
                        entry.used = None;
                        entry.refusal = Some(format!(
                            "a gateway has one EgressGateway, and {other} is held"
                        ));
                    }
                    _ => gateway = Some(upsert.name.clone()),
                }
            }
            entries.insert(upsert.name.clone(), entry);
        }
        Self {
            entries,
            synced: true,
            position: self.position.clone(),
            revision: self.revision.clone(),
        }
    }

    /// The revision of what the controller sent. Names that this build cannot read count as well.
    pub(crate) fn wanted_revision(&self) -> String {
        let lines = self
            .entries
            .iter()
            .map(|(name, entry)| format!("{name} {}", entry.wanted));
        resource::revision_of_lines(lines.collect())
    }

    /// Goes back from what is wrong to what was used before it, or to nothing. false: there is nothing to go back to.
    fn retreat(&mut self, faults: &[Fault], before: &BTreeMap<String, Entry>) -> bool {
        let mut changed = false;
        for fault in faults {
            let Some(name) = fault.name.as_ref().map(ToString::to_string) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            let Some(used) = entry.used.take() else {
                continue;
            };
            entry.refusal.get_or_insert_with(|| brief(&fault.reason));
            let earlier = before
                .get(&name)
                .and_then(|entry| entry.used.as_ref())
                .filter(|earlier| earlier.digest != used.digest);
            // Without settings nothing is in force: then the whole stays as it was.
            if earlier.is_none() && is_settings(&name) {
                return false;
            }
            entry.used = earlier.filter(|_| used.digest == entry.wanted).cloned();
            changed = true;
        }
        changed
    }
}

fn is_settings(name: &str) -> bool {
    name.starts_with("settings/")
}

impl Upsert {
    fn read(&self, before: Option<Arc<Version>>) -> Entry {
        let name = self.name.parse::<ResourceName>();
        let stand_in = name
            .as_ref()
            .ok()
            .and_then(|name| StandIn::read(name, &self.stand_in));
        let version = name.map_err(|error| brief(&error)).and_then(|name| {
            let resource = Resource {
                name,
                digest: self.digest,
                body: self.body.clone()?,
                needs: self.needs.clone(),
                stand_in: stand_in.clone(),
            };
            Version::read(resource, self.artifact)
        });
        let (used, refusal) = match version {
            Ok(version) => (Some(Arc::new(version)), None),
            Err(reason) => (before, Some(reason)),
        };
        Entry {
            wanted: self.digest,
            used,
            refusal,
            stand_in,
        }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
