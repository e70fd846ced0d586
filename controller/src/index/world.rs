//! Everything that counts, linked so that a change finds whom it concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use exitgate_policy::resource::Content;
use exitgate_policy::{
    EgressGatewaySpec, PolicyResource, Resource, SecretValue, SetContent, SetResource, Workload,
};

use super::event::{Namespace, ObjectKey, Pod};
use super::needs::Needs;
use super::part::Part;
use super::workload;

/// A policy as the compiler gets it and as it travels.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) content: PolicyResource,
    pub(super) part: Arc<Part>,
    pub(super) needs: Needs,
}

/// A domain set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) content: SetResource,
    pub(super) part: Arc<Part>,
}

/// A workload with its resource.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) workload: Workload,
    pub(super) part: Arc<Part>,
}

impl Member {
    pub(super) fn new(workload: Workload) -> Self {
        Self {
            part: Arc::new(Part::new(Resource::workload(&workload))),
            workload,
        }
    }
}

/// The settings of a fleet.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) spec: Box<EgressGatewaySpec>,
    pub(super) part: Arc<Part>,
    /// Workloads that the settings name.
    pub(super) mapped: Vec<Member>,
}

/// A pod, and the workload that it is.
#[derive(Debug)]
pub(super) struct KnownPod {
    pub(super) pod: Pod,
    pub(super) member: Option<Member>,
}

/// One namespace.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// None: the namespace itself is not known, and what its labels would select neither.
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) credentials: BTreeMap<String, Arc<Part>>,
    pub(super) pods: BTreeMap<String, KnownPod>,
}

impl Space {
    fn is_empty(&self) -> bool {
        self.labels.is_none()
            && self.policies.is_empty()
            && self.sets.is_empty()
            && self.credentials.is_empty()
            && self.pods.is_empty()
    }
}

/// What has changed since manifests were made.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) all: bool,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) nodes: BTreeSet<String>,
    pub(super) pods: BTreeSet<String>,
    /// Some workload came, went or changed.
    pub(super) workloads: bool,
}

/// Everything that counts.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) gateways: BTreeMap<String, Gateway>,
    pub(super) cluster_policies: BTreeMap<String, Policy>,
    pub(super) cluster_sets: BTreeMap<String, Set>,
    pub(super) spaces: BTreeMap<String, Space>,
    /// The pods of each node, by namespace and name.
    pub(super) nodes: HashMap<String, BTreeSet<(String, String)>>,
    /// By UID.
    pub(super) pods: HashMap<String, (String, String)>,
    pub(super) secrets: BTreeMap<(String, String), SecretValue>,
    pub(super) changes: Changes,
}

