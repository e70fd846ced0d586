//! What others ask the index: the writer of statuses, the webhook, the services.

use std::collections::BTreeSet;

use exitgate_policy::{CredentialResource, EgressGatewaySpec, Snapshot};

use super::event::{ObjectKey, Watched};
use super::world::Policy;
use super::{Index, Report};
use crate::api::Kind;

/// Whom a policy selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    pub workloads: usize,
    /// EgressGateways of the workloads, each with the node of one.
    pub nodes: BTreeSet<(String, String)>,
    /// EgressGateways of the workloads.
    pub gateways: BTreeSet<String>,
}

/// A pod that shows who it is by its UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub node: Option<String>,
    /// The EgressGateway that it belongs to.
    pub gateway: Option<String>,
}

impl Index {
    /// What became of an object. None: there is no such object.
    pub fn report(&self, key: &ObjectKey) -> Option<&Report> {
        Some(&self.documents.entry(key)?.report)
    }

    /// The objects whose report may be another one since this was asked last, the removed ones among them.
    pub fn take_reported(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.reported)
    }

    /// The digest that a gateway applies for an object. None: it contributes nothing.
    pub fn digest(&self, key: &ObjectKey) -> Option<exitgate_policy::Digest> {
        let Watched::Document(kind) = key.watched else {
            return None;
        };
        let world = &self.world;
        let space = || world.spaces.get(key.namespace.as_deref()?);
        let part = match kind {
            Kind::ClusterEgressDomainSet => &world.cluster_sets.get(&key.name)?.part,
            Kind::ClusterEgressPolicy => &world.cluster_policies.get(&key.name)?.part,
            Kind::EgressCredential => space()?.credentials.get(&key.name)?,
            Kind::EgressDomainSet => &space()?.sets.get(&key.name)?.part,
            Kind::EgressGateway => &world.gateways.get(&key.name)?.part,
            Kind::EgressPolicy => &space()?.policies.get(&key.name)?.part,
        };
        Some(part.resource.digest)
    }

    fn policy(&self, key: &ObjectKey) -> Option<&Policy> {
        match key.watched {
            Watched::Document(Kind::ClusterEgressPolicy) => {
                self.world.cluster_policies.get(&key.name)
            }
            Watched::Document(Kind::EgressPolicy) => {
                let space = self.world.spaces.get(key.namespace.as_deref()?)?;
                space.policies.get(&key.name)
            }
            Watched::Document(_) | Watched::Namespace | Watched::Node | Watched::Pod => None,
        }
    }

    /// The pods that a policy selects.
    pub fn selected(&self, key: &ObjectKey) -> Selected {
        let mut selected = Selected::default();
        let Some(policy) = self.policy(key) else {
            return selected;
        };
        let spaces = self.world.spaces.iter().filter(|(name, _)| {
            key.namespace
                .as_ref()
                .is_none_or(|namespace| namespace == *name)
        });
        for (_, space) in spaces {
            let Some(labels) = &space.labels else {
                continue;
            };
            let gateway = self.world.gateway_of(labels);
            for known in space.pods.values() {
                let member = known.member.as_ref();
                if !member.is_some_and(|member| policy.content.selects(&member.workload)) {
                    continue;
                }
                selected.workloads += 1;
                let Some(gateway) = gateway else { continue };
                selected.gateways.insert(gateway.to_owned());
                if let Some(node) = &known.pod.node {
                    let place = (gateway.to_owned(), node.clone());
                    selected.nodes.insert(place);
                }
            }
        }
        selected
    }

    /// References of a policy that lead nowhere, as `EgressDomainSet NS/NAME`.
    pub fn unresolved(&self, key: &ObjectKey) -> Vec<String> {
        let Some(policy) = self.policy(key) else {
            return Vec::new();
        };
        let needs = &policy.needs;
        let mut missing = Vec::new();
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let space = self.world.spaces.get(namespace);
        for name in &needs.cluster_sets {
            if !self.world.cluster_sets.contains_key(name) {
                missing.push(format!("ClusterEgressDomainSet {name}"));
            }
        }
        for name in &needs.own_sets {
            if !space.is_some_and(|space| space.sets.contains_key(name)) {
                missing.push(format!("EgressDomainSet {namespace}/{name}"));
            }
        }
        for name in &needs.credentials {
            if !space.is_some_and(|space| space.credentials.contains_key(name)) {
                missing.push(format!("EgressCredential {namespace}/{name}"));
            }
        }
        missing
    }

    /// The policies that refer to a domain set or credential.
    pub fn users(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        let policy_key = |kind, namespace: Option<&String>, name: &String| ObjectKey {
            watched: Watched::Document(kind),
            namespace: namespace.cloned(),
            name: name.clone(),
        };
        let uses = |policy: &Policy, own: bool| match key.watched {
            Watched::Document(Kind::ClusterEgressDomainSet) => {
                policy.needs.cluster_sets.contains(&key.name)
            }
            Watched::Document(Kind::EgressDomainSet) => {
                own && policy.needs.own_sets.contains(&key.name)
            }
            Watched::Document(Kind::EgressCredential) => {
                own && policy.needs.credentials.contains(&key.name)
            }
            Watched::Document(_) | Watched::Namespace | Watched::Node | Watched::Pod => false,
        };
        let mut users = Vec::new();
        for (name, policy) in &self.world.cluster_policies {
            if uses(policy, false) {
                users.push(policy_key(Kind::ClusterEgressPolicy, None, name));
            }
        }
        for (namespace, space) in &self.world.spaces {
            let own = key.namespace.as_ref() == Some(namespace);
            for (name, policy) in &space.policies {
                if uses(policy, own) {
                    users.push(policy_key(Kind::EgressPolicy, Some(namespace), name));
                }
            }
        }
        users
    }

    /// What an object to be admitted can refer to: sets, credentials and the settings of the first EgressGateway.
    pub fn context(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            sets: self.world.sets().cloned().collect(),
            ..Snapshot::default()
        };
        if let Some((name, gateway)) = self.world.gateways.iter().next() {
            snapshot.gateway.clone_from(name);
            snapshot.settings = (*gateway.spec).clone();
        }
        for space in self.world.spaces.values() {
            let credentials = space.credentials.values();
            let read = credentials.filter_map(|part| {
                serde_json::from_slice::<CredentialResource>(&part.resource.body).ok()
            });
            snapshot.credentials.extend(read);
        }
        snapshot
    }

    /// The settings of an EgressGateway.
    pub fn gateway(&self, name: &str) -> Option<&EgressGatewaySpec> {
        Some(&self.world.gateways.get(name)?.spec)
    }

    /// All EgressGateways, in the order of their names.
    pub fn gateways(&self) -> impl Iterator<Item = (&str, &EgressGatewaySpec)> {
        let gateways = self.world.gateways.iter();
        gateways.map(|(name, gateway)| (name.as_str(), &*gateway.spec))
    }

    /// Whether a node is there.
    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.contains(name)
    }

    /// The pod with this UID, if it is there and has not ended.
    pub fn pod(&self, uid: &str) -> Option<PodIdentity> {
        let (namespace, name) = self.world.pods.get(uid)?;
        let space = self.world.spaces.get(namespace)?;
        let known = space.pods.get(name).filter(|known| !known.pod.ended)?;
        let labels = space.labels.as_ref();
        Some(PodIdentity {
            namespace: namespace.clone(),
            name: name.clone(),
            service_account: known.pod.service_account.clone(),
            node: known.pod.node.clone(),
            gateway: labels
                .and_then(|labels| self.world.gateway_of(labels))
                .map(str::to_owned),
        })
    }
}
