//! What resources are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{ObjectRef, snapshot::PolicyResource};

/// Most bytes of one part of a name.
const MAX_PART: usize = 253;

/// What a resource is called: `policy/pay/billing` and so on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceName {
    /// `settings/GATEWAY`: the spec of the EgressGateway.
    Settings(String),
    /// `standalone`: whether the documents come from a directory.
    Standalone,
    /// `cluster-policy/NAME`.
    ClusterPolicy(String),
    /// `policy/NAMESPACE/NAME`.
    Policy(String, String),
    /// `set/NAMESPACE/NAME`, or `set//NAME` for one of the cluster.
    Set(Option<String>, String),
    /// `credential/NAMESPACE/NAME`, without its value.
    Credential(String, String),
    /// `workload/NAMESPACE/NAME`.
    Workload(String, String),
}

/// A text that names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a resource; names are settings/G, standalone, cluster-policy/N, policy/NS/N, set//N, set/NS/N, credential/NS/N and workload/NS/N"
)]
pub struct ResourceNameError(pub String);

impl ResourceName {
    /// The name of a policy.
    pub fn of_policy(policy: &PolicyResource) -> Self {
        match policy {
            PolicyResource::Cluster { name, .. } => Self::ClusterPolicy(name.clone()),
            PolicyResource::Namespaced {
                namespace, name, ..
            } => Self::Policy(namespace.clone(), name.clone()),
        }
    }

    /// The resource that a problem is about. None for kinds that no resource is made of.
    pub fn of_object(object: &ObjectRef) -> Option<Self> {
        let name = object.name.clone();
        let spaced = |make: fn(String, String) -> Self| {
            object
                .namespace
                .clone()
                .map(|namespace| make(namespace, name.clone()))
        };
        match object.kind {
            "EgressGateway" => Some(Self::Settings(name)),
            "ClusterEgressPolicy" => Some(Self::ClusterPolicy(name)),
            "EgressPolicy" => spaced(Self::Policy),
            "ClusterEgressDomainSet" => Some(Self::Set(None, name)),
            "EgressDomainSet" => spaced(|namespace, name| Self::Set(Some(namespace), name)),
            "EgressCredential" => spaced(Self::Credential),
            _ => None,
        }
    }

    /// Whether this is a policy, for which something stands in where it is refused.
    pub fn is_policy(&self) -> bool {
        matches!(self, Self::ClusterPolicy(_) | Self::Policy(..))
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(name) => write!(f, "settings/{name}"),
            Self::Standalone => f.write_str("standalone"),
            Self::ClusterPolicy(name) => write!(f, "cluster-policy/{name}"),
            Self::Policy(namespace, name) => write!(f, "policy/{namespace}/{name}"),
            Self::Set(namespace, name) => {
                write!(f, "set/{}/{name}", namespace.as_deref().unwrap_or_default())
            }
            Self::Credential(namespace, name) => write!(f, "credential/{namespace}/{name}"),
            Self::Workload(namespace, name) => write!(f, "workload/{namespace}/{name}"),
        }
    }
}

fn part(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= MAX_PART
        && !text
            .chars()
            .any(|c| c == '/' || c.is_control() || c.is_whitespace());
    fits.then(|| text.to_owned())
}

fn parse(text: &str) -> Option<ResourceName> {
    if text == "standalone" {
        return Some(ResourceName::Standalone);
    }
    let (kind, rest) = text.split_once('/')?;
    let pair = || {
        let (namespace, name) = rest.split_once('/')?;
        Some((part(namespace)?, part(name)?))
    };
    match kind {
        "settings" => part(rest).map(ResourceName::Settings),
        "cluster-policy" => part(rest).map(ResourceName::ClusterPolicy),
        "policy" => pair().map(|(namespace, name)| ResourceName::Policy(namespace, name)),
        "set" => match rest.strip_prefix('/') {
            Some(name) => part(name).map(|name| ResourceName::Set(None, name)),
            None => pair().map(|(namespace, name)| ResourceName::Set(Some(namespace), name)),
        },
        "credential" => pair().map(|(namespace, name)| ResourceName::Credential(namespace, name)),
        "workload" => pair().map(|(namespace, name)| ResourceName::Workload(namespace, name)),
        _ => None,
    }
}

impl FromStr for ResourceName {
    type Err = ResourceNameError;

    fn from_str(text: &str) -> Result<Self, ResourceNameError> {
        parse(text).ok_or_else(|| ResourceNameError(text.chars().take(600).collect()))
    }
}

impl Serialize for ResourceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
