//! How the control channel is doing. Labels are closed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// How the control channel is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    connects: Family<ResultLabel, Counter>,
    updates: Family<ResultLabel, Counter>,
    artifacts: Family<ResultLabel, Counter>,
    stored: Family<ResultLabel, Counter>,
    pub(crate) connected: Gauge,
    pub(crate) refused: Gauge,
    pub(crate) current_at: Gauge,
    pub(crate) from_disk: Gauge,
    pub(crate) renew_at: Gauge,
}

impl Counts {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let families = [
            (
                "control_connects",
                "Connections to the controller, by result (unstable)",
                &self.connects,
            ),
            (
                "control_updates",
                "Updates of the controller, by result (unstable)",
                &self.updates,
            ),
            (
                "control_artifacts",
                "Large resources that were wanted, by result (unstable)",
                &self.artifacts,
            ),
            (
                "control_snapshots_stored",
                "Writes of the last good snapshot, by result (unstable)",
                &self.stored,
            ),
        ];
        for (name, help, family) in families {
            registry.register(name, help, family.clone());
        }
        let gauges = [
            (
                "control_connected",
                "Whether the stream with the controller stands (unstable)",
                &self.connected,
            ),
            (
                "control_resources_refused",
                "Resources that are not used as the controller sent them (unstable)",
                &self.refused,
            ),
            (
                "control_current_timestamp_seconds",
                "Unix time at which the policy in force was last known to be the controller's (unstable)",
                &self.current_at,
            ),
            (
                "control_snapshot_from_disk",
                "Whether the policy in force was read from disk and no controller has confirmed it (unstable)",
                &self.from_disk,
            ),
            (
                "control_certificate_renewal_timestamp_seconds",
                "Unix time at which the client certificate is renewed (unstable)",
                &self.renew_at,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(crate) fn connect(&self, result: &'static str) {
        self.connects.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn update(&self, result: &'static str) {
        self.updates.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn artifact(&self, fetched: bool) {
        let result = if fetched { "fetched" } else { "failed" };
        self.artifacts.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn store(&self, written: bool) {
        let result = if written { "written" } else { "failed" };
        self.stored.get_or_create(&ResultLabel { result }).inc();
    }
}

/// A number as a gauge takes it.
pub(crate) fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
