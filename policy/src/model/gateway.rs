//! Settings of one fleet of gateways.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    scalar::{DurationText, LabelSelector},
    tls::TlsSettings,
};

/// Settings of one fleet of gateways. Every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EgressGatewaySpec {
    /// Which workloads the gateways of this fleet serve: those of their own node, or all that are selected.
    pub scope: Scope,
    /// The verdict where no policy decides. Deny unless set.
    pub default_action: DefaultAction,
    /// Whether this fleet acts on denials or only records them.
    pub enforcement: Enforcement,
    /// Where TLS is opened, by what authority, and whom the gateway trusts.
    pub tls: TlsSettings,
    /// Where the gateway listens.
    pub listeners: Listeners,
    /// Which connections belong to which workload. Without any entry every connection belongs to `default/local`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadMapping>,
    /// What a connection's source address says about its workload.
    #[serde(skip_serializing_if = "IdentitySettings::is_default")]
    pub identity: IdentitySettings,
    /// How names are resolved.
    pub dns: Dns,
    /// A proxy that all connections are chained to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Address ranges of the cluster, closed to every flow that no Admin rule opens them for.
    pub ranges: Ranges,
    /// Limits on numbers and sizes.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Where records go. Absent: to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<RecordSink>>,
}

/// Which workloads a fleet serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// All workloads that are selected.
    #[default]
    Fleet,
    /// The workloads of the gateway's own node.
    Node,
}

/// The verdict where no policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefaultAction {
    /// Lets through.
    Allow,
    /// Refuses.
    #[default]
    Deny,
}

/// Whether a fleet acts on denials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Enforcement {
    /// Audit lets through what would be denied and records it; the part of the floor that nothing opens stays closed.
    pub mode: EnforcementMode,
    /// Audit only for workloads of namespaces with these labels. Absent: for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// Whether a fleet acts on denials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnforcementMode {
    /// Denials are recorded only.
    Audit,
    /// Denials are acted on.
    #[default]
    Enforce,
}

/// Where the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listeners {
    /// Addresses of the HTTP proxy, such as `127.0.0.1:3128`.
    pub proxy: Vec<String>,
    /// The HTTP proxy over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_tls: Option<ProxyTls>,
    /// Addresses of the readiness port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<String>,
    /// Addresses of the metrics port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// Addresses of the admin port; keep it on loopback.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<String>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            proxy: vec!["127.0.0.1:3128".to_owned()],
            proxy_tls: None,
            ready: Vec::new(),
            metrics: Vec::new(),
            admin: Vec::new(),
        }
    }
}

/// The HTTP proxy over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyTls {
    /// Addresses to listen on.
    pub addresses: Vec<String>,
    /// The certificate chain, PEM.
    pub cert_file: String,
    /// The private key, PEM.
    pub key_file: String,
    /// Certificate authorities for client certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
    /// Refuses clients without a certificate.
    #[serde(default)]
    pub require_client_cert: bool,
}

/// Connections that belong to a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadMapping {
    /// The workload's name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The labels of its namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_labels: BTreeMap<String, String>,
    /// Its service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Connections from these source addresses, where the path to the gateway preserves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceMatch>,
    /// Connections that show this proxy credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<ProxyUser>,
    /// Connections that show this client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Source addresses of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceMatch {
    /// Address ranges in CIDR form.
    pub cidrs: Vec<String>,
}

/// A proxy credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyUser {
    /// The user name.
    pub name: String,
    /// A file with the salted hash of the password.
    pub password_hash_file: String,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// One of its subject alternative names: a DNS name or a URI.
    pub san: String,
}

/// What says which workload a connection belongs to, beside `workloads`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentitySettings {
    /// Trusted: a connection belongs to the workload whose address it comes from. Only where nobody can use another's
    /// address on the way to the gateway, which the CNI has to prevent.
    pub source_addresses: SourceAddresses,
}

impl IdentitySettings {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether source addresses say who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceAddresses {
    /// They say who connects.
    Trusted,
    /// They say nothing.
    #[default]
    Untrusted,
}

/// How names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Servers to ask, such as `192.0.2.53:53`. Absent: those of `/etc/resolv.conf`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// A hosts file that is looked at first. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts_file: Option<String>,
    /// Answers are kept at least this many seconds (5 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl_seconds: Option<u32>,
    /// Answers are kept at most this many seconds (300 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<u32>,
    /// One resolution takes at most this many milliseconds (5000 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// One refused address among the answers refuses the name. Otherwise refused addresses are left out.
    pub strict_answers: bool,
}

