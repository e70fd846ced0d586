//! What the opening of TLS costs and how it goes: read from whatever is in force when somebody looks.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::live::Interception;

/// The interception in force; the settings may have none.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<RwLock<Weak<Interception>>>);

impl Current {
    /// From now on this one is shown.
    pub(crate) fn set(&self, interception: Option<&Arc<Interception>>) {
        *self.0.write() = interception.map(Arc::downgrade).unwrap_or_default();
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl Collector for Current {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(interception) = self.0.read().upgrade() else {
            return Ok(());
        };
        let leaves = interception.authority.stats();
        let origins = interception.origins.counts();
        let counters = [
            (
                "tls_leaves_minted",
                "Certificates made for clients",
                leaves.minted,
            ),
            (
                "tls_leaves_cached",
                "Certificates for clients that were there already",
                leaves.cached,
            ),
            (
                "tls_leaves_limited",
                "Certificates refused because of the rate of new names",
                leaves.limited,
            ),
            ("tls_leaves_failed", "Failures of the signer", leaves.failed),
            (
                "tls_leaves_evicted",
                "Certificates that made room for others",
                leaves.evicted,
            ),
            (
                "tls_authority_changes",
                "How often the issuing CA was issued anew or exchanged",
                leaves.changes,
            ),
            (
                "origin_handshakes_full",
                "TLS handshakes with origins whose certificate was verified",
                origins.full.get(),
            ),
            (
                "origin_handshakes_resumed",
                "TLS handshakes with origins that continued a session",
                origins.resumed.get(),
            ),
            (
                "origin_handshakes_failed",
                "TLS handshakes with origins that failed",
                origins.failed.get(),
            ),
            (
                "origin_handshakes_unverified",
                "TLS handshakes with origins for which insecureSkipVerify is set",
                origins.unverified.get(),
            ),
            (
                "origin_connections_reused",
                "Requests that an idle connection to an origin took",
                origins.reused.get(),
            ),
            (
                "origin_certificates_asked",
                "TLS handshakes in which an origin asked for a client certificate and none is configured",
                origins.certificates_asked.get(),
            ),
        ];
        for (name, help, value) in counters {
            show(&mut encoder, name, help, None, &ConstCounter::new(value))?;
        }
        let now = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let gauges = [
            (
                "tls_leaves",
                "Certificates for clients that are kept",
                None,
                whole(leaves.entries),
            ),
            (
                "origin_connections_idle",
                "Idle connections to origins",
                None,
                now(interception.origins.idle()),
            ),
            (
                "tls_authority_expiry_timestamp",
                "Unix time at which the issuing CA ends",
                Some(&Unit::Seconds),
                whole(interception.authority.status().not_after),
            ),
        ];
        for (name, help, unit, value) in gauges {
            show(&mut encoder, name, help, unit, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn show(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
