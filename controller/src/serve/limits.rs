//! What peers may take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::trust::Identity;

pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What peers may take. The defaults are meant for a thousand gateways.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// TLS handshakes at a time, and how long one may take.
    pub handshakes: usize,
    pub handshake: Duration,
    /// Calls at a time on one connection.
    pub streams_per_connection: u32,
    /// Bytes of the headers of a call.
    pub head: u32,
    /// Bytes of a message of a gateway that follows: its hello names everything that it holds.
    pub message: usize,
    /// Bytes of any other message of a caller.
    pub small_message: usize,
    /// Bytes of a message to a gateway.
    pub sent_message: usize,
    /// Bytes of bodies in one update; what is beyond, or larger than `body`, is fetched as an artifact.
    pub bodies: usize,
    pub body: usize,
    /// Enrolments at a time, and how long one may take.
    pub enrolments: usize,
    pub enrolment: Duration,
    /// Streams at a time of one identity, and artifacts at a time.
    pub streams_per_identity: usize,
    pub artifacts_per_identity: usize,
    /// Signatures for one identity, per minute.
    pub signatures_per_minute: u32,
    /// How long the first message of a gateway may take.
    pub hello: Duration,
    /// A gateway that says nothing for so long is gone.
    pub silence: Duration,
    /// How often a gateway hears from us.
    pub heartbeat: Duration,
    /// How long a gateway may take to read what it is sent.
    pub reading: Duration,
    /// How long a gateway may take to apply an update: it waits for artifacts.
    pub applying: Duration,
    /// How long a gateway that was told to go elsewhere may take.
    pub leaving: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            handshakes: 256,
            handshake: Duration::from_secs(10),
            streams_per_connection: 32,
            head: 16 << 10,
            message: 16 << 20,
            small_message: 128 << 10,
            sent_message: 64 << 20,
            bodies: 32 << 20,
            body: 256 << 10,
            enrolments: 64,
            enrolment: Duration::from_secs(10),
            streams_per_identity: 4,
            artifacts_per_identity: 8,
            signatures_per_minute: 600,
            hello: Duration::from_secs(10),
            silence: Duration::from_mins(1),
            heartbeat: Duration::from_secs(15),
            reading: Duration::from_secs(30),
            applying: Duration::from_mins(2),
            leaving: Duration::from_secs(10),
        }
    }
}

/// What one identity does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Artifact,
    Follow,
}

type Counts = Arc<Mutex<HashMap<(Identity, Doing), usize>>>;

/// Who is in.
#[derive(Debug)]
pub(super) struct Entries {
    counts: Counts,
    enrolments: Arc<Semaphore>,
    signatures: Mutex<Signatures>,
    follow: usize,
    artifacts: usize,
    signatures_per_minute: u32,
}

#[derive(Debug, Default)]
struct Signatures {
    minute: u64,
    made: HashMap<Identity, u32>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    counts: Counts,
    key: (Identity, Doing),
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

impl Entries {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            counts: Counts::default(),
            enrolments: Arc::new(Semaphore::new(limits.enrolments)),
            signatures: Mutex::default(),
            follow: limits.streams_per_identity,
            artifacts: limits.artifacts_per_identity,
            signatures_per_minute: limits.signatures_per_minute,
        }
    }

    /// Takes a place for an identity.
    pub(super) fn enter(&self, identity: &Identity, doing: Doing) -> Result<Place, Status> {
        let most = match doing {
            Doing::Artifact => self.artifacts,
            Doing::Follow => self.follow,
        };
        let key = (identity.clone(), doing);
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return Err(Status::resource_exhausted(format!(
                "{identity} has {most} calls of this kind open already"
            )));
        }
        *count += 1;
        Ok(Place {
            counts: Arc::clone(&self.counts),
            key,
        })
    }

    /// Takes one of the places of those who are not known yet.
    pub(super) fn enrol(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.enrolments)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many enrolments at a time; try again"))
    }

    /// Counts a signature.
    pub(super) fn sign(&self, identity: &Identity, now: u64) -> Result<(), Status> {
        let mut signatures = self.signatures.lock();
        let minute = now / 60;
        if signatures.minute != minute {
            *signatures = Signatures {
                minute,
                ..Signatures::default()
            };
        }
        let made = signatures.made.entry(identity.clone()).or_default();
        if *made >= self.signatures_per_minute {
            let most = self.signatures_per_minute;
            return Err(Status::resource_exhausted(format!(
                "{identity} has had {most} signatures this minute"
            )));
        }
        *made += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::trust::Role;

    #[test]
    fn signatures_are_counted_by_identity_and_minute() {
        let limits = Limits {
            signatures_per_minute: 2,
            ..Limits::default()
        };
        let entries = Entries::new(&limits);
        let one = Identity::new("a", Role::Node, "one", "g").unwrap();
        let two = Identity::new("a", Role::Node, "two", "g").unwrap();
        for _ in 0..2 {
            entries.sign(&one, 60).unwrap();
        }
        assert!(entries.sign(&one, 119).is_err());
        entries.sign(&two, 119).unwrap();
        entries.sign(&one, 120).unwrap();
    }
}
