//! Connection slots, per workload and in total. A slot is given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count of connections.
#[derive(Debug, Default)]
pub struct Share(AtomicUsize);

impl Share {
    /// Takes a slot unless `limit` are taken.
    pub fn take(self: &Arc<Self>, limit: usize) -> Option<Slot> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Slot(self.clone()))
    }

    /// Slots taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Slot(Arc<Share>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_back() {
        let share = Arc::new(Share::default());
        let first = share.take(1);
        assert!(first.is_some() && share.take(1).is_none());
        drop(first);
        assert!(share.take(1).is_some());
        assert_eq!(share.taken(), 0);
    }
}
