//! What decides for the workloads that the same policies select: their rules in one order, with an index.

use std::{fmt, sync::Arc};

use super::types::{RuleRef, SelectedPolicy, Tier};
use crate::{
    Workload,
    compile::{CompiledPolicy, Settings},
    evidence::Attr,
    index::{CidrIndex, Ids, NameIndex},
    matcher::{Context, Rule},
    model::{Action, Mode},
};

/// From this many rules with names on, a flow whose name is not known yet is not judged rule by rule.
const MANY_NAMED: usize = 4_096;

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
    /// By lane: a rule other than an Allow has names, so that what a flow shows later can matter to it.
    names_matter: [bool; 2],
    names: NameIndex,
    named: Vec<u32>,
    bare: CidrIndex,
    all_bare: Vec<u32>,
    /// Pass and Next rules by address, which matter before there is one.
    bare_steering: Vec<u32>,
    generic: Vec<u32>,
    pub(super) openings: CidrIndex,
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
            names_matter: [false; 2],
            names: NameIndex::default(),
            named: Vec::new(),
            bare: CidrIndex::default(),
            all_bare: Vec::new(),
            bare_steering: Vec::new(),
            generic: Vec::new(),
            openings: CidrIndex::default(),
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
                let named = policy.rules.iter().any(names_other_than_allow);
                let [live, shadow] = &mut view.names_matter;
                *live |= named && taking.live;
                *shadow |= named && taking.shadow;
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
        for net in &rule.openings {
            self.openings.add(net, id);
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

    /// Whether a name that a flow shows later can matter in this lane.
    pub(super) fn names_matter(&self, lane: Lane) -> bool {
        let [live, shadow] = self.names_matter;
        match lane {
            Lane::Live => live,
            Lane::Shadow => shadow,
        }
    }

    pub(super) fn rule_count(&self) -> u32 {
        u32::try_from(self.rules.len()).unwrap_or(u32::MAX)
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
