//! Floor, tiers, and everything that may still become of a flow.

use std::{collections::BTreeSet, net::IpAddr};

use exitgate_policy::{
    Action, Attr, ClusterEgressPolicySpec, DefaultAction, EgressPolicySpec, Evidence, Host, Mode,
    PolicyResource, PolicyTier, Presence, Protocol, Reason, Rule, Snapshot, TlsMode, ToProtocol,
    Verdict, Workload,
};

use super::{
    net::{self, Closed, Range, itself},
    rule::{self, Scene, is_account, mode, sealed_tls, selects, visible_names},
    text::host_matches,
    truth::Truth,
};

/// One end of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    pub allow: bool,
    /// The reasons that fit; several where the page leaves the choice.
    pub reasons: Vec<Reason>,
    /// Policy and rule.
    pub rule: Option<(String, String)>,
    /// The part of the floor that nothing opens.
    pub never: bool,
}

/// What may become of a flow.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub leaves: BTreeSet<Leaf>,
    pub alerts: Vec<(String, String)>,
    pub possible_alerts: Vec<(String, String)>,
}

impl Outcome {
    fn of(leaf: Leaf) -> Self {
        Self {
            leaves: BTreeSet::from([leaf]),
            ..Self::default()
        }
    }

    fn deny(reasons: &[Reason], rule: Option<(String, String)>) -> Self {
        Self::of(Leaf {
            allow: false,
            reasons: reasons.to_vec(),
            rule,
            never: false,
        })
    }

    fn allow(rule: Option<(String, String)>) -> Self {
        Self::of(Leaf {
            allow: true,
            reasons: vec![Reason::Allowed],
            rule,
            never: false,
        })
    }

    pub fn verdict(&self) -> Verdict {
        let allows = self.leaves.iter().any(|leaf| leaf.allow);
        let denies = self.leaves.iter().any(|leaf| !leaf.allow);
        match (allows, denies) {
            (true, false) => Verdict::Allow,
            (false, true) => Verdict::Deny,
            _ => Verdict::Undecided,
        }
    }

    /// Either may happen.
    fn either(mut self, other: Self) -> Self {
        self.leaves.extend(other.leaves);
        self.alerts.retain(|alert| other.alerts.contains(alert));
        self.possible_alerts.extend(other.possible_alerts);
        self
    }

    /// Both are tried, and one denial denies.
    fn both(self, other: Self) -> Self {
        let may_allow = [&self, &other]
            .iter()
            .all(|one| one.leaves.iter().any(|leaf| leaf.allow));
        let mut joined = self.either(other);
        joined.leaves.retain(|leaf| !leaf.allow || may_allow);
        // A denial may name what was tried as its reason.
        joined.leaves = joined
            .leaves
            .into_iter()
            .map(|mut leaf| {
                if !leaf.allow {
                    leaf.reasons
                        .extend([Reason::Uninspectable, Reason::SetUnavailable]);
                }
                leaf
            })
            .collect();
        // Whether what is only tried counts as reached is left open.
        joined.alerts.clear();
        joined
    }
}

/// One evaluation.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub snapshot: &'a Snapshot,
    pub workload: &'a Workload,
    pub evidence: &'a Evidence<'a>,
    pub now: u64,
    /// Audit policies count as Enforce, and what they replace is left out.
    pub audit_acts: bool,
    /// Content that stays hidden is taken as if it might still be seen.
    pub reveal: bool,
}

/// A rule with where it stands.
#[derive(Clone, Copy)]
struct Placed<'a> {
    policy: &'a str,
    namespace: Option<&'a str>,
    rule: &'a Rule,
}

impl Placed<'_> {
    fn key(self) -> (String, String) {
        (self.policy.to_owned(), self.rule.name.clone())
    }
}

