//! The tiers in order: from rules to the outcomes that are still possible.

use smallvec::SmallVec;

use super::{
    inject,
    outcome::{Kind, Outcomes, Win},
    types::Tier,
    view::{Lane, View},
};
use crate::{
    matcher::{Context, Inside, Rule, Side, Tri},
    model::{Action, DefaultAction, TlsMode},
    reason::Reason,
};

/// What may come out from a position on.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub(super) outcomes: Outcomes,
    /// Alerts that are reached and match, whatever still comes.
    pub(super) alerts: SmallVec<[u32; 4]>,
    /// Something on the way to an Allow asks for TLS to be opened.
    pub(super) inspect: bool,
}

impl Reach {
    fn of(outcomes: Outcomes) -> Self {
        Self {
            outcomes,
            ..Self::default()
        }
    }

    /// Either may happen.
    fn either(mut self, later: &Self) -> Self {
        self.outcomes = self.outcomes.or(later.outcomes);
        self.alerts.retain(|alert| later.alerts.contains(alert));
        self.inspect |= later.inspect;
        self
    }
}

/// What the tiers say.
pub(super) struct Found {
    pub(super) reach: Reach,
    /// An Alert waits for the response.
    pub(super) watch: bool,
    /// A candidate asks for what is inside TLS, or to have it opened.
    pub(super) touched: bool,
}

/// What the rules so far say about TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent marks")]
struct Modes {
    /// A Passthrough holds.
    passthrough: bool,
    /// It is that of a higher tier, which nothing here beats.
    above: bool,
    /// A Pass or Next asks for TLS to be opened.
    must: bool,
    /// An Alert asks for TLS to be opened.
    wish: bool,
}

/// One evaluation of the tiers.
pub(super) struct Engine<'v, 'c> {
    view: &'v View,
    context: Context<'c>,
    lane: Lane,
    now: u64,
    /// The candidates.
    ids: &'v [u32],
    watch: bool,
    touched: bool,
    /// The first Allow that did not match because something is hidden.
    hidden: Option<(u32, Reason)>,
    modes: Modes,
    /// What may come out from a position on.
    memo: SmallVec<[(usize, Modes, Reach); 2]>,
}

impl<'v, 'c> Engine<'v, 'c> {
    /// Evaluates all tiers. Under `exempt` TLS is never opened, as by a Passthrough before every policy.
    pub(super) fn run(
        view: &'v View,
        context: &Context<'c>,
        lane: Lane,
        now: u64,
        ids: &'v [u32],
        exempt: bool,
    ) -> Found {
        let mut engine = Self {
            view,
            context: context.clone(),
            lane,
            now,
            ids,
            watch: false,
            touched: false,
            hidden: None,
            modes: Modes::default(),
            memo: SmallVec::new(),
        };
        engine.set(Modes {
            passthrough: exempt,
            above: exempt,
            ..Modes::default()
        });
        let end = ids.partition_point(|&id| id < view.namespace_rules.0);
        let reach = engine.ordered(0, end, Tier::Admin);
        Found {
            reach,
            watch: engine.watch,
            touched: engine.touched,
        }
    }

    fn set(&mut self, modes: Modes) {
        self.modes = modes;
        self.context.passthrough = modes.passthrough;
        self.context.must_inspect = modes.must;
    }

    /// A rule that takes part, with its policy's position.
    fn rule_at(&mut self, at: usize) -> Option<(u32, u32, &'v Rule)> {
        let id = *self.ids.get(at)?;
        let (policy, rule) = self.view.rule(id)?;
        if !self.view.takes_part(policy, self.lane) || rule.expired(self.now) {
            return None;
        }
        self.touched |= rule.touches_tls;
        Some((id, policy, rule))
    }

