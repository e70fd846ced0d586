//! One client's connection, from the preface to the goodbye.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use exitgate_policy::evidence::Attr;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::Connection;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::unseen::{self, Refusal};
use super::wire::{Watched, Wire};
use super::{Opened, Redial, Upstream, limits, stream};
use crate::dial::DialError;
use crate::enforce::Standing;
use crate::identity::Member;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{Class, ClosedBy, Record, VerdictLabel};
use crate::server::Shared;

/// What a client gets to close an idle connection after our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often a connection without streams, or with an incomplete head, is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// What the streams of a connection have in common.
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) standing: Standing,
    /// The client's side.
    pub(super) wire: Arc<Wire>,
    tunnel: Tunnel,
    upstream: Mutex<Arc<Upstream>>,
    redial: Option<Redial>,
    dialling: tokio::sync::Mutex<()>,
    placed: Mutex<Option<(Arc<Live>, Arc<Member>)>>,
    /// The client is to come back on a new connection.
    closing: AtomicBool,
}

/// The tunnel's record: silent once requests say all that it would.
struct Tunnel {
    record: Record,
    asked: AtomicBool,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if *self.asked.get_mut() {
            self.record.mute();
        }
    }
}

impl Common {
    /// The record of a stream.
    pub(super) fn record(&self, live: Option<&Arc<Live>>) -> Record {
        self.tunnel.asked.store(true, Ordering::Relaxed);
        let entry = self.standing.facts.entry;
        let mut record = self.shared.recorder.begin(Class::Http, entry, self.peer);
        record.fields.revision = live.map(|l| l.revision.clone());
        record.continues(&self.tunnel.record);
        if let Attr::Known(name) = &self.standing.facts.name {
            record.fields.host = Some(name.to_string());
        }
        record.fields.port = Some(self.standing.facts.port);
        record
    }

    /// Streams that the library refused have their records too.
    fn note_refused(&self) {
        for Refusal { stream, end } in self.wire.refused() {
            let live = self.shared.state.current();
            let mut record = self.record(live.as_ref());
            let (reason, what) = match end {
                unseen::End::Answered => {
                    record.fields.status = Some(431);
                    (
                        Reason::HeadTooLarge,
                        "its header section is too large".to_owned(),
                    )
                }
                unseen::End::Reset(h2::Reason::REFUSED_STREAM) => (
                    Reason::Limit,
                    "more streams at once than were offered".to_owned(),
                ),
                unseen::End::Reset(code) => {
                    (Reason::BadRequest, format!("it was reset with {code:?}"))
                }
                unseen::End::Unknown => (Reason::BadRequest, "it was reset".to_owned()),
            };
            record.fields.detail = Some(format!("stream {stream} is not a request: {what}"));
            record.fields.closed_by = Some(ClosedBy::Gateway);
            record.end(VerdictLabel::Deny, reason);
        }
    }

    /// The workload under a revision.
    pub(super) fn member(&self, live: &Arc<Live>) -> Result<Arc<Member>, Reason> {
        let mut placed = self.placed.lock();
        if let Some((known, member)) = &*placed
            && Arc::ptr_eq(known, live)
        {
            return Ok(member.clone());
        }
        let standing = &self.standing;
        let member = live
            .identities
            .place(
                standing.facts.source,
                &standing.sans,
                standing.user.as_deref(),
            )
            .map_err(|_| Reason::PolicyChanged)?;
        *placed = Some((live.clone(), member.clone()));
        Ok(member)
    }

    /// The origin's connection, reached anew where the last one takes no more streams.
    pub(super) async fn upstream(
        &self,
        live: &Arc<Live>,
    ) -> Result<Arc<Upstream>, Option<DialError>> {
        if let Some(open) = self.open_upstream() {
            return Ok(open);
        }
        let _one_at_a_time = self.dialling.lock().await;
        if let Some(open) = self.open_upstream() {
            return Ok(open);
        }
        let Some(redial) = &self.redial else {
            self.closing.store(true, Ordering::Relaxed);
            return Err(None);
        };
        let fresh = redial(live.clone()).await.map_err(Some)?;
        self.upstream.lock().clone_from(&fresh);
        Ok(fresh)
    }

