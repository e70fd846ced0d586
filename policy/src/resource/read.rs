//! Resources back into a snapshot.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Digest, Feature, Resource, ResourceName, StandIn};
use crate::{
    index::{NameSet, NameSetError},
    model::{EgressGatewaySpec, Mode},
    snapshot::{CredentialResource, PolicyResource, SetContent, SetResource, Snapshot, Workload},
};

/// What a resource says.
#[derive(Clone, Debug)]
pub enum Content {
    /// The settings of a fleet, and its name.
    Settings(String, Box<EgressGatewaySpec>),
    /// Whether the documents come from a directory.
    Standalone(bool),
    /// A policy.
    Policy(PolicyResource),
    /// A domain set.
    Set(SetResource),
    /// A credential without its value.
    Credential(CredentialResource),
    /// A workload.
    Workload(Workload),
}

/// Why a resource is refused.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// It needs something that this build does not have.
    #[error("needs the feature {0:?}, which this build does not have; update the gateway")]
    Needs(Feature),
    /// The bytes are not those that were announced.
    #[error("the bytes have the digest {found}, not {announced}")]
    Digest {
        /// What was announced.
        announced: Digest,
        /// What came.
        found: Digest,
    },
    /// The bytes are no document of this kind.
    #[error("cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The bytes are no compiled set.
    #[error(transparent)]
    Names(#[from] NameSetError),
    /// The content says that it is another one.
    #[error("its content is {0}")]
    Name(ResourceName),
    /// There is another EgressGateway.
    #[error("a gateway has one EgressGateway, and {0:?} is already taken")]
    SecondGateway(String),
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ResourceError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn set_content(resource: &Resource) -> Result<SetContent, ResourceError> {
    if !resource.is_compiled_set() {
        return read(&resource.body);
    }
    let mut parts = resource.body.splitn(2, |&byte| byte == b'\n');
    let cidrs = read(parts.next().unwrap_or_default())?;
    let names = parts.next().unwrap_or_default().to_vec();
    Ok(SetContent::Artifact {
        names: Arc::new(NameSet::from_bytes(names)?),
        cidrs,
    })
}

impl Resource {
    /// Reads the resource, strictly: what this build does not know is an error.
    pub fn read(&self) -> Result<Content, ResourceError> {
        if let Some(feature) = self.needs.iter().find(|feature| !feature.is_known()) {
            return Err(ResourceError::Needs(feature.clone()));
        }
        let found = Digest::of(&self.body);
        if found != self.digest {
            return Err(ResourceError::Digest {
                announced: self.digest,
                found,
            });
        }
        let content = match &self.name {
            ResourceName::Settings(gateway) => {
                Content::Settings(gateway.clone(), read(&self.body)?)
            }
            ResourceName::Standalone => Content::Standalone(read(&self.body)?),
            ResourceName::ClusterPolicy(name) => Content::Policy(PolicyResource::Cluster {
                name: name.clone(),
                spec: read(&self.body)?,
            }),
            ResourceName::Policy(namespace, name) => Content::Policy(PolicyResource::Namespaced {
                namespace: namespace.clone(),
                name: name.clone(),
                spec: read(&self.body)?,
            }),
            ResourceName::Set(namespace, name) => Content::Set(SetResource {
                namespace: namespace.clone(),
                name: name.clone(),
                content: set_content(self)?,
            }),
            ResourceName::Credential(..) => {
                let credential: CredentialResource = read(&self.body)?;
                self.is(ResourceName::Credential(
                    credential.namespace.clone(),
                    credential.name.clone(),
                ))?;
                Content::Credential(credential)
            }
            ResourceName::Workload(..) => {
                let workload: Workload = read(&self.body)?;
                self.is(ResourceName::Workload(
                    workload.namespace.clone(),
                    workload.name.clone(),
                ))?;
                Content::Workload(workload)
            }
        };
        Ok(content)
    }

    fn is(&self, name: ResourceName) -> Result<(), ResourceError> {
        if name == self.name {
            Ok(())
        } else {
            Err(ResourceError::Name(name))
        }
    }

    /// What takes the place of this resource where it is refused. None for what is no policy, and for one that only audits.
    pub fn stands_in(&self) -> Option<StandIn> {
        self.stand_in
            .clone()
            .filter(|stand_in| stand_in.name() == self.name)
            .or_else(|| StandIn::widest(&self.name))
            .filter(|stand_in| stand_in.mode() == Mode::Enforce)
    }
}

impl Snapshot {
    /// Adds what a resource says. A second EgressGateway is not taken.
    pub fn add(&mut self, content: Content) -> Result<(), ResourceError> {
        match content {
            Content::Settings(gateway, settings) => {
                if !self.gateway.is_empty() {
                    return Err(ResourceError::SecondGateway(self.gateway.clone()));
                }
                self.gateway = gateway;
                self.settings = *settings;
            }
            Content::Standalone(standalone) => self.standalone = standalone,
            Content::Policy(policy) => self.policies.push(policy),
            Content::Set(set) => self.sets.push(set),
            Content::Credential(credential) => self.credentials.push(credential),
            Content::Workload(workload) => self.workloads.push(workload),
        }
        Ok(())
    }
}

/// A snapshot of these resources. Those that cannot be used are named with the reason and left out; something stands in
/// for policies among them. Without any settings the snapshot has an empty `gateway`, and denies by its defaults.
pub fn snapshot_of<'a>(
    resources: impl IntoIterator<Item = &'a Resource>,
) -> (Snapshot, Vec<(ResourceName, ResourceError)>) {
    let mut snapshot = Snapshot::default();
    let mut refused = Vec::new();
    for resource in resources {
        let added = resource.read().and_then(|content| snapshot.add(content));
        if let Err(error) = added {
            snapshot.stand_ins.extend(resource.stands_in());
            refused.push((resource.name.clone(), error));
        }
    }
    (snapshot, refused)
}