    /// Whether a rule matches, its TLS mode included.
    fn matches(&self, rule: &Rule) -> Tri {
        let matcher = &rule.matcher;
        match rule.action {
            Action::Alert | Action::Deny => matcher.matches(&self.context, Side::DENY),
            Action::Allow => {
                let value = matcher.matches(&self.context, Side::ALLOW);
                let inspect = rule.mode == TlsMode::Inspect && !self.modes.above;
                if !inspect && !self.modes.must {
                    value
                } else if self.context.is_closed()
                    && matches!(self.context.inside, Inside::Sealed | Inside::Supposed)
                {
                    // It asks for TLS to be opened, which is not possible.
                    value.veil()
                } else if self.context.may_be_sealed() {
                    value.either(value.veil())
                } else {
                    value
                }
            }
            Action::Next | Action::Pass => {
                // A Passthrough makes content conditions of Denies false, not those of these.
                let strict = matcher.matches(&self.context, Side::ALLOW);
                if self.context.passthrough && rule.touches_tls {
                    let mut context = self.context.clone();
                    context.passthrough = false;
                    context.seal();
                    strict.both_ways(matcher.matches(&context, Side::DENY))
                } else {
                    strict.both_ways(matcher.matches(&self.context, Side::DENY))
                }
            }
        }
    }

    /// Whether a rule's mode acts: where its conditions hold that ask for nothing inside TLS.
    fn acts(&self, rule: &Rule) -> Tri {
        let side = match rule.action {
            Action::Alert | Action::Deny => Side::DENY,
            Action::Allow | Action::Next | Action::Pass => Side::ALLOW,
        };
        rule.matcher.matches_but_content(&self.context, side)
    }

    /// Whether an alert is certain.
    fn alerts(&mut self, value: Tri) -> bool {
        self.watch |= !value.is_settled() && self.context.response.is_pending();
        !value.may_be_false()
    }

    /// Notes an Allow that does not match because something is hidden.
    fn note_hidden(&mut self, id: u32, value: Tri) {
        if value.may_be_hidden() && !value.may_be_true() {
            self.hidden.get_or_insert((id, value.cause()));
        }
    }

    /// What a denial for want of an Allow is called.
    fn no_allow(&self, reason: Reason, tier: Tier) -> Win {
        match self.hidden {
            Some((id, cause)) => Win {
                rule: Some(id),
                reason: cause,
                tier,
            },
            None => Win {
                rule: None,
                reason,
                tier,
            },
        }
    }

    /// Rules in order, first match decides: the Admin and Baseline tiers.
    fn ordered(&mut self, from: usize, end: usize, tier: Tier) -> Reach {
        let modes = self.modes;
        if let Some((.., known)) = self
            .memo
            .iter()
            .find(|(at, under, _)| (*at, *under) == (from, modes))
        {
            return known.clone();
        }
        let reach = self.ordered_from(from, end, tier);
        self.set(modes);
        // Only what a Pass or Next leads to is asked for twice.
        if from > 0 {
            self.memo.push((from, modes, reach.clone()));
        }
        reach
    }

    fn ordered_from(&mut self, from: usize, end: usize, tier: Tier) -> Reach {
        let mut open = Outcomes::default();
        let mut inspect = false;
        let mut alerts: SmallVec<[u32; 4]> = SmallVec::new();
        // Whether what follows is reached only if something that is open does not match.
        let mut tentative = false;
        let mut at = from;
        let last = loop {
            if at >= end {
                break self.after(tier);
            }
            let next = at + 1;
            let Some((id, policy, rule)) = self.rule_at(at) else {
                at = next;
                continue;
            };
            let value = self.matches(rule);
            let win = |reason| Win {
                rule: Some(id),
                reason,
                tier,
            };
            match rule.action {
                Action::Alert => {
                    if self.alerts(value) && !tentative {
                        alerts.push(id);
                    }
                    if rule.mode == TlsMode::Inspect && self.acts(rule).may_be_true() {
                        self.wish();
                    }
                }
                Action::Allow => {
                    self.note_hidden(id, value);
                    if value.may_be_true() {
                        let found = Outcomes::only(allow_kind(rule), win(Reason::Allowed));
                        let found = self.allowed(found, rule);
                        if value.is_true() {
                            break found;
                        }
                        open = open.or(found.outcomes);
                        inspect |= found.inspect;
                        tentative = true;
                    }
                }
                Action::Deny => {
                    if value.may_be_true() || value.may_be_hidden() {
                        let reason = if value.may_be_true() {
                            rule.denial
                        } else {
                            value.cause()
                        };
                        let found = Outcomes::only(Kind::Deny, win(reason));
                        if !value.may_be_false() {
                            break Reach::of(found);
                        }
                        open = open.or(found);
                        tentative = true;
                    }
                }
                Action::Next | Action::Pass => {
                    if value.is_true() {
                        self.steer(rule);
                        break self.jump(rule, policy, end, tier);
                    }
                    if !value.is_false() {
                        break self.uncertain(rule, policy, (next, end), tier, value, id);
                    }
                }
            }
            at = next;
        };
        let mut reach = last;
        if tentative {
            reach.alerts.clear();
        }
        alerts.append(&mut reach.alerts);
        Reach {
            outcomes: open.or(reach.outcomes),
            alerts,
            inspect: inspect | reach.inspect,
        }
    }

