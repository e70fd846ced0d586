//! The accept loop of a proxy listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use crate::net::ClientIo;
use crate::reason::Reason;
use crate::record::{Class, VerdictLabel};
use crate::session;
use crate::tls;

/// Pause after an accept that failed: descriptors come back when connections end.
const PAUSE: Duration = Duration::from_millis(50);
/// What tunnels get for their last record once the drain time is over.
const LAST_WORDS: Duration = Duration::from_millis(500);
const TOLD_LIMIT: Duration = Duration::from_secs(1);

/// Accepts until the gateway drains, then waits for its connections.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    let mut draining = std::pin::pin!(shared.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => break,
            Some(done) = connections.join_next(), if !connections.is_empty() => {
                note(&shared, done);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(shared.clone(), stream, peer, tls.clone()));
            }
            Err(error) => failed(&shared, &error).await,
        }
    }
    drop(listener);
    let mut killed = std::pin::pin!(shared.killed());
    while !connections.is_empty() {
        tokio::select! {
            Some(done) = connections.join_next() => note(&shared, done),
            () = &mut killed => break,
        }
    }
    // Tunnels have heard it too and end with their own words; whatever else is open is dropped, which writes its
    // record as well.
    let last = async {
        while let Some(done) = connections.join_next().await {
            note(&shared, done);
        }
    };
    drop(tokio::time::timeout(LAST_WORDS, last).await);
    connections.shutdown().await;
}

fn note(shared: &Shared, done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        shared.metrics.panics.inc();
        tracing::error!("a connection ended in a panic; others are unaffected");
    }
}

async fn failed(shared: &Shared, error: &io::Error) {
    shared.metrics.accept_errors.inc();
    tracing::warn!(%error, "accept failed");
    tokio::time::sleep(PAUSE).await;
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    let live = shared.state.current();
    let limit = live.as_ref().map_or(usize::MAX, |l| l.settings.in_total);
    let Some(_slot) = shared.total.take(limit) else {
        return turn_away(&shared, stream, peer, tls.is_some()).await;
    };
    shared.metrics.connections_active.inc();
    let _active = Active(shared.clone());
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let (io, sans): (_, Arc<[String]>) = match tls {
        None => (ClientIo::Tcp(stream), Arc::new([])),
        Some(acceptor) => {
            let patience = live
                .as_ref()
                .map_or(Duration::from_secs(10), |l| l.settings.head);
            drop(live);
            match tls::accept(&acceptor, stream, patience).await {
                Some((stream, sans)) => (ClientIo::Tls(stream), sans),
                None => return,
            }
        }
    };
    // On the heap, and freed before the relay: an idle tunnel keeps the relay's small state only.
    if let Some(tunnel) = Box::pin(session::serve(shared.clone(), io, peer, sans)).await {
        tunnel.run(shared).await;
    }
}

struct Active(Arc<Shared>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.metrics.connections_active.dec();
    }
}

async fn turn_away(shared: &Arc<Shared>, mut stream: TcpStream, peer: SocketAddr, tls: bool) {
    let mut record = shared.recorder.begin(
        Class::Network,
        exitgate_policy::evidence::Entry::Forward,
        peer,
    );
    record.fields.detail = Some("connections in total".to_owned());
    let placed = shared
        .state
        .current()
        .map(|live| live.identities.place(peer.ip(), &[], None));
    let member = placed.and_then(Result::ok);
    record.end(VerdictLabel::Deny, Reason::Limit);
    if tls {
        record.fields.workload = member.map(|m| m.workload.clone());
        return;
    }
    let answer = crate::refuse::render(&record, Reason::Limit, None, false);
    record.fields.workload = member.map(|m| m.workload.clone());
    drop(record);
    // Whether the client reads it is its own matter.
    drop(tokio::time::timeout(TOLD_LIMIT, stream.write_all(&answer)).await);
}
