//! Rules that have no effect beside others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{At, Compiler, ObjectRef, policy::CompiledPolicy};
use crate::{
    decide::Tier,
    model::{Action, DefaultAction, Mode, Rule},
    pattern::HostPattern,
    snapshot::Snapshot,
};

/// The hosts that earlier rules with otherwise equal conditions match.
#[derive(Default)]
struct Covered<'a> {
    /// A rule without hosts matches every destination.
    all: Option<&'a str>,
    patterns: HashMap<HostPattern, &'a str>,
    below: HashMap<String, &'a str>,
}

impl<'a> Covered<'a> {
    /// The rule that matches whatever this pattern matches.
    fn find(&self, pattern: &HostPattern) -> Option<&'a str> {
        if let Some(rule) = self.all.or_else(|| self.patterns.get(pattern).copied()) {
            return Some(rule);
        }
        let mut rest = pattern.name().as_str();
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(rule) = self.below.get(suffix) {
                return Some(rule);
            }
            rest = suffix;
        }
        None
    }

    fn add(&mut self, rule: &'a str, patterns: Option<Vec<HostPattern>>) {
        let Some(patterns) = patterns else {
            self.all.get_or_insert(rule);
            return;
        };
        for pattern in patterns {
            if pattern.is_below() {
                self.below.entry(pattern.name().to_string()).or_insert(rule);
            }
            self.patterns.entry(pattern).or_insert(rule);
        }
    }
}

impl Compiler {
    /// Warns about rules that others of the same policy leave nothing to.
    pub(super) fn lint(&mut self, at: &At, rules: &[Rule], tier: Tier) {
        let ordered = tier != Tier::Namespace;
        let denied = if ordered {
            HashMap::new()
        } else {
            denials(rules)
        };
        let mut seen: HashMap<String, Covered<'_>> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let at = at.item(index);
            let Some(patterns) = host_patterns(rule) else {
                continue;
            };
            let key = key(rule, !ordered);
            if let Some(earlier) = seen
                .get(&key)
                .and_then(|covered| covering(covered, patterns.as_ref()))
            {
                let message = if ordered {
                    format!(
                        "the rule is never reached: \"{earlier}\" before it matches everything that it matches"
                    )
                } else {
                    format!(
                        "the rule says nothing new: \"{earlier}\" already does the same for everything that it matches"
                    )
                };
                self.warn(&at, message);
            } else if rule.action == Action::Allow
                && let Some(deny) = denied
                    .get(&key_without_protocol(rule))
                    .and_then(|covered| covering(covered, patterns.as_ref()))
            {
                self.warn(&at, format!("the rule never allows anything: the Deny \"{deny}\" matches everything that it matches"));
            }
            let decides = rule.action != Action::Alert || !ordered;
            if decides && rule.expires_at.is_none() {
                seen.entry(key).or_default().add(&rule.name, patterns);
            }
        }
        if ordered {
            self.after_everything(at, rules);
        }
    }

    /// Rules behind one that matches every flow.
    fn after_everything(&mut self, at: &At, rules: &[Rule]) {
        let all = rules.iter().position(|rule| {
            rule.action != Action::Alert
                && rule.expires_at.is_none()
                && rule
                    .to
                    .as_ref()
                    .is_none_or(|to| *to == crate::model::To::default())
                && rule.from.is_none()
                && rule
                    .tls
                    .as_ref()
                    .is_none_or(|tls| tls.conditions() == crate::model::TlsConditions::default())
                && rule.http.is_none()
                && rule.response.is_none()
                && rule.when.is_none()
                && rule.not.is_none()
        });
        let Some(all) = all else { return };
        let Some(winner) = rules.get(all) else { return };
        let bare_key = key(winner, false);
        for (index, rule) in rules.iter().enumerate().skip(all + 1) {
            // The same conditions were reported already.
            if key(rule, false) != bare_key {
                self.warn(
                    &at.item(index),
                    format!(
                        "the rule is never reached: \"{}\" before it matches every flow",
                        winner.name
                    ),
                );
            }
        }
    }
}

