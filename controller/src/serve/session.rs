//! One gateway's stream, without the stream: what it holds, what it is sent next, what its answers mean.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::index::{Manifest, Part, Secret};

/// What a gateway is to be told.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) nonce: u64,
    pub(super) manifest: Arc<Manifest>,
    pub(super) upserts: Vec<Arc<Part>>,
    pub(super) removals: Vec<String>,
    /// The first of the stream.
    pub(super) complete: bool,
}

/// What an answer is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// The update that was sent last, for the first time.
    Applied,
    /// The same update once more: something of it came late.
    Again,
    /// Nothing that was sent.
    Unknown,
}

/// What the gateway holds when it says so itself.
pub(super) type Held = HashMap<String, [u8; 32]>;

/// One gateway's stream.
#[derive(Debug)]
pub(super) struct Session {
    /// Before the first update: what the hello said.
    hello: Option<Held>,
    /// What was sent last, and the gateway holds or has refused.
    sent: Option<Arc<Manifest>>,
    nonce: u64,
    in_flight: bool,
    secrets: Option<Arc<[Secret]>>,
}

impl Session {
    pub(super) fn new(hello: Held) -> Self {
        Self {
            hello: Some(hello),
            sent: None,
            nonce: 0,
            in_flight: false,
            secrets: None,
        }
    }

    /// What to send so that the gateway gets to this manifest. None: nothing, or not before it has answered.
    pub(super) fn next(&mut self, wanted: &Arc<Manifest>) -> Option<Next> {
        if self.in_flight {
            return None;
        }
        let (upserts, removals, complete) = match (self.hello.take(), &self.sent) {
            (Some(hello), _) => {
                let (upserts, removals) = from_hello(hello, wanted);
                (upserts, removals, true)
            }
            (None, Some(sent)) => {
                let same = sent.revision == wanted.revision
                    && sent.position.epoch == wanted.position.epoch;
                if same {
                    return None;
                }
                let (upserts, removals) = between(sent, wanted);
                (upserts, removals, false)
            }
            (None, None) => return None,
        };
        self.nonce += 1;
        self.in_flight = true;
        self.sent = Some(Arc::clone(wanted));
        Some(Next {
            nonce: self.nonce,
            manifest: Arc::clone(wanted),
            upserts,
            removals,
            complete,
        })
    }

    /// The secrets of a manifest, if they are not what was sent before.
    pub(super) fn secrets(&mut self, wanted: &Manifest) -> Option<Arc<[Secret]>> {
        if self.secrets.as_ref() == Some(&wanted.secrets) {
            return None;
        }
        self.secrets = Some(Arc::clone(&wanted.secrets));
        Some(Arc::clone(&wanted.secrets))
    }

    /// The gateway has answered. What it refused counts as held: it is not sent again before it changes, or before the
    /// gateway says in another hello that it does not have it.
    pub(super) fn answered(&mut self, nonce: u64) -> Answered {
        if nonce == 0 || nonce != self.nonce {
            return Answered::Unknown;
        }
        if std::mem::replace(&mut self.in_flight, false) {
            Answered::Applied
        } else {
            Answered::Again
        }
    }

    /// An answer is outstanding.
    pub(super) fn waits(&self) -> bool {
        self.in_flight
    }

    /// What was sent last.
    pub(super) fn sent(&self) -> Option<&Arc<Manifest>> {
        self.sent.as_ref()
    }
}

fn from_hello(mut held: Held, wanted: &Manifest) -> (Vec<Arc<Part>>, Vec<String>) {
    let mut upserts = Vec::new();
    for part in wanted.resources.iter() {
        if held.remove(part.name()) != Some(part.resource.digest.0) {
            upserts.push(Arc::clone(part));
        }
    }
    let mut removals: Vec<String> = held.into_keys().collect();
    removals.sort_unstable();
    (upserts, removals)
}

/// Both are in the order of their names.
fn between(held: &Manifest, wanted: &Manifest) -> (Vec<Arc<Part>>, Vec<String>) {
    let (mut upserts, mut removals) = (Vec::new(), Vec::new());
    let mut old = held.resources.iter().peekable();
    for part in wanted.resources.iter() {
        while let Some(gone) = old.next_if(|old| old.name() < part.name()) {
            removals.push(gone.name().to_owned());
        }
        let same = old.next_if(|old| old.name().cmp(part.name()) == Ordering::Equal);
        if !same.is_some_and(|old| old.is(part)) {
            upserts.push(Arc::clone(part));
        }
    }
    removals.extend(old.map(|gone| gone.name().to_owned()));
    (upserts, removals)
}
