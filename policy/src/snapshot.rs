//! What a gateway is told: plain data, content-addressed.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    index::NameSet,
    model::{ClusterEgressPolicySpec, EgressGatewaySpec, EgressPolicySpec},
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
#[serde(rename_all = "camelCase")]
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
#[serde(rename_all = "camelCase")]
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
#[serde(rename_all = "camelCase")]
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
}

impl Snapshot {
    /// The hash of the sorted list of resource names and digests: equal wherever the content is equal, whatever the order.
    pub fn revision(&self) -> String {
        let mut lines: Vec<String> = Vec::with_capacity(
            self.policies.len()
                + self.sets.len()
                + self.credentials.len()
                + self.workloads.len()
                + 2,
        );
        lines.push(format!(
            "settings/{} {}",
            self.gateway,
            digest(&self.settings)
        ));
        lines.push(format!("standalone {}", self.standalone));
        for policy in &self.policies {
            lines.push(match policy {
                PolicyResource::Cluster { name, spec } => {
                    format!("cluster-policy/{name} {}", digest(spec))
                }
                PolicyResource::Namespaced {
                    namespace,
                    name,
                    spec,
                } => {
                    format!("policy/{namespace}/{name} {}", digest(spec))
                }
            });
        }
        for set in &self.sets {
            let scope = set.namespace.as_deref().unwrap_or("");
            let content = match &set.content {
                SetContent::Artifact { names, cidrs } => {
                    format!("{} {}", names.digest(), digest(cidrs))
                }
                content @ (SetContent::Inline { .. } | SetContent::Unavailable) => digest(content),
            };
            lines.push(format!("set/{scope}/{} {content}", set.name));
        }
        for credential in &self.credentials {
            lines.push(format!(
                "credential/{}/{} {}",
                credential.namespace,
                credential.name,
                digest(credential)
            ));
        }
        for workload in &self.workloads {
            lines.push(format!(
                "workload/{}/{} {}",
                workload.namespace,
                workload.name,
                digest(workload)
            ));
        }
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        hex(&hash.finalize())
    }
}

fn digest<T: Serialize>(value: &T) -> String {
    // The documents are maps with text keys only, which JSON can always hold.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
