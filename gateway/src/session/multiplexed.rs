//! An opened connection that speaks HTTP/2 on both sides: how its origin is reached, and reached again.

use std::sync::Arc;

use exitgate_policy::evidence::Attr;

use super::origin::{self, HTTP2, Reached, Route};
use crate::dial::DialError;
use crate::enforce::{self, Facts, Standing};
use crate::http2::{Dialling, Redial, Upstream};
use crate::live::Live;
use crate::reason::{OriginReason, Reason};
use crate::record::{Class, Record, Stage};
use crate::server::Shared;

/// A connection of an earlier client that the policy lets this flow use.
pub(super) fn parked(
    route: &Route,
    standing: &mut Standing,
    record: &mut Record,
) -> Option<Arc<Upstream>> {
    let upstream = route.interception.parked.take(&route.key)?;
    let before = standing.facts.address;
    let address = upstream.address().ip();
    standing.facts.address = Attr::Known(address);
    let decision = standing.facts.judge_connection(&standing.member);
    if !enforce::may_go_on(&decision) {
        standing.facts.address = before;
        return None;
    }
    record.decided(&decision);
    record.fields.address = Some(address);
    record.fields.origin = upstream.certificate().cloned();
    record.reached(Stage::Dialled);
    Some(upstream)
}

/// Begins HTTP/2 with an origin that chose it.
pub(super) async fn begin(
    reached: Reached,
    live: &Live,
    record: &mut Record,
) -> Result<Arc<Upstream>, Reason> {
    let Reached {
        address, stream, ..
    } = reached;
    let certificate = stream.certificate().clone();
    let opening = Upstream::open(stream.into_io(), address, live.settings.dial);
    let upstream = opening.await.map_err(|error| {
        record.fields.detail = Some(error.detail).filter(|detail| !detail.is_empty());
        error.reason
    })?;
    Ok(Arc::new(upstream.with_certificate(certificate)))
}

/// Reaches the origin anew for streams that it has not taken.
pub(super) fn redial(shared: Arc<Shared>, route: &Route, standing: &Standing) -> Redial {
    let again = Arc::new(Again {
        shared,
        route: route.clone(),
        facts: standing.facts.clone(),
        sans: standing.sans.clone(),
        user: standing.user.clone(),
    });
    Box::new(move |live| -> Dialling {
        let again = again.clone();
        Box::pin(async move { again.run(&live).await })
    })
}

struct Again {
    shared: Arc<Shared>,
    route: Route,
    facts: Facts,
    sans: Arc<[String]>,
    user: Option<String>,
}

impl Again {
    async fn run(&self, live: &Arc<Live>) -> Result<Arc<Upstream>, DialError> {
        let mut facts = self.facts.clone();
        // The stream that asks has a record of its own.
        let peer = (facts.source, 0).into();
        let mut record = self
            .shared
            .recorder
            .begin(Class::Network, facts.entry, peer);
        record.mute();
        let reached = self.reach(live, &mut facts, &mut record).await;
        reached.map_err(|reason| DialError {
            reason,
            detail: record.fields.detail.take().unwrap_or_default(),
        })
    }

    async fn reach(
        &self,
        live: &Arc<Live>,
        facts: &mut Facts,
        record: &mut Record,
    ) -> Result<Arc<Upstream>, Reason> {
        let member = live
            .identities
            .place(facts.source, &self.sans, self.user.as_deref())?;
        let addresses = enforce::addresses(live, &member, facts, Attr::Pending, record).await?;
        let (address, tcp) = super::forward::dial(live, &addresses, record).await?;
        let offers = [HTTP2];
        let route = self.route.under(live, &member.workload);
        let reached = origin::secure(&route, tcp, address, &offers, live, record).await?;
        if reached.protocol() != Some(HTTP2) {
            return Err(Reason::Origin(OriginReason::Alpn));
        }
        begin(reached, live, record).await
    }
}