    /// A Pass or Next that is not certain: where it is hidden it is tried both ways, and denied if either way denies.
    fn uncertain(
        &mut self,
        rule: &Rule,
        policy: u32,
        (next, end): (usize, usize),
        tier: Tier,
        value: Tri,
        id: u32,
    ) -> Reach {
        let before = self.modes;
        // Inspect acts also where what is inside turns out not to match.
        if rule.mode == TlsMode::Inspect && rule.touches_content && self.acts(rule).may_be_true() {
            self.steer(rule);
        }
        let unsteered = self.modes;
        let mut ways: Option<Reach> = None;
        let mut add = |way: Reach| {
            ways = Some(match ways.take() {
                Some(before) => before.either(&way),
                None => way,
            });
        };
        if value.may_be_true() {
            self.steer(rule);
            add(self.jump(rule, policy, end, tier));
            self.set(unsteered);
        }
        let rest = self.ordered(next, end, tier);
        if value.may_be_hidden() {
            let jump = self.jump(rule, policy, end, tier);
            self.set(unsteered);
            let mut worse = jump.outcomes.worse(rest.outcomes);
            // Where one way allows, the denial comes from what cannot be seen.
            if (jump.outcomes.may_allow() || rest.outcomes.may_allow())
                && worse.remove(Kind::Deny).is_some()
            {
                worse.add(
                    Kind::Deny,
                    Win {
                        rule: Some(id),
                        reason: value.cause(),
                        tier,
                    },
                );
            }
            // What is tried is reached.
            let mut alerts = jump.alerts;
            for alert in &rest.alerts {
                if !alerts.contains(alert) {
                    alerts.push(*alert);
                }
            }
            add(Reach {
                outcomes: worse,
                alerts,
                inspect: jump.inspect | rest.inspect,
            });
        }
        if value.may_be_false() {
            add(rest);
        }
        self.set(before);
        ways.unwrap_or_default()
    }

    /// What a Pass or Next that matches says about TLS; what came before it stands.
    fn steer(&mut self, rule: &Rule) {
        let mut modes = self.modes;
        match rule.mode {
            TlsMode::Auto => return,
            TlsMode::Inspect if modes.above => return,
            TlsMode::Inspect => {
                // Within a tier Inspect beats Passthrough.
                modes.must = true;
                modes.passthrough = false;
            }
            TlsMode::Passthrough => {
                modes.passthrough |= self.context.is_closed() && !modes.must && !modes.wish;
            }
        }
        self.set(modes);
    }

    /// What an Alert with Inspect says about TLS.
    fn wish(&mut self) {
        if !self.modes.above && self.may_open() {
            self.set(Modes {
                wish: true,
                passthrough: false,
                ..self.modes
            });
        }
    }

    /// Whether this may be TLS that can be opened.
    fn may_open(&self) -> bool {
        self.context.inside != Inside::Sealed && !self.context.evidence.inspected
    }

    /// Where a Pass or Next leads.
    fn jump(&mut self, rule: &Rule, policy: u32, end: usize, tier: Tier) -> Reach {
        if rule.action == Action::Pass {
            return self.after(tier);
        }
        let behind = self
            .view
            .policies
            .get(policy as usize)
            .map_or(u32::MAX, |taking| taking.end);
        let from = self.ids.partition_point(|&id| id < behind).min(end);
        self.ordered(from, end, tier)
    }

