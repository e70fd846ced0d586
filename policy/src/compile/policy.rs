//! Policies and their rules.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    At, Compiler, ObjectRef,
    conditions::{Place, openings},
    lint, stand_in,
};
use crate::{
    decide::{RuleRef, Tier},
    matcher::{Injector, Matcher, Rule},
    model::{
        self, Action, ClusterSubject, Conditions, Mode, PolicyTier, Presence, Subject, TlsMode,
        ToProtocol,
    },
    pattern::HostPattern,
    reason::Reason,
    resource::StandIn,
    snapshot::{PolicyResource, Workload},
    time::parse_rfc3339,
};

/// Most rules of one policy.
const MAX_RULES: usize = 200_000;

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct CompiledPolicy {
    pub(crate) tier: Tier,
    pub(crate) kind: &'static str,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    /// The live policy that this Audit policy takes the place of.
    pub(crate) replaces: Option<Box<str>>,
    pub(crate) priority: i64,
    pub(crate) selector: Selector,
    pub(crate) rules: Vec<Rule>,
    /// It stands in for one that cannot be used.
    pub(crate) stands_in: bool,
}

/// Which workloads a policy selects.
#[derive(Debug)]
pub(crate) enum Selector {
    Cluster(ClusterSubject),
    Namespace(Arc<str>, Subject),
}

impl Selector {
    pub(crate) fn selects(&self, workload: &Workload) -> bool {
        match self {
            Self::Cluster(subject) => {
                (subject.namespaces.is_empty() || subject.namespaces.contains(&workload.namespace))
                    && subject
                        .namespace_selector
                        .matches(&workload.namespace_labels)
                    && subject.pod_selector.matches(&workload.labels)
                    && account_matches(&subject.service_accounts, workload)
            }
            Self::Namespace(namespace, subject) => {
                **namespace == *workload.namespace
                    && subject.pod_selector.matches(&workload.labels)
                    && (subject.service_accounts.is_empty()
                        || workload
                            .service_account
                            .as_ref()
                            .is_some_and(|name| subject.service_accounts.contains(name)))
            }
        }
    }
}

/// What of a `from` condition depends on the workload alone.
pub(super) fn from_matches(from: &model::From, workload: &Workload) -> bool {
    (from.namespaces.is_empty() || from.namespaces.contains(&workload.namespace))
        && from.namespace_selector.matches(&workload.namespace_labels)
        && from.pod_selector.matches(&workload.labels)
        && account_matches(&from.service_accounts, workload)
}

fn account_matches(accounts: &[String], workload: &Workload) -> bool {
    accounts.is_empty()
        || workload.service_account.as_ref().is_some_and(|account| {
            accounts.iter().any(|wanted| match wanted.split_once('/') {
                Some((namespace, name)) => namespace == workload.namespace && name == account,
                None => wanted == account,
            })
        })
}

impl Compiler {
    /// Compiles all policies and puts them in order of evaluation.
    pub(super) fn policies(
        &mut self,
        resources: &[PolicyResource],
        stand_ins: &[StandIn],
    ) -> Vec<Arc<CompiledPolicy>> {
        let mut policies: Vec<CompiledPolicy> = resources
            .iter()
            .map(|resource| self.policy(resource))
            .collect();
        policies.extend(stand_ins.iter().filter_map(stand_in::policy));
        policies.sort_by(|left, right| {
            (order(left.tier), left.priority, &left.namespace, &left.name).cmp(&(
                order(right.tier),
                right.priority,
                &right.namespace,
                &right.name,
            ))
        });
        policies.into_iter().map(Arc::new).collect()
    }

