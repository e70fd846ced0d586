//! One connection to the proxy listener, from its first byte to its hand-over to the relay.

mod body;
mod conn;
mod connect;
mod exchange;
mod forward;
mod handshake;
mod inner;
mod multiplexed;
mod open;
mod origin;
mod peek;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use exitgate_policy::evidence::Entry;
use tokio::time::Instant;

use crate::enforce::Standing;
use crate::http1::{
    HeadError, Limits, LocalAnswer, Parse, Request, Target, answer_locally, parse_request,
};
use crate::identity::{Member, Shown};
use crate::limits::Slot;
use crate::live::Live;
use crate::net::ClientIo;
use crate::reason::Reason;
use crate::record::{Class, Record, VerdictLabel};
use crate::refuse;
use crate::server::Shared;
use conn::{Conn, Pace, ReadEnd};
use exchange::Upstream;
pub(crate) use handshake::base_config;
pub(crate) use tunnel::Tunnel;

/// What to do with the client's connection after a request.
enum Next {
    Close,
    KeepAlive,
    Open(Box<open::Opening>),
    Relay(Box<Handover>),
}

/// A stream that from here on is only relayed.
struct Handover {
    upstream: Upstream,
    standing: Standing,
    record: Record,
    live: Arc<Live>,
}

/// A proxy connection that is being served.
struct Session {
    shared: Arc<Shared>,
    conn: Conn,
    /// The workload's slot, taken with the first request and held to the end.
    slot: Option<(Arc<Member>, Slot)>,
    /// The origin connection of the last absolute-form request.
    upstream: Option<(SocketAddr, Upstream)>,
    since: Instant,
}

/// Serves requests until the connection ends; an opaque or upgraded stream is returned for relaying.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    io: ClientIo,
    peer: SocketAddr,
    sans: Arc<[String]>,
) -> Option<Box<Tunnel>> {
    let conn = Conn {
        io,
        buf: BytesMut::new(),
        peer,
        sans,
    };
    let mut session = Session {
        shared,
        conn,
        slot: None,
        upstream: None,
        since: Instant::now(),
    };
    let mut first = true;
    loop {
        match session.request(first).await {
            Next::Close => return None,
            Next::KeepAlive => first = false,
            Next::Open(opening) => return Box::pin(open::run(session, *opening)).await,
            Next::Relay(handover) => return Some(session.hand_over(*handover)),
        }
    }
}

fn limits_of(live: Option<&Live>) -> Limits {
    let head_bytes = live.map_or(64 * 1024, |l| l.settings.head_bytes);
    let defaults = Limits::default();
    Limits {
        head_bytes,
        line_bytes: defaults.line_bytes.min(head_bytes),
        uri_bytes: defaults.uri_bytes.min(head_bytes),
        fields: defaults.fields,
    }
}

fn reason_of(error: HeadError) -> Reason {
    match error.code() {
        "authority-mismatch" => Reason::AuthorityMismatch,
        "bad-target" => Reason::BadTarget,
        "head-too-large" => Reason::HeadTooLarge,
        "uri-too-long" => Reason::UriTooLong,
        _ => Reason::BadRequest,
    }
}

impl Session {
    /// Waits for one request head and acts on it.
    async fn request(&mut self, first: bool) -> Next {
        let live = self.shared.state.current();
        let idle = live
            .as_ref()
            .map_or(std::time::Duration::from_mins(1), |l| l.settings.idle);
        if self.conn.buf.is_empty() {
            let shared = self.shared.clone();
            let wait = if first {
                live.as_ref().map_or(idle, |l| l.settings.head)
            } else {
                idle
            };
            let arrived = tokio::select! {
                biased;
                () = shared.draining() => Err(ReadEnd::Eof),
                read = self.conn.fill(Instant::now() + wait) => read,
            };
            // Nothing was asked, so there is nothing to answer or to record.
            if arrived.is_err() {
                return Next::Close;
            }
        }
        // The policy may have changed while the connection was idle.
        let live = self.shared.state.current();
        match self.head(live.as_deref()).await {
            Ok(request) => self.dispatch(live, request).await,
            Err(None) => Next::Close,
            Err(Some((reason, status, detail))) => {
                let mut record = self.record(Class::Network, Entry::Forward, live.as_deref());
                // What cannot be read can still say where it came from.
                let placed = live.as_ref().map(|live| {
                    let source = self.conn.peer.ip();
                    live.identities.place(source, &self.conn.sans, None)
                });
                if let Some(Ok(member)) = placed {
                    record.fields.workload = Some(member.workload.clone());
                }
                record.fields.detail = Some(detail);
                self.refuse_as(record, reason, status).await
            }
        }
    }

    async fn head(
        &mut self,
        live: Option<&Live>,
    ) -> Result<Request, Option<(Reason, Option<u16>, String)>> {
        let limits = limits_of(live);
        let patience = live.map_or(std::time::Duration::from_secs(30), |l| l.settings.head);
        let deadline = Instant::now() + patience;
        let mut pace = Pace::default();
        loop {
            let parsed = if pace.is_due(&self.conn.buf) {
                parse_request(&self.conn.buf, &limits)
            } else {
                Ok(Parse::Partial)
            };
            match parsed {
                Ok(Parse::Complete { head, consumed }) => {
                    self.conn.buf.advance(consumed);
                    return Ok(head);
                }
                Ok(Parse::Partial) => {}
                Err(error) => {
                    return Err(Some((
                        reason_of(error),
                        Some(error.status()),
                        error.to_string(),
                    )));
                }
            }
            match self.conn.fill(deadline).await {
                Ok(()) => {}
                Err(ReadEnd::Late) => {
                    return Err(Some((
                        Reason::HelloTimeout,
                        None,
                        "the request head did not come in time".to_owned(),
                    )));
                }
                Err(ReadEnd::Eof | ReadEnd::Broken) => return Err(None),
            }
        }
    }