impl Dns {
    /// Answers are kept at least this long.
    pub fn min_ttl(&self) -> Duration {
        Duration::from_secs(self.min_ttl_seconds.unwrap_or(5).into())
    }

    /// Answers are kept at most this long.
    pub fn max_ttl(&self) -> Duration {
        Duration::from_secs(self.max_ttl_seconds.unwrap_or(300).into())
    }

    /// One resolution takes at most this long.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(5_000).into())
    }
}

/// A proxy that all connections are chained to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parent {
    /// Its address, `192.0.2.10:3128` or `proxy.example:3128`.
    pub address: String,
}

/// Address ranges of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ranges {
    /// Pod address ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Service address ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Node address ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// Limits on numbers and sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of one workload at a time (4096 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_workload: Option<u32>,
    /// Connections in total at a time (65536 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_total: Option<u32>,
    /// Bytes of one request or response head (65536 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u32>,
    /// Bytes of one TLS ClientHello (32768 unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello_bytes: Option<u32>,
}

impl Limits {
    /// Connections of one workload at a time.
    pub fn connections_per_workload(&self) -> u32 {
        self.connections_per_workload.unwrap_or(4_096)
    }

    /// Connections in total at a time.
    pub fn connections_total(&self) -> u32 {
        self.connections_total.unwrap_or(65_536)
    }

    /// Bytes of one request or response head.
    pub fn head_bytes(&self) -> u32 {
        self.head_bytes.unwrap_or(65_536)
    }

    /// Bytes of one TLS ClientHello.
    pub fn hello_bytes(&self) -> u32 {
        self.hello_bytes.unwrap_or(32_768)
    }
}

/// Deadlines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// How long the first bytes of a client may take (10s unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peek: Option<DurationText>,
    /// How long a connection to a destination may take (10s unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial: Option<DurationText>,
    /// How long a connection may be silent in both directions (5m unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<DurationText>,
    /// How long a tunnel or one request with its response may take, and for how long a connection takes requests (24h unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<DurationText>,
    /// How long a tunnel may stay open after a change of policy that forbids it (30s unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recheck_grace: Option<DurationText>,
    /// How long open connections may finish on shutdown (60s unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DurationText>,
    /// How long one request or response head may take (30s unless set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<DurationText>,
}

fn or(given: Option<DurationText>, seconds: u64) -> Duration {
    given.map_or(Duration::from_secs(seconds), |text| text.0)
}

impl Timeouts {
    /// How long the first bytes of a client may take.
    pub fn peek(&self) -> Duration {
        or(self.peek, 10)
    }

    /// How long a connection to a destination may take.
    pub fn dial(&self) -> Duration {
        or(self.dial, 10)
    }

    /// How long a connection may be silent in both directions.
    pub fn idle(&self) -> Duration {
        or(self.idle, 300)
    }

    /// How long a tunnel or one request with its response may take, and for how long a connection takes requests.
    pub fn total(&self) -> Duration {
        or(self.total, 86_400)
    }

    /// How long a tunnel may stay open after a change of policy that forbids it.
    pub fn recheck_grace(&self) -> Duration {
        or(self.recheck_grace, 30)
    }

    /// How long open connections may finish on shutdown.
    pub fn drain(&self) -> Duration {
        or(self.drain, 60)
    }

    /// How long one request or response head may take.
    pub fn head(&self) -> Duration {
        or(self.head, 30)
    }
}

/// One place that records go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordSink {
    /// Stdout or File.
    #[serde(rename = "type")]
    pub kind: SinkType,
    /// The file, for File.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A file is rotated at this size (64 MiB unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// How many rotated files are kept (5 unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Only these classes of records. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<RecordClass>,
    /// Only records with these verdicts. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<RecordVerdict>,
    /// What happens when the place cannot keep up: Drop counts and drops records, Refuse refuses new connections.
    #[serde(default)]
    pub overflow: Overflow,
}

impl RecordSink {
    /// A file is rotated at this size.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(64 << 20)
    }

    /// How many rotated files are kept.
    pub fn keep(&self) -> u32 {
        self.keep.unwrap_or(5)
    }
}

/// A kind of place for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SinkType {
    /// A file with rotation.
    File,
    /// Standard output.
    Stdout,
}

/// A class of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordClass {
    /// OCSF 4003.
    Dns,
    /// OCSF 4002.
    Http,
    /// OCSF 4001.
    Network,
}

/// A verdict as records show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordVerdict {
    /// Let through.
    Allow,
    /// Refused by policy.
    Deny,
    /// Failed for another reason.
    Error,
}

/// What happens when a place for records cannot keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// Records are dropped and counted.
    #[default]
    Drop,
    /// New connections are refused.
    Refuse,
}