    fn policy(&mut self, resource: &PolicyResource) -> CompiledPolicy {
        match resource {
            PolicyResource::Cluster { name, spec } => {
                let object = ObjectRef {
                    kind: "ClusterEgressPolicy",
                    namespace: None,
                    name: name.clone(),
                };
                let at = At::new(object, "spec");
                if !(0..=1_000).contains(&spec.priority) {
                    self.error(
                        &at.field("priority"),
                        format!(
                            "{} is not a priority; write 0 to 1000, lower first",
                            spec.priority
                        ),
                    );
                }
                self.replaces(&at, spec.mode, spec.replaces.as_deref());
                let tier = match spec.tier {
                    PolicyTier::Admin => Tier::Admin,
                    PolicyTier::Baseline => Tier::Baseline,
                };
                let head = Head {
                    tier,
                    kind: "ClusterEgressPolicy",
                    namespace: None,
                    name: name.as_str().into(),
                    mode: spec.mode,
                };
                CompiledPolicy {
                    rules: self.rules(&at.field("rules"), &spec.rules, &head),
                    tier,
                    kind: head.kind,
                    namespace: None,
                    name: head.name,
                    mode: spec.mode,
                    replaces: spec.replaces.as_deref().map(Into::into),
                    priority: spec.priority,
                    selector: Selector::Cluster(spec.subject.clone()),
                    stands_in: false,
                }
            }
            PolicyResource::Namespaced {
                namespace,
                name,
                spec,
            } => {
                let object = ObjectRef {
                    kind: "EgressPolicy",
                    namespace: Some(namespace.clone()),
                    name: name.clone(),
                };
                let at = At::new(object, "spec");
                self.replaces(&at, spec.mode, spec.replaces.as_deref());
                let namespace: Arc<str> = namespace.as_str().into();
                let head = Head {
                    tier: Tier::Namespace,
                    kind: "EgressPolicy",
                    namespace: Some(Arc::clone(&namespace)),
                    name: name.as_str().into(),
                    mode: spec.mode,
                };
                CompiledPolicy {
                    rules: self.rules(&at.field("rules"), &spec.rules, &head),
                    tier: Tier::Namespace,
                    kind: head.kind,
                    namespace: head.namespace,
                    name: head.name,
                    mode: spec.mode,
                    replaces: spec.replaces.as_deref().map(Into::into),
                    priority: 0,
                    selector: Selector::Namespace(namespace, spec.subject.clone()),
                    stands_in: false,
                }
            }
        }
    }

    fn replaces(&mut self, at: &At, mode: Mode, replaces: Option<&str>) {
        if mode == Mode::Enforce && replaces.is_some() {
            self.error(
                &at.field("replaces"),
                "only a policy in mode Audit replaces another one; set mode: Audit",
            );
        }
    }

