//! What the gateways of one scope get of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use exitgate_policy::{Mode, PolicyResource, Resource};

use super::Origin;
use super::manifest::{Manifest, Position, Secret};
use super::part::Part;
use super::workload;
use super::world::{Changes, Member, Policy, World};

/// Whose workloads a gateway serves. Gateways of one scope share a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every workload that the EgressGateway selects.
    Fleet { gateway: String },
    /// Those of one node.
    Node { gateway: String, node: String },
    /// One pod, with what selects it and nothing else.
    Sidecar { gateway: String, uid: String },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet { gateway } => write!(f, "fleet of {gateway}"),
            Self::Node { gateway, node } => write!(f, "node {node} of {gateway}"),
            Self::Sidecar { gateway, uid } => write!(f, "pod {uid} of {gateway}"),
        }
    }
}

impl Scope {
    /// The EgressGateway.
    pub fn gateway(&self) -> &str {
        match self {
            Self::Fleet { gateway }
            | Self::Node { gateway, .. }
            | Self::Sidecar { gateway, .. } => gateway,
        }
    }

    /// Whether a manifest of this scope, with workloads in these namespaces, may be another one now.
    pub(super) fn is_touched(&self, namespaces: &BTreeSet<String>, changes: &Changes) -> bool {
        let own = match self {
            Self::Fleet { .. } => changes.workloads,
            Self::Node { node, .. } => changes.nodes.contains(node),
            Self::Sidecar { uid, .. } => changes.pods.contains(uid),
        };
        changes.all || own || !changes.namespaces.is_disjoint(namespaces)
    }
}

/// What a manifest is gathered in.
#[derive(Default)]
struct Gathered {
    parts: Vec<Arc<Part>>,
    cluster_sets: BTreeSet<String>,
    secrets: BTreeSet<(String, String)>,
}

impl World {
    /// The manifest of a scope.
    pub(super) fn manifest(
        &self,
        scope: &Scope,
        origin: Origin,
        position: Arc<Position>,
    ) -> Manifest {
        let local = Member::new(workload::local());
        let mut members = self.members(scope);
        if origin == Origin::Directory && members.is_empty() {
            members.push(&local);
        }
        let mut gathered = Gathered {
            parts: Vec::with_capacity(members.len() * 2),
            ..Gathered::default()
        };
        let mut by_namespace: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
        for member in members {
            gathered.parts.push(Arc::clone(&member.part));
            let namespace = member.workload.namespace.as_str();
            by_namespace.entry(namespace).or_default().push(member);
        }
        let sidecar = matches!(scope, Scope::Sidecar { .. });
        let selects = |policy: &Policy, members: &[&Member]| {
            let mut workloads = members.iter().map(|member| &member.workload);
            workloads.any(|workload| policy.content.selects(workload))
        };
        for policy in self.cluster_policies.values() {
            let all = || {
                by_namespace
                    .values()
                    .any(|members| selects(policy, members))
            };
            if !sidecar || all() {
                gathered.policy(policy);
            }
        }
        for (&namespace, members) in &by_namespace {
            self.space(namespace, &mut gathered, sidecar, |policy| {
                selects(policy, members)
            });
        }
        if origin == Origin::Directory {
            self.everything(&mut gathered, &by_namespace);
        }
        for name in &gathered.cluster_sets {
            let set = self.cluster_sets.get(name);
            gathered.parts.extend(set.map(|set| Arc::clone(&set.part)));
        }
        let settings = self.gateways.get(scope.gateway());
        gathered
            .parts
            .extend(settings.map(|gateway| Arc::clone(&gateway.part)));
        let standalone = Resource::standalone(origin == Origin::Directory);
        gathered.parts.push(Arc::new(Part::new(standalone)));
        let secrets = gathered.secrets.into_iter().filter_map(|key| {
            let value = self.secrets.get(&key)?.clone();
            let (namespace, name) = key;
            Some(Secret {
                namespace,
                name,
                value,
            })
        });
        Manifest::new(
            gathered.parts,
            secrets.collect(),
            by_namespace.keys().map(|&name| name.to_owned()).collect(),
            position,
        )
    }