fn covering<'a>(covered: &Covered<'a>, patterns: Option<&Vec<HostPattern>>) -> Option<&'a str> {
    match patterns {
        None => covered.all,
        Some(patterns) => {
            let mut found = None;
            for pattern in patterns {
                found = Some(covered.find(pattern)?);
            }
            found
        }
    }
}

/// The patterns of a rule: none inside where it has no name matcher; none at all where that is not simple.
#[allow(clippy::option_option, reason = "two different absences")]
fn host_patterns(rule: &Rule) -> Option<Option<Vec<HostPattern>>> {
    let Some(to) = &rule.to else {
        return Some(None);
    };
    if !to.host_sets.is_empty() {
        return None;
    }
    if to.hosts.is_empty() {
        return Some(None);
    }
    to.hosts
        .iter()
        .map(|text| HostPattern::parse(text).ok())
        .collect::<Option<Vec<_>>>()
        .map(Some)
}

/// What two rules must share for their hosts to be comparable.
fn key(rule: &Rule, with_action: bool) -> String {
    let mut rest = rule.clone();
    rest.name.clear();
    rest.reason = None;
    rest.expires_at = None;
    let named = rest.to.as_ref().is_some_and(|to| !to.hosts.is_empty());
    if let Some(to) = &mut rest.to {
        to.hosts.clear();
        to.allow_broad = false;
        if *to == crate::model::To::default() {
            rest.to = None;
        }
    }
    let action = std::mem::replace(&mut rest.action, Action::Allow);
    // A name changes what an absent protocol means, and what bare ranges mean.
    format!(
        "{named} {} {rest:?}",
        if with_action {
            action.as_str()
        } else {
            polarity(action)
        }
    )
}

fn polarity(action: Action) -> &'static str {
    match action {
        Action::Alert | Action::Deny => "denies",
        Action::Allow | Action::Next | Action::Pass => "allows",
    }
}

fn key_without_protocol(rule: &Rule) -> String {
    let mut rest = rule.clone();
    if let Some(to) = &mut rest.to {
        to.protocol = None;
    }
    rest.tls = None;
    rest.inject = None;
    rest.action = Action::Allow;
    key(&rest, false)
}

/// The Denies of an order-free policy that have no conditions but hosts, ports and ranges.
fn denials(rules: &[Rule]) -> HashMap<String, Covered<'_>> {
    let mut denied: HashMap<String, Covered<'_>> = HashMap::new();
    for rule in rules
        .iter()
        .filter(|rule| rule.action == Action::Deny && rule.expires_at.is_none())
    {
        let plain = rule.tls.is_none() && rule.to.as_ref().is_none_or(|to| to.protocol.is_none());
        if let Some(patterns) = host_patterns(rule).filter(|_| plain) {
            denied
                .entry(key_without_protocol(rule))
                .or_default()
                .add(&rule.name, patterns);
        }
    }
    denied
}

/// Warns where a known workload is selected by Audit policies only, and everything else is denied.
pub(super) fn audit_only(
    compiler: &mut Compiler,
    snapshot: &Snapshot,
    policies: &[Arc<CompiledPolicy>],
) {
    if snapshot.settings.default_action != DefaultAction::Deny {
        return;
    }
    let mut told = HashSet::new();
    for workload in &snapshot.workloads {
        let selected: Vec<_> = policies
            .iter()
            .filter(|policy| policy.selector.selects(workload))
            .collect();
        let Some(first) = selected
            .first()
            .filter(|_| selected.iter().all(|policy| policy.mode == Mode::Audit))
        else {
            continue;
        };
        if told.insert((first.kind, first.namespace.clone(), Arc::clone(&first.name))) {
            let object = ObjectRef {
                kind: first.kind,
                namespace: first.namespace.as_deref().map(str::to_owned),
                name: first.name.to_string(),
            };
            let message = format!(
                "workload {}/{} is selected by policies in mode Audit only, and the fleet's defaultAction is Deny: everything is denied to it",
                workload.namespace, workload.name
            );
            compiler.warn(&At::new(object, "spec.mode"), message);
        }
    }
}
