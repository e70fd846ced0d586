//! Outcomes by name, bounded, with one question under way per name.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use exitgate_policy::Name;
use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::Instant};

use super::{Answer, ResolveError};

pub(super) type Outcome = Result<Arc<Answer>, ResolveError>;

const SHARDS: usize = 16;

/// One name's outcome, or the question that is under way for it. Whoever waits may be dropped: the next waiter goes on.
#[derive(Debug, Default)]
pub(super) struct Flight {
    cell: OnceCell<(Outcome, Instant)>,
}

impl Flight {
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.cell.get().map(|(outcome, _)| outcome.clone())
    }

    pub(super) async fn run<F: Future<Output = (Outcome, Instant)>>(
        &self,
        ask: impl FnOnce() -> F,
    ) -> Outcome {
        self.cell.get_or_init(ask).await.0.clone()
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.cell.get().is_some_and(|(_, expires)| *expires <= now)
    }

    /// What goes first when there is no room; a question under way goes last.
    fn expires(&self) -> Option<Instant> {
        self.cell.get().map(|(_, expires)| *expires)
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<HashMap<Name, Arc<Flight>>>>,
    hasher: RandomState,
    per_shard: usize,
    evictions: AtomicU64,
}

impl Cache {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            per_shard: max_entries.div_ceil(SHARDS).max(1),
            evictions: AtomicU64::new(0),
        }
    }

    /// The entry of a name: a known outcome, a question under way, or a new one to run.
    pub(super) fn entry(&self, name: &Name) -> Arc<Flight> {
        let now = Instant::now();
        let shard = usize::try_from(self.hasher.hash_one(name)).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else {
            return Arc::default();
        };
        let mut entries = shard.lock();
        if let Some(flight) = entries.get_mut(name) {
            if flight.has_expired(now) {
                *flight = Arc::default();
            }
            return Arc::clone(flight);
        }
        if entries.len() >= self.per_shard {
            self.make_room(&mut entries, now);
        }
        let flight = Arc::<Flight>::default();
        entries.insert(name.clone(), Arc::clone(&flight));
        flight
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn make_room(&self, entries: &mut HashMap<Name, Arc<Flight>>, now: Instant) {
        entries.retain(|_, flight| !flight.has_expired(now));
        if entries.len() < self.per_shard {
            return;
        }
        let first = entries
            .iter()
            .filter_map(|(name, flight)| Some((flight.expires()?, name)))
            .min_by_key(|(expires, _)| *expires);
        // Only questions under way: any of them; its askers keep it alive.
        let victim = first
            .map(|(_, name)| name)
            .or_else(|| entries.keys().next())
            .cloned();
        if let Some(victim) = victim {
            entries.remove(&victim);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
