//! A granted stream under relay: watched by policy until it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use exitgate_runtime::clock;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::enforce::Standing;
use crate::identity::Member;
use crate::limits::Slot;
use crate::live::Live;
use crate::net::{ClientIo, OriginIo};
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, Stage, VerdictLabel};
use crate::relay::{self, Counts, End, Limits, Side};
use crate::server::Shared;

const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Both streams, what is already read of them, and what their standing rests on.
pub(crate) struct Tunnel {
    pub(super) client: ClientIo,
    pub(super) upstream: OriginIo,
    pub(super) early: BytesMut,
    pub(super) late: BytesMut,
    pub(super) standing: Standing,
    pub(super) record: Record,
    pub(super) live: Arc<Live>,
    pub(super) slot: Option<(Arc<Member>, Slot)>,
}

enum Stop {
    Drained,
    Policy,
}

impl Tunnel {
    /// Relays until an end is reached, and writes the record.
    pub(crate) async fn run(self: Box<Self>, shared: Arc<Shared>) {
        let Self {
            mut client,
            mut upstream,
            early,
            late,
            standing,
            mut record,
            live,
            slot,
        } = *self;
        record.allow();
        record.reached(Stage::Relayed);
        let limits = Limits {
            idle: live.settings.idle,
            total: Some(live.settings.total),
        };
        let counts = Counts::default();
        let mut carry = Carry {
            record,
            counts: &counts,
        };
        let opening = async {
            upstream.write_all(&early).await?;
            upstream.flush().await?;
            client.write_all(&late).await?;
            client.flush().await
        };
        if !matches!(timeout(limits.idle, opening).await, Ok(Ok(()))) {
            carry.end(
                VerdictLabel::Error,
                Reason::UpstreamReset,
                ClosedBy::Upstream,
            );
            return;
        }
        counts.up.fetch_add(early.len() as u64, Ordering::Relaxed);
        counts.down.fetch_add(late.len() as u64, Ordering::Relaxed);
        drop((early, late));
        let end = relay::run(
            &mut client,
            &mut upstream,
            limits,
            &counts,
            watch(&shared, live, standing),
        )
        .await;
        match end {
            End::Finished(side) => carry.closed(side),
            End::Idle => carry.end(VerdictLabel::Allow, Reason::Idle, ClosedBy::Gateway),
            End::TotalTime => carry.end(VerdictLabel::Allow, Reason::TotalTime, ClosedBy::Gateway),
            End::Interrupted(Stop::Drained) => {
                carry.end(VerdictLabel::Allow, Reason::Draining, ClosedBy::Gateway);
            }
            End::Interrupted(Stop::Policy) => {
                shared.metrics.closed_by_policy.inc();
                carry.end(VerdictLabel::Deny, Reason::PolicyChanged, ClosedBy::Gateway);
            }
            End::Reset(Side::Client) => {
                carry.end(VerdictLabel::Allow, Reason::ClientGone, ClosedBy::Client);
            }
            End::Reset(Side::Upstream) => {
                carry.end(
                    VerdictLabel::Allow,
                    Reason::UpstreamReset,
                    ClosedBy::Upstream,
                );
            }
        }
        drop(slot);
    }
}

/// Takes the byte counts into the record however the relay ends, cancellation included.
struct Carry<'a> {
    record: Record,
    counts: &'a Counts,
}

impl Carry<'_> {
    fn closed(&mut self, side: Side) {
        self.record.fields.closed_by = Some(match side {
            Side::Client => ClosedBy::Client,
            Side::Upstream => ClosedBy::Upstream,
        });
    }

    fn end(&mut self, verdict: VerdictLabel, reason: Reason, by: ClosedBy) {
        self.record.end(verdict, reason);
        self.record.fields.closed_by = Some(by);
    }
}

impl Drop for Carry<'_> {
    fn drop(&mut self) {
        let (up, down) = self.counts.totals();
        self.record.fields.bytes_up += up;
        self.record.fields.bytes_down += down;
    }
}

/// Resolves when the stream must end: policy, identity or expiry took its permission away and the grace time is
/// over, or the gateway's drain time is.
async fn watch(shared: &Shared, mut live: Arc<Live>, mut standing: Standing) -> Stop {
    let mut changes = shared.state.subscribe();
    loop {
        // Subscribed first, checked then: a revision that came in between is not missed.
        let now = changes.borrow_and_update().clone();
        let holds = now.is_some_and(|now| {
            live = now;
            standing.holds(&live)
        });
        let wait = if holds {
            let now = clock::unix_seconds();
            standing
                .member
                .view
                .next_expiry(now)
                .map_or(FOREVER, |at| Duration::from_secs(at.saturating_sub(now)))
        } else {
            live.settings.recheck_grace
        };
        tokio::select! {
            biased;
            () = shared.killed() => return Stop::Drained,
            changed = changes.changed() => {
                if changed.is_err() {
                    return Stop::Drained;
                }
            }
            () = tokio::time::sleep(wait.min(FOREVER)) => {
                if !holds {
                    return Stop::Policy;
                }
            }
        }
    }
}
