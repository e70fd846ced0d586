//! Moves bytes between a client and an upstream that a decision has let through, without looking at them.
//!
//! Half-close is passed on, a reset on one side becomes a reset on the other, a slow reader slows the
//! writer, bytes are counted, and idle and total time are bounded. A tunnel that carries nothing holds no
//! buffer; one under load moves its bytes through a kernel pipe.

mod buffer;
mod pump;
mod splice;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::{ClientIo, OriginIo};

/// The side of a relay on which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The workload.
    Client,
    /// The destination.
    Upstream,
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<I> {
    /// Both sides finished; `Side` is the one that finished first.
    Finished(Side),
    /// No byte moved for the idle time.
    Idle,
    /// The caller's interrupt fired (policy, shutdown).
    Interrupted(I),
    /// One side reset the connection or broke off.
    Reset(Side),
    /// The total time was used up.
    TotalTime,
}

/// Bytes moved so far, readable while the relay runs.
#[derive(Debug, Default)]
pub struct Counts {
    /// From the client to the upstream.
    pub up: AtomicU64,
    /// From the upstream to the client.
    pub down: AtomicU64,
}

impl Counts {
    /// Both counts: (client to upstream, upstream to client).
    pub fn totals(&self) -> (u64, u64) {
        (
            self.up.load(Ordering::Relaxed),
            self.down.load(Ordering::Relaxed),
        )
    }
}

/// Time limits of a relay.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time without a byte in either direction.
    pub idle: Duration,
    /// Longest life, counted from the start of the relay; none means unbounded.
    pub total: Option<Duration>,
}

pub(crate) struct Broken(pub(crate) Side);

/// When a byte last moved, in milliseconds since the relay started.
pub(crate) struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn touch(&self) {
        self.last.store(
            u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// Runs until both sides have finished, a limit is reached, or `interrupt` fires. `interrupt` wins ties,
/// so that a policy change is never lost to a connection that happens to end.
pub async fn run<I>(
    client: &mut ClientIo,
    upstream: &mut OriginIo,
    limits: Limits,
    counts: &Counts,
    interrupt: impl Future<Output = I>,
) -> End<I> {
    let activity = Activity::new();
    let end = match (&mut *client, &mut *upstream) {
        (ClientIo::Tcp(client), OriginIo::Tcp(upstream)) => {
            let (client_read, client_write) = client.split();
            let (upstream_read, upstream_write) = upstream.split();
            let up = pump::tcp(
                client_read,
                upstream_write,
                Side::Client,
                &counts.up,
                &activity,
            );
            let down = pump::tcp(
                upstream_read,
                client_write,
                Side::Upstream,
                &counts.down,
                &activity,
            );
            drive(up, down, limits, &activity, interrupt).await
        }
        (client, upstream) => {
            let (client_read, client_write) = tokio::io::split(client);
            let (upstream_read, upstream_write) = tokio::io::split(upstream);
            let up = pump::any(
                client_read,
                upstream_write,
                Side::Client,
                &counts.up,
                &activity,
            );
            let down = pump::any(
                upstream_read,
                client_write,
                Side::Upstream,
                &counts.down,
                &activity,
            );
            drive(up, down, limits, &activity, interrupt).await
        }
    };
    match end {
        End::Finished(_) => {}
        End::Idle | End::Interrupted(_) | End::TotalTime => {
            reset_on_close(client.tcp());
            reset_on_close(upstream.tcp());
        }
        End::Reset(Side::Client) => reset_on_close(upstream.tcp()),
        End::Reset(Side::Upstream) => reset_on_close(client.tcp()),
    }
    end
}

async fn drive<I>(
    up: impl Future<Output = Result<(), Broken>>,
    down: impl Future<Output = Result<(), Broken>>,
    limits: Limits,
    activity: &Activity,
    interrupt: impl Future<Output = I>,
) -> End<I> {
    let mut up = pin!(up);
    let mut down = pin!(down);
    let mut interrupt = pin!(interrupt);
    let started = Instant::now();
    let total_at = limits.total.map(|t| started + t);
    let first_check = total_at.map_or(started + limits.idle, |t| t.min(started + limits.idle));
    let mut timer = pin!(tokio::time::sleep_until(first_check));
    let mut first_finished = None;
    let (mut up_done, mut down_done) = (false, false);
    loop {
        tokio::select! {
            biased;
            cause = &mut interrupt => return End::Interrupted(cause),
            result = &mut up, if !up_done => match result {
                Ok(()) => { up_done = true; first_finished.get_or_insert(Side::Client); }
                Err(Broken(side)) => return End::Reset(side),
            },
            result = &mut down, if !down_done => match result {
                Ok(()) => { down_done = true; first_finished.get_or_insert(Side::Upstream); }
                Err(Broken(side)) => return End::Reset(side),
            },
            () = &mut timer => {
                let now = Instant::now();
                if total_at.is_some_and(|t| now >= t) {
                    return End::TotalTime;
                }
                let idle_at = activity.last() + limits.idle;
                if now >= idle_at {
                    return End::Idle;
                }
                timer.as_mut().reset(total_at.map_or(idle_at, |t| t.min(idle_at)));
            }
        }
        if up_done && down_done {
            return End::Finished(first_finished.unwrap_or(Side::Client));
        }
    }
}

/// Makes the coming close of `stream` a reset, so that the peer cannot take it for a clean end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot set linger");
    }
}

#[cfg(test)]
mod tests;
