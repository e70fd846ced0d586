//! HTTP/1 inside a tunnel, in cleartext or in TLS that we opened: every request is judged on its own.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_policy::decide::{Decision, Verdict};
use exitgate_policy::evidence::{Attr, Entry, RequestHead};
use exitgate_policy::name::Authority;
use exitgate_policy::reason::Reason as PolicyReason;
use tokio::time::Instant;

use super::exchange::{Ended, Failure, Tally, Terms, Upstream};
use super::forward::{Judge, Settled, describe, is_repeatable, refuse_nested_tunnel, settle};
use super::origin::{self, Route};
use super::{Handover, Next, Session, limits_of};
use crate::enforce::{self, Standing};
use crate::heads::{Upgraded, request_head};
use crate::http1::{Request, Target, answer_locally};
use crate::inject;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{Class, ClosedBy, Record};
use crate::relay::reset_on_close;

/// RFC 9110, 15.5.20: the request came over a connection that is not for its authority.
const MISDIRECTED: u16 = 421;

/// Where the requests of a tunnel go.
pub(super) enum Way {
    /// Over the one connection that the tunnel was granted with.
    Cleartext(Upstream),
    /// Over a verified TLS connection to the name, which may change between requests.
    Opened {
        route: Box<Route>,
        upstream: Option<(SocketAddr, Upstream)>,
    },
}

impl Way {
    fn scheme(&self) -> (&'static str, u16) {
        match self {
            Self::Cleartext(_) => ("http", 80),
            Self::Opened { .. } => ("https", 443),
        }
    }
}

impl Session {
    pub(super) async fn inner(
        &mut self,
        mut standing: Standing,
        mut way: Way,
        mut tunnel: Record,
    ) -> Next {
        loop {
            let live = self.shared.state.current();
            let request = match self.head(live.as_deref()).await {
                Ok(request) => request,
                Err(None) => {
                    tunnel.allow();
                    tunnel.fields.closed_by = Some(ClosedBy::Client);
                    return self.leave(way);
                }
                Err(Some((reason, status, detail))) => {
                    tunnel.unmute();
                    tunnel.fields.detail = Some(detail);
                    return self.refuse_as(tunnel, reason, status).await;
                }
            };
            // From here on the requests' records say all that the tunnel's would.
            let mut record = self.record(Class::Http, Entry::Connect, live.as_deref());
            record.continues(&tunnel);
            tunnel.mute();
            let Some(live) = live else {
                return self.refuse(record, Reason::NotReady).await;
            };
            match live.identities.place(
                standing.facts.source,
                &standing.sans,
                standing.user.as_deref(),
            ) {
                Ok(member) => standing.member = member,
                Err(_) => return self.refuse(record, Reason::PolicyChanged).await,
            }
            let outcome = self
                .inner_request(&live, &mut standing, &mut way, &request, &mut record)
                .await;
            match outcome {
                Ok(Settled::Reusable {
                    client: true,
                    upstream,
                }) => match &mut way {
                    Way::Cleartext(_) if !upstream => return Next::Close,
                    Way::Opened { upstream: kept, .. } if !upstream => *kept = None,
                    Way::Cleartext(_) | Way::Opened { .. } => {}
                },
                Ok(Settled::Reusable { upstream, .. }) => {
                    return if upstream {
                        self.leave(way)
                    } else {
                        Next::Close
                    };
                }
                Ok(Settled::Broken) => {
                    reset_on_close(self.conn.io.tcp());
                    return Next::Close;
                }
                Ok(Settled::Switched(response)) => {
                    let response = *response;
                    let upstream = match way {
                        Way::Cleartext(upstream) => upstream,
                        Way::Opened { upstream, .. } => match upstream {
                            Some((_, upstream)) => upstream,
                            None => return Next::Close,
                        },
                    };
                    standing.upgraded = Some(Box::new(Upgraded { request, response }));
                    return Next::Relay(Box::new(Handover {
                        upstream,
                        standing,
                        record,
                        live,
                    }));
                }
                Err(reason) => {
                    if let Way::Cleartext(upstream)
                    | Way::Opened {
                        upstream: Some((_, upstream)),
                        ..
                    } = &way
                    {
                        reset_on_close(upstream.stream.tcp());
                    }
                    let status = status_of(&standing, reason);
                    return self.refuse_as(record, reason, status).await;
                }
            }
            drop(record);
            if self.conn.buf.is_empty() {
                let shared = self.shared.clone();
                let idle = Instant::now() + live.settings.idle;
                let more = tokio::select! {
                    biased;
                    () = shared.draining() => false,
                    read = self.conn.fill(idle) => read.is_ok(),
                };
                if !more {
                    return self.leave(way);
                }
            }
        }
    }

    /// The client is done: a connection to the origin that another client of this workload could use is kept.
    #[allow(clippy::unused_self, reason = "the end of a session's work")]
    fn leave(&self, way: Way) -> Next {
        if let Way::Opened {
            route,
            upstream: Some((address, upstream)),
        } = way
            && upstream.used
            && upstream.buf.is_empty()
        {
            route.keep(address, upstream);
        }
        Next::Close
    }

