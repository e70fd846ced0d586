//! Absolute-form requests, and cleartext requests inside a tunnel: each is judged on its own.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_policy::decide::{Decision, Verdict};
use exitgate_policy::evidence::{Attr, Entry, Protocol, RequestHead};
use exitgate_policy::name::Authority;
use tokio::time::Instant;

use super::exchange::{self, Answer, Ended, Failure, Tally, Terms, Upstream};
use super::{Handover, Next, Session, limits_of};
use crate::enforce::{self, Facts, Standing};
use crate::heads::{Upgraded, request_head, response_head};
use crate::http1::{Request, Response};
use crate::identity::Member;
use crate::live::Live;
use crate::net::ClientIo;
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, RequestFields, Stage, VerdictLabel};
use crate::relay::reset_on_close;

impl Session {
    /// An absolute-form request.
    pub(super) async fn forward(
        &mut self,
        live: Arc<Live>,
        request: Request,
        user: Option<String>,
        mut record: Record,
    ) -> Next {
        let (Some(member), Some(authority)) = (self.member(), request.authority().cloned()) else {
            return self.refuse(record, Reason::BadRequest).await;
        };
        let port = authority.port.unwrap_or(80);
        let mut facts = Facts::new(Entry::Forward, self.conn.peer.ip(), &authority.host, port);
        facts.protocol = Attr::Known(Protocol::Http);
        facts.hello = Attr::Absent;
        if facts.name.is_pending() {
            facts.name = Attr::Absent;
        }
        match self
            .exchange(
                &live,
                &member,
                facts,
                user,
                &authority,
                request,
                &mut record,
            )
            .await
        {
            Ok(Passed::Next(next)) => next,
            Ok(Passed::Switched(parts)) => {
                let (upstream, standing) = *parts;
                Next::Relay(Box::new(Handover {
                    upstream,
                    standing,
                    record,
                    live,
                }))
            }
            Err(reason) => self.refuse(record, reason).await,
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one exchange, named once"
    )]
    async fn exchange(
        &mut self,
        live: &Arc<Live>,
        member: &Arc<Member>,
        mut facts: Facts,
        user: Option<String>,
        authority: &Authority,
        request: Request,
        record: &mut Record,
    ) -> Result<Passed, Reason> {
        describe(record, &request, authority, facts.port, "http");
        refuse_nested_tunnel(&request)?;
        let before_dns = facts.judge(member, Attr::Pending, Attr::Pending);
        record.decided(&before_dns);
        if !enforce::may_go_on(&before_dns) {
            return Err(Reason::Policy(before_dns.reason));
        }
        let pairs = request.headers.pairs();
        let head = request_head(&request, &pairs)?;
        let addresses =
            enforce::addresses(live, member, &mut facts, Attr::Known(head), record).await?;
        let mut kept = self
            .upstream
            .take()
            .filter(|(address, _)| addresses.contains(address));
        if let Some((_, upstream)) = &mut kept
            && !upstream.is_quiet().await
        {
            kept = None;
        }
        let (address, mut upstream) = match kept {
            Some(kept) => kept,
            None => dial(live, &addresses, record).await?,
        };
        let until = Instant::now() + live.settings.total;
        loop {
            facts.address = Attr::Known(address.ip());
            let decision = facts.judge(member, Attr::Known(head), Attr::Pending);
            record.fields.address = Some(address.ip());
            record.decided(&decision);
            if !enforce::may_go_on(&decision) {
                return Err(Reason::Policy(decision.reason));
            }
            let reused = upstream.used;
            let terms = Terms {
                request: &request,
                authority,
                default_port: 80,
                bare_interim: decision.verdict == Verdict::Undecided,
                injected: &[],
                limits: limits_of(Some(live)),
                idle: live.settings.idle,
                until,
                closing: self.is_closing(live),
            };
            let mut tally = Tally::default();
            let judge = Judge {
                facts: &facts,
                member,
                head,
                decision: &decision,
            };
            let ended = judge
                .run(&mut self.conn, &mut upstream, &terms, record, &mut tally)
                .await;
            let retry = matches!(
                ended,
                Ended::Failed {
                    failure: Failure::NoResponse,
                    ..
                }
            ) && reused
                && is_repeatable(&request);
            if retry {
                // A kept connection that the origin had already closed: nothing was delivered.
                let fresh = enforce::dial(live, &[address])
                    .await
                    .map_err(|e| note(record, e))?;
                upstream = Upstream::new(fresh.0);
                continue;
            }
            return Ok(match settle(ended, &tally, record)? {
                Settled::Switched(response) => {
                    let (member, sans) = (member.clone(), self.conn.sans.clone());
                    let request = request.clone();
                    let upgraded = Upgraded {
                        request,
                        response: *response,
                    };
                    Passed::Switched(Box::new((
                        upstream,
                        Standing {
                            facts,
                            member,
                            sans,
                            user,
                            upgraded: Some(Box::new(upgraded)),
                        },
                    )))
                }
                Settled::Reusable {
                    client,
                    upstream: keep,
                } => {
                    if keep {
                        upstream.used = true;
                        self.upstream = Some((address, upstream));
                    }
                    Passed::Next(if client { Next::KeepAlive } else { Next::Close })
                }
                Settled::Broken => {
                    reset_on_close(self.conn.io.tcp());
                    Passed::Next(Next::Close)
                }
            });
        }
    }
}

