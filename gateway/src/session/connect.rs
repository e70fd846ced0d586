//! CONNECT: judge the name, resolve, judge the addresses, dial, grant, read the first bytes, judge again.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_policy::decide::{TlsAction, Verdict};
use exitgate_policy::evidence::{Attr, Entry, Protocol};
use exitgate_policy::name::{Authority, Host, Name};

use super::conn::Pace;
use super::exchange::Upstream;
use super::forward::dial;
use super::inner::Way;
use super::multiplexed;
use super::open::{First, Opening};
use super::origin::{self, Reached, Route};
use super::peek::{self, Peeked};
use super::{Handover, Next, Session, limits_of, reason_of};
use crate::enforce::{self, Facts, Standing};
use crate::evidence::alert;
use crate::http1::{Parse, parse_request};
use crate::http2;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, VerdictLabel};

const GRANTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
// RFC 8446, 6.2.
const ALERT_ACCESS_DENIED: u8 = 49;
const ALERT_DECODE_ERROR: u8 = 50;
const ALERT_PROTOCOL_VERSION: u8 = 70;

impl Session {
    pub(super) async fn connect(
        &mut self,
        live: Arc<Live>,
        authority: Authority,
        user: Option<String>,
        mut record: Record,
    ) -> Next {
        let (Some(member), Some(port)) = (self.member(), authority.port) else {
            return self.refuse(record, Reason::BadTarget).await;
        };
        let facts = Facts::new(Entry::Connect, self.conn.peer.ip(), &authority.host, port);
        let decision = facts.judge_connection(&member);
        record.decided(&decision);
        if !enforce::may_go_on(&decision) {
            return self.refuse(record, Reason::Policy(decision.reason)).await;
        }
        let mut standing = Standing {
            facts,
            member,
            sans: self.conn.sans.clone(),
            user,
            upgraded: None,
        };
        let ahead = match before_grant(&live, &mut standing, &mut record).await {
            Ok(ahead) => ahead,
            Err(reason) => return self.refuse(record, reason).await,
        };
        if self.conn.send(GRANTED).await.is_err() {
            record.fields.closed_by = Some(ClosedBy::Client);
            record.end(VerdictLabel::Error, Reason::ClientGone);
            return Next::Close;
        }
        if let Ahead::Dialled(upstream) = ahead {
            // A settled Allow before the first byte: a rule for raw TCP, which does not look at bytes.
            let decision = standing.facts.judge_connection(&standing.member);
            if decision.verdict != Verdict::Undecided && enforce::passes(&decision) {
                record.decided(&decision);
                return Next::Relay(Box::new(Handover {
                    upstream,
                    standing,
                    record,
                    live,
                }));
            }
            let ahead = Ahead::Dialled(upstream);
            return self.after_grant(live, standing, ahead, record).await;
        }
        self.after_grant(live, standing, ahead, record).await
    }

    /// Reads what the client speaks and acts on it. No byte has gone upstream yet.
    async fn after_grant(
        &mut self,
        live: Arc<Live>,
        mut standing: Standing,
        ahead: Ahead,
        mut record: Record,
    ) -> Next {
        let peeked = match peek::first_bytes(&mut self.conn, &live).await {
            Ok(peeked) => peeked,
            Err((reason, detail)) => {
                record.fields.detail = Some(detail);
                return self.close_tunnel(record, reason).await;
            }
        };
        if let Peeked::Other(guess) = &peeked {
            record.fields.detail = Some(format!("first bytes: {guess}"));
        }
        standing.facts.protocol = Attr::Known(peeked.protocol());
        standing.facts.hello = peeked.hello();
        if let Attr::Known(hello) = &standing.facts.hello {
            record.fields.hello = Some(hello.clone());
        }
        // A policy that came while the client was thinking applies to it.
        let live = self.shared.state.current().unwrap_or(live);
        let placed = live.identities.place(
            standing.facts.source,
            &standing.sans,
            standing.user.as_deref(),
        );
        let Ok(member) = placed else {
            return self.close_tunnel(record, Reason::PolicyChanged).await;
        };
        standing.member = member;
        let ahead = match ahead {
            Ahead::Later => match self.dial_literal(&live, &mut standing, &mut record).await {
                Ok(upstream) => Ahead::Dialled(upstream),
                // Cleartext HTTP can be told why, in its own language.
                Err(reason) if standing.facts.protocol == Attr::Known(Protocol::Http) => {
                    return self.refuse(record, reason).await;
                }
                Err(reason) => return self.close_tunnel(record, reason).await,
            },
            ahead => ahead,
        };
        self.act(live, standing, ahead, record).await
    }

