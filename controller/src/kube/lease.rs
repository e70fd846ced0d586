//! One of several controllers writes status: the one that holds the Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

/// A holder that has not renewed for this long has lost the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// A holder gives up after this, before another may take over.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
const REQUEST: Duration = Duration::from_secs(4);

/// Which Lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
    /// The pod's name; no two processes may use the same.
    pub identity: String,
}

/// The Lease was held and is lost. The process ends with it: what it still has under way must not meet its successor's.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("the Lease was not renewed within {RENEW_WITHIN:?}")]
    NotRenewed,
    #[error("the Lease is held by {0} now")]
    Taken(String),
}

enum Outcome {
    Held,
    /// Someone else holds it; their record as seen now.
    Other(String, Option<MicroTime>),
}

/// Tries to hold the Lease, tells through `held`, and returns only when it was held and is lost. `wall` gives the time in
/// microseconds since 1970, for people who read the Lease: nothing is decided by comparing clocks of two machines.
pub async fn hold(
    client: Client,
    lease: &Lease,
    held: &watch::Sender<bool>,
    wall: impl Fn() -> i64,
) -> LeaseError {
    let api: Api<LeaseObject> = Api::namespaced(client, &lease.namespace);
    let mut renewed: Option<Instant> = None;
    // The other's record, and since when it has not changed on our clock.
    let mut other: Option<(String, Option<MicroTime>, Instant)> = None;
    loop {
        // Whatever happens, a holder has given up before another may take over.
        let give_up = renewed.map(|last| last + RENEW_WITHIN);
        let before = Instant::now();
        if give_up.is_some_and(|at| at <= before) {
            held.send_replace(false);
            return LeaseError::NotRenewed;
        }
        let expired = other
            .as_ref()
            .is_some_and(|(_, _, since)| since.elapsed() > DURATION);
        let cut = give_up.map_or(before + REQUEST, |at| at.min(before + REQUEST));
        let attempt = attempt(&api, lease, expired, renewed.is_some(), wall());
        match tokio::time::timeout_at(cut, attempt).await {
            Ok(Ok(Outcome::Held)) => {
                // Counted from before the request: the record may have been written then.
                renewed = Some(before);
                other = None;
                held.send_if_modified(|held| !std::mem::replace(held, true));
            }
            Ok(Ok(Outcome::Other(holder, _))) if renewed.is_some() => {
                held.send_replace(false);
                return LeaseError::Taken(holder);
            }
            Ok(Ok(Outcome::Other(holder, at))) => {
                let is_same = other
                    .as_ref()
                    .is_some_and(|(known, time, _)| *known == holder && *time == at);
                if !is_same {
                    other = Some((holder, at, Instant::now()));
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be read or written"),
            Err(_) => tracing::warn!("no answer about the Lease within {REQUEST:?}"),
        }
        let again = Instant::now() + RETRY;
        let give_up = renewed.map(|last| last + RENEW_WITHIN);
        tokio::time::sleep_until(give_up.map_or(again, |at| at.min(again))).await;
    }
}

async fn attempt(
    api: &Api<LeaseObject>,
    lease: &Lease,
    expired: bool,
    is_holder: bool,
    wall: i64,
) -> Result<Outcome, kube::Error> {
    let now = Timestamp::from_microsecond(wall).ok().map(MicroTime);
    let Some(mut object) = api.get_opt(&lease.name).await? else {
        let object = LeaseObject {
            metadata: ObjectMeta {
                name: Some(lease.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(record(lease, now, 0)),
        };
        return written(api.create(&PostParams::default(), &object).await);
    };
    let spec = object.spec.take().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    if holder != lease.identity && !holder.is_empty() && (is_holder || !expired) {
        return Ok(Outcome::Other(holder, spec.renew_time));
    }
    let transitions = spec.lease_transitions.unwrap_or_default();
    object.spec = Some(if holder == lease.identity {
        LeaseSpec {
            acquire_time: spec.acquire_time,
            ..record(lease, now, transitions)
        }
    } else {
        record(lease, now, transitions.saturating_add(1))
    });
    // The object carries the version it was read at: of two that write, one is refused.
    written(
        api.replace(&lease.name, &PostParams::default(), &object)
            .await,
    )
}

fn written(outcome: Result<LeaseObject, kube::Error>) -> Result<Outcome, kube::Error> {
    outcome.map(|_| Outcome::Held)
}

fn record(lease: &Lease, now: Option<MicroTime>, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(lease.identity.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: now.clone(),
        renew_time: now,
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}
