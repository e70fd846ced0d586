//! A map that forgets what was used least recently: peers decide what comes in, so its size is ours.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

struct Entry<V> {
    value: V,
    used: u64,
}

/// At most `capacity` entries.
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, Entry<V>>,
    order: BTreeMap<u64, K>,
    clock: u64,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            capacity,
        }
    }

    /// The value, which counts as used now.
    pub(super) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.get_mut(key)?;
        if let Some(key) = self.order.remove(&entry.used) {
            self.clock += 1;
            entry.used = self.clock;
            self.order.insert(self.clock, key);
        }
        Some(&mut entry.value)
    }

    /// Puts a value in; what had to go for it is returned.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let replaced = self.remove(&key);
        let mut gone = None;
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            gone = self.entries.remove(&oldest).map(|entry| entry.value);
        }
        self.clock += 1;
        self.order.insert(self.clock, key.clone());
        let used = self.clock;
        self.entries.insert(key, Entry { value, used });
        replaced.or(gone)
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        Some(entry.value)
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, entry| {
            let stays = keep(key, &mut entry.value);
            if !stays {
                order.remove(&entry.used);
            }
            stays
        });
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes() {
        let mut map = Bounded::new(2);
        assert_eq!(map.insert("a", 1), None);
        assert_eq!(map.insert("b", 2), None);
        assert_eq!(map.get("a"), Some(&mut 1));
        assert_eq!(map.insert("c", 3), Some(2));
        assert_eq!(map.get("b"), None);
        assert_eq!(map.insert("a", 4), Some(1));
        assert_eq!((map.len(), map.order.len()), (2, 2));
        map.retain(|_, value| *value == 4);
        assert_eq!(map.remove("c"), None);
        assert_eq!(map.remove("a"), Some(4));
        assert_eq!((map.len(), map.order.len()), (0, 0));
    }

    #[test]
    fn a_million_names_leave_its_size_alone() {
        let mut map = Bounded::new(100);
        for name in 0..1_000_000_u32 {
            map.insert(name, ());
        }
        assert_eq!((map.len(), map.order.len()), (100, 100));
    }
}
