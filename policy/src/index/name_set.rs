//! A compact set of host patterns, for lists of a million names.
//!
//! The keys are `x.io` for the name and `.x.io` for every name below it, so that each key that could contain a name is a
//! slice of the name from one of its dots. A hash chooses a key's bucket; the keys of a bucket lie side by side and are
//! compared byte for byte. Looking a key up touches two places in memory, whatever the size of the set.
//!
//! The compiled form is the same for the same patterns in whatever order: the order within a bucket is that of the keys,
//! and the seed is the first that leaves no bucket long, so that nobody can write a list that is slow to look up.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::hash::hash;
use crate::{
    name::{Name, NameError, canonical},
    pattern::HostPattern,
    snapshot::hex,
};

/// A compact set of host patterns.
#[derive(Clone)]
pub struct NameSet {
    /// `MAGIC`, the count, the seed, where each bucket begins and the last one ends, the keys with their lengths.
    bytes: Vec<u8>,
    count: u32,
    seed: u32,
    buckets: u32,
    /// Which numbers of labels occur: keys of others need no look-up.
    names_of: u128,
    below_of: u128,
}

/// Why a set could not be built or read.
#[derive(Debug, thiserror::Error)]
pub enum NameSetError {
    /// The bytes are not a set.
    #[error("these bytes are not a compiled name set")]
    Corrupt,
    /// The set would not fit its own format.
    #[error("more than 4 GiB of names")]
    TooLarge,
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

const MAGIC: &[u8; 8] = b"exgnames";
const HEAD: usize = MAGIC.len() + 8;
/// A million names leave the longest bucket with about a dozen.
const LONG_BUCKET: usize = 48;
const LAST_SEED: u32 = 15;

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

    /// Reads a set that [`as_bytes`](Self::as_bytes) gave. Every key must be where a look-up would search it.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, NameSetError> {
        let (Some(MAGIC), Some(count), Some(seed)) =
            (bytes.first_chunk(), number(&bytes, 8), number(&bytes, 12))
        else {
            return Err(NameSetError::Corrupt);
        };
        // A set of so many keys has at least as many bytes; larger numbers must not ask for memory.
        if count as usize > bytes.len() || seed > LAST_SEED {
            return Err(NameSetError::Corrupt);
        }
        let mut set = Self {
            buckets: buckets_for(count),
            bytes,
            count,
            seed,
            names_of: 0,
            below_of: 0,
        };
        set.survey().ok_or(NameSetError::Corrupt)?;
        Ok(set)
    }

    /// The compiled form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every pattern, for sets that are known to be short.
    pub(crate) fn patterns(&self) -> Vec<HostPattern> {
        let keys = (0..self.buckets)
            .filter_map(|bucket| self.bucket(bucket))
            .flat_map(Keys);
        keys.filter_map(|key| {
            let text = match key.strip_prefix(b".") {
                Some(name) => format!("*.{}", String::from_utf8_lossy(name)),
                None => String::from_utf8_lossy(key).into_owned(),
            };
            HostPattern::parse(&text).ok()
        })
        .collect()
    }

    /// The SHA-256 of the compiled form, in hexadecimal.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.as_bytes()))
    }

    /// Whether a pattern of the set matches this name.
    pub fn contains(&self, name: &Name) -> bool {
        let text = name.as_str().as_bytes();
        let mut labels = labels(text);
        if self.names_of >> labels & 1 == 1 && self.has(text) {
            return true;
        }
        if self.below_of == 0 {
            return false;
        }
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'.') {
            labels -= 1;
            if self.below_of >> labels & 1 == 1 && text.get(at..).is_some_and(|key| self.has(key)) {
                return true;
            }
        }
        false
    }

    fn has(&self, key: &[u8]) -> bool {
        let bucket = bucket_of(hash(self.seed, key), self.buckets);
        self.bucket(bucket)
            .is_some_and(|bytes| Keys(bytes).any(|other| other == key))
    }

    fn bucket(&self, bucket: u32) -> Option<&[u8]> {
        let at = HEAD + 4 * bucket as usize;
        let keys = HEAD + 4 * (self.buckets as usize + 1);
        let start = number(&self.bytes, at)? as usize;
        let end = number(&self.bytes, at + 4)? as usize;
        self.bytes.get(keys + start..keys + end)
    }

    /// Checks every key and its place, and learns which numbers of labels there are.
    fn survey(&mut self) -> Option<()> {
        let (mut count, mut names_of, mut below_of) = (0_u32, 0, 0);
        let mut end = HEAD + 4 * (self.buckets as usize + 1);
        for index in 0..self.buckets {
            let bucket = self.bucket(index)?;
            end += bucket.len();
            let mut keys = Keys(bucket);
            let mut last: &[u8] = &[];
            for key in keys.by_ref() {
                if key <= last || bucket_of(hash(self.seed, key), self.buckets) != index {
                    return None;
                }
                last = key;
                count += 1;
                match key.strip_prefix(b".") {
                    Some(name) => below_of |= 1 << labels(name),
                    None => names_of |= 1 << labels(key),
                }
            }
            if !keys.0.is_empty() {
                return None;
            }
        }
        (self.names_of, self.below_of) = (names_of, below_of);
        (count == self.count && end == self.bytes.len()).then_some(())
    }
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map(|four| u32::from_le_bytes(*four))
}