impl<'a> World<'a> {
    pub fn outcome(self) -> Outcome {
        let tiers = self.admin();
        // The floor comes first; alerts are those of the tiers.
        let mut result = tiers.clone();
        for (address, truth_pending) in self.involved() {
            match address {
                Some(address) => {
                    let (closed, reasons, never) = self.closed(address);
                    let leaf = Leaf {
                        allow: false,
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

    // ---- policies

    fn acts(self, mode: Mode) -> bool {
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
            .filter(|(_, spec)| spec.tier == tier && self.acts(spec.mode) && selected(spec))
            .filter(|(name, _)| !replaced(name))
            .collect();
        chosen.sort_by_key(|(name, spec)| (spec.priority, *name));
        chosen
    }

    fn namespaced(self) -> Vec<(&'a str, &'a EgressPolicySpec)> {
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
            .filter(|(_, spec)| self.acts(spec.mode) && selected(spec))
            .filter(|(name, _)| !replaced(name))
            .collect()
    }

    fn flat(self, tier: PolicyTier) -> (Vec<Placed<'a>>, Vec<usize>) {
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

    // ---- one rule

    fn scene(self, placed: Placed<'a>, sealed: Truth) -> Scene<'a> {
        Scene {
            snapshot: self.snapshot,
            workload: self.workload,
            evidence: self.evidence,
            now: self.now,
            namespace: placed.namespace,
            sealed,
            opening: None,
        }
    }

    fn value(self, placed: Placed<'a>, sealed: Truth) -> Truth {
        let value = rule::rule(self.scene(placed, sealed), placed.rule);
        if self.reveal { value.revealed() } else { value }
    }

    fn is_tls(self) -> Truth {
        match self.evidence.protocol {
            Attr::Known(protocol) => Truth::of(protocol == Protocol::Tls),
            Attr::Absent => Truth::NO,
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        }
    }

    /// Whether a rule forbids to look inside the TLS of this flow.
    fn seals(self, placed: Placed<'a>) -> Truth {
        if mode(placed.rule) == TlsMode::Passthrough && lets(placed.rule.action) {
            self.value(placed, Truth::NO).and(self.is_tls())
        } else {
            Truth::NO
        }
    }

    /// The fleet's exempt list acts as an Admin Passthrough before every policy.
    fn exempt(self) -> Truth {
        let covers = |name: &str| {
            self.snapshot
                .settings
                .tls
                .exempt
                .iter()
                .any(|pattern| host_matches(pattern, name))
        };
        if self.snapshot.settings.tls.exempt.is_empty() {
            return Truth::NO;
        }
        let judged = match self.evidence.name {
            Attr::Known(name) => Truth::of(covers(name.as_str())),
            Attr::Absent => Truth::NO,
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        };
        judged.and(self.is_tls())
    }

    /// The value of an Allow: with inspection Off it does not match where it would have to look inside TLS.
    fn allow_value(self, placed: Placed<'a>, sealed_above: Truth) -> (Truth, Truth) {
        let matched = self.value(placed, Truth::NO);
        let opens = mode(placed.rule) == TlsMode::Inspect;
        let possible = if opens {
            (!self.is_tls()).or(sealed_above)
        } else {
            Truth::YES
        };
        let possible = if self.evidence.inspected {
            Truth::YES
        } else {
            possible
        };
        (matched, possible)
    }

    /// What an Allow that matches leads to: the flow's names have to agree.
    fn let_through(self, placed: Option<Placed<'a>>) -> Outcome {
        let tcp = placed.is_some_and(|placed| {
            placed
                .rule
                .to
                .as_ref()
                .is_some_and(|to| to.protocol == Some(ToProtocol::Tcp))
        });
        let no_sni = placed.is_some_and(|placed| {
            placed
                .rule
                .tls
                .as_ref()
                .is_some_and(|tls| tls.sni == Some(Presence::Absent))
        });
        let key = placed.map(Placed::key);
        let mut outcome = Outcome::default();
        let mut fits = Truth::YES;
        if !tcp {
            for (truth, reason) in self.consistency(no_sni) {
                if truth != Truth::YES {
                    // Where the names differ, a rule may as well be said not to match.
                    let reasons = [
                        reason,
                        Reason::NoRule,
                        Reason::DefaultDeny,
                        Reason::Uninspectable,
                    ];
                    let known = if truth.may_stay_hidden() { 4 } else { 3 };
                    outcome = outcome.either(Outcome::deny(&reasons[..known], key.clone()));
                }
                fits = fits.and(truth);
            }
        }
        if fits.may_hold() {
            outcome.either(Outcome::allow(key))
        } else {
            outcome
        }
    }

    /// The built-in condition that all names and ports which a flow shows are the same.
    fn consistency(self, sni_may_be_absent: bool) -> Vec<(Truth, Reason)> {
        let evidence = self.evidence;
        let opaque = match evidence.protocol {
            Attr::Known(protocol) => Truth::of(protocol == Protocol::Tcp),
            Attr::Absent => Truth::YES,
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        };
        let (names, more) = visible_names(evidence);
        let same = names.windows(2).all(|pair| pair[0] == pair[1]);
        let authority = match evidence.request {
            Attr::Known(head) if !sealed_tls(evidence) => head.authority,
            _ => None,
        };
        let host_address = match authority.map(|authority| &authority.host) {
            Some(Host::Addr(address)) => {
                names.is_empty()
                    && evidence
                        .literal
                        .is_none_or(|literal| itself(literal) == itself(*address))
            }
            Some(Host::Name(_)) | None => true,
        };
        let ports = authority
            .and_then(|authority| authority.port)
            .is_none_or(|port| port == evidence.port);
        let pending = |now: bool| {
            if !now {
                return Truth::NO;
            }
            // A further name or port may agree.
            if more == Truth::NO { Truth::YES } else { more }
        };
        let shows_none = match (evidence.hello, evidence.name) {
            (Attr::Known(hello), Attr::Known(_)) => {
                Truth::of(hello.sni.is_none() && !evidence.inspected && !sni_may_be_absent)
            }
            (Attr::Known(hello), Attr::Pending) if hello.sni.is_none() => Truth::PENDING,
            (Attr::Pending, _) => Truth::PENDING,
            _ => Truth::NO,
        };
        vec![
            (
                pending(same && host_address).or(opaque),
                Reason::NameMismatch,
            ),
            (pending(ports).or(opaque), Reason::PortMismatch),
            ((!shows_none).or(opaque), Reason::SniMissing),
        ]
    }

    // ---- tiers

    fn admin(self) -> Outcome {
        let (rules, next) = self.flat(PolicyTier::Admin);
        let exempt = self.exempt();
        let mut sealed = vec![exempt];
        for placed in &rules {
            let so_far = sealed[sealed.len() - 1];
            sealed.push(so_far.or(self.seals(*placed)));
        }
        let below = sealed[rules.len()];
        let namespace = self.namespace(below);
        self.ordered(&rules, &next, &sealed, exempt, &namespace, &namespace)
    }

    fn baseline(self, sealed_above: Truth) -> Outcome {
        let (rules, next) = self.flat(PolicyTier::Baseline);
        let mut sealed = vec![sealed_above];
        for placed in &rules {
            let so_far = sealed[sealed.len() - 1];
            sealed.push(so_far.or(self.seals(*placed)));
        }
        let default = match self.snapshot.settings.default_action {
            DefaultAction::Allow => self.let_through(None),
            DefaultAction::Deny => Outcome::deny(&[Reason::DefaultDeny], None),
        };
        self.ordered(&rules, &next, &sealed, sealed_above, &default, &default)
    }

    /// First match decides. `end` is what follows the tier, `passed` what a Pass leads to.
    fn ordered(
        self,
        rules: &[Placed<'a>],
        next: &[usize],
        sealed: &[Truth],
        sealed_above: Truth,
        end: &Outcome,
        passed: &Outcome,
    ) -> Outcome {
        // From the last rule to the first: what follows when evaluation reaches it.
        let mut from: Vec<Outcome> = vec![end.clone(); rules.len() + 1];
        for at in (0..rules.len()).rev() {
            let placed = rules[at];
            let on = from[at + 1].clone();
            from[at] = match placed.rule.action {
                Action::Allow => {
                    let (matched, possible) = self.allow_value(placed, sealed_above);
                    let on = if possible == Truth::YES {
                        on
                    } else {
                        lenient(on)
                    };
                    self.when_allow(matched.and(possible), placed, on)
                }
                Action::Deny => {
                    let value = self.value(placed, sealed[at]);
                    let denies = Outcome::deny(&denied(value), Some(placed.key()));
                    if value == Truth::NO {
                        on
                    } else if value.may_fail() {
                        on.either(denies)
                    } else {
                        denies
                    }
                }
                Action::Pass => branch(self.value(placed, Truth::NO), passed.clone(), on),
                Action::Next => branch(self.value(placed, Truth::NO), from[next[at]].clone(), on),
                Action::Alert => {
                    let mut on = on;
                    self.alert(placed, sealed[at], &mut on.alerts, &mut on.possible_alerts);
                    on
                }
            };
        }
        from.swap_remove(0)
    }

    fn when_allow(self, value: Truth, placed: Placed<'a>, otherwise: Outcome) -> Outcome {
        let otherwise = if value.may_stay_hidden() {
            lenient(otherwise)
        } else {
            otherwise
        };
        if value == Truth::YES {
            self.let_through(Some(placed))
        } else if value.may_hold() {
            otherwise.either(self.let_through(Some(placed)))
        } else {
            otherwise
        }
    }

    fn alert(
        self,
        placed: Placed<'a>,
        sealed: Truth,
        certain: &mut Vec<(String, String)>,
        possible: &mut Vec<(String, String)>,
    ) {
        let value = self.value(placed, sealed);
        if value != Truth::NO {
            possible.push(placed.key());
        }
        if !value.may_fail() {
            certain.push(placed.key());
        }
    }

    fn namespace(self, sealed_above: Truth) -> Outcome {
        let policies = self.namespaced();
        if policies.is_empty() {
            return self.baseline(sealed_above);
        }
        let mut denies = Outcome::default();
        let mut surely_denied = false;
        let mut allows = Outcome::default();
        let mut surely_allowed = false;
        let mut hidden = false;
        let mut alerts = Vec::new();
        let mut possible_alerts = Vec::new();
        // Within a tier Inspect beats Passthrough.
        let inspects = Truth::any(policies.iter().flat_map(|(policy, spec)| {
            let namespace = Some(self.workload.namespace.as_str());
            spec.rules
                .iter()
                .filter(|rule| mode(rule) == TlsMode::Inspect)
                .map(move |rule| {
                    self.value(
                        Placed {
                            policy,
                            namespace,
                            rule,
                        },
                        Truth::NO,
                    )
                })
        }));
        for (policy, spec) in policies {
            let place = |rule: &'a Rule| Placed {
                policy,
                namespace: Some(self.workload.namespace.as_str()),
                rule,
            };
            let own =
                Truth::any(spec.rules.iter().map(|rule| self.seals(place(rule)))).and(!inspects);
            let sealed = sealed_above.or(own);
            for rule in &spec.rules {
                let placed = place(rule);
                match rule.action {
                    Action::Allow => {
                        let (matched, possible) = self.allow_value(placed, sealed_above);
                        let value = matched.and(possible);
                        hidden |=
                            value.may_stay_hidden() || (!value.may_hold() && matched != Truth::NO);
                        if value.may_hold() {
                            let through = self.let_through(Some(placed));
                            surely_allowed |=
                                value == Truth::YES && through.verdict() == Verdict::Allow;
                            if value != Truth::YES {
                                allows = allows.either(Outcome::deny(&[Reason::NoRule], None));
                            }
                            allows = allows.either(through);
                        }
                    }
                    Action::Deny => {
                        let value = self.value(placed, sealed);
                        if value != Truth::NO {
                            denies =
                                denies.either(Outcome::deny(&denied(value), Some(placed.key())));
                        }
                        surely_denied |= !value.may_fail();
                    }
                    Action::Alert => self.alert(placed, sealed, &mut alerts, &mut possible_alerts),
                    Action::Next | Action::Pass => panic!("not in a namespaced policy"),
                }
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
            denies.leaves.extend(allows.leaves);
            denies
        };
        result.alerts = alerts;
        result.possible_alerts = possible_alerts;
        if hidden { lenient(result) } else { result }
    }

    // ---- floor

    /// The addresses that the floor judges; a pending one is none yet.
    fn involved(self) -> Vec<(Option<IpAddr>, bool)> {
        let mut all: Vec<(Option<IpAddr>, bool)> = self
            .evidence
            .literal
            .map(|literal| (Some(literal), false))
            .into_iter()
            .collect();
        match self.evidence.address {
            Attr::Known(address) => all.push((Some(address), false)),
            Attr::Pending => all.push((None, true)),
            Attr::Absent | Attr::Hidden => {}
        }
        all
    }

    /// Whether the floor is closed at an address, why, and whether anything could have opened it.
    fn closed(self, address: IpAddr) -> (Truth, Vec<Reason>, bool) {
        let cluster: Vec<String> = {
            let ranges = &self.snapshot.settings.ranges;
            ranges
                .pods
                .iter()
                .chain(&ranges.services)
                .chain(&ranges.nodes)
                .cloned()
                .collect()
        };
        let own = self.snapshot.own_listeners.iter().any(|listener| {
            itself(listener.ip()) == itself(address) && listener.port() == self.evidence.port
        });
        let mut reasons = Vec::new();
        let mut closed = Truth::NO;
        let mut never_open = false;
        if own {
            closed = Truth::YES;
            never_open = true;
            reasons.push(Reason::SelfAddress);
        }
        for (index, reading) in net::readings_of(address).into_iter().enumerate() {
            let embedded = index > 0;
            let mut note = |why: Closed| {
                reasons.push(reason_of(why));
                if embedded {
                    reasons.push(Reason::EmbeddedIpv4);
                }
            };
            let (never, ranges) = net::floor(reading, &cluster, self.snapshot.standalone);
            if let Some(why) = never {
                note(why);
                closed = Truth::YES;
                never_open = true;
                continue;
            }
            for (range, why) in ranges {
                let open = self.opened(address, range);
                if open != Truth::YES {
                    note(why);
                    // An entry cannot lie both around the address itself and inside the range of its other reading.
                    never_open |= embedded;
                }
                closed = closed.or(!open);
            }
        }
        (closed, reasons, never_open)
    }

    /// Whether an Admin Allow or Pass opens a floor range for an address.
    fn opened(self, address: IpAddr, range: Range) -> Truth {
        // What is not known before the dial counts as false.
        let mut early = self.evidence.clone();
        early.response = Attr::Hidden;
        let dialled_first = self.evidence.entry == exitgate_policy::Entry::Connect
            && self.evidence.literal.is_none();
        if dialled_first {
            early.protocol = Attr::Hidden;
            early.hello = Attr::Hidden;
            early.request = Attr::Hidden;
        }
        if sealed_tls(self.evidence) || self.evidence.inspected {
            early.request = Attr::Hidden;
        }
        let (rules, _) = self.flat(PolicyTier::Admin);
        Truth::any(rules.into_iter().map(|placed| {
            // Entries of sets open nothing: a list that grows must not open a range.
            let entries = placed.rule.to.iter().flat_map(|to| &to.cidrs);
            let covers = entries
                .map(|text| Range::parse(text))
                .any(|entry| entry.inside(range) && entry.contains(address));
            if !covers || !matches!(placed.rule.action, Action::Allow | Action::Pass) {
                return Truth::NO;
            }
            let scene = Scene {
                snapshot: self.snapshot,
                workload: self.workload,
                evidence: &early,
                now: self.now,
                namespace: None,
                sealed: Truth::NO,
                opening: Some(address),
            };
            rule::rule(scene, placed.rule).or_false()
        }))
    }
}

fn lets(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Pass | Action::Next)
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

/// Where a hidden Allow could have been the answer, a denial may say so.
fn lenient(mut outcome: Outcome) -> Outcome {
    outcome.leaves = outcome
        .leaves
        .into_iter()
        .map(|mut leaf| {
            if !leaf.allow && leaf.rule.is_none() {
                leaf.reasons
                    .extend([Reason::Uninspectable, Reason::SetUnavailable]);
            }
            leaf
        })
        .collect();
    outcome
}

fn branch(value: Truth, taken: Outcome, otherwise: Outcome) -> Outcome {
    let ways = [
        value.may_hold().then(|| taken.clone()),
        value.may_fail().then(|| otherwise.clone()),
        value.may_stay_hidden().then(|| taken.both(otherwise)),
    ];
    ways.into_iter()
        .flatten()
        .reduce(Outcome::either)
        .unwrap_or_default()
}

fn reason_of(why: Closed) -> Reason {
    match why {
        Closed::Metadata => Reason::Metadata,
        Closed::Loopback => Reason::Loopback,
        Closed::Unspecified => Reason::Unspecified,
        Closed::Multicast => Reason::Multicast,
        Closed::LinkLocal => Reason::LinkLocal,
        Closed::NonPublic => Reason::NonPublic,
        Closed::ClusterInternal => Reason::ClusterInternal,
    }
}
