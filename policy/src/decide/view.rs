//! What decides for the workloads that the same policies select: their rules in one order, with an index.

use std::{fmt, sync::Arc};

use super::types::{RuleRef, SelectedPolicy, Tier};
use crate::{
    Workload,
    compile::{CompiledPolicy, Settings},
    evidence::Attr,
    index::{CidrIndex, Ids, NameIndex},
    matcher::{Context, RULE_TLS, Rule},
    model::{Action, Inspection, Mode},
    name::Name,
};

/// From this many rules with names on, a flow whose name is not known yet is not judged rule by rule.
const MANY_NAMED: usize = 4_096;

/// Up to this many rules by name are judged one by one for the names that a flow may still show.
const MANY_BY_NAME: usize = 256;

/// Which policies take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Those in mode Enforce.
    Live,
    /// All, but for those that an Audit policy replaces.
    Shadow,
}

/// What decides for the workloads that the same policies select.
pub struct View {
    pub(super) policies: Vec<Taking>,
    /// Rules in order of evaluation: positions of policy and rule.
    rules: Vec<(u32, u32)>,
    /// Where the rules of the namespace tier begin, and where they end.
    pub(super) namespace_rules: (u32, u32),
    pub(super) from: Vec<bool>,
    pub(super) workload: Option<Workload>,
    pub(super) settings: Arc<Settings>,
    /// The fleet only audits.
    pub(super) audited: bool,
    pub(super) has_shadow: bool,
    /// Rules with names other than Allows: what a flow shows later can matter to them.
    steered_by_name: Vec<u32>,
    names: NameIndex,
    named: Vec<u32>,
    bare: CidrIndex,
    all_bare: Vec<u32>,
    /// Pass and Next rules by address, which matter before there is one.
    bare_steering: Vec<u32>,
    generic: Vec<u32>,
    pub(super) openings: CidrIndex,
    /// Some rule adds a credential.
    pub(super) injects: bool,
    expiries: Vec<u64>,
    selected: Vec<SelectedPolicy>,
}

/// A policy and the lanes that it takes part in.
pub(super) struct Taking {
    pub(super) policy: Arc<CompiledPolicy>,
    live: bool,
    shadow: bool,
    /// The number of the first rule behind this policy.
    pub(super) end: u32,
}

impl Taking {
    pub(super) fn takes_part(&self, lane: Lane) -> bool {
        match lane {
            Lane::Live => self.live,
            Lane::Shadow => self.shadow,
        }
    }
}

fn names_other_than_allow(rule: &Rule) -> bool {
    let not = rule.matcher.not.as_ref();
    let named = rule.matcher.names.is_some() || not.is_some_and(|not| not.names.is_some());
    named && rule.action != Action::Allow
}

impl View {
    pub(crate) fn new(
        policies: &[Arc<CompiledPolicy>],
        from: Vec<bool>,
        settings: Arc<Settings>,
        audited: bool,
        workload: Option<Workload>,
    ) -> Self {
        let replaced = |policy: &CompiledPolicy| {
            policies.iter().any(|other| {
                other.mode == Mode::Audit
                    && other.kind == policy.kind
                    && other.namespace == policy.namespace
                    && other.replaces.as_deref() == Some(&*policy.name)
            })
        };
        let taking = policies
            .iter()
            .map(|policy| Taking {
                live: policy.mode == Mode::Enforce,
                shadow: !replaced(policy),
                end: 0,
                policy: Arc::clone(policy),
            })
            .collect();
        let mut view = Self {
            policies: taking,
            rules: Vec::new(),
            namespace_rules: (0, 0),
            from,
            workload,
            settings,
            audited,
            has_shadow: policies.iter().any(|policy| policy.mode == Mode::Audit),
            steered_by_name: Vec::new(),
            names: NameIndex::default(),
            named: Vec::new(),
            bare: CidrIndex::default(),
            all_bare: Vec::new(),
            bare_steering: Vec::new(),
            generic: Vec::new(),
            openings: CidrIndex::default(),
            injects: false,
            expiries: Vec::new(),
            selected: Vec::new(),
        };
        let mut id = 0_u32;
        for (position, policy) in (0_u32..).zip(policies) {
            for (number, rule) in (0_u32..).zip(&policy.rules) {
                view.rules.push((position, number));
                view.index(id, rule);
                id += 1;
            }
            if let Some(taking) = view.policies.get_mut(position as usize) {
                taking.end = id;
            }
            match policy.tier {
                Tier::Admin => view.namespace_rules = (id, id),
                Tier::Namespace => view.namespace_rules.1 = id,
                Tier::Baseline | Tier::Default | Tier::Floor => {}
            }
            view.selected.push(SelectedPolicy {
                tier: policy.tier,
                kind: policy.kind,
                namespace: policy.namespace.clone(),
                name: Arc::clone(&policy.name),
                mode: policy.mode,
                rules: policy.rules.len(),
            });
        }
        view.expiries.sort_unstable();
        view.expiries.dedup();
        view
    }