/// How many labels a name has. No name has more than 127.
fn labels(name: &[u8]) -> u32 {
    let count = name.split(|&byte| byte == b'.').count();
    u32::try_from(count).unwrap_or(127).min(127)
}

/// Between one and two keys for each.
fn buckets_for(count: u32) -> u32 {
    (count / 2).next_power_of_two()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half of the hash is what is wanted"
)]
fn bucket_of(hash: u64, buckets: u32) -> u32 {
    hash as u32 & (buckets - 1)
}

/// Keys with a length before each. Ends early where a length lies.
struct Keys<'a>(&'a [u8]);

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        let (key, rest) = rest.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(key)
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
    /// Keys with a length before each.
    keys: Vec<u8>,
    count: usize,
}

impl NameSetBuilder {
    /// An empty builder for about this many bytes of names.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            keys: Vec::with_capacity(bytes),
            count: 0,
        }
    }

    /// Adds `x.io` or `*.x.io`.
    pub fn add(&mut self, pattern: &[u8]) -> Result<(), NameError> {
        match pattern.strip_prefix(b"*.") {
            Some(rest) => self.push(&canonical(rest)?, true),
            None => self.push(&canonical(pattern)?, false),
        }
        Ok(())
    }

    /// Adds a parsed name, or every name below it.
    pub fn add_name(&mut self, name: &Name, below: bool) {
        self.push(name.as_str(), below);
    }

    fn push(&mut self, name: &str, below: bool) {
        // A name has at most 253 bytes, so that it fits with a dot before it.
        let length = u8::try_from(name.len() + usize::from(below)).unwrap_or(u8::MAX);
        self.keys.push(length);
        if below {
            self.keys.push(b'.');
        }
        self.keys.extend_from_slice(name.as_bytes());
        self.count += 1;
    }

    /// Builds the set.
    pub fn finish(self) -> Result<NameSet, NameSetError> {
        let (mut keys, mut count, mut seed) = (self.keys, self.count, 0);
        loop {
            if u32::try_from(keys.len()).is_err() {
                return Err(NameSetError::TooLarge);
            }
            let given = u32::try_from(count).map_err(|_| NameSetError::TooLarge)?;
            let spread = Spread::new(&keys, given, seed);
            count = spread.count as usize;
            let long = spread.longest > LONG_BUCKET && seed < LAST_SEED;
            if !long && buckets_for(spread.count) == buckets_for(given) {
                drop(keys);
                return NameSet::from_bytes(spread.bytes);
            }
            // The number of buckets must not depend on how often a pattern was given.
            keys = spread.keys().to_vec();
            seed += u32::from(long);
        }
    }
}

/// Keys in buckets.
struct Spread {
    bytes: Vec<u8>,
    count: u32,
    buckets: u32,
    longest: usize,
}

impl Spread {
    fn new(keys: &[u8], given: u32, seed: u32) -> Self {
        let buckets = buckets_for(given);
        let places: Vec<u32> = Keys(keys)
            .map(|key| bucket_of(hash(seed, key), buckets))
            .collect();
        // Where the next key of each bucket goes; in the end, where the bucket ends.
        let mut next = vec![0_u32; buckets as usize];
        for (key, &place) in Keys(keys).zip(&places) {
            if let Some(size) = next.get_mut(place as usize) {
                *size += length(key);
            }
        }
        let mut start = 0;
        for place in &mut next {
            start += std::mem::replace(place, start);
        }
        let table = HEAD + 4 * (buckets as usize + 1);
        let mut bytes = vec![0; table + keys.len()];
        let (head, area) = bytes.split_at_mut(table);
        for (key, &place) in Keys(keys).zip(&places) {
            if let Some(at) = next.get_mut(place as usize)
                && let Some(to) = area.get_mut(*at as usize..(*at + length(key)) as usize)
                && let [first, rest @ ..] = to
            {
                *first = u8::try_from(key.len()).unwrap_or(u8::MAX);
                rest.copy_from_slice(key);
                *at += length(key);
            }
        }
        drop(places);
        let (count, longest, used) = settle(head, area, &next);
        bytes.truncate(table + used);
        if let Some((magic, rest)) = bytes.split_first_chunk_mut() {
            *magic = *MAGIC;
            put(rest, 0, count);
            put(rest, 4, seed);
        }
        Self {
            bytes,
            count,
            buckets,
            longest,
        }
    }

