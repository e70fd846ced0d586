//! TLS sessions with origins, to be resumed by later connections of the same workload with the same trust.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use exitgate_runtime::clock;
use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::bounded::Bounded;
use super::slot;

/// Origins, times workloads that talk to them.
const ORIGINS: usize = 1024;
/// A ticket is used once; a burst of connections wants several.
const TICKETS: usize = 4;
/// A resumed session is not verified again: that the certificate still stands is asked at least this often.
const LIFE: Duration = Duration::from_hours(1);

/// What separates sessions from each other, the origin's name excepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope(pub(super) Arc<ScopeParts>);

/// See [`Scope`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ScopeParts {
    pub(super) namespace: Box<str>,
    pub(super) workload: Box<str>,
    pub(super) port: u16,
    pub(super) trust: [u8; 32],
    pub(super) client: Option<[u8; 32]>,
}

struct Entry {
    /// Second since 1970 from which on nothing here is used any more.
    until: u64,
    /// Not yet: there is only a hint for the next handshake.
    verified: bool,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// All sessions of the gateway.
#[derive(Clone)]
pub(super) struct Sessions(Arc<Mutex<Bounded<(Scope, ServerName<'static>), Entry>>>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Bounded::new(ORIGINS))))
    }
}

impl Sessions {
    /// Those of one scope.
    pub(super) fn scoped(&self, scope: Scope) -> Scoped {
        Scoped {
            all: self.clone(),
            scope,
        }
    }
}

/// The sessions of one scope, for rustls.
#[derive(Clone)]
pub(super) struct Scoped {
    all: Sessions,
    scope: Scope,
}

impl fmt::Debug for Scoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Scoped {
    /// A certificate was verified: sessions may be kept until `not_after`, and those of before are forgotten.
    pub(super) fn verified(&self, name: &ServerName<'_>, not_after: u64) {
        let until = not_after.min(clock::unix_seconds() + LIFE.as_secs());
        let key = (self.scope.clone(), name.to_owned());
        let mut all = self.all.0.lock();
        let group = all.get(&key).and_then(|entry| entry.group);
        let entry = Entry {
            until,
            verified: true,
            group,
            tls12: None,
            tls13: VecDeque::new(),
        };
        all.insert(key, entry);
    }

    fn with<T>(
        &self,
        name: &ServerName<'_>,
        action: impl FnOnce(&mut Entry) -> Option<T>,
    ) -> Option<T> {
        let key = (self.scope.clone(), name.to_owned());
        let mut all = self.all.0.lock();
        let entry = all.get(&key)?;
        if entry.until <= clock::unix_seconds() {
            all.remove(&key);
            return None;
        }
        action(entry)
    }
}

// Sessions are kept only where a verification began them, so that a chain of resumptions cannot outlive its certificate.
impl ClientSessionStore for Scoped {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        let key = (self.scope.clone(), name);
        let mut all = self.all.0.lock();
        if let Some(entry) = all.get(&key) {
            entry.group = Some(group);
            return;
        }
        let entry = Entry {
            until: clock::unix_seconds() + LIFE.as_secs(),
            verified: false,
            group: Some(group),
            tls12: None,
            tls13: VecDeque::new(),
        };
        all.insert(key, entry);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(name, |entry| entry.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(&name, |entry| {
            entry.tls12 = entry.verified.then_some(value);
            Some(())
        });
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(name, |entry| entry.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.with(name, |entry| entry.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        slot::ticket_came();
        self.with(&name, |entry| {
            if !entry.verified {
                return None;
            }
            if entry.tls13.len() >= TICKETS {
                entry.tls13.pop_front();
            }
            entry.tls13.push_back(value);
            Some(())
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(name, |entry| entry.tls13.pop_back())
    }
}
