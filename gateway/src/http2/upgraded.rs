//! A stream that a WebSocket handshake turned into bytes in both directions: watched by policy until it ends.

use std::future::Future;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use exitgate_policy::evidence::Attr;
use exitgate_runtime::clock;
use h2::Reason as Code;
use tokio::time::{Instant, sleep, sleep_until};

use super::exchange::{Patience, Spent};
use super::head::Answer;
use super::pump::{Broken, Pump};
use super::stream::Asked;
use super::wire::Wire;
use crate::enforce;
use crate::identity::Member;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{ClosedBy, VerdictLabel};

const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Both directions of such a stream, and the response that opened it.
pub(super) struct Switched {
    pub(super) answer: Answer,
    pub(super) up: Pump,
    pub(super) down: Pump,
    pub(super) origin: Arc<Wire>,
}

enum End {
    Client,
    Drained,
    Finished(ClosedBy),
    Idle,
    Origin,
    Policy,
    TotalTime,
}

/// Moves bytes until an end is reached.
pub(super) async fn run(asked: &mut Asked<'_>, switched: Switched) {
    let Switched {
        answer,
        mut up,
        mut down,
        origin,
    } = switched;
    asked.record.allow();
    let settings = &asked.live.settings;
    let until = Instant::now() + settings.total;
    let timer = std::pin::pin!(sleep_until(until));
    let mut idle = Patience::new(timer, settings.idle, until);
    let client = asked.common.wire.clone();
    let fields = &mut asked.record.fields;
    let (bytes_up, bytes_down) = (&mut fields.bytes_up, &mut fields.bytes_down);
    let watched = Watched {
        common: asked.common,
        head: &asked.head,
        facts: &asked.facts,
        answer: &answer,
    };
    let mut watch = std::pin::pin!(watched.watch(asked.live.clone(), asked.member.clone()));
    let (mut up_open, mut down_open) = (true, true);
    let end = poll_fn(|cx| {
        if up_open {
            match up.poll(cx, bytes_up, &origin) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => up_open = false,
                Poll::Ready(Err(Broken::Source(_))) => return Poll::Ready(End::Client),
                Poll::Ready(Err(Broken::Sink(_) | Broken::Bound)) => {
                    return Poll::Ready(End::Origin);
                }
            }
            if !up_open && !down_open {
                return Poll::Ready(End::Finished(ClosedBy::Client));
            }
        }
        if down_open {
            match down.poll(cx, bytes_down, &client) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => down_open = false,
                Poll::Ready(Err(Broken::Source(_))) => return Poll::Ready(End::Origin),
                Poll::Ready(Err(Broken::Sink(_) | Broken::Bound)) => {
                    return Poll::Ready(End::Client);
                }
            }
            if !up_open && !down_open {
                return Poll::Ready(End::Finished(ClosedBy::Upstream));
            }
        }
        if up.take_moved() | down.take_moved() {
            idle.moved();
        }
        if let Poll::Ready(end) = watch.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        let blocked = up.is_blocked() || down.is_blocked();
        idle.poll(cx, [&client, &origin], blocked)
            .map(|spent| match spent {
                Spent::Idle => End::Idle,
                Spent::TotalTime => End::TotalTime,
            })
    })
    .await;
    let (verdict, reason, by) = match end {
        End::Finished(side) => {
            asked.record.fields.closed_by = Some(side);
            return;
        }
        End::Client => (VerdictLabel::Allow, Reason::ClientGone, ClosedBy::Client),
        End::Origin => (
            VerdictLabel::Allow,
            Reason::UpstreamReset,
            ClosedBy::Upstream,
        ),
        End::Drained => (VerdictLabel::Allow, Reason::Draining, ClosedBy::Gateway),
        End::Idle => (VerdictLabel::Allow, Reason::Idle, ClosedBy::Gateway),
        End::TotalTime => (VerdictLabel::Allow, Reason::TotalTime, ClosedBy::Gateway),
        End::Policy => {
            asked.common.shared.metrics.closed_by_policy.inc();
            (VerdictLabel::Deny, Reason::PolicyChanged, ClosedBy::Gateway)
        }
    };
    asked.record.end(verdict, reason);
    asked.record.fields.closed_by = Some(by);
    up.reset(Code::CANCEL);
    down.reset(Code::CANCEL);
}

/// What the stream's permission rests on.
struct Watched<'a> {
    common: &'a super::connection::Common,
    head: &'a super::head::Head,
    facts: &'a enforce::Facts,
    answer: &'a Answer,
}

impl Watched<'_> {
    /// Resolves when the stream must end: its permission is gone and the grace time over, or the gateway's drain time is.
    async fn watch(&self, mut live: Arc<Live>, mut member: Arc<Member>) -> End {
        let shared = &self.common.shared;
        let mut changes = shared.state.subscribe();
        loop {
            // Subscribed first, checked then: a revision that came in between is not missed.
            let now = changes.borrow_and_update().clone();
            let holds = now.is_some_and(|now| {
                live = now;
                match self.common.member(&live) {
                    Ok(current) => {
                        member = current;
                        self.holds(&member)
                    }
                    Err(_) => false,
                }
            });
            let wait = if holds {
                let now = clock::unix_seconds();
                let expiry = member.view.next_expiry(now);
                expiry.map_or(FOREVER, |at| Duration::from_secs(at.saturating_sub(now)))
            } else {
                live.settings.recheck_grace
            };
            tokio::select! {
                biased;
                () = shared.killed() => return End::Drained,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return End::Drained;
                    }
                }
                () = sleep(wait.min(FOREVER)) => {
                    if !holds {
                        return End::Policy;
                    }
                }
            }
        }
    }

    fn holds(&self, member: &Member) -> bool {
        let (asked, answered) = (self.head.pairs(), self.answer.pairs());
        enforce::passes(&self.facts.judge(
            member,
            Attr::Known(self.head.judged(&asked)),
            Attr::Known(self.answer.judged(&answered)),
        ))
    }
}
