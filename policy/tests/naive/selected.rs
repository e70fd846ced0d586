//! Which policies take part for a workload, in their order.

use exitgate_policy::{
    ClusterEgressPolicySpec, EgressPolicySpec, Mode, PolicyResource, PolicyTier,
};

use super::{
    rule::{is_account, selects},
    tiers::{Placed, World},
};

impl<'a> World<'a> {
    fn takes_part(self, mode: Mode) -> bool {
        mode == Mode::Enforce || self.audit_acts
    }

    fn cluster(self, tier: PolicyTier) -> Vec<(&'a str, &'a ClusterEgressPolicySpec)> {
        let all = || {
            self.snapshot
                .policies
                .iter()
                .filter_map(|policy| match policy {
                    PolicyResource::Cluster { name, spec } => Some((name.as_str(), spec)),
                    PolicyResource::Namespaced { .. } => None,
                })
        };
        let selected = |spec: &ClusterEgressPolicySpec| {
            let subject = &spec.subject;
            (subject.namespaces.is_empty() || subject.namespaces.contains(&self.workload.namespace))
                && selects(&subject.namespace_selector, &self.workload.namespace_labels)
                && selects(&subject.pod_selector, &self.workload.labels)
                && (subject.service_accounts.is_empty()
                    || subject
                        .service_accounts
                        .iter()
                        .any(|wanted| is_account(wanted, self.workload)))
        };
        // Only an Audit policy that selects the workload takes another one's place for it.
        let replaced = |name: &str| {
            self.audit_acts
                && all().any(|(_, other)| {
                    other.mode == Mode::Audit
                        && other.replaces.as_deref() == Some(name)
                        && selected(other)
                })
        };
        let mut chosen: Vec<_> = all()
            .filter(|(_, spec)| spec.tier == tier && self.takes_part(spec.mode) && selected(spec))
            .filter(|(name, _)| !replaced(name))
            .collect();
        chosen.sort_by_key(|(name, spec)| (spec.priority, *name));
        chosen
    }

    pub fn namespaced(self) -> Vec<(&'a str, &'a EgressPolicySpec)> {
        let all = || {
            self.snapshot
                .policies
                .iter()
                .filter_map(|policy| match policy {
                    PolicyResource::Namespaced {
                        namespace,
                        name,
                        spec,
                    } if *namespace == self.workload.namespace => Some((name.as_str(), spec)),
                    PolicyResource::Namespaced { .. } | PolicyResource::Cluster { .. } => None,
                })
        };
        let selected = |spec: &EgressPolicySpec| {
            selects(&spec.subject.pod_selector, &self.workload.labels)
                && (spec.subject.service_accounts.is_empty()
                    || spec
                        .subject
                        .service_accounts
                        .iter()
                        .any(|wanted| self.workload.service_account.as_ref() == Some(wanted)))
        };
        let replaced = |name: &str| {
            self.audit_acts
                && all().any(|(_, other)| {
                    other.mode == Mode::Audit
                        && other.replaces.as_deref() == Some(name)
                        && selected(other)
                })
        };
        all()
            .filter(|(_, spec)| self.takes_part(spec.mode) && selected(spec))
            .filter(|(name, _)| !replaced(name))
            .collect()
    }

    pub fn flat(self, tier: PolicyTier) -> (Vec<Placed<'a>>, Vec<usize>) {
        let mut rules = Vec::new();
        let mut next = Vec::new();
        for (policy, spec) in self.cluster(tier) {
            let end = rules.len() + spec.rules.len();
            for rule in &spec.rules {
                rules.push(Placed {
                    policy,
                    namespace: None,
                    rule,
                });
                next.push(end);
            }
        }
        (rules, next)
    }
}
