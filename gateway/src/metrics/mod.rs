//! Prometheus metrics. Labels are closed sets; no host, path or pod is ever a label.

mod interception;

use exitgate_policy::evidence::Entry;
use exitgate_runtime::build;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::control::metrics::Counts;
use crate::reason::Reason;
use crate::record::VerdictLabel;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    entry: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabel {
    alert: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    bytes: Family<DirectionLabel, Counter>,
    reloads: Family<ResultLabel, Counter>,
    certificates_rejected: Family<AlertLabel, Counter>,
    /// The connection with the controller.
    pub(crate) control: Counts,
    /// What opens TLS now.
    pub(crate) interception: interception::Current,
    /// Client connections that are open.
    pub connections_active: Gauge,
    /// Accepts that failed, by exhaustion of descriptors for example.
    pub accept_errors: Counter,
    /// Panics caught at the edge of a connection.
    pub panics: Counter,
    /// Open connections closed because policy changed under them.
    pub closed_by_policy: Counter,
    /// Unix time of the policy in force.
    pub policy_loaded_at: Gauge,
    records_dropped: Gauge<i64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh registry.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("exitgate");
        let decisions = Family::default();
        registry.register(
            "gateway_decisions",
            "Records by entry, verdict and reason",
            decisions.clone(),
        );
        let bytes = Family::default();
        registry.register(
            "gateway_traffic_bytes",
            "Bytes relayed, by direction",
            bytes.clone(),
        );
        let reloads = Family::default();
        registry.register(
            "gateway_policy_reloads",
            "Policy changes taken or refused",
            reloads.clone(),
        );
        let certificates_rejected = Family::default();
        registry.register(
            "gateway_certificates_rejected",
            "Clients that refused the gateway's certificate, by TLS alert; the records name the hosts",
            certificates_rejected.clone(),
        );
        let interception = interception::Current::default();
        registry.register_collector(Box::new(interception.clone()));
        let control = Counts::default();
        control.register(&mut registry);
        let connections_active = Gauge::default();
        registry.register(
            "gateway_connections_active",
            "Open client connections",
            connections_active.clone(),
        );
        let accept_errors = Counter::default();
        registry.register(
            "gateway_accept_errors",
            "Accepts that failed",
            accept_errors.clone(),
        );
        let panics = Counter::default();
        registry.register(
            "gateway_panics",
            "Connections that ended in a panic",
            panics.clone(),
        );
        let closed_by_policy = Counter::default();
        registry.register(
            "gateway_connections_closed_by_policy",
            "Open connections closed because policy changed under them",
            closed_by_policy.clone(),
        );
        let policy_loaded_at = Gauge::default();
        registry.register(
            "gateway_policy_loaded_timestamp_seconds",
            "Unix time at which the policy in force was applied",
            policy_loaded_at.clone(),
        );
        let records_dropped = Gauge::default();
        registry.register(
            "gateway_records_dropped",
            "Records lost by sinks since the start",
            records_dropped.clone(),
        );
        registry.register(
            "gateway_build",
            "The build",
            Info::new([("version", build::VERSION)]),
        );
        Self {
            registry,
            decisions,
            bytes,
            reloads,
            certificates_rejected,
            control,
            interception,
            connections_active,
            accept_errors,
            panics,
            closed_by_policy,
            policy_loaded_at,
            records_dropped,
        }
    }

    pub(crate) fn decided(&self, entry: Entry, verdict: VerdictLabel, reason: Reason) {
        let entry = match entry {
            Entry::Connect => "connect",
            Entry::Dns => "dns",
            Entry::Forward => "forward",
            Entry::Redirected => "redirected",
        };
        self.decisions
            .get_or_create(&DecisionLabels {
                entry,
                verdict: verdict.as_str(),
                reason: reason.code(),
            })
            .inc();
    }

    pub(crate) fn bytes(&self, up: u64, down: u64) {
        if up > 0 {
            self.bytes
                .get_or_create(&DirectionLabel { direction: "up" })
                .inc_by(up);
        }
        if down > 0 {
            self.bytes
                .get_or_create(&DirectionLabel { direction: "down" })
                .inc_by(down);
        }
    }

    pub(crate) fn certificate_rejected(&self, alert: &'static str) {
        self.certificates_rejected
            .get_or_create(&AlertLabel { alert })
            .inc();
    }

    /// A policy change was taken (`true`) or refused.
    pub fn reloaded(&self, taken: bool) {
        let result = if taken { "applied" } else { "refused" };
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// The text exposition.
    pub fn render(&self, records_dropped: u64) -> String {
        self.records_dropped
            .set(i64::try_from(records_dropped).unwrap_or(i64::MAX));
        let mut out = String::new();
        if encode(&mut out, &self.registry).is_err() {
            out.clear();
        }
        out
    }
}
