//! TLS that the policy wants to look into: the origin's handshake first, then ours with the client, then its requests.

use std::sync::Arc;

use bytes::BytesMut;
use exitgate_policy::evidence::{Attr, Hello};
use exitgate_policy::name::Name;
use tokio::time::Instant;

use super::conn::Conn;
use super::exchange::Upstream;
use super::forward::describe;
use super::handshake::{self, Unopened};
use super::inner::Way;
use super::multiplexed;
use super::origin::{self, HTTP1, HTTP2, Reached, Route};
use super::{Handover, Next, Session, Tunnel};
use crate::enforce::Standing;
use crate::http2;
use crate::live::{Interception, Live};
use crate::net::ClientIo;
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, VerdictLabel};
use crate::server::Shared;

/// A granted tunnel whose TLS is to be opened.
pub(super) struct Opening {
    pub(super) live: Arc<Live>,
    pub(super) interception: Arc<Interception>,
    pub(super) standing: Standing,
    pub(super) name: Name,
    pub(super) first: First,
    pub(super) record: Record,
}

/// What the origin's side of it starts from.
pub(super) enum First {
    /// The TCP connection that the tunnel was granted with.
    Dialled(Upstream),
    /// A verified connection that an earlier client left.
    Kept(Box<Reached>),
    /// The same, with HTTP/2.
    Parked(Arc<http2::Upstream>),
    /// None: the client is only to be told why not.
    Refused(Reason),
}

/// The protocols that both sides may speak, as the client offered them; `None`: it offered others only.
fn offers(hello: &Attr<Box<Hello>>) -> Option<Vec<&'static [u8]>> {
    let Attr::Known(hello) = hello else {
        return Some(Vec::new());
    };
    if hello.alpn.is_empty() {
        return Some(Vec::new());
    }
    let both: Vec<&'static [u8]> = [HTTP2, HTTP1]
        .into_iter()
        .filter(|known| hello.alpn.iter().any(|offered| **offered == **known))
        .collect();
    (!both.is_empty()).then_some(both)
}

/// Opens the connection and serves what is inside. What becomes an opaque stream is returned for relaying.
pub(super) async fn run(session: Session, opening: Opening) -> Option<Box<Tunnel>> {
    let Session {
        shared,
        conn,
        slot,
        since,
        ..
    } = session;
    let Opening {
        live,
        interception,
        mut standing,
        name,
        first,
        mut record,
    } = opening;
    let (peer, sans) = (conn.peer, conn.sans.clone());
    let offered = offers(&standing.facts.hello);
    // A refusal is told in HTTP/1.1 where the client speaks it.
    let telling = match &offered {
        Some(offers) if offers.is_empty() => None,
        Some(offers) if !offers.contains(&HTTP1) => Some(HTTP2),
        Some(_) | None => Some(HTTP1),
    };
    let route = offered
        .map(|offers| Route::new(interception.clone(), &standing, &name, offers))
        .ok_or_else(|| {
            record.fields.detail = Some("neither h2 nor http/1.1 is offered".to_owned());
            Reason::ProtocolNotAllowed
        });
    let reached = match &route {
        Ok(route) => reach(first, route, &live, &mut standing, &mut record).await,
        Err(reason) => Err(*reason),
    };
    let spoken = match &reached {
        Ok(ready) => ready.protocol(),
        Err(_) => telling,
    };
    let deadline = Instant::now() + live.settings.head;
    let stream = match handshake::accept(&interception, &name, conn, spoken, deadline).await {
        Ok(stream) => stream,
        Err(unopened) => {
            if let (Ok(ready), Ok(route)) = (reached, route) {
                ready.leave(route);
            }
            note(&shared, &interception, &name, &unopened, &mut record);
            return None;
        }
    };
    standing.facts.inspected = true;
    let (ready, route) = match (reached, route) {
        (Ok(Ready::Http2(upstream)), Ok(route)) => {
            record.fields.opened = true;
            let redial = multiplexed::redial(shared.clone(), &route, &standing);
            let opened = http2::Opened {
                client: stream,
                peer,
                standing,
                upstream,
                redial: Some(redial),
                tunnel: record,
            };
            let upstream = http2::serve(shared, opened).await;
            route.interception.parked.put(route.key, upstream);
            drop(slot);
            return None;
        }
        (Ok(Ready::Http1(reached)), Ok(route)) => (Ok(reached), Some(route)),
        (Err(reason), _) if telling == Some(HTTP2) => {
            http2::tell(stream, record, reason, live.settings.head).await;
            return None;
        }
        (Err(reason), _) | (_, Err(reason)) => (Err(reason), None),
    };
    let mut session = Session {
        shared,
        conn: Conn {
            io: ClientIo::Opened(Box::new(stream)),
            buf: BytesMut::new(),
            peer,
            sans,
        },
        slot,
        upstream: None,
        since,
    };
    let (reached, route) = match (ready, route) {
        (Ok(reached), Some(route)) => (reached, route),
        (ready, _) => {
            let reason = ready.err().unwrap_or(Reason::UpstreamReset);
            session.tell(&live, record, reason).await;
            return None;
        }
    };
    record.fields.opened = true;
    let way = Way::Opened {
        route: Box::new(route),
        upstream: Some(reached.into_upstream()),
    };
    match session.inner(standing, way, record).await {
        Next::Relay(handover) => Some(session.hand_over(*handover)),
        Next::Close | Next::KeepAlive | Next::Open(_) => None,
    }
}