/// A request that went through.
enum Passed {
    Next(Next),
    Switched(Box<(Upstream, Standing)>),
}

/// What an ended exchange leaves.
pub(super) enum Settled {
    Broken,
    Reusable { client: bool, upstream: bool },
    Switched(Box<Response>),
}

/// Writes an exchange's end into its record. An error still has to be told to the client.
pub(super) fn settle(ended: Ended, tally: &Tally, record: &mut Record) -> Result<Settled, Reason> {
    record.fields.bytes_up = tally.up;
    record.fields.bytes_down = tally.down;
    record.fields.status = tally.status;
    record.fields.detail = record.fields.detail.take().or_else(|| tally.detail.clone());
    record.reached(Stage::Relayed);
    match ended {
        Ended::Done {
            client_reusable,
            upstream_reusable,
        } => {
            record.allow();
            Ok(Settled::Reusable {
                client: client_reusable,
                upstream: upstream_reusable,
            })
        }
        Ended::Switched(response) => {
            record.allow();
            Ok(Settled::Switched(response))
        }
        Ended::Refused => {
            let reason = record.fields.reason;
            Err(reason)
        }
        Ended::Failed { failure, answered } => {
            let (reason, by) = match failure {
                Failure::NoResponse | Failure::UpstreamBroke => {
                    (Reason::UpstreamReset, ClosedBy::Upstream)
                }
                Failure::TurnedAway(reason) => (reason, ClosedBy::Upstream),
                Failure::BadResponse => (Reason::BadResponse, ClosedBy::Gateway),
                Failure::BadBody => (Reason::BadRequest, ClosedBy::Gateway),
                Failure::ClientBroke => (Reason::ClientGone, ClosedBy::Client),
                Failure::Idle => (Reason::Idle, ClosedBy::Gateway),
                Failure::TotalTime => (Reason::TotalTime, ClosedBy::Gateway),
                Failure::Bound => (
                    Reason::Policy(exitgate_policy::Reason::RuleDenied),
                    ClosedBy::Gateway,
                ),
            };
            record.fields.closed_by = Some(by);
            if answered || failure == Failure::ClientBroke {
                let verdict = if reason.is_refusal() {
                    VerdictLabel::Deny
                } else {
                    VerdictLabel::Error
                };
                record.end(verdict, reason);
                return Ok(Settled::Broken);
            }
            Err(reason)
        }
    }
}