    /// Cleartext requests are judged one by one; other connections are opened, relayed or refused.
    async fn act(
        &mut self,
        live: Arc<Live>,
        mut standing: Standing,
        ahead: Ahead,
        mut record: Record,
    ) -> Next {
        let cleartext = standing.facts.protocol == Attr::Known(Protocol::Http);
        if !cleartext {
            let decision = standing.facts.judge_connection(&standing.member);
            record.decided(&decision);
            let name = match &standing.facts.name {
                Attr::Known(name) => Some(name.clone()),
                Attr::Absent | Attr::Hidden | Attr::Pending => None,
            };
            let passes = enforce::passes(&decision);
            let refusal = Reason::Policy(decision.reason);
            let opens = enforce::may_go_on(&decision) && decision.tls == TlsAction::Inspect;
            let shows = !passes && !opens && may_be_shown(&standing);
            match (live.interception.clone(), name) {
                (Some(interception), Some(name)) if opens || shows => {
                    let first = match ahead {
                        _ if shows => First::Refused(refusal),
                        Ahead::Dialled(upstream) => First::Dialled(upstream),
                        Ahead::Kept(reached) => First::Kept(reached),
                        Ahead::Parked(upstream) => First::Parked(upstream),
                        Ahead::Later => First::Refused(Reason::NoAddress),
                    };
                    return Next::Open(Box::new(Opening {
                        live,
                        interception,
                        standing,
                        name,
                        first,
                        record,
                    }));
                }
                _ if !passes => return self.close_tunnel(record, refusal).await,
                _ => {}
            }
        }
        let upstream = match ahead {
            Ahead::Dialled(upstream) => upstream,
            // The kept connection is of no use to what this client turned out to speak.
            Ahead::Kept(_) | Ahead::Parked(_) | Ahead::Later => {
                match dial_name(&live, &mut standing, &mut record).await {
                    Ok(upstream) => upstream,
                    Err(reason) if cleartext => return self.refuse(record, reason).await,
                    Err(reason) => return self.close_tunnel(record, reason).await,
                }
            }
        };
        if cleartext {
            return self.inner(standing, Way::Cleartext(upstream), record).await;
        }
        Next::Relay(Box::new(Handover {
            upstream,
            standing,
            record,
            live,
        }))
    }

    /// A CONNECT to an address is judged by the name that it shows, and by the address where no rule could allow
    /// the name. Only then is there something to dial.
    async fn dial_literal(
        &mut self,
        live: &Arc<Live>,
        standing: &mut Standing,
        record: &mut Record,
    ) -> Result<Upstream, Reason> {
        let literal = standing.facts.literal.ok_or(Reason::BadTarget)?;
        let shown: Option<Name> = match &standing.facts.hello {
            Attr::Known(hello) => hello.sni.clone(),
            _ if standing.facts.protocol == Attr::Known(Protocol::Http) => {
                self.shown_host(live).await?
            }
            _ => None,
        };
        if let Some(name) = shown {
            record.fields.host = Some(name.to_string());
            record.fields.detail = Some(format!("requested as {literal}"));
            let mut by_name = standing.facts.clone();
            by_name.name = Attr::Known(name);
            by_name.address = Attr::Pending;
            let decision = by_name.judge_connection(&standing.member);
            if enforce::may_go_on(&decision) {
                let addresses =
                    enforce::addresses(live, &standing.member, &mut by_name, Attr::Pending, record)
                        .await?;
                let (address, upstream) = dial(live, &addresses, record).await?;
                by_name.address = Attr::Known(address.ip());
                standing.facts = by_name;
                return Ok(upstream);
            }
            if !matches!(
                decision.reason,
                exitgate_policy::Reason::NoRule | exitgate_policy::Reason::DefaultDeny
            ) {
                record.decided(&decision);
                return Err(Reason::Policy(decision.reason));
            }
        }
        standing.facts.name = Attr::Absent;
        standing.facts.address = Attr::Known(literal);
        let decision = standing.facts.judge_connection(&standing.member);
        record.decided(&decision);
        if !enforce::may_go_on(&decision) {
            return Err(Reason::Policy(decision.reason));
        }
        let address = SocketAddr::new(literal, standing.facts.port);
        let (_, upstream) = dial(live, &[address], record).await?;
        Ok(upstream)
    }