    async fn dispatch(&mut self, live: Option<Arc<Live>>, request: Request) -> Next {
        let (class, entry) = match request.target {
            Target::Connect(_) => (Class::Network, Entry::Connect),
            Target::Absolute { .. } | Target::Asterisk | Target::Origin { .. } => {
                (Class::Http, Entry::Forward)
            }
        };
        let mut record = self.record(class, entry, live.as_deref());
        if let Some(authority) = request.authority() {
            record.fields.host = Some(authority.host.to_string());
            record.fields.port = authority.port.or(Some(80));
        }
        let Some(live) = live else {
            return self.refuse(record, Reason::NotReady).await;
        };
        if self.shared.recorder.refuses() {
            record.fields.detail = Some("records cannot be written".to_owned());
            return self.refuse(record, Reason::NotReady).await;
        }
        let user = match self.identify(&live, &request, &mut record).await {
            Ok(user) => user,
            Err(reason) => return self.refuse(record, reason).await,
        };
        match &request.target {
            Target::Connect(authority) => {
                let authority = authority.clone();
                self.connect(live, authority, user, record).await
            }
            Target::Absolute { .. } => match answer_locally(&request) {
                Some(answer) => self.answer_locally(answer, record).await,
                None => self.forward(live, request, user, record).await,
            },
            Target::Asterisk | Target::Origin { .. } => {
                if let Some(answer) = answer_locally(&request) {
                    return self.answer_locally(answer, record).await;
                }
                let hint =
                    "this is a proxy: send CONNECT HOST:PORT or an absolute http:// request target";
                record.fields.detail = Some(hint.to_owned());
                self.refuse(record, Reason::BadTarget).await
            }
        }
    }

    /// Names the workload and takes its slot. All requests of one connection must be of one workload.
    async fn identify(
        &mut self,
        live: &Live,
        request: &Request,
        record: &mut Record,
    ) -> Result<Option<String>, Reason> {
        if request.headers.all("proxy-authorization").nth(1).is_some() {
            return Err(Reason::ProxyAuthRequired);
        }
        let shown = Shown {
            source: self.conn.peer.ip(),
            sans: &self.conn.sans,
            credential: request.headers.first("proxy-authorization"),
        };
        let (member, user) = live
            .identities
            .identify(&shown, &self.shared.passwords)
            .await?;
        record.fields.workload = Some(member.workload.clone());
        let same = |m: &Member| {
            m.workload.namespace == member.workload.namespace
                && m.workload.name == member.workload.name
        };
        match &mut self.slot {
            Some((held, _)) if same(held) => *held = member,
            Some(_) => return Err(Reason::IdentityConflict),
            None => {
                let slot = member
                    .share
                    .take(live.settings.per_workload)
                    .ok_or(Reason::Limit)?;
                self.slot = Some((member, slot));
            }
        }
        Ok(user)
    }

    /// Whether the client is to come back on a new connection for its next request.
    fn is_closing(&self, live: &Live) -> bool {
        self.shared.is_draining() || self.since.elapsed() >= live.settings.total
    }

    fn member(&self) -> Option<Arc<Member>> {
        self.slot.as_ref().map(|(member, _)| member.clone())
    }

    fn record(&self, class: Class, entry: Entry, live: Option<&Live>) -> Record {
        let mut record = self.shared.recorder.begin(class, entry, self.conn.peer);
        record.fields.revision = live.map(|l| l.revision.clone());
        record
    }

    async fn refuse(&mut self, record: Record, reason: Reason) -> Next {
        self.refuse_as(record, reason, None).await
    }

    /// Tells the client, writes the record, closes.
    async fn refuse_as(&mut self, mut record: Record, reason: Reason, status: Option<u16>) -> Next {
        let verdict = if reason.is_refusal() {
            VerdictLabel::Deny
        } else {
            VerdictLabel::Error
        };
        record.end(verdict, reason);
        record.fields.closed_by = Some(crate::record::ClosedBy::Gateway);
        let delivered = record.fields.status.is_some();
        let answer = refuse::render(&record, reason, status, delivered);
        drop(record);
        self.upstream = None;
        self.conn.send_and_close(&answer).await;
        Next::Close
    }

    async fn answer_locally(&mut self, answer: LocalAnswer, mut record: Record) -> Next {
        let (status, head) = match answer {
            LocalAnswer::MethodNotAllowed => (405, "HTTP/1.1 405 Method Not Allowed"),
            LocalAnswer::Options => (200, "HTTP/1.1 200 OK"),
        };
        let text = format!(
            "{head}\r\nAllow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        record.fields.status = Some(status);
        record.fields.detail = Some("answered by the gateway".to_owned());
        record.end(VerdictLabel::Deny, Reason::BadRequest);
        drop(record);
        self.conn.send_and_close(text.as_bytes()).await;
        Next::Close
    }
}