    /// What comes after a tier.
    fn after(&mut self, tier: Tier) -> Reach {
        let modes = self.modes;
        self.set(Modes {
            above: modes.passthrough,
            ..modes
        });
        let reach = if tier == Tier::Admin {
            self.namespace()
        } else {
            self.default_action()
        };
        self.set(modes);
        reach
    }

    fn default_action(&mut self) -> Reach {
        match self.view.settings.default_action {
            DefaultAction::Allow => Reach {
                outcomes: Outcomes::only(
                    Kind::Allow,
                    Win {
                        rule: None,
                        reason: Reason::Allowed,
                        tier: Tier::Default,
                    },
                ),
                alerts: SmallVec::new(),
                inspect: self.modes.must || self.modes.wish,
            },
            DefaultAction::Deny => Reach::of(Outcomes::only(
                Kind::Deny,
                self.no_allow(Reason::DefaultDeny, Tier::Default),
            )),
        }
    }

    /// What an Allow of the Admin or Baseline tier leads to.
    fn allowed(&mut self, outcomes: Outcomes, rule: &Rule) -> Reach {
        let forced = rule.mode == TlsMode::Inspect && !self.modes.above;
        // Its own Passthrough counts for credentials, like that of a Pass.
        let through = rule.mode == TlsMode::Passthrough
            && self.context.is_closed()
            && !self.modes.must
            && !self.modes.wish;
        let modes = self.modes;
        self.set(Modes {
            passthrough: modes.passthrough || through,
            ..modes
        });
        let asked = self.injected(outcomes);
        self.set(modes);
        let wanted = asked.inspect || forced || modes.must || modes.wish;
        Reach {
            inspect: wanted && asked.outcomes.may_allow(),
            ..asked
        }
    }

    /// What the credentials make of what was allowed.
    fn injected(&mut self, outcomes: Outcomes) -> Reach {
        let (outcomes, inspect) = inject::judge(
            self.view,
            &self.context,
            self.ids,
            (self.lane, self.now),
            outcomes,
        );
        Reach {
            outcomes,
            alerts: SmallVec::new(),
            inspect,
        }
    }

    /// The namespace tier: any matching Deny denies, else any matching Allow allows, else the workload is isolated.
    fn namespace(&mut self) -> Reach {
        let view = self.view;
        let begin = self.ids.partition_point(|&id| id < view.namespace_rules.0);
        let end = self.ids.partition_point(|&id| id < view.namespace_rules.1);
        let selected = view
            .policies
            .iter()
            .any(|taking| taking.policy.tier == Tier::Namespace && taking.takes_part(self.lane));
        if !selected {
            return self.ordered(end, self.ids.len(), Tier::Baseline);
        }
        let tier = Tier::Namespace;
        let mut outcomes = Outcomes::default();
        let mut certain: Option<(Kind, Win)> = None;
        // Policies with a Passthrough that acts, and whether it does for certain.
        let mut through: SmallVec<[(u32, bool); 4]> = SmallVec::new();
        let mut inspects = Tri::FALSE;
        for at in begin..end {
            let Some((id, policy, rule)) = self.rule_at(at) else {
                continue;
            };
            if rule.mode == TlsMode::Inspect || rule.inject.is_some() {
                inspects = inspects.or(self.acts(rule));
            }
            if rule.action != Action::Allow {
                continue;
            }
            let value = self.matches(rule);
            self.note_hidden(id, value);
            if rule.mode == TlsMode::Passthrough && self.context.is_closed() && value.may_be_true()
            {
                through.push((policy, value.is_true()));
            }
            if value.may_be_true() {
                let kind = allow_kind(rule);
                let win = Win {
                    rule: Some(id),
                    reason: Reason::Allowed,
                    tier,
                };
                outcomes.add(kind, win);
                if value.is_true() && certain.is_none_or(|(best, _)| kind > best) {
                    certain = Some((kind, win));
                }
            }
        }
        if let Some((best, win)) = certain {
            // The least demanding Allow that matches for certain; those that ask for more no longer matter.
            for kind in [Kind::Allow, Kind::AllowWithoutSni, Kind::AllowRaw] {
                if kind < best {
                    outcomes.remove(kind);
                }
            }
            outcomes = outcomes.or(Outcomes::only(best, win));
        } else {
            // What a policy that cannot be used would have allowed is not known: that explains the denial better.
            let unsupported = view
                .policies
                .iter()
                .any(|taking| taking.policy.stands_in && taking.policy.tier == Tier::Namespace);
            let why = if unsupported {
                Reason::PolicyUnsupported
            } else {
                Reason::NoRule
            };
            let denied = Outcomes::only(Kind::Deny, self.no_allow(why, tier));
            outcomes = outcomes.or(denied);
        }
        let asked = if outcomes.may_allow() {
            self.injected(outcomes)
        } else {
            Reach::of(outcomes)
        };
        let forced = !self.modes.above && inspects.may_be_true();
        let mut reach = self.under_modes((begin, end), &through, inspects, asked.outcomes);
        reach.inspect = reach.outcomes.may_allow()
            && (asked.inspect || forced || self.modes.must || self.modes.wish);
        reach
    }

