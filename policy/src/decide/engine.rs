//! Floor, tiers and defaults: from evidence to the outcomes that are still possible.

use smallvec::SmallVec;

use super::{
    consistency::{Consistency, consistency},
    opening::Ground,
    outcome::{Kind, Outcomes, Win},
    types::{Assurance, Decision, Phase, RuleRef, Shadow, ShadowKind, Tier, TlsAction, Verdict},
    view::{Lane, View},
};
use crate::{
    evidence::{Attr, Evidence, Protocol},
    floor::Closed,
    index::Ids,
    matcher::{Context, Rule, Side, Tri},
    model::{Action, DefaultAction, TlsMode},
    reason::Reason,
};

/// What one lane says.
pub(super) struct Judgement {
    pub(super) outcomes: Outcomes,
    pub(super) alerts: Vec<RuleRef>,
    /// An Alert or a rule of another lane waits for the response.
    pub(super) watch: bool,
    /// A denial that no fleet setting lifts.
    pub(super) absolute: bool,
}

impl Judgement {
    fn closed(closed: &Closed) -> Self {
        let win = Win {
            rule: None,
            reason: closed.reason,
            tier: Tier::Floor,
        };
        Self {
            outcomes: Outcomes::only(Kind::Deny, win),
            alerts: Vec::new(),
            watch: false,
            absolute: closed.is_never_openable(),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match (self.outcomes.may_allow(), self.outcomes.may_deny()) {
            (true, false) => Verdict::Allow,
            (true, true) => Verdict::Undecided,
            (false, _) => Verdict::Deny,
        }
    }

    fn win(&self) -> Win {
        let fallback = Win {
            rule: None,
            reason: Reason::DefaultDeny,
            tier: Tier::Default,
        };
        match self.verdict() {
            Verdict::Allow => self.outcomes.allowed().unwrap_or(fallback),
            Verdict::Deny | Verdict::Undecided => self.outcomes.get(Kind::Deny).unwrap_or(fallback),
        }
    }
}

impl View {
    /// Decides on what is known so far. `now_unix` is the time in seconds since 1970.
    pub fn decide(&self, evidence: &Evidence<'_>, now_unix: u64) -> Decision {
        let context = Context::new(evidence, &self.from, self.workload.as_ref());
        let live = self.judge(&context, Lane::Live, now_unix);
        let verdict = live.verdict();
        let mut watch = live.watch;
        let mut shadow = None;
        if verdict != Verdict::Undecided && self.has_shadow {
            (shadow, watch) = self.shadow(&context, &live, now_unix);
        }
        let win = live.win();
        Decision {
            verdict,
            reason: if verdict == Verdict::Allow {
                Reason::Allowed
            } else {
                win.reason
            },
            rule: self
                .reference(win.rule)
                .filter(|_| verdict != Verdict::Undecided),
            phase: self.phase(evidence, verdict, now_unix),
            tls: tls_action(&context),
            enforced: !self.audited || live.absolute,
            body_limit: self.body_limit(&context, verdict, win, now_unix),
            alerts: live.alerts,
            shadow,
            assurance: assurance(&context),
            watch_response: watch && verdict == Verdict::Allow && context.response.is_pending(),
        }
    }

