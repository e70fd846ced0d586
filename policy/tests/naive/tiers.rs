//! The tiers, walked path by path.

use exitgate_policy::{
    Action, Attr, DefaultAction, Evidence, PolicyTier, Protocol, Reason, Rule, Snapshot, TlsMode,
    Workload,
};

use super::{
    outcome::{Key, Leaf, Outcome},
    rule::{self, Inside, Scene, closed_tls, mode},
    text::host_matches,
    truth::Truth,
};

/// One evaluation.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub snapshot: &'a Snapshot,
    pub workload: &'a Workload,
    pub evidence: &'a Evidence<'a>,
    pub now: u64,
    /// Audit policies count as Enforce, and what they replace is left out.
    pub audit_acts: bool,
    /// The fleet only audits this workload.
    pub audited: bool,
    /// Whether TLS that is not opened yet can be.
    pub inside: Inside,
    /// Content that stays hidden is taken as if it might still be seen.
    pub reveal: bool,
}

/// A rule with where it stands.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub policy: &'a str,
    pub namespace: Option<&'a str>,
    pub rule: &'a Rule,
}

impl Placed<'_> {
    pub fn key(self) -> Key {
        (self.policy.to_owned(), self.rule.name.clone())
    }
}

/// What was said about TLS on the way here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct Modes {
    /// A Passthrough holds.
    pub through: bool,
    /// It is a higher tier's.
    pub above: bool,
    /// A Pass or Next wants TLS opened.
    pub must: bool,
    /// An Alert does.
    pub wish: bool,
}

/// The rules of an ordered tier.
struct Ordered<'a> {
    tier: PolicyTier,
    rules: Vec<Placed<'a>>,
    /// For each, where the next policy begins.
    next: Vec<usize>,
}

impl<'a> World<'a> {
    pub fn outcome(self) -> Outcome {
        let exempt = self.exempt();
        let ways = [(exempt.may_hold(), true), (exempt.may_fail(), false)];
        let tiers = ways
            .into_iter()
            .filter(|(possible, _)| *possible)
            .map(|(_, exempt)| {
                let modes = Modes {
                    through: exempt,
                    above: exempt,
                    ..Modes::default()
                };
                self.ordered(&self.tier(PolicyTier::Admin), 0, modes)
            })
            .reduce(Outcome::either)
            .unwrap();
        // The floor comes first; alerts are those of the tiers.
        let mut result = tiers.clone();
        for (address, truth_pending) in self.involved() {
            match address {
                Some(address) => {
                    let (closed, reasons, never) = self.closed(address);
                    let leaf = Leaf {
                        allow: false,
                        opens: false,
                        reasons,
                        rule: None,
                        never,
                    };
                    if !closed.may_fail() {
                        return Outcome {
                            possible_alerts: tiers.possible_alerts,
                            ..Outcome::of(leaf)
                        };
                    }
                    if closed != Truth::NO {
                        result.leaves.insert(leaf);
                    }
                }
                None if truth_pending => {
                    result.leaves.insert(Leaf {
                        allow: false,
                        opens: false,
                        reasons: Reason::ALL.to_vec(),
                        rule: None,
                        never: false,
                    });
                }
                None => {}
            }
        }
        result
    }

