//! What a policy refers to.

use std::collections::BTreeSet;

use exitgate_policy::{PolicyResource, Rule, To};

/// The sets and credentials that a policy refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Sets of the policy's own namespace.
    pub(super) own_sets: BTreeSet<String>,
    pub(super) cluster_sets: BTreeSet<String>,
    /// Credentials of the policy's own namespace.
    pub(super) credentials: BTreeSet<String>,
}

impl Needs {
    pub(super) fn of(policy: &PolicyResource) -> Self {
        let mut needs = Self::default();
        let (rules, namespaced) = match policy {
            PolicyResource::Cluster { spec, .. } => (&spec.rules, false),
            PolicyResource::Namespaced { spec, .. } => (&spec.rules, true),
        };
        for rule in rules {
            needs.rule(rule, namespaced);
        }
        needs
    }

    fn rule(&mut self, rule: &Rule, namespaced: bool) {
        let excluded = rule.not.as_ref().and_then(|not| not.to.as_ref());
        for to in rule.to.iter().chain(excluded) {
            self.destination(to, namespaced);
        }
        let credential = rule.inject.iter().map(|inject| &inject.credential_ref.name);
        self.credentials.extend(credential.cloned());
    }

    fn destination(&mut self, to: &To, namespaced: bool) {
        for name in to.host_sets.iter().chain(&to.cidr_sets) {
            match (name.strip_prefix("cluster/"), namespaced) {
                (Some(name), _) => self.cluster_sets.insert(name.to_owned()),
                (None, true) => self.own_sets.insert(name.clone()),
                (None, false) => self.cluster_sets.insert(name.clone()),
            };
        }
    }
}