    fn open_upstream(&self) -> Option<Arc<Upstream>> {
        let upstream = self.upstream.lock();
        (!upstream.is_ended()).then(|| upstream.clone())
    }
}

/// How a connection ended.
enum End {
    /// The client closed or broke it.
    Client,
    /// The client broke the protocol, and was told.
    Broken(h2::Error),
    Drained,
    Flooded,
    Idle,
    /// It lived for as long as any may.
    Old,
}

/// Serves the streams of one client until it leaves, the gateway drains, or nothing happens for too long. The origin's
/// connection is given back for the next client.
pub(crate) async fn serve<I>(shared: Arc<Shared>, opened: Opened<I>) -> Arc<Upstream>
where
    I: AsyncRead + AsyncWrite + Send + Unpin,
{
    let Opened {
        client,
        peer,
        standing,
        upstream,
        redial,
        mut tunnel,
    } = opened;
    let live = shared.state.current();
    let (patience, head_bytes) =
        live.as_ref()
            .map_or((Duration::from_secs(30), u32::from(u16::MAX)), |l| {
                (
                    l.settings.head,
                    u32::try_from(l.settings.head_bytes).unwrap_or(u32::MAX),
                )
            });
    let (io, wire) = Watched::client(client);
    let handshake = limits::client(upstream.streams(), head_bytes, upstream.is_extended())
        .handshake::<_, Bytes>(io);
    let connection = match timeout(patience, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let reason = if error.is_io() {
                Reason::ClientGone
            } else {
                Reason::BadRequest
            };
            tunnel.fields.detail = Some(error.to_string());
            end_tunnel(tunnel, reason);
            return upstream;
        }
        Err(_) => {
            end_tunnel(tunnel, Reason::HelloTimeout);
            return upstream;
        }
    };
    let common = Common {
        shared,
        peer,
        standing,
        wire,
        tunnel: Tunnel {
            record: tunnel,
            asked: AtomicBool::new(false),
        },
        upstream: Mutex::new(upstream),
        redial,
        dialling: tokio::sync::Mutex::new(()),
        placed: Mutex::new(None),
        closing: AtomicBool::new(false),
    };
    let end = streams(&common, connection).await;
    let Common {
        mut tunnel,
        upstream,
        ..
    } = common;
    match end {
        End::Client => {
            tunnel.record.allow();
            tunnel.record.fields.closed_by = Some(ClosedBy::Client);
        }
        End::Broken(error) => {
            *tunnel.asked.get_mut() = false;
            let calm = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
            tunnel.record.fields.detail = Some(error.to_string());
            let reason = if calm {
                Reason::Limit
            } else {
                Reason::BadRequest
            };
            tunnel.record.end(VerdictLabel::Deny, reason);
            tunnel.record.fields.closed_by = Some(ClosedBy::Gateway);
        }
        End::Drained => finish(&mut tunnel.record, Reason::Draining),
        End::Idle => finish(&mut tunnel.record, Reason::Idle),
        End::Old => finish(&mut tunnel.record, Reason::TotalTime),
        End::Flooded => {
            // The streams say what became of them, and this why.
            *tunnel.asked.get_mut() = false;
            tunnel.record.fields.detail =
                Some("more HTTP/2 control frames than allowed".to_owned());
            tunnel.record.end(VerdictLabel::Deny, Reason::Limit);
            tunnel.record.fields.closed_by = Some(ClosedBy::Gateway);
        }
    }
    upstream.into_inner()
}

fn finish(tunnel: &mut Record, reason: Reason) {
    tunnel.end(VerdictLabel::Allow, reason);
    tunnel.fields.closed_by = Some(ClosedBy::Gateway);
}

fn end_tunnel(mut tunnel: Record, reason: Reason) {
    let (verdict, by) = match reason {
        Reason::ClientGone => (VerdictLabel::Error, ClosedBy::Client),
        _ => (VerdictLabel::Deny, ClosedBy::Gateway),
    };
    tunnel.end(verdict, reason);
    tunnel.fields.closed_by = Some(by);
}

