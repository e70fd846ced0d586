//! Policies and their rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    conditions::{Conditions, From, Http, Response, Sni, TlsConditions, TlsFloor, To},
    scalar::LabelSelector,
};

/// Where the selected workloads of this namespace may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressPolicySpec {
    /// Enforce (the default) acts; Audit only records what it would have changed.
    #[serde(default)]
    pub mode: Mode,
    /// An Audit policy may name the policy of this namespace that it is meant to replace; that one is left out when the
    /// differences are computed, so that a tightening can be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Which workloads of the namespace this policy selects. Empty selects all.
    #[serde(default)]
    pub subject: Subject,
    /// The rules. Their order does not matter in a namespaced policy: any matching Deny denies, else any matching Allow
    /// allows, else the workload is isolated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Guardrails above, and defaults below, the policies of the namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterEgressPolicySpec {
    /// Admin is evaluated before the namespaces' policies, Baseline only for workloads that none of those selects.
    pub tier: PolicyTier,
    /// Position within the tier, 0 to 1000, lower first; equal priorities go by name.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i64,
    /// Enforce (the default) acts; Audit only records what it would have changed.
    #[serde(default)]
    pub mode: Mode,
    /// An Audit policy may name the cluster policy that it is meant to replace; that one is left out when the
    /// differences are computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Which workloads this policy selects. Empty selects all.
    #[serde(default)]
    pub subject: ClusterSubject,
    /// The rules, first match decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

fn default_priority() -> i64 {
    500
}

/// Whether a policy acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Records what the policy would have changed, and changes nothing.
    Audit,
    /// The policy acts.
    #[default]
    Enforce,
}

/// The tier of a cluster policy.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum PolicyTier {
    /// Before the namespaces' policies.
    Admin,
    /// After them, for workloads that none of them selects.
    Baseline,
}

/// Selects workloads of one namespace. All fields that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// The labels of the workload.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub pod_selector: LabelSelector,
    /// The service account is one of these. Empty selects any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
}

/// Selects workloads across namespaces. All fields that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSubject {
    /// The namespace is one of these. Empty selects any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The labels of the namespace.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub namespace_selector: LabelSelector,
    /// The labels of the workload.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub pod_selector: LabelSelector,
    /// The service account is one of these, each `name` or `namespace/name`. Empty selects any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
}

/// One rule. It matches when all its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The rule's name, unique in its policy; shown in every record.
    pub name: String,
    /// What a match means: Allow, Deny or Alert; in cluster policies also Next, in Admin policies also Pass.
    pub action: Action,
    /// Where the connection goes. Absent: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// Which workloads the rule is for, beyond the policy's subject. Cluster policies only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// Conditions on the TLS handshake, and whether TLS is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RuleTls>,
    /// Conditions on the HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Conditions on the head of the HTTP response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// A CEL expression over the same attributes; it must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Conditions that must not all hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Conditions>>,
    /// A credential that is added to matching requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
    /// From this moment on (RFC 3339) the rule is as if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why the rule exists, such as a ticket; shown in records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a matching rule means.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Action {
    /// Records the match and goes on.
    Alert,
    /// Lets the flow through.
    Allow,
    /// Refuses the flow.
    Deny,
    /// This policy has no objection: goes on with the next one of the tier. Cluster policies only.
    Next,
    /// Skips to the namespace tier. Admin policies only.
    Pass,
}

impl Action {
    /// The action as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "Alert",
            Self::Allow => "Allow",
            Self::Deny => "Deny",
            Self::Next => "Next",
            Self::Pass => "Pass",
        }
    }
}

/// Conditions on the TLS handshake, and whether TLS is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleTls {
    /// Auto (the default) opens TLS only where the verdict needs it; Inspect always; Passthrough never.
    #[serde(default)]
    pub mode: TlsMode,
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

impl RuleTls {
    /// The conditions without the mode.
    pub fn conditions(&self) -> TlsConditions {
        TlsConditions {
            sni: self.sni,
            alpn: self.alpn.clone(),
            min_version: self.min_version,
            ja4: self.ja4.clone(),
        }
    }
}

/// Whether TLS is opened.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum TlsMode {
    /// Only where the verdict needs what is inside.
    #[default]
    Auto,
    /// Always.
    Inspect,
    /// Never.
    Passthrough,
}

/// A credential that is added to matching requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inject {
    /// The EgressCredential of the same namespace.
    pub credential_ref: CredentialRef,
}

/// Names an EgressCredential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialRef {
    /// Its name.
    pub name: String,
}
