//! A resource as manifests share it.

use std::cmp::Ordering;

use exitgate_policy::Resource;

/// A resource with its name in text and its line in the list that a revision is the hash of. Made once and shared by every
/// manifest that has it.
#[derive(Debug)]
pub struct Part {
    pub resource: Resource,
    line: Box<str>,
    name: usize,
}

impl Part {
    pub fn new(resource: Resource) -> Self {
        let name = resource.name.to_string();
        Self {
            line: format!("{name} {}", resource.digest).into(),
            name: name.len(),
            resource,
        }
    }

    /// The name that travels.
    pub fn name(&self) -> &str {
        self.line.get(..self.name).unwrap_or_default()
    }

    /// Name and digest.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether the other says the same. What stands in for it, and what it needs, follow from its content.
    pub fn is(&self, other: &Self) -> bool {
        self.line == other.line
    }

    /// In the order that revisions are made in.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.line.cmp(&other.line)
    }
}
