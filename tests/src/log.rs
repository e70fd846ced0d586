//! A list that grows as events happen and can be awaited.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::deadline::within;

pub struct Log<T> {
    items: Arc<Mutex<Vec<T>>>,
    length: Arc<watch::Sender<usize>>,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self {
            items: Arc::clone(&self.items),
            length: Arc::clone(&self.length),
        }
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            items: Arc::default(),
            length: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl<T: Clone> Log<T> {
    pub fn push(&self, item: T) {
        let mut items = self.items.lock().unwrap();
        items.push(item);
        self.length.send_replace(items.len());
    }

    pub fn all(&self) -> Vec<T> {
        self.items.lock().unwrap().clone()
    }

    /// Changes items in place and wakes everybody who waits.
    pub fn update(&self, change: impl FnOnce(&mut Vec<T>)) {
        let mut items = self.items.lock().unwrap();
        change(&mut items);
        self.length.send_replace(items.len());
    }

    /// The first answer that `find` gives on the list as it grows.
    pub async fn wait<R>(&self, what: &str, find: impl Fn(&[T]) -> Option<R>) -> R {
        let mut length = self.length.subscribe();
        within(what, async {
            loop {
                length.borrow_and_update();
                if let Some(found) = find(&self.items.lock().unwrap()) {
                    return found;
                }
                length.changed().await.unwrap();
            }
        })
        .await
    }
}
