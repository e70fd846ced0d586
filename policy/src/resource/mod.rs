//! Snapshots in parts: each part has a name, a digest and bytes, and is refused, replaced and removed by itself.
//!
//! The bytes are the JSON of the model's own types, read strictly: a field that this build does not know refuses that
//! resource and no other. A domain set that was loaded from a feed is the JSON of its address ranges, a line feed and the
//! compiled names.

mod name;
mod read;
mod stand_in;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

pub use name::{ResourceName, ResourceNameError};
pub use read::{Content, ResourceError, snapshot_of};
pub use stand_in::StandIn;

use crate::snapshot::{
    CredentialResource, PolicyResource, SetContent, SetResource, Snapshot, Workload, hex,
};

/// What this build understands beyond the fields of its documents. A resource that needs anything else is refused.
pub const FEATURES: &[&str] = &[COMPILED_NAMES];

/// The compiled form of domain sets, in its first version.
pub const COMPILED_NAMES: &str = "compiled-names-1";

/// The bytes of a resource, shared between all who send or hold it.
pub type Body = Arc<[u8]>;

/// One named part of what a gateway decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is called.
    pub name: ResourceName,
    /// The SHA-256 of `body`.
    pub digest: Digest,
    /// Its bytes.
    pub body: Body,
    /// Features without which it must be refused.
    pub needs: Vec<Feature>,
    /// What takes its place where it is refused, for policies.
    pub stand_in: Option<StandIn>,
}

/// Something that a gateway must understand to use a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Feature(pub String);

impl Feature {
    /// Whether this build has it.
    pub fn is_known(&self) -> bool {
        FEATURES.contains(&self.0.as_str())
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// A text or bytes that are no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 32 bytes, in text 64 hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The bytes of a digest.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.len() != 64 {
            return Err(DigestError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let mut digits = pair.iter().map(|&digit| char::from(digit).to_digit(16));
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(DigestError);
            };
            *byte = u8::try_from(high << 4 | low).map_err(|_| DigestError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The revision of what has these names and digests: the SHA-256 of the sorted list of `name digest` lines.
pub fn revision<'a>(parts: impl IntoIterator<Item = (&'a ResourceName, &'a Digest)>) -> String {
    revision_with(parts, &[])
}

/// The same where something stands in for refused policies.
pub fn revision_with<'a>(
    parts: impl IntoIterator<Item = (&'a ResourceName, &'a Digest)>,
    stand_ins: &[StandIn],
) -> String {
    let mut lines: Vec<String> = parts
        .into_iter()
        .map(|(name, digest)| line(name, digest))
        .collect();
    lines.extend(stand_ins.iter().map(stand_in_line));
    revision_of_lines(lines)
}

fn stand_in_line(stand_in: &StandIn) -> String {
    let digest = Digest::of(&stand_in.to_bytes());
    format!("stand-in/{}", line(&stand_in.name(), &digest))
}

fn line(name: &ResourceName, digest: &Digest) -> String {
    format!("{name} {digest}")
}

fn set_name(set: &SetResource) -> ResourceName {
    ResourceName::Set(set.namespace.clone(), set.name.clone())
}

/// The revision of these lines of `name digest`.
pub fn revision_of_lines(mut lines: Vec<String>) -> String {
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // The documents are maps with text keys only, which JSON can always hold.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The bytes of a set before the compiled names, if there are such.
fn set_head(content: &SetContent) -> (Vec<u8>, &[u8]) {
    match content {
        SetContent::Artifact { names, cidrs } => {
            let mut head = json(cidrs);
            head.push(b'\n');
            (head, names.as_bytes())
        }
        content @ (SetContent::Inline { .. } | SetContent::Unavailable) => (json(content), &[]),
    }
}

impl Resource {
    /// A resource of these bytes.
    pub fn new(name: ResourceName, body: impl Into<Body>) -> Self {
        let body = body.into();
        Self {
            name,
            digest: Digest::of(&body),
            body,
            needs: Vec::new(),
            stand_in: None,
        }
    }

    /// A policy, with what stands in for it.
    pub fn policy(policy: &PolicyResource) -> Self {
        let body = match policy {
            PolicyResource::Cluster { spec, .. } => json(spec),
            PolicyResource::Namespaced { spec, .. } => json(spec),
        };
        Self {
            stand_in: Some(StandIn::of(policy)),
            ..Self::new(ResourceName::of_policy(policy), body)
        }
    }

    /// A domain set. A compiled one may be large: its bytes are meant to be fetched by digest.
    pub fn set(set: &SetResource) -> Self {
        let (mut body, names) = set_head(&set.content);
        body.extend_from_slice(names);
        let mut resource = Self::new(set_name(set), body);
        if resource.is_compiled_set() {
            resource.needs.push(Feature(COMPILED_NAMES.to_owned()));
        }
        resource
    }

    /// A credential without its value.
    pub fn credential(credential: &CredentialResource) -> Self {
        let name = ResourceName::Credential(credential.namespace.clone(), credential.name.clone());
        Self::new(name, json(credential))
    }

    /// A workload.
    pub fn workload(workload: &Workload) -> Self {
        let name = ResourceName::Workload(workload.namespace.clone(), workload.name.clone());
        Self::new(name, json(workload))
    }

    /// Whether this is a set whose names are compiled. Its bytes are no text.
    pub fn is_compiled_set(&self) -> bool {
        matches!(self.name, ResourceName::Set(..)) && self.body.first() == Some(&b'[')
    }
}

impl Snapshot {
    /// All parts, in the order of their names. What stands in for refused policies is no part.
    pub fn resources(&self) -> Vec<Resource> {
        let mut all = self.all_but_sets();
        all.extend(self.sets.iter().map(Resource::set));
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    fn all_but_sets(&self) -> Vec<Resource> {
        let mut all = vec![
            Resource::new(
                ResourceName::Settings(self.gateway.clone()),
                json(&self.settings),
            ),
            Resource::new(ResourceName::Standalone, json(&self.standalone)),
        ];
        all.extend(self.policies.iter().map(Resource::policy));
        all.extend(self.credentials.iter().map(Resource::credential));
        all.extend(self.workloads.iter().map(Resource::workload));
        all
    }

    /// The hash of the sorted list of resource names and digests: equal wherever the content is equal, whatever the order.
    pub fn revision(&self) -> String {
        let mut lines: Vec<String> = self
            .all_but_sets()
            .into_iter()
            .map(|resource| line(&resource.name, &resource.digest))
            .collect();
        // Compiled sets are large: their bytes are hashed where they are.
        lines.extend(self.sets.iter().map(|set| {
            let (head, names) = set_head(&set.content);
            let hash = Sha256::new().chain_update(head).chain_update(names);
            line(&set_name(set), &Digest(hash.finalize().into()))
        }));
        lines.extend(self.stand_ins.iter().map(stand_in_line));
        revision_of_lines(lines)
    }
}
