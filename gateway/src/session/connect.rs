//! CONNECT: judge the name, resolve, judge the addresses, dial, grant, read the first bytes, judge again.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_policy::decide::Verdict;
use exitgate_policy::evidence::{Attr, Entry, Protocol};
use exitgate_policy::name::{Authority, Host, Name};

use super::conn::Pace;
use super::exchange::Upstream;
use super::forward::dial;
use super::peek::{self, Peeked};
use super::{Handover, Next, Session, limits_of, reason_of};
use crate::enforce::{self, Facts, Standing};
use crate::evidence::alert;
use crate::http1::{Parse, parse_request};
use crate::identity::Member;
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
        let mut facts = Facts::new(Entry::Connect, self.conn.peer.ip(), &authority.host, port);
        let upstream = match before_grant(&live, &member, &mut facts, &mut record).await {
            Ok(upstream) => upstream,
            Err(reason) => return self.refuse(record, reason).await,
        };
        if self.conn.send(GRANTED).await.is_err() {
            record.fields.closed_by = Some(ClosedBy::Client);
            record.end(VerdictLabel::Error, Reason::ClientGone);
            return Next::Close;
        }
        let standing = Standing {
            facts,
            member,
            sans: self.conn.sans.clone(),
            user,
            upgraded: None,
        };
        if let Some(upstream) = upstream {
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
            return self
                .after_grant(live, standing, Some(upstream), record)
                .await;
        }
        self.after_grant(live, standing, None, record).await
    }

    /// Reads what the client speaks and acts on it. No byte has gone upstream yet.
    async fn after_grant(
        &mut self,
        live: Arc<Live>,
        mut standing: Standing,
        upstream: Option<Upstream>,
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
        let upstream = match upstream {
            Some(upstream) => upstream,
            None => match self.dial_literal(&live, &mut standing, &mut record).await {
                Ok(upstream) => upstream,
                // Cleartext HTTP can be told why, in its own language.
                Err(reason) if standing.facts.protocol == Attr::Known(Protocol::Http) => {
                    return self.refuse(record, reason).await;
                }
                Err(reason) => return self.close_tunnel(record, reason).await,
            },
        };
        if standing.facts.protocol == Attr::Known(Protocol::Http) {
            return self.cleartext(standing, upstream, record).await;
        }
        let decision = standing.facts.judge_connection(&standing.member);
        record.decided(&decision);
        if !enforce::passes(&decision) {
            return self
                .close_tunnel(record, Reason::Policy(decision.reason))
                .await;
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

/// Everything that happens before the 200. A name is dialled here, so that a failure is a truthful 502 or 504;
/// an address waits for what the client shows.
async fn before_grant(
    live: &Live,
    member: &Member,
    facts: &mut Facts,
    record: &mut Record,
) -> Result<Option<Upstream>, Reason> {
    let decision = facts.judge_connection(member);
    record.decided(&decision);
    if !enforce::may_go_on(&decision) {
        return Err(Reason::Policy(decision.reason));
    }
    let addresses = enforce::addresses(live, member, facts, Attr::Pending, record).await?;
    if facts.literal.is_some() {
        return Ok(None);
    }
    let (address, upstream) = dial(live, &addresses, record).await?;
    facts.address = Attr::Known(address.ip());
    Ok(Some(upstream))
}
