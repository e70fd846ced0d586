//! What the callbacks of one handshake find out. rustls shares verifier and client certificate among all connections of a
//! configuration (a session is resumed only under the very same ones), so the one handshake is found by its task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::certificate::Certificate;
use super::failure::OriginFailure;
use super::sessions::Scoped;

tokio::task_local! {
    static SLOT: Arc<Slot>;
}

/// One handshake's findings.
pub(super) struct Slot {
    pub(super) sessions: Scoped,
    /// What verification said.
    pub(super) verdict: Mutex<Option<Result<Arc<Certificate>, OriginFailure>>>,
    /// The origin asked for a client certificate.
    pub(super) asked: AtomicBool,
    /// A ticket came: with TLS 1.3, the sign that the origin takes the client as it is.
    pub(super) ticket: AtomicBool,
}

impl Slot {
    pub(super) fn new(sessions: Scoped) -> Arc<Self> {
        Arc::new(Self {
            sessions,
            verdict: Mutex::new(None),
            asked: AtomicBool::new(false),
            ticket: AtomicBool::new(false),
        })
    }
}

/// Runs a handshake, or a part of it, with its slot.
pub(super) async fn run<F: Future>(slot: Arc<Slot>, handshake: F) -> F::Output {
    SLOT.scope(slot, handshake).await
}

/// The slot of the handshake that calls back now.
pub(super) fn with<T>(action: impl FnOnce(&Slot) -> T) -> Option<T> {
    SLOT.try_with(|slot| action(slot)).ok()
}

/// The origin asks for a client certificate.
pub(super) fn certificate_asked() {
    with(|slot| slot.asked.store(true, Ordering::Relaxed));
}

/// A ticket came. After the handshake nobody waits for that any more.
pub(super) fn ticket_came() {
    with(|slot| slot.ticket.store(true, Ordering::Relaxed));
}
