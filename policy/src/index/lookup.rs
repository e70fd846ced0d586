//! From a name or an address to the rules that may match.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::{address::embedded, matcher::CompiledSet, name::Name, pattern::HostPattern};

/// Numbers of rules.
pub(crate) type Ids = SmallVec<[u32; 16]>;
type Few = SmallVec<[u32; 2]>;

/// Names to rules: by the whole name, by each suffix, and by the domain sets that contain it.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    exact: HashMap<Box<str>, Few>,
    below: HashMap<Box<str>, Few>,
    sets: Vec<(Arc<CompiledSet>, Vec<u32>)>,
}

impl NameIndex {
    pub(crate) fn add(&mut self, pattern: &HostPattern, id: u32) {
        let map = if pattern.is_below() {
            &mut self.below
        } else {
            &mut self.exact
        };
        if let Some(ids) = map.get_mut(pattern.name().as_str()) {
            ids.push(id);
        } else {
            map.insert(pattern.name().as_str().into(), Few::from_slice(&[id]));
        }
    }

    pub(crate) fn add_set(&mut self, set: &Arc<CompiledSet>, id: u32) {
        match self.sets.iter_mut().find(|(known, _)| known.id == set.id) {
            Some((_, ids)) => ids.push(id),
            None => self.sets.push((Arc::clone(set), vec![id])),
        }
    }

    pub(crate) fn find(&self, name: &Name, ids: &mut Ids) {
        let text = name.as_str();
        if let Some(found) = self.exact.get(text) {
            ids.extend_from_slice(found);
        }
        if !self.below.is_empty() {
            let mut rest = text;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(found) = self.below.get(suffix) {
                    ids.extend_from_slice(found);
                }
                rest = suffix;
            }
        }
        for (set, rules) in &self.sets {
            // A set that is not loaded may contain anything.
            if set.names.as_ref().is_none_or(|names| names.contains(name)) {
                ids.extend_from_slice(rules);
            }
        }
    }
}

/// Addresses to rules: by each length of prefix that occurs.
#[derive(Debug, Default)]
pub(crate) struct CidrIndex {
    v4: Vec<(u8, HashMap<u32, Few>)>,
    v6: Vec<(u8, HashMap<u128, Few>)>,
    /// Rules with sets that are not loaded: they may contain anything.
    anywhere: Few,
}

impl CidrIndex {
    pub(crate) fn add(&mut self, net: &IpNet, id: u32) {
        match net {
            IpNet::V4(net) => insert(&mut self.v4, net.prefix_len(), net.network().to_bits(), id),
            IpNet::V6(net) => insert(&mut self.v6, net.prefix_len(), net.network().to_bits(), id),
        }
    }

    pub(crate) fn add_anywhere(&mut self, id: u32) {
        self.anywhere.push(id);
    }

    pub(crate) fn find(&self, addr: IpAddr, every_reading: bool, ids: &mut Ids) {
        ids.extend_from_slice(&self.anywhere);
        match addr {
            IpAddr::V4(addr) => self.find_v4(addr.to_bits(), ids),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                for (prefix, map) in &self.v6 {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or(0);
                    if let Some(found) = map.get(&(bits & mask)) {
                        ids.extend_from_slice(found);
                    }
                }
                if every_reading && !self.v4.is_empty() {
                    for carried in embedded(addr) {
                        self.find_v4(carried.to_bits(), ids);
                    }
                }
            }
        }
    }

    fn find_v4(&self, bits: u32, ids: &mut Ids) {
        for (prefix, map) in &self.v4 {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            if let Some(found) = map.get(&(bits & mask)) {
                ids.extend_from_slice(found);
            }
        }
    }
}

fn insert<K: Eq + std::hash::Hash>(
    lengths: &mut Vec<(u8, HashMap<K, Few>)>,
    prefix: u8,
    key: K,
    id: u32,
) {
    let at = lengths
        .iter()
        .position(|(length, _)| *length == prefix)
        .unwrap_or_else(|| {
            lengths.push((prefix, HashMap::new()));
            lengths.len() - 1
        });
    if let Some((_, map)) = lengths.get_mut(at) {
        map.entry(key).or_default().push(id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::address::parse_cidr;

    #[test]
    fn names() {
        let mut index = NameIndex::default();
        for (id, pattern) in (0..).zip(["x.io", "*.x.io", "*.io", "a.b.x.io", "x.io"]) {
            index.add(&HostPattern::parse(pattern).unwrap(), id);
        }
        for (name, expected) in [
            ("x.io", &[0, 2, 4][..]),
            ("a.x.io", &[1, 2]),
            ("a.b.x.io", &[1, 2, 3]),
            ("io", &[]),
            ("y.test", &[]),
        ] {
            let mut ids = Ids::new();
            index.find(&Name::parse(name.as_bytes()).unwrap(), &mut ids);
            ids.sort_unstable();
            assert_eq!(ids.as_slice(), expected, "{name}");
        }
    }

    #[test]
    fn addresses() {
        let mut index = CidrIndex::default();
        for (id, net) in (0..).zip([
            "10.0.0.0/8",
            "10.1.0.0/16",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
        ]) {
            index.add(&parse_cidr(net).unwrap(), id);
        }
        for (addr, expected) in [
            ("10.1.2.3", &[0, 1, 2][..]),
            ("10.2.2.3", &[0, 2]),
            ("192.0.2.1", &[2]),
            ("2001:db8::1", &[3, 4]),
            ("2002:a01:203::1", &[0, 1, 2, 4]),
        ] {
            let mut ids = Ids::new();
            index.find(addr.parse().unwrap(), true, &mut ids);
            ids.sort_unstable();
            assert_eq!(ids.as_slice(), expected, "{addr}");
        }
    }
}