    fn tier(self, tier: PolicyTier) -> Ordered<'a> {
        let (rules, next) = self.flat(tier);
        Ordered { tier, rules, next }
    }

    // ---- one rule

    /// The value of a rule, perhaps with conditions left out. `off`: content takes no part in a Deny or Alert.
    pub fn value_of(self, placed: Placed<'a>, rule: &Rule, modes: Modes, off: bool) -> Truth {
        let denies = matches!(rule.action, Action::Deny | Action::Alert);
        let value = rule::rule(
            Scene {
                snapshot: self.snapshot,
                workload: self.workload,
                evidence: self.evidence,
                now: self.now,
                namespace: placed.namespace,
                inside: self.inside,
                through: modes.through,
                switched_off: off && denies,
                opening: None,
            },
            rule,
        );
        if self.reveal { value.revealed() } else { value }
    }

    fn value(self, placed: Placed<'a>, modes: Modes) -> Truth {
        self.value_of(placed, placed.rule, modes, modes.through)
    }

    /// Whether a rule's TLS mode acts: its conditions hold that ask for nothing inside TLS.
    fn acts(self, placed: Placed<'a>, modes: Modes) -> Truth {
        let mut outside = placed.rule.clone();
        outside.http = None;
        outside.response = None;
        if let Some(not) = &outside.not
            && (not.http.is_some() || not.response.is_some())
        {
            outside.not = None;
            // A negated name still makes an absent protocol mean HTTP or TLS; both are fine where TLS is at stake.
        }
        self.value_of(placed, &outside, modes, false)
    }

    fn is_tls(self) -> Truth {
        match self.evidence.protocol {
            Attr::Known(protocol) => Truth::of(protocol == Protocol::Tls),
            Attr::Absent => Truth::NO,
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        }
    }

    /// The fleet's exempt list acts as an Admin Passthrough before every policy.
    fn exempt(self) -> Truth {
        let exempt = &self.snapshot.settings.tls.exempt;
        match self.evidence.name {
            _ if exempt.is_empty() => Truth::NO,
            Attr::Known(name) => Truth::of(
                exempt
                    .iter()
                    .any(|pattern| host_matches(pattern, name.as_str())),
            ),
            Attr::Absent | Attr::Hidden => Truth::NO,
            Attr::Pending => Truth::PENDING,
        }
    }

    /// The value of an Allow: it does not match where it would have to look inside TLS and cannot.
    fn allow_value(self, placed: Placed<'a>, modes: Modes) -> (Truth, Truth) {
        let matched = self.value(placed, modes);
        let opens = (mode(placed.rule) == TlsMode::Inspect && !modes.above) || modes.must;
        let possible = match self.inside {
            _ if !opens || self.evidence.inspected => Truth::YES,
            Inside::Open => Truth::YES,
            Inside::Sealed => !self.is_tls(),
            Inside::Unclear => (!self.is_tls()).or(Truth::PENDING),
        };
        (matched, possible)
    }

    /// What a Pass or Next that matches makes of the modes.
    fn steered(self, placed: Placed<'a>, modes: Modes) -> Modes {
        match mode(placed.rule) {
            TlsMode::Inspect if !modes.above => Modes {
                must: true,
                through: false,
                ..modes
            },
            TlsMode::Passthrough if !modes.must && !modes.wish => Modes {
                through: modes.through || closed_tls(self.evidence),
                ..modes
            },
            TlsMode::Auto | TlsMode::Inspect | TlsMode::Passthrough => modes,
        }
    }

    // ---- tiers

    /// First match decides.
    fn ordered(self, tier: &Ordered<'a>, at: usize, modes: Modes) -> Outcome {
        let Some(&placed) = tier.rules.get(at) else {
            return self.after(tier.tier, modes);
        };
        let on = |modes| self.ordered(tier, at + 1, modes);
        let asks = mode(placed.rule) == TlsMode::Inspect;
        match placed.rule.action {
            Action::Alert => {
                let wished = Modes {
                    wish: true,
                    through: false,
                    ..modes
                };
                let heard = asks
                    && !modes.above
                    && self.inside != Inside::Sealed
                    && !self.evidence.inspected;
                let acts = if heard {
                    self.acts(placed, modes)
                } else {
                    Truth::NO
                };
                let mut rest = if acts == Truth::YES {
                    on(wished)
                } else if acts.may_hold() {
                    on(wished).either(on(modes))
                } else {
                    on(modes)
                };
                let value = self.value(placed, modes);
                note(placed, value, &mut rest.alerts, &mut rest.possible_alerts);
                rest
            }
            Action::Allow => {
                let (matched, possible) = self.allow_value(placed, modes);
                let value = matched.and(possible);
                let through = mode(placed.rule) == TlsMode::Passthrough
                    && closed_tls(self.evidence)
                    && !modes.must
                    && !modes.wish;
                let opens = (asks && !modes.above) || modes.must || modes.wish;
                let allowed = || {
                    self.with_credentials(
                        Modes {
                            through: modes.through || through,
                            ..modes
                        },
                        self.let_through(Some(placed), opens && self.may_open()),
                    )
                };
                if value == Truth::YES {
                    return allowed();
                }
                let rest = on(modes);
                let rest = if value.may_stay_hidden() || possible != Truth::YES {
                    rest.lenient()
                } else {
                    rest
                };
                if value.may_hold() {
                    rest.either(allowed())
                } else {
                    rest
                }
            }
            Action::Deny => {
                let value = self.value(placed, modes);
                let denies = Outcome::deny(&denied(value), Some(placed.key()));
                if value == Truth::NO {
                    on(modes)
                } else if value.may_fail() {
                    on(modes).either(denies)
                } else {
                    denies
                }
            }
            Action::Pass | Action::Next => {
                let value = self.value(placed, modes);
                let to = |modes| {
                    if placed.rule.action == Action::Pass {
                        self.after(tier.tier, modes)
                    } else {
                        self.ordered(tier, tier.next[at], modes)
                    }
                };
                let steered = self.steered(placed, modes);
                // Inspect acts also where what is inside does not match.
                let content = |http: bool, response: bool| http || response;
                let inner = placed
                    .rule
                    .not
                    .as_ref()
                    .is_some_and(|not| content(not.http.is_some(), not.response.is_some()));
                let needs =
                    inner || content(placed.rule.http.is_some(), placed.rule.response.is_some());
                let open = value != Truth::YES && value != Truth::NO;
                let otherwise = if asks && needs && open && self.acts(placed, modes).may_hold() {
                    steered
                } else {
                    modes
                };
                let ways = [
                    value.may_hold().then(|| to(steered)),
                    value.may_fail().then(|| on(otherwise)),
                    value
                        .may_stay_hidden()
                        .then(|| to(otherwise).both(on(otherwise))),
                ];
                ways.into_iter().flatten().reduce(Outcome::either).unwrap()
            }
        }
    }

    fn after(self, tier: PolicyTier, modes: Modes) -> Outcome {
        let modes = Modes {
            above: modes.through,
            ..modes
        };
        if tier == PolicyTier::Admin {
            self.namespace(modes)
        } else {
            match self.snapshot.settings.default_action {
                DefaultAction::Allow => {
                    self.let_through(None, (modes.must || modes.wish) && self.may_open())
                }
                DefaultAction::Deny => Outcome::deny(&[Reason::DefaultDeny], None),
            }
        }
    }

    fn namespace(self, modes: Modes) -> Outcome {
        let mut rules: Vec<Placed<'a>> = Vec::new();
        let policies = self.namespaced();
        for (policy, spec) in &policies {
            rules.extend(spec.rules.iter().map(|rule| Placed {
                policy,
                namespace: Some(self.workload.namespace.as_str()),
                rule,
            }));
        }
        if policies.is_empty() {
            return self.ordered(&self.tier(PolicyTier::Baseline), 0, modes);
        }
        // Within a tier Inspect, or a credential, beats Passthrough.
        let inspects = Truth::any(
            rules
                .iter()
                .filter(|placed| {
                    mode(placed.rule) == TlsMode::Inspect || placed.rule.inject.is_some()
                })
                .map(|placed| self.acts(*placed, modes)),
        );
        let opens =
            ((inspects.may_hold() && !modes.above) || modes.must || modes.wish) && self.may_open();
        let voided = modes.above || modes.must || modes.wish || !inspects.may_fail();
        let mut ways: Vec<Vec<&str>> = vec![Vec::new()];
        if !voided && closed_tls(self.evidence) {
            for (policy, _) in &policies {
                let seals = Truth::any(
                    rules
                        .iter()
                        .filter(|placed| {
                            placed.policy == *policy
                                && placed.rule.action == Action::Allow
                                && mode(placed.rule) == TlsMode::Passthrough
                        })
                        .map(|placed| self.allow_value(*placed, modes))
                        .map(|(matched, possible)| matched.and(possible)),
                );
                let with: Vec<Vec<&str>> = ways
                    .iter()
                    .map(|way| way.iter().copied().chain([*policy]).collect())
                    .collect();
                if seals == Truth::YES {
                    ways = with;
                } else if seals.may_hold() {
                    ways.extend(with);
                }
            }
            if inspects != Truth::NO {
                ways.push(Vec::new());
            }
        }
        ways.iter()
            .map(|sealing| self.order_free(&rules, modes, sealing, opens))
            .reduce(Outcome::either)
            .unwrap()
    }

    /// All rules of the namespace tier, where these policies keep TLS closed.
    fn order_free(
        self,
        rules: &[Placed<'a>],
        modes: Modes,
        sealing: &[&str],
        opens: bool,
    ) -> Outcome {
        let closed = Modes {
            through: modes.through || !sealing.is_empty(),
            ..modes
        };
        let mut denies = Outcome::default();
        let mut surely_denied = false;
        let mut allows = Outcome::default();
        let mut surely_allowed = false;
        let mut hidden = false;
        let mut alerts = Vec::new();
        let mut possible_alerts = Vec::new();
        for &placed in rules {
            let off = modes.through || sealing.contains(&placed.policy);
            match placed.rule.action {
                Action::Allow => {
                    let (matched, possible) = self.allow_value(placed, closed);
                    let value = matched.and(possible);
                    hidden |=
                        value.may_stay_hidden() || (!value.may_hold() && matched != Truth::NO);
                    if value.may_hold() {
                        let through = self.let_through(Some(placed), opens);
                        surely_allowed |=
                            value == Truth::YES && through.may_allow() && !through.may_deny();
                        if value != Truth::YES {
                            allows = allows.either(Outcome::deny(&[Reason::NoRule], None));
                        }
                        allows = allows.either(through);
                    }
                }
                Action::Deny => {
                    let value = self.value_of(placed, placed.rule, closed, off);
                    if value != Truth::NO {
                        denies = denies.either(Outcome::deny(&denied(value), Some(placed.key())));
                    }
                    surely_denied |= !value.may_fail();
                }
                Action::Alert => {
                    let value = self.value_of(placed, placed.rule, closed, off);
                    note(placed, value, &mut alerts, &mut possible_alerts);
                }
                Action::Next | Action::Pass => panic!("not in a namespaced policy"),
            }
        }
        let mut result = if surely_denied {
            denies
        } else {
            if surely_allowed {
                allows.leaves.retain(|leaf| leaf.allow);
            }
            if allows.leaves.is_empty() {
                allows = Outcome::deny(&[Reason::NoRule], None);
            }
            denies
                .leaves
                .extend(self.with_credentials(modes, allows).leaves);
            denies
        };
        result.alerts = alerts;
        result.possible_alerts = possible_alerts;
        if hidden { result.lenient() } else { result }
    }
}

fn note(placed: Placed<'_>, value: Truth, certain: &mut Vec<Key>, possible: &mut Vec<Key>) {
    if value != Truth::NO {
        possible.push(placed.key());
    }
    if !value.may_fail() {
        certain.push(placed.key());
    }
}

fn denied(value: Truth) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if value.may_hold() {
        reasons.push(Reason::RuleDenied);
    }
    if value.may_stay_hidden() {
        reasons.push(Reason::Uninspectable);
    }
    if value.may_lack_a_set() {
        reasons.push(Reason::SetUnavailable);
    }
    reasons
}