    fn rules(&mut self, at: &At, rules: &[model::Rule], head: &Head) -> Vec<Rule> {
        if rules.len() > MAX_RULES {
            self.error(
                at,
                format!(
                    "the policy has {} rules; at most {MAX_RULES} are accepted",
                    rules.len()
                ),
            );
            return Vec::new();
        }
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(rules.len());
        let mut compiled = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let at = at.item(index);
            if rule.name.is_empty()
                || rule.name.len() > 253
                || rule.name.chars().any(char::is_control)
            {
                self.error(
                    &at.field("name"),
                    "a rule has a name of 1 to 253 printable characters",
                );
            }
            if let Some(first) = seen.insert(&rule.name, index) {
                let message = format!(
                    "the name \"{}\" is already used by rules[{first}]; records name rules, so every rule of a policy needs a name of its own",
                    rule.name
                );
                self.error(&at.field("name"), message);
            }
            compiled.push(self.rule(&at, rule, head));
        }
        self.lint(at, rules, head.tier);
        compiled
    }

    fn rule(&mut self, at: &At, rule: &model::Rule, head: &Head) -> Rule {
        self.action_fits(at, rule, head.tier);
        let place = Place {
            action: rule.action,
            negated: false,
            namespace: head.namespace.as_deref(),
        };
        let tls = rule.tls.as_ref();
        let own = Conditions {
            to: rule.to.clone(),
            from: rule.from.clone(),
            tls: tls.map(model::RuleTls::conditions),
            http: rule.http.clone(),
            response: rule.response.clone(),
            when: rule.when.clone(),
        };
        let mut matcher = self.conditions(at, &own, place);
        if let Some(not) = &rule.not {
            let at = at.field("not");
            if **not == Conditions::default() {
                self.error(
                    &at,
                    "an empty not wraps what always holds, so the rule could never match",
                );
            } else if **not == own {
                self.error(
                    &at,
                    "not wraps the rule's own conditions, so the rule could never match",
                );
            }
            matcher.not = Some(Box::new(self.conditions(
                &at,
                not,
                Place {
                    negated: true,
                    ..place
                },
            )));
        }
        let lets = !matches!(rule.action, Action::Alert | Action::Deny);
        if lets
            && matcher.protocols_implied
            && matcher.not.as_ref().is_some_and(|not| not.names.is_some())
        {
            // A negated name is a name matcher all the same.
            matcher.protocols = crate::matcher::RULE_HTTP | crate::matcher::RULE_TLS;
        }
        let mode = tls.map_or(TlsMode::Auto, |tls| tls.mode);
        self.can_match(at, rule, &matcher, mode);
        self.opens_all(at, rule, &matcher, mode, head);
        let expires = rule.expires_at.as_ref().and_then(|text| {
            let at = at.field("expiresAt");
            let parsed = parse_rfc3339(text);
            if parsed.is_none() {
                self.error(
                    &at,
                    format!(
                        "\"{text}\" is not a point in time; write for example 2027-01-31T00:00:00Z"
                    ),
                );
            }
            parsed
        });
        let protocol = rule.to.as_ref().and_then(|to| to.protocol);
        Rule {
            reference: RuleRef {
                tier: head.tier,
                kind: head.kind,
                namespace: head.namespace.clone(),
                policy: Arc::clone(&head.name),
                rule: rule.name.as_str().into(),
                action: rule.action,
            },
            action: rule.action,
            expires,
            openings: if head.tier == Tier::Admin
                && matches!(rule.action, Action::Allow | Action::Pass)
            {
                openings(&matcher)
            } else {
                Box::default()
            },
            touches_content: matcher.needs_content(),
            touches_tls: matcher.needs_content() || mode != TlsMode::Auto || rule.inject.is_some(),
            matcher,
            mode,
            denial: Reason::RuleDenied,
            inject: self.injector(at, rule, head),
            raw: protocol == Some(ToProtocol::Tcp),
            without_sni: tls.is_some_and(|tls| tls.sni == Some(Presence::Absent)),
        }
    }

    /// Warns about a rule that makes every connection be opened.
    fn opens_all(
        &mut self,
        at: &At,
        rule: &model::Rule,
        matcher: &Matcher,
        mode: TlsMode,
        head: &Head,
    ) {
        let asks = match mode {
            TlsMode::Auto => {
                rule.inject.is_some() || (rule.action != Action::Alert && matcher.needs_content())
            }
            TlsMode::Inspect => true,
            TlsMode::Passthrough => false,
        };
        let anywhere = matcher.names.is_none()
            && matcher.cidrs.is_none()
            && matcher.protocols & crate::matcher::RULE_TLS != 0
            && matcher
                .ports
                .as_ref()
                .is_none_or(|ports| ports.contains(443));
        if asks && anywhere && !self.inspection_off && head.mode == Mode::Enforce {
            let of = match rule.action {
                Action::Deny | Action::Alert => "that is not refused otherwise",
                Action::Allow | Action::Next | Action::Pass => "that reaches it",
            };
            self.warn(
                at,
                format!("the rule names no hosts and asks for what is inside TLS, so that every TLS connection {of} is opened; name the hosts that are meant in to.hosts, or those that must stay closed in EgressGateway.spec.tls.exempt"),
            );
        }
    }

    /// What the rule adds to requests.
    fn injector(&mut self, at: &At, rule: &model::Rule, head: &Head) -> Option<Injector> {
        let reference = &rule.inject.as_ref()?.credential_ref.name;
        let namespace = head.namespace.as_ref()?;
        let key = (namespace.to_string(), reference.clone());
        let credential = self.credentials.get(&key).cloned();
        let at_name = at.field("inject").field("credentialRef").field("name");
        match &credential {
            None => self.warn(
                &at_name,
                format!("there is no EgressCredential {namespace}/{reference}: requests that the rule adds it to are refused"),
            ),
            Some(credential) => {
                let hosts = rule.to.iter().flat_map(|to| &to.hosts);
                let outside = hosts
                    .filter_map(|text| HostPattern::parse(text).ok())
                    .find(|host| !credential.hosts.list().iter().any(|listed| listed.covers(host)));
                if let Some(host) = outside {
                    self.warn(
                        &at_name,
                        format!("EgressCredential {namespace}/{reference} does not list {host}: requests to other hosts than it lists are refused"),
                    );
                }
            }
        }
        Some(Injector {
            namespace: Arc::clone(namespace),
            name: reference.as_str().into(),
            credential,
        })
    }

    fn action_fits(&mut self, at: &At, rule: &model::Rule, tier: Tier) {
        let action = at.field("action");
        match (rule.action, tier) {
            (Action::Pass | Action::Next, Tier::Namespace) => {
                let message = format!(
                    "{} exists only in a ClusterEgressPolicy; write Allow, Deny or Alert",
                    rule.action.as_str()
                );
                self.error(&action, message);
            }
            (Action::Pass, Tier::Baseline) => {
                self.error(&action, "Pass exists only in tier Admin, there is nothing to skip to; write Allow, Deny, Alert or Next");
            }
            _ => {}
        }
        if rule.inject.is_some() {
            let at = at.field("inject");
            if tier != Tier::Namespace {
                self.error(
                    &at,
                    "a credential belongs to a namespace; only an EgressPolicy injects one",
                );
            } else if rule.action != Action::Allow {
                self.error(&at, "only an Allow injects a credential");
            }
        }
        if let Some(tls) = &rule.tls {
            let fits = match tls.mode {
                TlsMode::Auto => true,
                TlsMode::Inspect => rule.action != Action::Deny,
                TlsMode::Passthrough => {
                    matches!(rule.action, Action::Allow | Action::Next | Action::Pass)
                }
            };
            if !fits {
                self.error(
                    &at.field("tls").field("mode"),
                    "a mode acts on Allow, Pass and Next (Inspect also on Alert); leave it out here",
                );
            }
        }
    }

    /// Rules that can never match in themselves, and conditions that are hidden for now.
    fn can_match(
        &mut self,
        at: &At,
        rule: &model::Rule,
        matcher: &crate::matcher::Matcher,
        mode: TlsMode,
    ) {
        let protocol = rule.to.as_ref().and_then(|to| to.protocol);
        let handshake = matcher.tls.is_some();
        if protocol == Some(ToProtocol::Tcp) && (rule.http.is_some() || rule.response.is_some()) {
            let field = if rule.http.is_some() {
                "http"
            } else {
                "response"
            };
            self.error(
                &at.field(field),
                "the rule has protocol: TCP, where no HTTP is seen, so it could never match; leave out protocol, or write HTTP or TLS",
            );
        }
        if handshake && protocol == Some(ToProtocol::Http) {
            self.error(&at.field("tls"), "the rule has protocol: HTTP, which is cleartext, so it could never match; write protocol: TLS");
        }
        if handshake
            && protocol == Some(ToProtocol::Tcp)
            && matches!(rule.action, Action::Deny | Action::Alert)
        {
            self.error(&at.field("tls"), "in a Deny or Alert protocol: TCP is what is not TLS, so the rule could never match; write protocol: TLS");
        }
        let content = matcher.needs_content();
        if mode == TlsMode::Passthrough && (content || rule.inject.is_some()) {
            self.error(
                &at.field("tls").field("mode"),
                "Passthrough never looks inside, so it cannot stand beside http, response, inject or a when that asks for them",
            );
        }
        let needs = if rule.inject.is_some() {
            Some("inject")
        } else if mode == TlsMode::Inspect {
            Some("tls.mode: Inspect")
        } else if content {
            Some("a condition on HTTP content")
        } else {
            None
        };
        if let Some(what) =
            needs.filter(|_| self.inspection_off && protocol != Some(ToProtocol::Http))
        {
            let effect = match rule.action {
                Action::Allow => "an Allow does not match there",
                Action::Deny => "a Deny matches there as uninspectable",
                Action::Alert => "an Alert matches there",
                Action::Next | Action::Pass => {
                    "it is tried both ways there, and denied if either way denies"
                }
            };
            self.warn(
                at,
                format!("{what} needs to look inside TLS, and EgressGateway.spec.tls.inspection is Off: inside TLS it is hidden, and {effect}"),
            );
        }
    }

    /// Problems that show between documents.
    pub(super) fn across(
        &mut self,
        snapshot: &crate::snapshot::Snapshot,
        policies: &[Arc<CompiledPolicy>],
    ) {
        let object = |policy: &CompiledPolicy| ObjectRef {
            kind: policy.kind,
            namespace: policy.namespace.as_deref().map(str::to_owned),
            name: policy.name.to_string(),
        };
        let mut names = BTreeMap::new();
        let mut priorities: HashMap<(Tier, i64), &CompiledPolicy> = HashMap::new();
        for policy in policies {
            if names
                .insert(
                    (
                        policy.kind,
                        policy.namespace.clone(),
                        Arc::clone(&policy.name),
                    ),
                    policy,
                )
                .is_some()
            {
                self.error(
                    &At::new(object(policy), "metadata.name"),
                    "another document defines the same policy",
                );
            }
            if policy.tier != Tier::Namespace
                && let Some(other) = priorities.insert((policy.tier, policy.priority), policy)
                && other.name != policy.name
            {
                let message = format!(
                    "{} has the same priority {}; such policies are taken in the order of their names",
                    other.name, policy.priority
                );
                self.warn(&At::new(object(policy), "spec.priority"), message);
            }
        }
        for policy in policies {
            if let Some(replaced) = &policy.replaces
                && !policies.iter().any(|other| {
                    other.kind == policy.kind
                        && other.namespace == policy.namespace
                        && *other.name == **replaced
                })
            {
                let message = format!("there is no {} \"{replaced}\" to replace", policy.kind);
                self.warn(&At::new(object(policy), "spec.replaces"), message);
            }
        }
        lint::audit_only(self, snapshot, policies);
    }
}

/// What all rules of a policy share.
struct Head {
    tier: Tier,
    kind: &'static str,
    namespace: Option<Arc<str>>,
    name: Arc<str>,
    mode: Mode,
}

fn order(tier: Tier) -> u8 {
    match tier {
        Tier::Floor => 0,
        Tier::Admin => 1,
        Tier::Namespace => 2,
        Tier::Baseline => 3,
        Tier::Default => 4,
    }
}