    /// One lane: floor, tiers, name consistency, and the address.
    pub(super) fn judge(&self, context: &Context<'_>, lane: Lane, now: u64) -> Judgement {
        if let Attr::Known(name) = context.name
            && name.is_localhost()
        {
            let win = Win {
                rule: None,
                reason: Reason::Loopback,
                tier: Tier::Floor,
            };
            return Judgement {
                outcomes: Outcomes::only(Kind::Deny, win),
                alerts: Vec::new(),
                watch: false,
                absolute: true,
            };
        }
        let maybe_closed = match self.floor(context, lane, now) {
            Ground::Closed(closed) => return Judgement::closed(&closed),
            Ground::Maybe => true,
            Ground::Open => false,
        };
        let mut ids = Ids::new();
        let complete = self.candidates(context, &mut ids);
        let mut engine = Engine {
            view: self,
            context: context.clone(),
            lane,
            now,
            ids: &ids,
            alerts: Vec::new(),
            watch: false,
            hidden: None,
            tentative: false,
            exempt: false,
            memo: SmallVec::new(),
        };
        engine.exempt = self.is_exempt(context);
        engine.context.passthrough = engine.exempt;
        let namespace_begin = ids.partition_point(|&id| id < self.namespace_rules.0);
        let mut outcomes = engine.ordered(0, namespace_begin, Tier::Admin);
        let (alerts, watch) = (engine.alerts, engine.watch);
        Self::settle_names(context, &mut outcomes);
        let deny = |reason| Win {
            rule: None,
            reason,
            tier: Tier::Default,
        };
        let pending_address = context.address.is_pending();
        if outcomes.may_allow() {
            match context.address {
                Attr::Known(_) | Attr::Pending => {}
                Attr::Absent | Attr::Hidden => {
                    outcomes = Outcomes::only(Kind::Deny, deny(Reason::UnresolvedAddress));
                }
            }
            if maybe_closed || pending_address || (context.more_names && self.names_matter(lane)) {
                outcomes.add(Kind::Deny, deny(Reason::DefaultDeny));
            }
        }
        if !complete {
            outcomes.add(Kind::Allow, deny(Reason::Allowed));
            outcomes.add(Kind::Deny, deny(Reason::DefaultDeny));
        }
        Judgement {
            outcomes,
            alerts,
            watch,
            absolute: false,
        }
    }

    /// What the shown names make of each kind of Allow.
    fn settle_names(context: &Context<'_>, outcomes: &mut Outcomes) {
        let deny = |win: Win, reason| Win {
            rule: win.rule,
            reason,
            tier: win.tier,
        };
        match consistency(context) {
            Consistency::Whole => {}
            Consistency::Broken(reason) => {
                for kind in [Kind::Allow, Kind::AllowWithoutSni] {
                    if let Some(win) = outcomes.remove(kind) {
                        outcomes.add(Kind::Deny, deny(win, reason));
                    }
                }
            }
            Consistency::NoSni => {
                if let Some(win) = outcomes.remove(Kind::Allow) {
                    outcomes.add(Kind::Deny, deny(win, Reason::SniMissing));
                }
            }
            Consistency::Open => {
                for kind in [Kind::Allow, Kind::AllowWithoutSni] {
                    if let Some(win) = outcomes.get(kind) {
                        outcomes.add(Kind::Deny, deny(win, Reason::NameMismatch));
                    }
                }
            }
        }
    }

    fn is_exempt(&self, context: &Context<'_>) -> bool {
        matches!(context.name, Attr::Known(name) if self.settings.exempt.contains(name))
    }

    /// What all Audit policies taken as Enforce would change, and whether the response is needed to say so.
    fn shadow(&self, context: &Context<'_>, live: &Judgement, now: u64) -> (Option<Shadow>, bool) {
        let shadow = self.judge(context, Lane::Shadow, now);
        let win = shadow.win();
        let make = |kind| {
            Some(Shadow {
                kind,
                rule: self.reference(win.rule),
                reason: win.reason,
            })
        };
        let (before, after) = (live.verdict(), shadow.verdict());
        if after == Verdict::Undecided {
            return (make(ShadowKind::WouldNeedContent), true);
        }
        let watch = live.watch || shadow.watch;
        // What hangs on bytes inside TLS is not known, whichever way it was settled.
        let open = |lane| {
            let mut context = context.clone();
            context.open_content();
            self.judge(&context, lane, now).verdict() == Verdict::Undecided
        };
        if context.is_sealed() && open(Lane::Shadow) && !open(Lane::Live) {
            return (make(ShadowKind::WouldNeedContent), watch);
        }
        let kind = match (before, after) {
            (Verdict::Allow, Verdict::Deny) => make(ShadowKind::WouldDeny),
            (Verdict::Deny, Verdict::Allow) => make(ShadowKind::WouldAllow),
            _ => None,
        };
        (kind, watch)
    }

