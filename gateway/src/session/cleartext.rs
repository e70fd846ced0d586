//! Cleartext HTTP inside a tunnel: every request is judged, all go over the tunnel's one connection.

use exitgate_policy::evidence::{Attr, Entry};
use tokio::time::Instant;

use super::exchange::{Tally, Terms, Upstream};
use super::forward::{Judge, Settled, describe, refuse_nested_tunnel, settle};
use super::{Handover, Next, Session, limits_of};
use crate::enforce::{self, Standing};
use crate::heads::{Upgraded, request_head};
use crate::http1::{Request, Target, answer_locally};
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{Class, ClosedBy, Record};
use crate::relay::reset_on_close;

impl Session {
    pub(super) async fn cleartext(
        &mut self,
        mut standing: Standing,
        mut upstream: Upstream,
        mut tunnel: Record,
    ) -> Next {
        loop {
            let live = self.shared.state.current();
            let request = match self.head(live.as_deref()).await {
                Ok(request) => request,
                Err(None) => {
                    tunnel.allow();
                    tunnel.fields.closed_by = Some(ClosedBy::Client);
                    return Next::Close;
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
            match self
                .inner_request(&live, &standing, &mut upstream, &request, &mut record)
                .await
            {
                Ok(Settled::Reusable {
                    client: true,
                    upstream: true,
                }) => {}
                Ok(Settled::Reusable { .. }) => return Next::Close,
                Ok(Settled::Broken) => {
                    reset_on_close(self.conn.io.tcp());
                    return Next::Close;
                }
                Ok(Settled::Switched(response)) => {
                    let response = *response;
                    standing.upgraded = Some(Box::new(Upgraded { request, response }));
                    return Next::Relay(Box::new(Handover {
                        upstream,
                        standing,
                        record,
                        live,
                    }));
                }
                Err(reason) => {
                    reset_on_close(&upstream.stream);
                    return self.refuse(record, reason).await;
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
                    return Next::Close;
                }
            }
        }
    }

    async fn inner_request(
        &mut self,
        live: &Live,
        standing: &Standing,
        upstream: &mut Upstream,
        request: &Request,
        record: &mut Record,
    ) -> Result<Settled, Reason> {
        let authority = request.authority().cloned().ok_or(Reason::BadRequest)?;
        if matches!(request.target, Target::Connect(_)) || answer_locally(request).is_some() {
            record.fields.detail = Some(format!("{} inside a tunnel", request.method()));
            return Err(Reason::BadRequest);
        }
        describe(record, request, &authority, standing.facts.port);
        refuse_nested_tunnel(request)?;
        let pairs = request.headers.pairs();
        let head = request_head(request, &pairs)?;
        let decision = standing
            .facts
            .judge(&standing.member, Attr::Known(head), Attr::Pending);
        record.decided(&decision);
        if !enforce::may_go_on(&decision) {
            return Err(Reason::Policy(decision.reason));
        }
        let terms = Terms {
            request,
            authority: &authority,
            limits: limits_of(Some(live)),
            idle: live.settings.idle,
            closing: self.shared.is_draining(),
        };
        let mut tally = Tally::default();
        let judge = Judge {
            facts: &standing.facts,
            member: &standing.member,
            head,
            decision: &decision,
        };
        let ended = judge
            .run(&mut self.conn, upstream, &terms, record, &mut tally)
            .await;
        settle(ended, &tally, record)
    }
}
