//! A compact set of host patterns, for lists of a million names.
//!
//! Keys are names with their labels reversed, so that common suffixes share states: `x.io` is `io.x`, and `*.x.io` is
//! `io.x.` with the dot at its end: walking a name below `x.io` passes through that state.

use std::fmt;

use fst::raw::Fst;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::{
    name::{Name, NameError},
    snapshot::hex,
};

/// A compact set of host patterns.
#[derive(Clone)]
pub struct NameSet {
    automaton: Fst<Vec<u8>>,
}

/// Why a set could not be built or read.
#[derive(Debug, thiserror::Error)]
pub enum NameSetError {
    /// The bytes are not a set.
    #[error("these bytes are not a compiled name set: {0}")]
    Corrupt(#[from] fst::Error),
    /// A line is not a host pattern.
    #[error("line {line}: \"{text}\" is not a host pattern: {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
        /// What is wrong.
        problem: NameError,
    },
}

impl NameSet {
    /// Builds a set from lines in any order: `x.io`, `*.x.io`, empty lines and `#` comments.
    pub fn from_lines(text: &[u8]) -> Result<Self, NameSetError> {
        let mut builder = NameSetBuilder::with_capacity(text.len());
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line
                .split(|&byte| byte == b'#')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            if line.is_empty() {
                continue;
            }
            builder.add(line).map_err(|problem| NameSetError::Line {
                line: number + 1,
                text: String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned(),
                problem,
            })?;
        }
        builder.finish()
    }

    /// Reads a set that [`as_bytes`](Self::as_bytes) gave; its checksum is verified.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, NameSetError> {
        let automaton = Fst::new(bytes)?;
        automaton.verify()?;
        Ok(Self { automaton })
    }

    /// The compiled form.
    pub fn as_bytes(&self) -> &[u8] {
        self.automaton.as_bytes()
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.automaton.len()
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.automaton.is_empty()
    }

    /// The SHA-256 of the compiled form, in hexadecimal.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.as_bytes()))
    }

    /// Whether a pattern of the set matches this name.
    pub fn contains(&self, name: &Name) -> bool {
        let automaton = &self.automaton;
        let mut node = automaton.root();
        let mut first = true;
        for label in name.as_str().rsplit('.') {
            if !first {
                let Some(found) = node.find_input(b'.') else {
                    return false;
                };
                node = automaton.node(node.transition(found).addr);
                if node.is_final() {
                    return true;
                }
            }
            first = false;
            for byte in label.bytes() {
                let Some(found) = node.find_input(byte) else {
                    return false;
                };
                node = automaton.node(node.transition(found).addr);
            }
        }
        node.is_final()
    }
}

impl fmt::Debug for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameSet")
            .field("patterns", &self.len())
            .finish()
    }
}

impl Serialize for NameSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for NameSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(Vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Collects patterns for a [`NameSet`].
#[derive(Debug, Default)]
pub struct NameSetBuilder {
    keys: Vec<u8>,
    ends: Vec<(u32, u32)>,
    overflow: bool,
}

impl NameSetBuilder {
    /// An empty builder for about this many bytes of names.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            keys: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(bytes / 20),
            overflow: false,
        }
    }

    /// Adds `x.io` or `*.x.io`.
    pub fn add(&mut self, pattern: &[u8]) -> Result<(), NameError> {
        let (name, below) = match pattern.strip_prefix(b"*.") {
            Some(rest) => (Name::parse(rest)?, true),
            None => (Name::parse(pattern)?, false),
        };
        self.add_name(&name, below);
        Ok(())
    }

    /// Adds a parsed name, or every name below it.
    pub fn add_name(&mut self, name: &Name, below: bool) {
        let start = self.keys.len();
        for (index, label) in name.as_str().rsplit('.').enumerate() {
            if index > 0 {
                self.keys.push(b'.');
            }
            self.keys.extend_from_slice(label.as_bytes());
        }
        if below {
            self.keys.push(b'.');
        }
        match (u32::try_from(start), u32::try_from(self.keys.len())) {
            (Ok(start), Ok(end)) => self.ends.push((start, end)),
            _ => self.overflow = true,
        }
    }

    /// Builds the set.
    pub fn finish(mut self) -> Result<NameSet, NameSetError> {
        let keys = self.keys;
        let key =
            |&(start, end): &(u32, u32)| keys.get(start as usize..end as usize).unwrap_or_default();
        self.ends
            .sort_unstable_by(|left, right| key(left).cmp(key(right)));
        self.ends.dedup_by(|left, right| key(left) == key(right));
        if self.overflow {
            return Err(NameSetError::Corrupt(fst::Error::from(
                std::io::Error::other("more than 4 GiB of names"),
            )));
        }
        let mut builder = fst::raw::Builder::memory();
        for range in &self.ends {
            builder.add(key(range))?;
        }
        Ok(NameSet {
            automaton: Fst::new(builder.into_inner()?)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn contains() {
        let set = NameSet::from_lines(
            b"# list\nz.test\n*.wild.test # all below\n\nA.test.\r\na.test\nx.wild.test\n",
        )
        .unwrap();
        assert_eq!(set.len(), 4);
        for (name, expected) in [
            ("z.test", true),
            ("a.test", true),
            ("b.a.test", false),
            ("wild.test", false),
            ("a.wild.test", true),
            ("b.a.wild.test", true),
            ("x.wild.test", true),
            ("y.x.wild.test", true),
            ("evil-wild.test", false),
            ("test", false),
            ("zz.test", false),
        ] {
            assert_eq!(
                set.contains(&Name::parse(name.as_bytes()).unwrap()),
                expected,
                "{name}"
            );
        }
        let again = NameSet::from_bytes(set.as_bytes().to_vec()).unwrap();
        assert_eq!(again.digest(), set.digest());
        assert!(NameSet::from_bytes(vec![1, 2, 3]).is_err());
        let error = NameSet::from_lines(b"a.test\n**.b.test\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("line 2: \"**.b.test\" is not a host pattern"),
            "{error}"
        );
    }
}