    /// The step whose evidence was needed.
    fn phase(&self, evidence: &Evidence<'_>, verdict: Verdict, now: u64) -> Phase {
        let settled_without = |evidence: &Evidence<'_>| {
            let context = Context::new(evidence, &self.from, self.workload.as_ref());
            verdict != Verdict::Undecided
                && self.judge(&context, Lane::Live, now).verdict() == verdict
        };
        if evidence.response.known().is_some() {
            let earlier = Evidence {
                response: Attr::Pending,
                ..evidence.clone()
            };
            if !settled_without(&earlier) {
                return Phase::PostResponse;
            }
        }
        // A requested literal is known from the start; every other address has been resolved.
        let resolved = match (evidence.address.known(), evidence.literal) {
            (Some(address), Some(literal)) => *address != literal,
            (address, _) => address.is_some(),
        };
        if resolved || evidence.hello.known().is_some() {
            return Phase::PreRequest;
        }
        if evidence.request.known().is_some() {
            let earlier = Evidence {
                request: Attr::Pending,
                response: Attr::Pending,
                ..evidence.clone()
            };
            if !settled_without(&earlier) {
                return Phase::PreRequest;
            }
        }
        Phase::PreDns
    }

    /// Where a body of undeclared length must be cut so that the rules that let it through keep their word.
    fn body_limit(
        &self,
        context: &Context<'_>,
        verdict: Verdict,
        win: Win,
        now: u64,
    ) -> Option<u64> {
        let head = context
            .response
            .known()
            .filter(|head| verdict == Verdict::Allow && head.content_length.is_none())?;
        let own = win
            .rule
            .and_then(|id| self.rule(id))
            .and_then(|(_, rule)| rule.matcher.response.as_ref());
        let mut limit = own.and_then(|response| response.body_limit(head, false));
        let mut ids = Ids::new();
        self.candidates(context, &mut ids);
        for id in ids {
            let Some((policy, rule)) = self.rule(id) else {
                continue;
            };
            if rule.action == Action::Deny
                && !rule.expired(now)
                && self.takes_part(policy, Lane::Live)
                && let Some(response) = &rule.matcher.response
                && let Some(bound) = response.body_limit(head, true)
            {
                limit = Some(limit.map_or(bound, |limit| limit.min(bound)));
            }
        }
        limit
    }
}

fn tls_action(context: &Context<'_>) -> TlsAction {
    match context.protocol {
        Attr::Known(Protocol::Tls) if context.evidence.inspected => TlsAction::Inspect,
        Attr::Known(_) | Attr::Absent | Attr::Hidden => TlsAction::Relay,
        Attr::Pending => TlsAction::Undecided,
    }
}

fn assurance(context: &Context<'_>) -> Assurance {
    if context.request.known().is_some() {
        Assurance::Inspected
    } else if context.name.known().is_some() {
        Assurance::NameResolved
    } else {
        Assurance::AddressOnly
    }
}

/// Outcomes from a position on, under a Passthrough or an Inspect.
type Remembered = (usize, (bool, bool), Outcomes);

/// One evaluation of the tiers.
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent marks of one evaluation"
)]
struct Engine<'v, 'c> {
    view: &'v View,
    context: Context<'c>,
    lane: Lane,
    now: u64,
    /// The candidates.
    ids: &'v [u32],
    alerts: Vec<RuleRef>,
    watch: bool,
    /// The first Allow that did not match because something is hidden.
    hidden: Option<(u32, Reason)>,
    /// What follows may not be reached.
    tentative: bool,
    /// The settings say that this TLS is never opened.
    exempt: bool,
    /// Outcomes from a position on, under a Passthrough or not.
    memo: SmallVec<[Remembered; 4]>,
}