/// Judges a response for one exchange.
pub(super) struct Judge<'a> {
    pub(super) facts: &'a Facts,
    pub(super) member: &'a Member,
    pub(super) head: RequestHead<'a>,
    pub(super) decision: &'a Decision,
}

impl Judge<'_> {
    pub(super) async fn run(
        &self,
        conn: &mut super::conn::Conn,
        upstream: &mut Upstream,
        terms: &Terms<'_>,
        record: &mut Record,
        tally: &mut Tally,
    ) -> Ended {
        let judge = |response: &Response| self.response(response, record);
        let buf = &mut conn.buf;
        match &mut conn.io {
            ClientIo::Tcp(tcp) => {
                let (mut read, mut write) = tcp.split();
                exchange::run(&mut read, buf, &mut write, upstream, terms, judge, tally).await
            }
            tls @ (ClientIo::Opened(_) | ClientIo::Tls(_)) => {
                let (mut read, mut write) = tokio::io::split(tls);
                exchange::run(&mut read, buf, &mut write, upstream, terms, judge, tally).await
            }
        }
    }

    fn response(&self, response: &Response, record: &mut Record) -> Answer {
        if self.decision.verdict != Verdict::Undecided && !self.decision.watch_response {
            return Answer::Pass { bound: u64::MAX };
        }
        let pairs = response.headers.pairs();
        let head = response_head(response, &pairs);
        let decision = self
            .facts
            .judge(self.member, Attr::Known(self.head), Attr::Known(head));
        record.decided(&decision);
        if !enforce::passes(&decision) {
            return Answer::Refuse;
        }
        Answer::Pass {
            bound: decision.body_limit.unwrap_or(u64::MAX),
        }
    }
}

/// Proxying of UDP and IP over HTTP (RFC 9298, RFC 9484) would open a tunnel that nothing judges.
pub(super) fn refuse_nested_tunnel(request: &Request) -> Result<(), Reason> {
    const MASQUE: &[u8] = b"/.well-known/masque";
    let by_path = request.path().is_some_and(|path| {
        [path.plain(), path.slashed()]
            .iter()
            .any(|reading| reading.starts_with(MASQUE))
    });
    let by_upgrade = request.headers.all("upgrade").any(|value| {
        let value = value.to_ascii_lowercase();
        value.starts_with(b"connect-udp") || value.starts_with(b"connect-ip")
    });
    if by_path || by_upgrade {
        return Err(Reason::ProtocolNotAllowed);
    }
    Ok(())
}

pub(super) fn describe(
    record: &mut Record,
    request: &Request,
    authority: &Authority,
    port: u16,
    scheme: &'static str,
) {
    record.fields.host = Some(authority.host.to_string());
    record.fields.port = Some(port);
    record.fields.request = Some(RequestFields {
        method: request.method().to_owned(),
        path: request.path().map(|p| p.raw().to_vec()).unwrap_or_default(),
        scheme,
        user_agent: request.headers.first("user-agent").map(<[u8]>::to_vec),
    });
}

pub(super) async fn dial(
    live: &Live,
    addresses: &[SocketAddr],
    record: &mut Record,
) -> Result<(SocketAddr, Upstream), Reason> {
    let (stream, address) = enforce::dial(live, addresses)
        .await
        .map_err(|e| note(record, e))?;
    record.fields.address = Some(address.ip());
    record.reached(Stage::Dialled);
    Ok((address, Upstream::new(stream)))
}

fn note(record: &mut Record, error: crate::dial::DialError) -> Reason {
    record.fields.detail = Some(error.detail);
    error.reason
}

/// Whether a request that may not have arrived can be sent again: an idempotent method (RFC 9110, 9.2.2) without a body.
pub(super) fn is_repeatable(request: &Request) -> bool {
    let idempotent = matches!(
        request.method(),
        "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"
    );
    let bare = matches!(
        request.framing,
        crate::http1::BodyFraming::None | crate::http1::BodyFraming::Length(0)
    );
    idempotent && bare
}
