//! Minted leaves: bounded, the least recently used goes first, one signing under way per name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exitgate_policy::Name;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use tokio::sync::OnceCell;

use super::{LeafError, LeafKey};

/// A leaf as it is kept. The authorities above it are shared among all leaves, which rustls' own form cannot do.
#[derive(Debug)]
pub(super) struct Minted {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) issuers: Arc<[CertificateDer<'static>]>,
    pub(super) key: Arc<dyn SigningKey>,
}

impl Minted {
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        let mut chain = Vec::with_capacity(1 + self.issuers.len());
        chain.push(self.leaf.clone());
        chain.extend(self.issuers.iter().cloned());
        Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)))
    }
}

/// What is kept for a name, and until when it may be used (seconds since 1970, exclusive).
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Minted, LeafError>,
    pub(super) use_until: u64,
}

/// One name's outcome, or the signing that is under way for it. Whoever waits may be dropped: the next one goes on.
pub(super) type Flight = Arc<OnceCell<Outcome>>;

/// The authority (as the number of its state), the name, the kind of key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) authority: u64,
    pub(super) name: Name,
    pub(super) kind: LeafKey,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// By when they were last used. Counted in uses of the cache, not in time.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    flight: Flight,
    used: u64,
}

/// One lock for all: it is held for a look-up, never while signing.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Mutex<Entries>,
    most: usize,
    evictions: AtomicU64,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: Mutex::default(),
            most: most.max(1),
            evictions: AtomicU64::new(0),
        }
    }

    /// The entry of a key. Where there is none, `admit` says whether one may be begun; its answer comes with the new entry.
    pub(super) fn entry<T>(
        &self,
        key: &Key,
        now: u64,
        admit: impl FnOnce() -> Option<T>,
    ) -> Option<(Flight, Option<T>)> {
        let mut entries = self.entries.lock();
        let entries = &mut *entries;
        entries.uses += 1;
        let uses = entries.uses;
        if let Some(entry) = entries.by_key.get_mut(key) {
            let expired = entry
                .flight
                .get()
                .is_some_and(|outcome| outcome.use_until <= now);
            if !expired {
                // An entry that was just used stays where it is: nearly least recently used costs far less.
                if uses - entry.used > (self.most / 4) as u64 {
                    entries.by_use.remove(&entry.used);
                    entries.by_use.insert(uses, key.clone());
                    entry.used = uses;
                }
                return Some((Arc::clone(&entry.flight), None));
            }
            entries.by_use.remove(&entry.used);
            entries.by_key.remove(key);
        }
        let admitted = admit()?;
        while entries.by_key.len() >= self.most {
            let Some((_, oldest)) = entries.by_use.pop_first() else {
                break;
            };
            entries.by_key.remove(&oldest);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        let flight = Flight::default();
        entries.by_use.insert(uses, key.clone());
        entries.by_key.insert(
            key.clone(),
            Entry {
                flight: Arc::clone(&flight),
                used: uses,
            },
        );
        Some((flight, Some(admitted)))
    }

    /// Forgets everything.
    pub(super) fn flush(&self) {
        let old = {
            let mut entries = self.entries.lock();
            entries.by_use = BTreeMap::new();
            std::mem::take(&mut entries.by_key)
        };
        drop(old);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.lock().by_key.len()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key {
            authority: 0,
            name: Name::parse(text.as_bytes()).unwrap(),
            kind: LeafKey::Ecdsa,
        }
    }

    fn fill(flight: &Flight, use_until: u64) {
        let outcome = Outcome {
            result: Err(LeafError::Pending),
            use_until,
        };
        flight.set(outcome).unwrap();
    }

    #[test]
    fn the_bound_holds_and_what_is_in_use_stays() {
        let cache = Cache::new(160);
        let (hot, _) = cache.entry(&key("hot.test"), 0, || Some(())).unwrap();
        fill(&hot, 10);
        for i in 0..10_000 {
            let (flight, new) = cache
                .entry(&key(&format!("n{i}.wild.test")), 0, || Some(()))
                .unwrap();
            assert!(new.is_some());
            fill(&flight, 10);
            let (_, new) = cache.entry(&key("hot.test"), 0, || Some(())).unwrap();
            assert!(new.is_none(), "evicted after {i}");
        }
        assert!(cache.len() <= 160);
        assert!(cache.evictions() >= 9_000);
        let by_use = cache.entries.lock().by_use.len();
        assert_eq!(by_use, cache.len());
    }

    #[test]
    fn dates_are_checked_on_use() {
        let cache = Cache::new(16);
        let (flight, _) = cache.entry(&key("a.test"), 0, || Some(())).unwrap();
        fill(&flight, 10);
        assert!(
            cache
                .entry(&key("a.test"), 9, || Some(()))
                .unwrap()
                .1
                .is_none()
        );
        assert!(
            cache
                .entry(&key("a.test"), 10, || Some(()))
                .unwrap()
                .1
                .is_some()
        );
    }

    #[test]
    fn nothing_is_kept_for_what_is_not_admitted() {
        let cache = Cache::new(16);
        assert!(cache.entry(&key("a.test"), 0, || None::<()>).is_none());
        assert_eq!(cache.len(), 0);
    }
}