    /// The Denies and Alerts of the namespace tier under each TLS mode that the tier may come to.
    fn under_modes(
        &mut self,
        range: (usize, usize),
        through: &[(u32, bool)],
        inspects: Tri,
        outcomes: Outcomes,
    ) -> Reach {
        let above = self.modes.above || self.modes.must || self.modes.wish;
        // An Inspect that may or may not act, and never shows, beats a Passthrough all the same.
        if above || through.is_empty() || !inspects.may_be_false() {
            return self.namespace_denials(range, None, outcomes);
        }
        let all: SmallVec<[u32; 4]> = through.iter().map(|(policy, _)| *policy).collect();
        let certain: SmallVec<[u32; 4]> = through
            .iter()
            .filter(|(_, certain)| *certain)
            .map(|(policy, _)| *policy)
            .collect();
        let mut reach = self.namespace_denials(range, Some(&all), outcomes);
        if !inspects.is_false() || certain.is_empty() {
            reach = reach.either(&self.namespace_denials(range, None, outcomes));
        }
        if !certain.is_empty() && certain.len() < all.len() {
            reach = reach.either(&self.namespace_denials(range, Some(&certain), outcomes));
        }
        reach
    }

    /// `through`: the tier leaves TLS closed, and content conditions of these policies take no part.
    fn namespace_denials(
        &mut self,
        (begin, end): (usize, usize),
        through: Option<&[u32]>,
        mut outcomes: Outcomes,
    ) -> Reach {
        let own = self.context.passthrough;
        let sealed = through.map(|_| {
            let mut context = self.context.clone();
            context.seal();
            context
        });
        let open = sealed.map(|sealed| std::mem::replace(&mut self.context, sealed));
        let tier = Tier::Namespace;
        let mut denied = None;
        let mut alerts = SmallVec::new();
        for at in begin..end {
            let Some((id, policy, rule)) = self.rule_at(at) else {
                continue;
            };
            if !matches!(rule.action, Action::Alert | Action::Deny) {
                continue;
            }
            self.context.passthrough =
                own || through.is_some_and(|through| through.contains(&policy));
            let value = self.matches(rule);
            if rule.action == Action::Alert {
                if self.alerts(value) {
                    alerts.push(id);
                }
            } else if value.may_be_true() || value.may_be_hidden() {
                let reason = if value.may_be_true() {
                    rule.denial
                } else {
                    value.cause()
                };
                let win = Win {
                    rule: Some(id),
                    reason,
                    tier,
                };
                if value.may_be_false() {
                    outcomes.add(Kind::Deny, win);
                } else {
                    // A rule that says Deny is a better answer than one that cannot be seen.
                    let better = denied.is_none_or(|old: Win| {
                        old.reason != Reason::RuleDenied && reason == rule.denial
                    });
                    denied = if better { Some(win) } else { denied };
                }
            }
        }
        if let Some(open) = open {
            self.context = open;
        }
        self.context.passthrough = own;
        Reach {
            outcomes: denied.map_or(outcomes, |win| Outcomes::only(Kind::Deny, win)),
            alerts,
            inspect: false,
        }
    }
}

fn allow_kind(rule: &Rule) -> Kind {
    if rule.raw {
        Kind::AllowRaw
    } else if rule.without_sni {
        Kind::AllowWithoutSni
    } else {
        Kind::Allow
    }
}
