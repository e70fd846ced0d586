//! Connections that wait for their next request, and handles of connections that many share.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::PoolKey;
use super::bounded::Bounded;
use super::quiet;

/// Idle connections of one workload to one origin.
const PER_KEY: usize = 32;
/// Pairs of workload and origin that may have idle connections.
const KEYS: usize = 512;
/// Idle connections in all.
const TOTAL: usize = 1024;
/// How long one may wait. Servers close after 5 s (Node, Apache) to 75 s (nginx); what they closed is not handed out.
const IDLE: Duration = Duration::from_mins(1);
/// How old one may get before policy, address and certificate are looked at anew.
const AGE: Duration = Duration::from_mins(10);

struct Waiting {
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    since: Instant,
    made: Instant,
}

impl Waiting {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE && now.duration_since(self.made) < AGE
    }
}

/// Connections with HTTP/1 that wait for their next request.
pub(super) struct Idle(Mutex<Inner>);

struct Inner {
    waiting: Bounded<PoolKey, Vec<Waiting>>,
    total: usize,
}

/// A connection out of the pool: when it was made travels with it.
pub(super) struct Taken {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) address: SocketAddr,
    pub(super) made: Instant,
}

impl Default for Idle {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            waiting: Bounded::new(KEYS),
            total: 0,
        }))
    }
}

impl Idle {
    /// The connection that was used last and is still as it was left: its peer has neither closed nor said anything.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Taken> {
        let now = Instant::now();
        loop {
            let mut waiting = {
                let mut inner = self.0.lock();
                let Inner { waiting, total } = &mut *inner;
                let list = waiting.get(key)?;
                let one = list.pop();
                if list.is_empty() {
                    waiting.remove(key);
                }
                *total -= usize::from(one.is_some());
                one?
            };
            if waiting.is_fresh(now) && quiet::is_quiet(&mut waiting.stream) {
                return Some(Taken {
                    stream: waiting.stream,
                    address: waiting.address,
                    made: waiting.made,
                });
            }
        }
    }

    /// Puts a connection by whose last exchange is complete.
    pub(super) fn put(
        &self,
        key: PoolKey,
        mut stream: TlsStream<TcpStream>,
        address: SocketAddr,
        made: Instant,
    ) {
        let now = Instant::now();
        let waiting = Waiting {
            address,
            since: now,
            made,
            stream: {
                if !quiet::is_quiet(&mut stream) {
                    return;
                }
                stream
            },
        };
        if !waiting.is_fresh(now) {
            return;
        }
        let mut inner = self.0.lock();
        if inner.total >= TOTAL {
            return;
        }
        let Inner {
            waiting: all,
            total,
        } = &mut *inner;
        if let Some(list) = all.get(&key) {
            if list.len() < PER_KEY {
                list.push(waiting);
                *total += 1;
            }
            return;
        }
        let gone = all.insert(key, vec![waiting]).map_or(0, |list| list.len());
        *total = *total + 1 - gone;
    }

    /// Closes what waited too long or was closed by its peer.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut inner = self.0.lock();
        let Inner { waiting, total } = &mut *inner;
        waiting.retain(|_, list| {
            let before = list.len();
            list.retain_mut(|one| one.is_fresh(now) && quiet::is_quiet(&mut one.stream));
            *total -= before - list.len();
            !list.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().total
    }
}

/// Handles of connections that carry many requests at a time, such as HTTP/2's. Bounded; the newest of a key counts.
pub struct Shared<H>(Mutex<Bounded<PoolKey, H>>);

impl<H: Clone> Shared<H> {
    /// At most `capacity` handles; the one that was asked for least recently goes first.
    pub fn new(capacity: usize) -> Self {
        Self(Mutex::new(Bounded::new(capacity)))
    }

    /// The handle, if `usable` says that it still is; else it is forgotten.
    pub fn get(&self, key: &PoolKey, usable: impl FnOnce(&H) -> bool) -> Option<H> {
        let mut handles = self.0.lock();
        let handle = handles.get(key)?;
        if usable(handle) {
            return Some(handle.clone());
        }
        handles.remove(key);
        None
    }

    /// Puts a handle in; the one that had to go for it is returned.
    pub fn insert(&self, key: PoolKey, handle: H) -> Option<H> {
        self.0.lock().insert(key, handle)
    }

    /// Forgets a handle, if it is the one that `is_it` means.
    pub fn remove(&self, key: &PoolKey, is_it: impl FnOnce(&H) -> bool) -> Option<H> {
        let mut handles = self.0.lock();
        if handles.get(key).is_some_and(|handle| is_it(handle)) {
            handles.remove(key)
        } else {
            None
        }
    }

    /// Forgets those that `keep` does not want.
    pub fn sweep(&self, mut keep: impl FnMut(&H) -> bool) {
        self.0.lock().retain(|_, handle| keep(handle));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