impl<'v> Engine<'v, '_> {
    /// A rule that takes part, with its policy's position.
    fn rule_at(&self, at: usize) -> Option<(u32, u32, &'v Rule)> {
        let id = *self.ids.get(at)?;
        let (policy, rule) = self.view.rule(id)?;
        (self.view.takes_part(policy, self.lane) && !rule.expired(self.now))
            .then_some((id, policy, rule))
    }

    /// Whether a rule matches, its TLS mode included.
    fn matches(&self, rule: &Rule) -> Tri {
        let matcher = &rule.matcher;
        match rule.action {
            Action::Alert | Action::Deny => matcher.matches(&self.context, Side::DENY),
            Action::Allow => {
                let value = matcher.matches(&self.context, Side::ALLOW);
                let inspect = rule.mode == TlsMode::Inspect && !self.context.passthrough;
                if !inspect && !self.context.must_inspect {
                    value
                } else if self.context.is_sealed() {
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
                if self.context.passthrough {
                    let mut context = self.context.clone();
                    context.passthrough = false;
                    strict.both_ways(matcher.matches(&context, Side::DENY))
                } else {
                    strict.both_ways(matcher.matches(&self.context, Side::DENY))
                }
            }
        }
    }

    fn alert(&mut self, rule: &Rule, value: Tri) {
        if !value.may_be_false() && !self.tentative {
            self.alerts.push(rule.reference.clone());
        }
        self.watch |= !value.is_settled() && self.context.response.is_pending();
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
    fn ordered(&mut self, from: usize, end: usize, tier: Tier) -> Outcomes {
        let modes = (self.context.passthrough, self.context.must_inspect);
        if let Some((.., known)) = self
            .memo
            .iter()
            .find(|(at, under, _)| (*at, *under) == (from, modes))
        {
            return *known;
        }
        let tentative = self.tentative;
        let outcomes = self.ordered_from(from, end, tier);
        (self.context.passthrough, self.context.must_inspect) = modes;
        self.tentative = tentative;
        self.memo.push((from, modes, outcomes));
        outcomes
    }

    fn ordered_from(&mut self, from: usize, end: usize, tier: Tier) -> Outcomes {
        let mut open = Outcomes::default();
        let mut at = from;
        while at < end {
            let next = at + 1;
            let Some((id, policy, rule)) = self.rule_at(at) else {
                at = next;
                continue;
            };
            let value = self.matches(rule);
            match rule.action {
                Action::Alert => self.alert(rule, value),
                Action::Allow => {
                    self.note_hidden(id, value);
                    if value.may_be_true() {
                        let win = Win {
                            rule: Some(id),
                            reason: Reason::Allowed,
                            tier,
                        };
                        let found = Outcomes::only(allow_kind(rule), win);
                        if value.is_true() {
                            return open.or(found);
                        }
                        open = open.or(found);
                        self.tentative = true;
                    }
                }
                Action::Deny => {
                    if value.may_be_true() || value.may_be_hidden() {
                        let reason = if value.may_be_true() {
                            Reason::RuleDenied
                        } else {
                            value.cause()
                        };
                        let found = Outcomes::only(
                            Kind::Deny,
                            Win {
                                rule: Some(id),
                                reason,
                                tier,
                            },
                        );
                        if !value.may_be_false() {
                            return open.or(found);
                        }
                        open = open.or(found);
                        self.tentative = true;
                    }
                }
                Action::Next | Action::Pass => {
                    if value.is_true() {
                        self.steer(rule, tier);
                        return open.or(self.jump(rule, policy, end, tier));
                    }
                    if !value.is_false() {
                        self.tentative = true;
                        let jump = self.jump(rule, policy, end, tier);
                        let rest = self.ordered(next, end, tier);
                        return open.or(steered(
                            value,
                            jump,
                            rest,
                            Win {
                                rule: Some(id),
                                reason: value.cause(),
                                tier,
                            },
                        ));
                    }
                }
            }
            at = next;
        }
        open.or(self.after(tier))
    }

    /// What a Pass or Next that matches says about TLS; what came before it stands.
    fn steer(&mut self, rule: &Rule, tier: Tier) {
        match rule.mode {
            TlsMode::Auto => {}
            TlsMode::Inspect if tier == Tier::Admin && !self.exempt => {
                // Within a tier Inspect beats Passthrough.
                self.context.must_inspect = true;
                self.context.passthrough = false;
            }
            TlsMode::Inspect => self.context.must_inspect |= !self.context.passthrough,
            TlsMode::Passthrough => {
                self.context.passthrough |= self.passes_through(rule) && !self.context.must_inspect;
            }
        }
    }

    /// Whether this rule's Passthrough acts.
    fn passes_through(&self, rule: &Rule) -> bool {
        rule.mode == TlsMode::Passthrough && self.context.is_sealed()
    }

    /// Where a Pass or Next leads.
    fn jump(&mut self, rule: &Rule, policy: u32, end: usize, tier: Tier) -> Outcomes {
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
    fn after(&mut self, tier: Tier) -> Outcomes {
        if tier == Tier::Admin {
            self.namespace()
        } else {
            self.default_action()
        }
    }

    fn default_action(&mut self) -> Outcomes {
        match self.view.settings.default_action {
            DefaultAction::Allow => Outcomes::only(
                Kind::Allow,
                Win {
                    rule: None,
                    reason: Reason::Allowed,
                    tier: Tier::Default,
                },
            ),
            DefaultAction::Deny => Outcomes::only(
                Kind::Deny,
                self.no_allow(Reason::DefaultDeny, Tier::Default),
            ),
        }
    }

    /// The namespace tier: any matching Deny denies, else any matching Allow allows, else the workload is isolated.
    fn namespace(&mut self) -> Outcomes {
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
        let mut through: SmallVec<[u32; 4]> = SmallVec::new();
        let mut inspected = false;
        let mut refused: Option<(bool, Win)> = None;
        for at in begin..end {
            let Some((id, policy, rule)) = self.rule_at(at) else {
                continue;
            };
            if rule.action != Action::Allow {
                continue;
            }
            let value = self.matches(rule);
            self.note_hidden(id, value);
            inspected |= rule.mode == TlsMode::Inspect && !value.is_false();
            if value.is_true() && self.passes_through(rule) {
                through.push(policy);
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
            if rule.inject && !self.context.evidence.inspected && !view.audited {
                let acts = rule
                    .matcher
                    .matches_but_response(&self.context, Side::ALLOW);
                let win = Win {
                    rule: Some(id),
                    reason: Reason::InjectImpossible,
                    tier,
                };
                if acts.may_be_true()
                    && refused.is_none_or(|(certain, _)| !certain && acts.is_true())
                {
                    refused = Some((acts.is_true(), win));
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
            let denied = Outcomes::only(Kind::Deny, self.no_allow(Reason::NoRule, tier));
            outcomes = outcomes.or(denied);
        }
        // A credential that cannot be added refuses the request, whichever rule allows it.
        if outcomes.may_allow() {
            match refused {
                Some((true, win)) => outcomes = Outcomes::only(Kind::Deny, win),
                Some((false, win)) => outcomes.add(Kind::Deny, win),
                None => {}
            }
        }
        self.namespace_denials(begin, end, if inspected { &[] } else { &through }, outcomes)
    }

    fn namespace_denials(
        &mut self,
        begin: usize,
        end: usize,
        through: &[u32],
        mut outcomes: Outcomes,
    ) -> Outcomes {
        let passthrough = self.context.passthrough;
        let tier = Tier::Namespace;
        let mut denied = None;
        for at in begin..end {
            let Some((id, policy, rule)) = self.rule_at(at) else {
                continue;
            };
            if !matches!(rule.action, Action::Alert | Action::Deny) {
                continue;
            }
            self.context.passthrough = passthrough || through.contains(&policy);
            let value = self.matches(rule);
            if rule.action == Action::Alert {
                self.alert(rule, value);
            } else if value.may_be_true() || value.may_be_hidden() {
                let reason = if value.may_be_true() {
                    Reason::RuleDenied
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
                        old.reason != Reason::RuleDenied && reason == Reason::RuleDenied
                    });
                    denied = if better { Some(win) } else { denied };
                }
            }
        }
        self.context.passthrough = passthrough;
        denied.map_or(outcomes, |win| Outcomes::only(Kind::Deny, win))
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

/// A Pass or Next that is not certain: where it is hidden it is tried both ways, and denied if either way denies.
fn steered(value: Tri, jump: Outcomes, rest: Outcomes, hidden: Win) -> Outcomes {
    let mut outcomes = Outcomes::default();
    if value.may_be_true() {
        outcomes = outcomes.or(jump);
    }
    if value.may_be_hidden() {
        let mut worse = jump.worse(rest);
        // Where one way allows, the denial comes from what cannot be seen.
        if (jump.may_allow() || rest.may_allow()) && worse.remove(Kind::Deny).is_some() {
            worse.add(Kind::Deny, hidden);
        }
        outcomes = outcomes.or(worse);
    }
    if value.may_be_false() {
        outcomes = outcomes.or(rest);
    }
    outcomes
}
