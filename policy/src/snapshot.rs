//! What a gateway is told: plain data, content-addressed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    index::NameSet,
    model::{ClusterEgressPolicySpec, EgressGatewaySpec, EgressPolicySpec},
    resource::StandIn,
};

/// Everything a gateway decides by.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The name of the EgressGateway.
    pub gateway: String,
    /// Its settings.
    pub settings: EgressGatewaySpec,
    /// All policies.
    pub policies: Vec<PolicyResource>,
    /// All domain sets.
    pub sets: Vec<SetResource>,
    /// All credentials, without their values: those travel apart and are part of no digest.
    #[serde(default)]
    pub credentials: Vec<CredentialResource>,
    /// The workloads that are known.
    pub workloads: Vec<Workload>,
    /// What takes the place of policies that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stand_ins: Vec<StandIn>,
    /// Whether the documents come from a directory; only there may a rule open loopback.
    pub standalone: bool,
    /// The listeners of the gateway that asks, with real addresses (a wildcard address means every loopback address and
    /// should be given together with the interface addresses). Not part of the revision: it is local to an instance.
    #[serde(default, skip)]
    pub own_listeners: Vec<SocketAddr>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyResource {
    /// A ClusterEgressPolicy.
    Cluster {
        /// Its name.
        name: String,
        /// Its content.
        spec: ClusterEgressPolicySpec,
    },
    /// An EgressPolicy.
    Namespaced {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its content.
        spec: EgressPolicySpec,
    },
}

/// One domain set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetResource {
    /// Its namespace; none for a ClusterEgressDomainSet.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: SetContent,
}

/// What is in a domain set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SetContent {
    /// A list that was loaded from a feed, compiled. `cidrs` are those of the document.
    Artifact {
        /// The names.
        names: Arc<NameSet>,
        /// The address ranges.
        cidrs: Vec<String>,
    },
    /// Patterns and ranges as written.
    Inline {
        /// Host patterns.
        hosts: Vec<String>,
        /// Address ranges.
        cidrs: Vec<String>,
        /// Whether patterns may cover public suffixes.
        #[serde(default)]
        allow_broad: bool,
    },
    /// Not loaded: every match on it is unknown.
    Unavailable,
}

/// One credential without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialResource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The header that is set or replaced.
    pub header: String,
    /// Text before the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Host patterns that it may be sent to.
    pub hosts: Vec<String>,
}

/// One workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    #[serde(default)]
    pub service_account: Option<String>,
    /// The labels of its namespace.
    #[serde(default)]
    pub namespace_labels: BTreeMap<String, String>,
    /// The addresses that its connections come from, where something trustworthy says so. Selects nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// What tells it from an earlier one of its name: the UID of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Workload {
    /// Without what selects nothing and no expression sees.
    pub(crate) fn as_selected(&self) -> Self {
        Self {
            addresses: Vec::new(),
            uid: None,
            node: None,
            ..self.clone()
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