    /// The host that the first cleartext request names. The request stays in the buffer.
    async fn shown_host(&mut self, live: &Arc<Live>) -> Result<Option<Name>, Reason> {
        let limits = limits_of(Some(live));
        let deadline = tokio::time::Instant::now() + live.settings.head;
        let mut pace = Pace::default();
        loop {
            let parsed = if pace.is_due(&self.conn.buf) {
                parse_request(&self.conn.buf, &limits)
            } else {
                Ok(Parse::Partial)
            };
            match parsed {
                Ok(Parse::Complete { head, .. }) => {
                    return Ok(match head.authority().map(|a| a.host.clone()) {
                        Some(Host::Name(name)) => Some(name),
                        Some(Host::Addr(_)) | None => None,
                    });
                }
                Ok(Parse::Partial) => {}
                Err(error) => return Err(reason_of(error)),
            }
            if self.conn.fill(deadline).await.is_err() {
                return Err(Reason::HelloTimeout);
            }
        }
    }

    /// Ends a granted tunnel before any byte went upstream: a TLS client gets an alert that its user can read.
    async fn close_tunnel(&mut self, mut record: Record, reason: Reason) -> Next {
        let verdict = if reason.is_refusal() {
            VerdictLabel::Deny
        } else {
            VerdictLabel::Error
        };
        record.end(verdict, reason);
        let client_left = reason == Reason::ClientGone;
        record.fields.closed_by = Some(if client_left {
            ClosedBy::Client
        } else {
            ClosedBy::Gateway
        });
        drop(record);
        let last = match reason {
            _ if self.conn.buf.first() != Some(&0x16) => None,
            Reason::TlsVersion => Some(alert(ALERT_PROTOCOL_VERSION)),
            Reason::BadHello => Some(alert(ALERT_DECODE_ERROR)),
            _ => Some(alert(ALERT_ACCESS_DENIED)),
        };
        self.conn.buf.clear();
        self.conn
            .send_and_close(last.as_ref().map_or(&[], |alert| &alert[..]))
            .await;
        Next::Close
    }
}

/// What stands ready for a tunnel when it is granted.
enum Ahead {
    Dialled(Upstream),
    /// A verified connection to the name that an earlier client of this workload left.
    Kept(Box<Reached>),
    /// The same, with HTTP/2.
    Parked(Arc<http2::Upstream>),
    /// Nothing: an address waits for what the client shows.
    Later,
}

/// Everything that happens before the 200. A name is dialled here, so that a failure is a truthful 502 or 504.
async fn before_grant(
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<Ahead, Reason> {
    if let (Some(interception), Attr::Known(name)) = (&live.interception, &standing.facts.name)
        && standing.facts.inspectable(&standing.member)
    {
        let route = Route::new(interception.clone(), standing, &name.clone(), Vec::new());
        if let Some(reached) = origin::kept(&route, standing, record) {
            return Ok(Ahead::Kept(Box::new(reached)));
        }
        if let Some(upstream) = multiplexed::parked(&route, standing, record) {
            return Ok(Ahead::Parked(upstream));
        }
    }
    if standing.facts.literal.is_some() {
        let member = standing.member.clone();
        enforce::addresses(live, &member, &mut standing.facts, Attr::Pending, record).await?;
        return Ok(Ahead::Later);
    }
    dial_name(live, standing, record).await.map(Ahead::Dialled)
}

/// Resolves the name, judges its addresses, connects to one.
async fn dial_name(
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<Upstream, Reason> {
    let member = standing.member.clone();
    let addresses =
        enforce::addresses(live, &member, &mut standing.facts, Attr::Pending, record).await?;
    let (address, upstream) = dial(live, &addresses, record).await?;
    standing.facts.address = Attr::Known(address.ip());
    Ok(upstream)
}

/// A refusal may be shown inside TLS where the client asked for the judged name and some rule could have that opened.
fn may_be_shown(standing: &Standing) -> bool {
    let same = match (&standing.facts.hello, &standing.facts.name) {
        (Attr::Known(hello), Attr::Known(name)) => hello.sni.as_ref().is_none_or(|sni| sni == name),
        _ => false,
    };
    same && standing.facts.inspectable(&standing.member)
}