    async fn inner_request(
        &mut self,
        live: &Arc<Live>,
        standing: &mut Standing,
        way: &mut Way,
        request: &Request,
        record: &mut Record,
    ) -> Result<Settled, Reason> {
        let authority = request.authority().cloned().ok_or(Reason::BadRequest)?;
        let nested = matches!(request.target, Target::Connect(_));
        if nested || answer_locally(request).is_some() {
            record.fields.detail = Some(format!("{} inside a tunnel", request.method()));
            return Err(if nested {
                Reason::ProtocolNotAllowed
            } else {
                Reason::BadRequest
            });
        }
        let (scheme, default_port) = way.scheme();
        describe(record, request, &authority, standing.facts.port, scheme);
        refuse_nested_tunnel(request)?;
        let pairs = request.headers.pairs();
        let head = request_head(request, &pairs)?;
        let mut decision = judge_request(standing, head, record)?;
        let inner = Inner {
            authority: &authority,
            default_port,
            request,
            head,
            live,
            until: Instant::now() + live.settings.total,
        };
        let (route, slot) = match way {
            Way::Cleartext(upstream) => {
                let (ended, tally) = self
                    .pass_on(&inner, standing, &decision, upstream, record)
                    .await?;
                return settle(ended, &tally, record);
            }
            Way::Opened { route, upstream } => (route, upstream),
        };
        let same = live
            .interception
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, &route.interception));
        if !same {
            let now = route.under(live, &standing.member.workload);
            if now.key != route.key {
                *slot = None;
            }
            **route = now;
        }
        let mut kept = slot.take();
        if let Some((_, upstream)) = &mut kept
            && !upstream.is_quiet().await
        {
            kept = None;
        }
        let (mut address, mut upstream) = match kept {
            Some(kept) => kept,
            None => origin::reach(route, live, standing, record).await?,
        };
        loop {
            if standing.facts.address != Attr::Known(address.ip()) {
                standing.facts.address = Attr::Known(address.ip());
                decision = judge_request(standing, head, record)?;
            }
            record.fields.address = Some(address.ip());
            let reused = upstream.used;
            let (ended, tally) = self
                .pass_on(&inner, standing, &decision, &mut upstream, record)
                .await?;
            let lost = matches!(
                ended,
                Ended::Failed {
                    failure: Failure::NoResponse,
                    ..
                }
            );
            if lost && reused && is_repeatable(request) {
                // A kept connection that the origin had already closed: nothing was delivered.
                (address, upstream) = origin::dial(route, live, standing, record).await?;
                continue;
            }
            upstream.used = true;
            *slot = Some((address, upstream));
            return settle(ended, &tally, record);
        }
    }

    /// One exchange over one upstream connection.
    async fn pass_on(
        &mut self,
        inner: &Inner<'_>,
        standing: &Standing,
        decision: &Decision,
        upstream: &mut Upstream,
        record: &mut Record,
    ) -> Result<(Ended, Tally), Reason> {
        let secrets = inject::fields(inner.live, decision, record)?;
        let injected: Vec<(&str, &[u8])> = secrets
            .iter()
            .map(|(name, value)| (*name, value.expose()))
            .collect();
        let terms = Terms {
            request: inner.request,
            authority: inner.authority,
            default_port: inner.default_port,
            bare_interim: decision.verdict == Verdict::Undecided,
            injected: &injected,
            limits: limits_of(Some(inner.live)),
            idle: inner.live.settings.idle,
            until: inner.until,
            closing: self.is_closing(inner.live),
        };
        let mut tally = Tally::default();
        let judge = Judge {
            facts: &standing.facts,
            member: &standing.member,
            head: inner.head,
            decision,
        };
        let ended = judge
            .run(&mut self.conn, upstream, &terms, record, &mut tally)
            .await;
        Ok((ended, tally))
    }
}

/// What stays the same when an exchange is tried again.
struct Inner<'a> {
    authority: &'a Authority,
    default_port: u16,
    request: &'a Request,
    head: RequestHead<'a>,
    live: &'a Arc<Live>,
    until: Instant,
}

fn judge_request(
    standing: &Standing,
    head: RequestHead<'_>,
    record: &mut Record,
) -> Result<Decision, Reason> {
    let decision = standing
        .facts
        .judge(&standing.member, Attr::Known(head), Attr::Pending);
    record.decided(&decision);
    if enforce::may_go_on(&decision) {
        Ok(decision)
    } else {
        Err(Reason::Policy(decision.reason))
    }
}

/// A request that contradicts its connection is no matter of permission.
fn status_of(standing: &Standing, reason: Reason) -> Option<u16> {
    match reason {
        Reason::Policy(PolicyReason::NameMismatch) if standing.facts.inspected => Some(MISDIRECTED),
        Reason::Policy(PolicyReason::PortMismatch) => Some(400),
        _ => None,
    }
}