async fn streams<I>(common: &Common, mut connection: Connection<Watched<I>, Bytes>) -> End
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut open = FuturesUnordered::new();
    let mut draining = std::pin::pin!(common.shared.draining());
    let mut glance = std::pin::pin!(sleep(GLANCE));
    let since = Instant::now();
    let mut quiet_since = since;
    // Set when we have said goodbye: what the connection ends as, and when at the latest if nothing is open.
    let mut leaving: Option<(End, Instant)> = None;
    let end = poll_fn(|cx| {
        // Streams first: what they have to say goes out with what is read below.
        while let Poll::Ready(Some(())) = open.poll_next_unpin(cx) {
            quiet_since = Instant::now();
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    common.wire.accepted(respond.stream_id().as_u32());
                    open.push(stream::serve(common, request, respond));
                }
                Poll::Ready(ended) => {
                    let mut end = End::Client;
                    if let Some(Err(error)) = ended {
                        tracing::debug!(%error, "a client's HTTP/2 connection ended");
                        if error.is_library() && error.is_go_away() {
                            end = End::Broken(error);
                        }
                    }
                    return Poll::Ready(leaving.take().map_or(end, |(end, _)| end));
                }
                Poll::Pending => {
                    // A new stream is polled at once, and its request is on its way.
                    match open.poll_next_unpin(cx) {
                        Poll::Ready(Some(())) => quiet_since = Instant::now(),
                        Poll::Ready(None) | Poll::Pending => break,
                    }
                }
            }
        }
        common.note_refused();
        if common.wire.flooded() {
            return Poll::Ready(End::Flooded);
        }
        let now_leaves = leaving.is_none()
            && (draining.as_mut().poll(cx).is_ready() || common.closing.load(Ordering::Relaxed));
        if now_leaves {
            connection.graceful_shutdown();
            leaving = Some((End::Drained, Instant::now() + GOODBYE));
            cx.waker().wake_by_ref();
        }
        while glance.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            glance.as_mut().reset(now + GLANCE);
            let settings = common.shared.state.current();
            let (idle, head, total) = settings.map_or((GOODBYE, GOODBYE, GOODBYE), |l| {
                (l.settings.idle, l.settings.head, l.settings.total)
            });
            let slow_head = common
                .wire
                .head_since()
                .is_some_and(|since| now >= since + head);
            match &leaving {
                Some((_, latest))
                    if open.is_empty() && now >= (*latest).max(quiet_since + GOODBYE) =>
                {
                    return Poll::Ready(leaving.take().map_or(End::Idle, |(end, _)| end));
                }
                None if slow_head || (open.is_empty() && now >= quiet_since + idle) => {
                    connection.graceful_shutdown();
                    leaving = Some((End::Idle, now + GOODBYE));
                    cx.waker().wake_by_ref();
                }
                // Streams that run have their own time; new ones come over a new connection.
                None if now >= since + total => {
                    connection.graceful_shutdown();
                    leaving = Some((End::Old, now + GOODBYE));
                    cx.waker().wake_by_ref();
                }
                Some(_) | None => {}
            }
        }
        Poll::Pending
    })
    .await;
    match end {
        End::Flooded => {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            // The goodbye is written if the client takes it.
            let goodbye = poll_fn(|cx| connection.poll_closed(cx));
            drop(timeout(GOODBYE, goodbye).await);
        }
        End::Client | End::Broken(_) => {}
        End::Drained | End::Idle | End::Old => {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            let goodbye = poll_fn(|cx| connection.poll_closed(cx));
            drop(timeout(GOODBYE, goodbye).await);
        }
    }
    // The connection is gone: streams that can still tell how they ended do so, the others are cut.
    poll_fn(|cx| {
        while let Poll::Ready(Some(())) = open.poll_next_unpin(cx) {}
        Poll::Ready(())
    })
    .await;
    common.note_refused();
    end
}
