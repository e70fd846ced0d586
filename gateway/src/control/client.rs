//! The task that stays in touch with a controller.

use std::sync::Arc;
use std::time::Duration;

use exitgate_runtime::clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::enrol::{self, Identity};
use super::keeper::Keeper;
use super::metrics::{Counts, gauge};
use super::store::Store;
use super::stream::{self, End};
use super::{Config, ControlError, Role, Target};
use crate::metrics::Metrics;

/// Age is looked at this often at least, and at most.
const AGE_TICKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A gateway's connection with its controllers. Dropping it, or [`stop`](Self::stop), ends it; what is in force stays.
pub struct Client {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Client {
    /// Puts in force what was stored, then follows a controller. `target` is told everything.
    pub fn start(
        config: Config,
        target: Arc<dyn Target>,
        metrics: &Metrics,
    ) -> Result<Self, ControlError> {
        if config.addresses.is_empty() {
            return Err(ControlError::NoAddress);
        }
        if let Some(wrong) = config.addresses.iter().find(|address| {
            let uri = address.parse::<http::Uri>();
            uri.map_or(true, |uri| {
                uri.scheme() != Some(&http::uri::Scheme::HTTPS) || uri.host().is_none()
            })
        }) {
            return Err(ControlError::Address(wrong.clone()));
        }
        if config.role == Role::Unspecified {
            return Err(ControlError::NoRole);
        }
        let store = config
            .state
            .as_deref()
            .map(Store::open)
            .transpose()
            .map_err(|error| ControlError::State(error.to_string()))?;
        let counts = metrics.control.clone();
        let keeper = Keeper::new(target, store, counts.clone(), config.max_age);
        let (stop, mut stopped) = watch::channel(false);
        let worker = Worker {
            keeper: Shared(Arc::new(Mutex::new(keeper))),
            counts,
            config,
            // Unique for each process.
            instance: format!("{:032x}", rand::random::<u128>()),
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                // An error is the client's end as well.
                _ = stopped.wait_for(|stop| *stop) => {}
                () = worker.run() => {}
            }
        });
        Ok(Self { stop, task })
    }

    /// Ends the connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It ends at its next step, whatever comes of it.
        drop((&mut self.task).await);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The keeper, between the task and the threads that work for it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Keeper>>);

impl Shared {
    /// Works on the keeper on a thread that may wait. None: that ended in a panic, and nothing was changed.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Option<T> {
        let keeper = self.0.clone();
        tokio::task::spawn_blocking(move || work(&mut keeper.lock()))
            .await
            .inspect_err(|_| tracing::error!("work on an update ended in a panic"))
            .ok()
    }
}

struct Worker {
    keeper: Shared,
    counts: Counts,
    config: Config,
    instance: String,
}

impl Worker {
    async fn run(self) {
        self.keeper.with(Keeper::load).await;
        tokio::join!(self.connect(), self.watch_age());
    }

    async fn watch_age(&self) {
        let Some(most) = self.config.max_age else {
            return;
        };
        let mut ticks = tokio::time::interval((most / 10).clamp(AGE_TICKS.0, AGE_TICKS.1));
        loop {
            ticks.tick().await;
            self.keeper.with(Keeper::expire).await;
        }
    }

    async fn connect(&self) {
        let mut identity: Option<Identity> = None;
        let mut failures = 0_u32;
        for number in 0_usize.. {
            let addresses = &self.config.addresses;
            let Some(address) = addresses.get(number % addresses.len().max(1)) else {
                return;
            };
            let wait = match self.attempt(address, &mut identity).await {
                End::Renewed(renewed) => {
                    self.enrolled(&renewed).await;
                    identity = Some(renewed);
                    failures = 0;
                    continue;
                }
                End::GoAway(reason) => {
                    tracing::info!(address, reason, "the controller asks to connect elsewhere");
                    failures = 0;
                    self.config.pace.first_wait
                }
                End::Failed { reason, heard } => {
                    tracing::warn!(address, reason, "no controller; what is in force stays so");
                    failures = if heard { 1 } else { failures.saturating_add(1) };
                    if !heard {
                        // It may be the certificate that is not taken.
                        identity = None;
                    }
                    wait(&self.config.pace, failures)
                }
            };
            self.counts.connected.set(0);
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, address: &str, identity: &mut Option<Identity>) -> End {
        let failed = |result: &'static str, reason: String| {
            self.counts.connect(result);
            End::Failed {
                reason,
                heard: false,
            }
        };
        let now = clock::unix_seconds();
        let fresh = identity.take().filter(|one| one.renew_at > now);
        let current = match fresh {
            Some(current) => current,
            None => match enrol::enrol(&self.config, address).await {
                Ok(enrolled) => {
                    self.enrolled(&enrolled).await;
                    enrolled
                }
                Err(reason) => return failed("enrolment-failed", format!("enrolment: {reason}")),
            },
        };
        let endpoint = match enrol::endpoint(&self.config, address, Some(&current)) {
            Ok(endpoint) => endpoint,
            Err(reason) => return failed("failed", reason),
        };
        let channel = match enrol::connect(endpoint, self.config.pace.connect).await {
            Ok(channel) => channel,
            Err(reason) => {
                *identity = Some(current);
                return failed("failed", reason);
            }
        };
        let follow = stream::Follow {
            config: &self.config,
            keeper: &self.keeper,
            counts: &self.counts,
            instance: &self.instance,
            renew_at: current.renew_at,
        };
        let end = follow.run(channel).await;
        *identity = Some(current);
        end
    }

    async fn enrolled(&self, identity: &Identity) {
        self.counts.renew_at.set(gauge(identity.renew_at));
        let keys = identity.manifest_keys.clone();
        self.keeper.with(move |keeper| keeper.enrolled(&keys)).await;
    }
}

/// Longer with every failure, and never the same for all gateways.
pub(super) fn wait(pace: &super::Pace, failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(20));
    let full = pace
        .first_wait
        .saturating_mul(doubled)
        .min(pace.longest_wait);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