    fn keys(&self) -> &[u8] {
        let table = HEAD + 4 * (self.buckets as usize + 1);
        self.bytes.get(table..).unwrap_or_default()
    }
}

/// Sorts each bucket, leaves out what comes twice, closes the gaps and writes the table of buckets. Returns how many keys
/// there are, how many are in the longest bucket, and the bytes of all.
fn settle(head: &mut [u8], area: &mut [u8], ends: &[u32]) -> (u32, usize, usize) {
    let (mut count, mut longest, mut used, mut start) = (0_u32, 0, 0_usize, 0_usize);
    let mut bucket = Vec::new();
    for (index, &end) in ends.iter().enumerate() {
        bucket.clear();
        bucket.extend_from_slice(area.get(start..end as usize).unwrap_or_default());
        start = end as usize;
        let mut keys: SmallVec<[&[u8]; 16]> = Keys(&bucket).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            if let Some(to) = area.get_mut(used..used + key.len() + 1)
                && let [first, rest @ ..] = to
            {
                *first = u8::try_from(key.len()).unwrap_or(u8::MAX);
                rest.copy_from_slice(key);
            }
            used += key.len() + 1;
        }
        count += u32::try_from(keys.len()).unwrap_or(0);
        longest = longest.max(keys.len());
        put(
            head,
            HEAD + 4 * (index + 1),
            u32::try_from(used).unwrap_or(u32::MAX),
        );
    }
    (count, longest, used)
}

/// The bytes of a key with its length.
fn length(key: &[u8]) -> u32 {
    u32::try_from(key.len() + 1).unwrap_or(0)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(to) = bytes.get_mut(at..at + 4) {
        to.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn contains() {
        let set = NameSet::from_lines(
            b"# list\nz.test\n*.wild.test # all below\n\nA.test.\r\na.test\nx.wild.test\n",
        )
        .unwrap();
        assert_eq!(set.len(), 4);
        for (text, expected) in [
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
            assert_eq!(set.contains(&name(text)), expected, "{text}");
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

    #[test]
    fn empty_and_longest() {
        let set = NameSet::from_lines(b"").unwrap();
        assert!(set.is_empty() && !set.contains(&name("a.test")));
        assert!(NameSet::from_bytes(set.as_bytes().to_vec()).is_ok());
        let most_labels = vec!["a"; 127].join(".");
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for text in [&most_labels, &longest] {
            let set = NameSet::from_lines(format!("{text}\n*.{text}").as_bytes()).unwrap();
            assert!(set.contains(&name(text)) && set.len() == 2);
        }
    }

    /// Whatever the order and however often a pattern is given, the compiled form is one.
    #[test]
    fn one_form_for_one_set() {
        let lines: Vec<String> = (0..5_000)
            .map(|n| format!("h{n}.x{}.test", n % 7))
            .collect();
        let all = lines.join("\n");
        let set = NameSet::from_lines(all.as_bytes()).unwrap();
        assert_eq!(set.len(), 5_000);
        let mut other = lines.clone();
        other.reverse();
        other.extend_from_slice(&lines);
        other.extend_from_slice(&lines);
        let other = NameSet::from_lines(other.join("\n").as_bytes()).unwrap();
        assert_eq!(set.digest(), other.digest());
        for line in &lines {
            assert!(set.contains(&name(line)), "{line}");
            assert!(!set.contains(&name(&format!("x.{line}"))), "{line}");
        }
    }

    #[test]
    fn a_list_against_one_seed_gets_another() {
        let under_first: Vec<String> = (0..)
            .map(|n: u32| format!("{n:x}.test"))
            .filter(|key| bucket_of(hash(0, key.as_bytes()), 64) == 1)
            .take(100)
            .collect();
        let set = NameSet::from_lines(under_first.join("\n").as_bytes()).unwrap();
        assert!(set.seed > 0);
        let longest = (0..set.buckets).filter_map(|index| set.bucket(index));
        assert!(longest.map(|keys| Keys(keys).count()).max().unwrap() < LONG_BUCKET);
        assert!(under_first.iter().all(|text| set.contains(&name(text))));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let lines: Vec<String> = (0..200).map(|n| format!("host{n}.example.test")).collect();
        let set = NameSet::from_lines(lines.join("\n").as_bytes()).unwrap();
        let bytes = set.as_bytes();
        let noticed = (0..bytes.len())
            .filter(|&at| {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                NameSet::from_bytes(changed).is_err()
            })
            .count();
        // A changed key falls into its own bucket again once in as many times as there are buckets.
        assert!(
            noticed * 100 > bytes.len() * 97,
            "{noticed} of {}",
            bytes.len()
        );
        for length in 0..bytes.len() {
            assert!(NameSet::from_bytes(bytes[..length].to_vec()).is_err());
        }
    }
}