    /// Policies of a namespace with what they use: all, or those that select a workload of the manifest.
    fn space(
        &self,
        namespace: &str,
        gathered: &mut Gathered,
        only_selecting: bool,
        selects: impl Fn(&Policy) -> bool,
    ) {
        let Some(space) = self.spaces.get(namespace) else {
            return;
        };
        let (mut sets, mut credentials) = (BTreeSet::new(), BTreeSet::new());
        for policy in space.policies.values() {
            if only_selecting && !selects(policy) {
                continue;
            }
            gathered.policy(policy);
            sets.extend(&policy.needs.own_sets);
            credentials.extend(&policy.needs.credentials);
            // Asked for only where something depends on it.
            if acts(&policy.content) && !policy.needs.credentials.is_empty() && selects(policy) {
                let wanted = policy.needs.credentials.iter();
                let keys = wanted.map(|name| (namespace.to_owned(), name.clone()));
                gathered.secrets.extend(keys);
            }
        }
        let sets = sets.into_iter().filter_map(|name| space.sets.get(name));
        gathered.parts.extend(sets.map(|set| Arc::clone(&set.part)));
        let credentials = credentials
            .into_iter()
            .filter_map(|name| space.credentials.get(name));
        gathered.parts.extend(credentials.cloned());
    }

    /// A directory is one gateway's own: it has all of it, used or not.
    fn everything(&self, gathered: &mut Gathered, members: &BTreeMap<&str, Vec<&Member>>) {
        gathered.cluster_sets = self.cluster_sets.keys().cloned().collect();
        let known: BTreeSet<*const Part> = gathered.parts.iter().map(Arc::as_ptr).collect();
        for (namespace, space) in &self.spaces {
            let policies = space.policies.values().map(|policy| &policy.part);
            let sets = space.sets.values().map(|set| &set.part);
            let all = policies.chain(sets).chain(space.credentials.values());
            let new = all.filter(|part| !known.contains(&Arc::as_ptr(part)));
            gathered.parts.extend(new.cloned());
            if members.contains_key(namespace.as_str()) {
                let names = space.credentials.keys();
                let keys = names.map(|name| (namespace.clone(), name.clone()));
                gathered.secrets.extend(keys);
            }
        }
    }

    /// The workloads of a scope.
    fn members(&self, scope: &Scope) -> Vec<&Member> {
        let pod = |place: &(String, String)| {
            let known = self.spaces.get(&place.0)?.pods.get(&place.1)?;
            known.member.as_ref()
        };
        let owned = |member: &&Member| {
            self.gateway_of(&member.workload.namespace_labels) == Some(scope.gateway())
        };
        match scope {
            Scope::Node { node, .. } => {
                let pods = self.nodes.get(node).into_iter().flatten();
                pods.filter_map(pod).filter(owned).collect()
            }
            Scope::Sidecar { uid, .. } => {
                let pods = self.pods.get(uid).into_iter();
                pods.filter_map(pod).filter(owned).collect()
            }
            Scope::Fleet { gateway } => {
                let mut members: Vec<&Member> = self
                    .spaces
                    .values()
                    .filter(|space| {
                        let labels = space.labels.as_ref();
                        labels.and_then(|labels| self.gateway_of(labels)) == Some(gateway)
                    })
                    .flat_map(|space| space.pods.values())
                    .filter_map(|known| known.member.as_ref())
                    .collect();
                let mapped = self.gateways.get(gateway);
                for member in mapped.into_iter().flat_map(|gateway| &gateway.mapped) {
                    // A pod is what it is, whatever settings say about its name.
                    let workload = &member.workload;
                    let place = (workload.namespace.clone(), workload.name.clone());
                    if pod(&place).is_none() {
                        members.push(member);
                    }
                }
                members
            }
        }
    }
}

impl Gathered {
    fn policy(&mut self, policy: &Policy) {
        self.parts.push(Arc::clone(&policy.part));
        self.cluster_sets
            .extend(policy.needs.cluster_sets.iter().cloned());
    }
}

/// Whether the policy does anything. One that only audits adds no credential.
fn acts(policy: &PolicyResource) -> bool {
    let mode = match policy {
        PolicyResource::Cluster { spec, .. } => spec.mode,
        PolicyResource::Namespaced { spec, .. } => spec.mode,
    };
    mode == Mode::Enforce
}