fn replace<T>(
    map: &mut BTreeMap<String, T>,
    name: &str,
    now: Option<T>,
    part: impl Fn(&T) -> &Arc<Part>,
) -> bool {
    let same = match (map.get(name), &now) {
        (Some(before), Some(now)) => part(before).is(part(now)),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !same {
        match now {
            Some(now) => map.insert(name.to_owned(), now),
            None => map.remove(name),
        };
    }
    !same
}

fn set(content: SetResource) -> Set {
    Set {
        part: Arc::new(Part::new(Resource::set(&content))),
        content,
    }
}

fn policy(content: PolicyResource) -> Policy {
    Policy {
        part: Arc::new(Part::new(Resource::policy(&content))),
        needs: Needs::of(&content),
        content,
    }
}

impl World {
    /// Puts what counts of an object in the place of what counted before; `None` removes it. Says whether that changes
    /// anything.
    pub(super) fn put(&mut self, key: &ObjectKey, now: Option<Content>) -> bool {
        use super::event::Watched::Document;
        use crate::api::Kind;
        let Document(kind) = key.watched else {
            return false;
        };
        let name = &key.name;
        let changed = match kind {
            Kind::ClusterEgressPolicy => {
                let now = now.and_then(|content| match content {
                    Content::Policy(content) => Some(policy(content)),
                    _ => None,
                });
                replace(&mut self.cluster_policies, name, now, |one| &one.part)
            }
            Kind::ClusterEgressDomainSet => {
                let now = now.and_then(as_set);
                replace(&mut self.cluster_sets, name, now, |one| &one.part)
            }
            Kind::EgressGateway => {
                let now = now.and_then(|content| match content {
                    Content::Settings(name, spec) => Some(gateway(&name, spec)),
                    _ => None,
                });
                replace(&mut self.gateways, name, now, |one| &one.part)
            }
            Kind::EgressCredential | Kind::EgressDomainSet | Kind::EgressPolicy => {
                let namespace = key.namespace.clone().unwrap_or_default();
                let changed = self.put_namespaced(kind, &namespace, name, now);
                if changed {
                    self.changes.namespaces.insert(namespace);
                }
                return changed;
            }
        };
        self.changes.all |= changed;
        changed
    }

    fn put_namespaced(
        &mut self,
        kind: crate::api::Kind,
        namespace: &str,
        name: &str,
        now: Option<Content>,
    ) -> bool {
        use crate::api::Kind;
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        let changed = match kind {
            Kind::EgressPolicy => {
                let now = now.and_then(|content| match content {
                    Content::Policy(content) => Some(policy(content)),
                    _ => None,
                });
                replace(&mut space.policies, name, now, |one| &one.part)
            }
            Kind::EgressDomainSet => {
                let now = now.and_then(as_set);
                replace(&mut space.sets, name, now, |one| &one.part)
            }
            Kind::EgressCredential => {
                let now = now.and_then(|content| match content {
                    Content::Credential(content) => {
                        Some(Arc::new(Part::new(Resource::credential(&content))))
                    }
                    _ => None,
                });
                replace(&mut space.credentials, name, now, |part| part)
            }
            Kind::ClusterEgressDomainSet | Kind::ClusterEgressPolicy | Kind::EgressGateway => false,
        };
        self.sweep(namespace);
        changed
    }

    fn sweep(&mut self, namespace: &str) {
        if self.spaces.get(namespace).is_some_and(Space::is_empty) {
            self.spaces.remove(namespace);
        }
    }

    /// A namespace came, or its labels changed.
    pub(super) fn namespace(&mut self, namespace: Namespace) {
        let space = self.spaces.entry(namespace.name.clone()).or_default();
        if space.labels.as_ref() == Some(&namespace.labels) {
            return;
        }
        space.labels = Some(namespace.labels);
        self.relabel(&namespace.name);
    }

    pub(super) fn no_namespace(&mut self, name: &str) {
        if let Some(space) = self.spaces.get_mut(name) {
            space.labels = None;
            self.relabel(name);
            self.sweep(name);
        }
    }

    fn relabel(&mut self, namespace: &str) {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return;
        };
        for known in space.pods.values_mut() {
            known.member = workload::of_pod(&known.pod, space.labels.as_ref()).map(Member::new);
            self.changes.nodes.extend(known.pod.node.clone());
            self.changes.pods.insert(known.pod.uid.clone());
        }
        self.changes.workloads = true;
        self.changes.namespaces.insert(namespace.to_owned());
    }

    pub(super) fn pod(&mut self, pod: Pod) {
        let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
        let space = self.spaces.entry(namespace.clone()).or_default();
        if space.pods.get(&name).is_some_and(|known| known.pod == pod) {
            return;
        }
        self.no_pod(&namespace, &name);
        let place = (namespace.clone(), name.clone());
        if let Some(node) = &pod.node {
            self.nodes
                .entry(node.clone())
                .or_default()
                .insert(place.clone());
        }
        self.pods.insert(pod.uid.clone(), place);
        self.touched(&pod);
        let space = self.spaces.entry(namespace).or_default();
        let member = workload::of_pod(&pod, space.labels.as_ref()).map(Member::new);
        space.pods.insert(name, KnownPod { pod, member });
    }

    pub(super) fn no_pod(&mut self, namespace: &str, name: &str) {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return;
        };
        let Some(KnownPod { pod, .. }) = space.pods.remove(name) else {
            return;
        };
        let place = (pod.namespace.clone(), pod.name.clone());
        if let Some(node) = &pod.node
            && let Some(pods) = self.nodes.get_mut(node)
        {
            pods.remove(&place);
            if pods.is_empty() {
                self.nodes.remove(node);
            }
        }
        self.pods.remove(&pod.uid);
        self.touched(&pod);
        self.sweep(namespace);
    }

    fn touched(&mut self, pod: &Pod) {
        self.changes.workloads = true;
        self.changes.nodes.extend(pod.node.clone());
        self.changes.pods.insert(pod.uid.clone());
    }

    /// The value of a credential came, changed or went.
    pub(super) fn secret(&mut self, namespace: &str, name: &str, value: Option<SecretValue>) {
        let key = (namespace.to_owned(), name.to_owned());
        if self.secrets.get(&key) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => self.secrets.insert(key, value),
            None => self.secrets.remove(&key),
        };
        self.changes.namespaces.insert(namespace.to_owned());
    }

    /// The EgressGateway that the workloads of a namespace with these labels belong to: the first that selects them.
    pub(super) fn gateway_of(&self, labels: &BTreeMap<String, String>) -> Option<&str> {
        let selects = |gateway: &Gateway| {
            let selector = gateway.spec.namespace_selector.as_ref();
            selector.is_none_or(|selector| selector.matches(labels))
        };
        let mut gateways = self.gateways.iter();
        gateways
            .find(|(_, gateway)| selects(gateway))
            .map(|(name, _)| name.as_str())
    }

    /// Every set that has content, with the credentials: what a policy can refer to.
    pub(super) fn sets(&self) -> impl Iterator<Item = &SetResource> {
        let own = self.spaces.values().flat_map(|space| space.sets.values());
        self.cluster_sets
            .values()
            .chain(own)
            .map(|set| &set.content)
            .filter(|set| !matches!(set.content, SetContent::Unavailable))
    }
}

fn as_set(content: Content) -> Option<Set> {
    match content {
        Content::Set(content) => Some(set(content)),
        _ => None,
    }
}

fn gateway(name: &str, spec: Box<EgressGatewaySpec>) -> Gateway {
    Gateway {
        part: Arc::new(Part::new(Resource::settings(name, &spec))),
        mapped: workload::of_settings(&spec)
            .into_iter()
            .map(Member::new)
            .collect(),
        spec,
    }
}
