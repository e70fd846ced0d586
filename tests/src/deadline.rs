//! Deadlines: nothing in a suite waits without one, and what was awaited is in the message.

use std::future::Future;
use std::time::Duration;

/// Long enough for a loaded two-core machine, short enough that a hung row is seen at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits `event`, and fails with its name when it does not come.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    within_for(PATIENCE, what, event).await
}

pub async fn within_for<T>(limit: Duration, what: &str, event: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(limit, event).await;
    outcome.unwrap_or_else(|_| panic!("waited {limit:?} for {what}"))
}
