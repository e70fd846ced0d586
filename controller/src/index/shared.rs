//! The index where several tasks use it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Event, Index, Manifests, Origin, Scope, Sink};

/// So long a change waits for others, so that a roll-out is not as many manifests as it has pods.
const GATHER: Duration = Duration::from_millis(10);

/// The index where several tasks use it. A source puts events in, [`publish`](Self::publish) runs as a task of its own.
#[derive(Clone, Debug)]
pub struct SharedIndex {
    index: Arc<Mutex<Index>>,
    changed: Arc<Notify>,
}

impl SharedIndex {
    pub fn new(origin: Origin) -> Self {
        Self {
            index: Arc::new(Mutex::new(Index::new(origin))),
            changed: Arc::default(),
        }
    }

    /// The index, for questions. Never hold it across an await.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// Changes the index, and has the change published.
    pub fn change<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        let done = work(&mut self.lock());
        self.changed.notify_one();
        done
    }

    /// The manifests of a scope.
    pub fn subscribe(&self, scope: Scope) -> Manifests {
        self.change(|index| index.subscribe(scope))
    }

    /// Publishes what has changed, until the future is dropped. `made` is told how many manifests were made, and how long
    /// that took.
    pub async fn publish(&self, mut made: impl FnMut(usize, Duration)) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(GATHER).await;
            let begun = tokio::time::Instant::now();
            let count = self.lock().publish();
            made(count, begun.elapsed());
        }
    }
}

impl Sink for SharedIndex {
    fn event(&mut self, event: Event) {
        self.change(|index| index.event(event));
    }
}