    fn index(&mut self, id: u32, rule: &Rule) {
        self.expiries.extend(rule.expires);
        self.injects |= rule.inject.is_some();
        for net in &rule.openings {
            self.openings.add(net, id);
        }
        if names_other_than_allow(rule) {
            self.steered_by_name.push(id);
        }
        if let Some(names) = &rule.matcher.names {
            self.named.push(id);
            for pattern in names.patterns.list() {
                self.names.add(pattern, id);
            }
            for set in &names.sets {
                self.names.add_set(set, id);
            }
        } else if let Some(cidrs) = &rule.matcher.cidrs {
            self.all_bare.push(id);
            if matches!(rule.action, Action::Next | Action::Pass) {
                self.bare_steering.push(id);
            }
            for net in &cidrs.nets {
                self.bare.add(net, id);
            }
            for set in &cidrs.sets {
                for net in &set.nets {
                    self.bare.add(net, id);
                }
                if set.cidrs.is_none() {
                    self.bare.add_anywhere(id);
                }
            }
        } else {
            // Rules with names in their `not` only are asked every time as well.
            self.generic.push(id);
        }
    }

    /// The rules that may match, in order. false: there are too many to say, and any may.
    pub(super) fn candidates(&self, context: &Context<'_>, ids: &mut Ids) -> bool {
        ids.extend_from_slice(&self.generic);
        let mut complete = true;
        if context.name.is_pending() {
            if self.named.len() <= MANY_NAMED {
                ids.extend_from_slice(&self.named);
            } else {
                complete = false;
            }
        }
        for name in &context.names {
            self.names.find(name, ids);
        }
        if !self.all_bare.is_empty() {
            if let Some(literal) = context.literal {
                self.bare.find(literal, true, ids);
            }
            match context.address {
                Attr::Known(addr) => self.bare.find(addr, true, ids),
                Attr::Hidden => ids.extend_from_slice(&self.all_bare),
                Attr::Pending => ids.extend_from_slice(&self.bare_steering),
                Attr::Absent => {}
            }
        }
        if ids.len() > 1 {
            ids.sort_unstable();
            ids.dedup();
        }
        complete
    }

    pub(super) fn rule(&self, id: u32) -> Option<(u32, &Rule)> {
        let &(policy, rule) = self.rules.get(id as usize)?;
        Some((
            policy,
            self.policies
                .get(policy as usize)?
                .policy
                .rules
                .get(rule as usize)?,
        ))
    }

    pub(super) fn reference(&self, id: Option<u32>) -> Option<RuleRef> {
        self.rule(id?).map(|(_, rule)| rule.reference.clone())
    }

    pub(super) fn takes_part(&self, policy: u32, lane: Lane) -> bool {
        self.policies
            .get(policy as usize)
            .is_some_and(|taking| taking.takes_part(lane))
    }

    /// Adds the rules that a name which a flow shows later can matter to. false: too many to judge one by one.
    pub(super) fn other_names(&self, lane: Lane, ids: &mut Ids) -> bool {
        let mut others = self.steered_by_name.iter().filter(|&&id| {
            self.rule(id)
                .is_some_and(|(policy, _)| self.takes_part(policy, lane))
        });
        let before = ids.len();
        ids.extend(others.by_ref().take(MANY_BY_NAME).copied());
        if others.next().is_some() {
            ids.truncate(before);
            return false;
        }
        ids.sort_unstable();
        ids.dedup();
        true
    }

    pub(super) fn rule_count(&self) -> u32 {
        u32::try_from(self.rules.len()).unwrap_or(u32::MAX)
    }

    /// Whether some rule could have the TLS of this name and port opened for the workload. Only then may a certificate for
    /// it be made, be it to show a refusal.
    pub fn inspectable(&self, name: &Name, port: u16, now_unix: u64) -> bool {
        if self.settings.inspection == Inspection::Off
            || self.audited
            || self.settings.exempt.contains(name)
        {
            return false;
        }
        let mut ids = Ids::from_slice(&self.generic);
        self.names.find(name, &mut ids);
        ids.extend_from_slice(&self.all_bare);
        ids.into_iter().any(|id| {
            self.rule(id).is_some_and(|(policy, rule)| {
                let matcher = &rule.matcher;
                rule.may_inspect()
                    && !rule.expired(now_unix)
                    && self.takes_part(policy, Lane::Live)
                    && matcher.protocols & RULE_TLS != 0
                    && matcher
                        .ports
                        .as_ref()
                        .is_none_or(|ports| ports.contains(port))
                    && matcher
                        .from
                        .as_ref()
                        .is_none_or(|from| self.from.get(from.id) == Some(&true))
            })
        })
    }

    /// When the next rule of this view expires.
    pub fn next_expiry(&self, now_unix: u64) -> Option<u64> {
        self.expiries
            .get(self.expiries.partition_point(|&at| at <= now_unix))
            .copied()
    }

    /// The policies that select the workload, in order of evaluation.
    pub fn selected_policies(&self) -> &[SelectedPolicy] {
        &self.selected
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("policies", &self.selected)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}
