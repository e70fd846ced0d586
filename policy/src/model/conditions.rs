//! The conditions of a rule. Within a list any entry may hold, between fields all must.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{IntOrText, LabelSelector};

/// The conditions that `not` wraps: it holds when they do not all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// Where the connection goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// Which workloads are meant. Cluster policies only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// Conditions on the TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConditions>,
    /// Conditions on the HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Conditions on the head of the HTTP response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// A CEL expression over the same attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// Where the connection goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct To {
    /// Host patterns: `x.io` is that name only, `*.x.io` every name below it, at any depth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Domain sets whose names count like `hosts`: the name of a set of the policy's own scope, or `cluster/name` for a
    /// ClusterEgressDomainSet named by a namespaced policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_sets: Vec<String>,
    /// Address ranges in CIDR form, or single addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Domain sets whose address ranges count like `cidrs`, named as in `hostSets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidr_sets: Vec<String>,
    /// Port numbers, or ranges such as `8000-8999`. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<IntOrText>,
    /// HTTP (cleartext), TLS (whatever is inside) or TCP. In an Allow, Pass or Next, TCP matches any bytes and absent
    /// with a name means HTTP or TLS; in a Deny or Alert, TCP is what is neither HTTP nor TLS and absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ToProtocol>,
    /// Permits host patterns that cover a public or shared-hosting suffix, such as `*.co.uk` or `*.github.io`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_broad: bool,
}

/// A protocol as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ToProtocol {
    /// Cleartext HTTP.
    Http,
    /// Any bytes in an Allow, Pass or Next; neither HTTP nor TLS in a Deny or Alert.
    Tcp,
    /// TLS, opened or not.
    Tls,
    /// Reserved: refused.
    Udp,
}

/// Which workloads a rule is for. All fields that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct From {
    /// The namespace is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The labels of the namespace.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub namespace_selector: LabelSelector,
    /// The labels of the workload.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub pod_selector: LabelSelector,
    /// The service account is one of these, each `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    /// The connection comes from one of these address ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Which Amazon ECS tasks the rule is for. Invalid where workloads are not such tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecs: Option<EcsSelector>,
}

/// Selects Amazon ECS tasks. All fields that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EcsSelector {
    /// The cluster is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// The family of the task definition is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// The service is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The task role is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_roles: Vec<String>,
}

/// Conditions on the TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConditions {
    /// Whether the handshake names a server (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<Sni>,
    /// The handshake offers one of these application protocols, such as `h2` or `http/1.1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// The highest version that the handshake offers is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsFloor>,
    /// The JA4 fingerprint is one of these; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ja4: Vec<String>,
}

/// Whether the handshake names a server.
pub type Sni = Presence;

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Presence {
    /// It is not there.
    #[serde(alias = "absent")]
    Absent,
    /// It is there.
    #[serde(alias = "present")]
    Present,
}

/// A TLS version that a handshake must offer at least.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TlsFloor {
    /// TLS 1.0.
    #[serde(rename = "1.0")]
    V10,
    /// TLS 1.1.
    #[serde(rename = "1.1")]
    V11,
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// Conditions on the HTTP request. The head of a CONNECT request is never meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// The method is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The path, without the query, is one of these: exact, with `*` for any characters of one segment, or ending in
    /// `/**` for a path and everything below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Headers by name; all of them must match. A repeated header matches an Allow only if every value does, a Deny if
    /// any does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderMatch>,
    /// The media type of the request body is one of these; `text/*` stands for all types of text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// The User-Agent header is one of these; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_agents: Vec<String>,
    /// The declared length of the request body lies within these bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_length: Option<LengthRange>,
}

/// How one header must look. All fields that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// The value is one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exact: Vec<String>,
    /// The value starts with one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
    /// The value matches one of these, where `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub glob: Vec<String>,
    /// true: the header is there; false: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// Bounds on a length in bytes, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LengthRange {
    /// At least this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// At most this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// Conditions on the head of the HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Response {
    /// The status is one of these: a code, a class such as `2xx`, or a range such as `500-599`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<IntOrText>,
    /// The media type of the response body is one of these; `text/*` stands for all types of text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// Headers by name; all of them must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderMatch>,
    /// The length of the response body lies within these bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_length: Option<LengthRange>,
}