/// An origin's connection, in what it speaks.
enum Ready {
    Http1(Box<Reached>),
    Http2(Arc<http2::Upstream>),
}

impl Ready {
    /// What ALPN settled on with the origin, for the client's side to repeat.
    fn protocol(&self) -> Option<&'static [u8]> {
        match self {
            Self::Http1(reached) => reached.protocol(),
            Self::Http2(_) => Some(HTTP2),
        }
    }

    /// Puts the connection by unused.
    fn leave(self, route: Route) {
        match self {
            Self::Http1(reached) => reached.leave(route),
            Self::Http2(upstream) => route.interception.parked.put(route.key, upstream),
        }
    }
}

/// The origin's side, in a protocol that the client offered.
async fn reach(
    first: First,
    route: &Route,
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<Ready, Reason> {
    let reached = match first {
        First::Refused(reason) => return Err(reason),
        First::Parked(upstream) if route.takes(Some(HTTP2)) => return Ok(Ready::Http2(upstream)),
        First::Kept(reached) if route.suits(&reached) => *reached,
        First::Dialled(upstream) => {
            origin::handshake(route, upstream, standing, live, record).await?
        }
        // What another kind of client left stays for the next of that kind.
        First::Parked(upstream) => {
            Ready::Http2(upstream).leave(route.clone());
            origin::anew(route, live, standing, record).await?
        }
        First::Kept(reached) => {
            reached.leave(route.clone());
            if route.takes(Some(HTTP2))
                && let Some(upstream) = multiplexed::parked(route, standing, record)
            {
                return Ok(Ready::Http2(upstream));
            }
            origin::anew(route, live, standing, record).await?
        }
    };
    if reached.protocol() == Some(HTTP2) {
        return multiplexed::begin(reached, live, record)
            .await
            .map(Ready::Http2);
    }
    Ok(Ready::Http1(Box::new(reached)))
}

impl Session {
    /// Tells a client inside its TLS why nothing passes, as the answer to whatever it asks first.
    async fn tell(&mut self, live: &Live, mut record: Record, reason: Reason) {
        match self.head(Some(live)).await {
            Ok(request) => {
                if let Some(authority) = request.authority() {
                    let port = record.fields.port.unwrap_or(443);
                    let authority = authority.clone();
                    describe(&mut record, &request, &authority, port, "https");
                }
                self.refuse(record, reason).await;
            }
            Err(None) => finish(&mut record, reason),
            Err(Some(_)) => {
                self.refuse(record, reason).await;
            }
        }
    }

    /// Takes the session apart for the relay.
    pub(super) fn hand_over(self, handover: Handover) -> Box<Tunnel> {
        let Handover {
            upstream,
            standing,
            record,
            live,
        } = handover;
        let Self { conn, slot, .. } = self;
        Box::new(Tunnel {
            client: conn.io,
            upstream: upstream.stream,
            early: conn.buf,
            late: upstream.buf,
            standing,
            record,
            live,
            slot,
        })
    }
}

fn finish(record: &mut Record, reason: Reason) {
    let verdict = if reason.is_refusal() {
        VerdictLabel::Deny
    } else {
        VerdictLabel::Error
    };
    record.end(verdict, reason);
    record.fields.closed_by = Some(ClosedBy::Gateway);
}

/// Says in the record why the client's side did not come about, and what could be done.
fn note(
    shared: &Shared,
    interception: &Interception,
    name: &Name,
    unopened: &Unopened,
    record: &mut Record,
) {
    let reason = unopened.reason();
    finish(record, reason);
    record.fields.detail = Some(match unopened {
        Unopened::Gone => {
            record.fields.closed_by = Some(ClosedBy::Client);
            "the client left during the handshake; if it always does, it may pin its certificate"
                .to_owned()
        }
        Unopened::Leaf(error) => error.to_string(),
        Unopened::Protocol(text) => text.clone(),
        Unopened::Rejected(alert) => {
            record.fields.closed_by = Some(ClosedBy::Client);
            shared.metrics.certificate_rejected(alert);
            let times = interception.rejections.count(name);
            format!(
                "the client refused our certificate ({alert}, {times} times for this host): make it trust the gateway's CA, or \
                 exempt the host with `tls: {{mode: Passthrough}}` in its Allow rule"
            )
        }
    });
}
