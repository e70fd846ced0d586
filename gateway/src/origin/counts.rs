//! Counters of what happens with origins.

use prometheus_client::metrics::counter::Counter;

/// Counters, to be registered where metrics are.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Handshakes with a verified certificate.
    pub full: Counter,
    /// Handshakes that continued an earlier session.
    pub resumed: Counter,
    /// Handshakes that failed.
    pub failed: Counter,
    /// Requests that an idle connection took.
    pub reused: Counter,
    /// Handshakes with hosts for which any certificate will do.
    pub unverified: Counter,
    /// Handshakes in which an origin asked for a client certificate and none is configured.
    pub certificates_asked: Counter,
}

impl Counts {
    pub(super) fn handshake(&self, resumed: bool) {
        if resumed {
            self.resumed.inc();
        } else {
            self.full.inc();
        }
    }
}
