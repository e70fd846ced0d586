//! The controller's metrics. Labels are closed sets.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::trust::Role;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug)]
struct Inner {
    connections: Family<ResultLabel, Counter>,
    enrolments: Family<ResultLabel, Counter>,
    streams: Family<RoleLabel, Gauge>,
    streams_ended: Family<ResultLabel, Counter>,
    updates: Counter,
    acks: Family<ResultLabel, Counter>,
    artifact_bytes: Counter,
    signatures: Family<ResultLabel, Counter>,
    manifests: Counter,
    publishing: Histogram,
}

/// The controller's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Inner {
            connections: Family::default(),
            enrolments: Family::default(),
            streams: Family::default(),
            streams_ended: Family::default(),
            updates: Counter::default(),
            acks: Family::default(),
            artifact_bytes: Counter::default(),
            signatures: Family::default(),
            manifests: Counter::default(),
            publishing: Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0]),
        }))
    }
}

impl Metrics {
    /// Metrics that a registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let inner = &metrics.0;
        let registry = registry.sub_registry_with_prefix("exitgate_controller");
        registry.register(
            "connections",
            "Connections by what became of them (unstable)",
            inner.connections.clone(),
        );
        registry.register(
            "enrolments",
            "Requests for a certificate with a token (unstable)",
            inner.enrolments.clone(),
        );
        registry.register(
            "streams",
            "Gateways that follow (unstable)",
            inner.streams.clone(),
        );
        registry.register(
            "streams_ended",
            "Ended streams of gateways by the reason (unstable)",
            inner.streams_ended.clone(),
        );
        registry.register(
            "updates",
            "Updates sent to gateways (unstable)",
            inner.updates.clone(),
        );
        registry.register(
            "acks",
            "Answers of gateways to updates (unstable)",
            inner.acks.clone(),
        );
        registry.register(
            "artifact_bytes",
            "Bytes of artifacts sent (unstable)",
            inner.artifact_bytes.clone(),
        );
        registry.register(
            "signatures",
            "Signatures for intercepted connections (unstable)",
            inner.signatures.clone(),
        );
        registry.register(
            "manifests",
            "Manifests that were made anew (unstable)",
            inner.manifests.clone(),
        );
        registry.register(
            "publish_seconds",
            "How long it took to make them (unstable)",
            inner.publishing.clone(),
        );
        metrics
    }

    /// For [`SharedIndex::publish`](crate::index::SharedIndex::publish).
    pub fn published(&self, manifests: usize, took: Duration) {
        self.0.manifests.inc_by(manifests as u64);
        self.0.publishing.observe(took.as_secs_f64());
    }

    pub(super) fn connection(&self, result: &'static str) {
        self.0
            .connections
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    pub(super) fn enrolment(&self, done: bool) {
        self.0.enrolments.get_or_create(&done_label(done)).inc();
    }

    pub(super) fn stream(&self, role: Role, by: i64) {
        let role = role.as_str();
        self.0.streams.get_or_create(&RoleLabel { role }).inc_by(by);
    }

    pub(super) fn stream_ended(&self, result: &'static str) {
        self.0
            .streams_ended
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    pub(super) fn update(&self) {
        self.0.updates.inc();
    }

    pub(super) fn ack(&self, whole: bool) {
        let result = if whole { "applied" } else { "refused" };
        self.0.acks.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn artifact(&self, bytes: usize) {
        self.0.artifact_bytes.inc_by(bytes as u64);
    }

    pub(super) fn signature(&self, done: bool) {
        self.0.signatures.get_or_create(&done_label(done)).inc();
    }
}

fn done_label(done: bool) -> ResultLabel {
    ResultLabel {
        result: if done { "issued" } else { "refused" },
    }
}
