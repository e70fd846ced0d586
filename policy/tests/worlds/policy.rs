//! Policies and rules.

use exitgate_policy::{
    Action, ClusterEgressPolicySpec, ClusterSubject, Conditions, CredentialRef, EgressPolicySpec,
    From, HeaderMatch, Http, Inject, IntOrText, LabelSelector, LengthRange, Mode, PolicyTier,
    Presence, Response, Rule, RuleTls, Subject, TlsConditions, TlsFloor, TlsMode, To, ToProtocol,
};
use proptest::{collection::vec, option::weighted, prelude::*, sample::select};

use super::NAMESPACE;

pub const HOSTS: &[&str] = &[
    "ok.test",
    "a.wild.test",
    "wild.test",
    "bad.test",
    "*.wild.test",
    "*.test",
    "*.a.wild.test",
    "api.other.example",
];
pub const CIDRS: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "8.8.8.0/24",
    "0.0.0.0/0",
    "93.184.216.34",
    "93.184.216.0/25",
    "::/0",
    "64:ff9b::/96",
    "2606:2800::/32",
    "198.18.0.0/15",
    "198.19.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fd00::/8",
];
const PATHS: &[&str] = &["/", "/v2/**", "/v2/cards", "/v2/*/items", "/admin", "/**"];

fn owned(list: Vec<&'static str>) -> Vec<String> {
    list.into_iter().map(str::to_owned).collect()
}

fn some_of(pool: &'static [&'static str], most: usize) -> BoxedStrategy<Vec<String>> {
    vec(select(pool), 1..=most)
        .prop_map(|list| {
            let mut list = owned(list);
            list.sort();
            list.dedup();
            list
        })
        .boxed()
}

fn maybe(share: f64, list: BoxedStrategy<Vec<String>>) -> BoxedStrategy<Vec<String>> {
    weighted(share, list)
        .prop_map(Option::unwrap_or_default)
        .boxed()
}

fn to(sets: &'static [&'static str]) -> BoxedStrategy<To> {
    (
        maybe(0.55, some_of(HOSTS, 2)),
        maybe(0.12, some_of(sets, 1)),
        maybe(0.3, some_of(CIDRS, 2)),
        maybe(0.05, some_of(sets, 1)),
        weighted(
            0.3,
            select(vec![
                vec![IntOrText::Int(443)],
                vec![IntOrText::Int(80), IntOrText::Int(443)],
                vec![IntOrText::Text("1-1023".to_owned())],
                vec![IntOrText::Int(5432)],
            ]),
        ),
        weighted(
            0.25,
            select(vec![ToProtocol::Http, ToProtocol::Tcp, ToProtocol::Tls]),
        ),
    )
        .prop_map(|(hosts, host_sets, cidrs, cidr_sets, ports, protocol)| To {
            hosts,
            host_sets,
            cidrs,
            cidr_sets,
            ports: ports.unwrap_or_default(),
            protocol,
            allow_broad: true,
        })
        .boxed()
}

fn from() -> BoxedStrategy<From> {
    (
        maybe(0.2, some_of(&[NAMESPACE, "web"], 1)),
        weighted(0.2, select(vec!["billing", "web"])),
        maybe(0.2, some_of(&["billing", "pay/billing", "web/billing"], 1)),
        maybe(
            0.4,
            some_of(&["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"], 1),
        ),
    )
        .prop_map(|(namespaces, app, service_accounts, cidrs)| From {
            namespaces,
            namespace_selector: LabelSelector::default(),
            pod_selector: labels(app),
            service_accounts,
            cidrs,
            ecs: None,
        })
        .boxed()
}

fn labels(app: Option<&str>) -> LabelSelector {
    LabelSelector {
        match_labels: app
            .into_iter()
            .map(|app| ("app".to_owned(), app.to_owned()))
            .collect(),
        match_expressions: Vec::new(),
    }
}

fn tls() -> BoxedStrategy<TlsConditions> {
    (
        weighted(0.5, select(vec![Presence::Absent, Presence::Present])),
        maybe(0.3, some_of(&["h2", "http/1.1"], 1)),
        weighted(0.3, select(vec![TlsFloor::V12, TlsFloor::V13])),
        maybe(0.2, some_of(&["t13d*", "t12*_aaaa"], 1)),
    )
        .prop_map(|(sni, alpn, min_version, ja4)| TlsConditions {
            sni,
            alpn,
            min_version,
            ja4,
        })
        .prop_filter("says something", |tls| *tls != TlsConditions::default())
        .boxed()
}

fn headers() -> BoxedStrategy<std::collections::BTreeMap<String, HeaderMatch>> {
    let text = || select(vec!["one", "two", "o*"]).prop_map(|text| vec![text.to_owned()]);
    let want = prop_oneof![
        text().prop_map(|exact| HeaderMatch {
            exact,
            ..HeaderMatch::default()
        }),
        text().prop_map(|prefix| HeaderMatch {
            prefix,
            ..HeaderMatch::default()
        }),
        text().prop_map(|glob| HeaderMatch {
            glob,
            ..HeaderMatch::default()
        }),
        any::<bool>().prop_map(|present| HeaderMatch {
            present: Some(present),
            ..HeaderMatch::default()
        }),
    ];
    weighted(0.3, (select(vec!["x-key", "X-Other"]), want))
        .prop_map(|one| {
            one.into_iter()
                .map(|(name, want)| (name.to_owned(), want))
                .collect()
        })
        .boxed()
}

fn lengths() -> BoxedStrategy<Option<LengthRange>> {
    weighted(
        0.15,
        select(vec![
            LengthRange {
                min: None,
                max: Some(100),
            },
            LengthRange {
                min: Some(100),
                max: None,
            },
            LengthRange {
                min: Some(10),
                max: Some(1000),
            },
        ]),
    )
    .boxed()
}

fn http() -> BoxedStrategy<Http> {
    (
        maybe(0.4, some_of(&["GET", "POST"], 1)),
        maybe(0.5, some_of(PATHS, 2)),
        headers(),
        maybe(0.15, some_of(&["application/json", "text/*"], 1)),
        maybe(0.15, some_of(&["curl*", "*scan*"], 1)),
        lengths(),
    )
        .prop_map(
            |(methods, paths, headers, content_types, user_agents, content_length)| Http {
                methods,
                paths,
                headers,
                content_types,
                user_agents,
                content_length,
            },
        )
        .prop_filter("says something", |http| *http != Http::default())
        .boxed()
}

fn response() -> BoxedStrategy<Response> {
    (
        weighted(
            0.6,
            select(vec![
                vec![IntOrText::Text("2xx".to_owned())],
                vec![IntOrText::Int(404), IntOrText::Text("500-599".to_owned())],
                vec![IntOrText::Int(200)],
            ]),
        ),
        maybe(0.4, some_of(&["application/json", "text/*"], 1)),
        headers(),
        lengths(),
    )
        .prop_map(
            |(status, content_types, headers, content_length)| Response {
                status: status.unwrap_or_default(),
                content_types,
                headers,
                content_length,
            },
        )
        .prop_filter("says something", |response| {
            *response != Response::default()
        })
        .boxed()
}

fn not(sets: &'static [&'static str], cluster: bool) -> BoxedStrategy<Conditions> {
    (
        weighted(0.6, to(sets)),
        weighted(0.1, from()).prop_map(move |from| from.filter(|_| cluster)),
        weighted(0.2, tls()),
        weighted(0.35, http()),
        weighted(0.15, response()),
    )
        .prop_map(|(to, from, tls, http, response)| Conditions {
            // What TCP means under `not` is left open by the language.
            to: to
                .map(|to| To {
                    protocol: to.protocol.filter(|protocol| *protocol != ToProtocol::Tcp),
                    ..to
                })
                .filter(|to| {
                    *to != To {
                        allow_broad: true,
                        ..To::default()
                    }
                }),
            from: from.filter(|from| *from != From::default()),
            tls,
            http,
            response,
            when: None,
        })
        .prop_filter("says something", |not| *not != Conditions::default())
        .boxed()
}

/// A rule for a tier; `None` is the namespace tier.
pub fn rule_in(tier: Option<PolicyTier>) -> BoxedStrategy<Rule> {
    let actions = match tier {
        None => vec![
            Action::Allow,
            Action::Allow,
            Action::Allow,
            Action::Deny,
            Action::Alert,
        ],
        Some(PolicyTier::Admin) => {
            vec![
                Action::Allow,
                Action::Deny,
                Action::Deny,
                Action::Alert,
                Action::Next,
                Action::Pass,
                Action::Pass,
            ]
        }
        Some(PolicyTier::Baseline) => {
            vec![
                Action::Allow,
                Action::Allow,
                Action::Deny,
                Action::Alert,
                Action::Next,
            ]
        }
    };
    let cluster = tier.is_some();
    let sets: &'static [&'static str] = if cluster {
        &["far"]
    } else {
        &["near", "cluster/far"]
    };
    (
        select(actions),
        weighted(0.85, to(sets)),
        weighted(0.15, from()).prop_map(move |from| from.filter(|_| cluster)),
        weighted(0.15, tls()),
        prop_oneof![6 => Just(TlsMode::Auto), 1 => Just(TlsMode::Inspect), 1 => Just(TlsMode::Passthrough)],
        weighted(0.25, http()),
        weighted(0.12, response()),
        weighted(0.2, not(sets, cluster)),
        (
            weighted(0.15, select(vec!["2027-01-15T07:59:59Z", "2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z"])),
            weighted(0.2, select(vec!["wide", "wide", "narrow", "other", "missing"])),
        ),
    )
        .prop_map(move |(action, to, from, tls, mode, http, response, not, (expires_at, inject))| {
            let mut rule = Rule {
                name: String::new(),
                action,
                to: to.filter(|to| *to != To { allow_broad: true, ..To::default() }),
                from: from.filter(|from| *from != From::default()),
                tls: None,
                http,
                response,
                when: None,
                not: not.map(Box::new),
                inject: inject
                    .filter(|_| !cluster && action == Action::Allow)
                    .map(|name| Inject {
                        credential_ref: CredentialRef {
                            name: name.to_owned(),
                        },
                    }),
                expires_at: expires_at.map(str::to_owned),
                reason: None,
            };
            let mode = match (action, mode) {
                (Action::Deny, _) | (Action::Alert, TlsMode::Passthrough) => TlsMode::Auto,
                (_, mode) => mode,
            };
            if tls.is_some() || mode != TlsMode::Auto {
                let tls = tls.unwrap_or_default();
                rule.tls = Some(RuleTls {
                    mode,
                    sni: tls.sni,
                    alpn: tls.alpn,
                    min_version: tls.min_version,
                    ja4: tls.ja4,
                });
            }
            possible(rule)
        })
        .prop_filter("not does not wrap the rule's own conditions", |rule| {
            rule.not.as_ref().is_none_or(|not| not.to.is_none() || not.to != rule.to)
        })
        .boxed()
}

/// Takes out what could never match in itself: those are errors, and no world has one.
fn possible(mut rule: Rule) -> Rule {
    if rule
        .tls
        .as_ref()
        .is_some_and(|tls| tls.mode == TlsMode::Passthrough)
    {
        rule.http = None;
        rule.response = None;
        rule.inject = None;
        if let Some(not) = &mut rule.not {
            not.http = None;
            not.response = None;
            if **not == Conditions::default() {
                rule.not = None;
            }
        }
    }
    match rule.to.as_ref().and_then(|to| to.protocol) {
        Some(ToProtocol::Tcp) => {
            rule.http = None;
            rule.response = None;
            rule.tls = None;
        }
        Some(ToProtocol::Http) => rule.tls = None,
        Some(ToProtocol::Tls | ToProtocol::Udp) | None => {}
    }
    if rule.http.is_some() || rule.response.is_some() {
        // Cleartext or inside TLS: a condition on the handshake keeps to TLS, which is legal.
        if let Some(to) = &mut rule.to
            && to.protocol == Some(ToProtocol::Tcp)
        {
            to.protocol = None;
        }
    }
    rule
}

fn named(rules: Vec<Rule>) -> Vec<Rule> {
    rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| Rule {
            name: format!("r{index}"),
            ..rule
        })
        .collect()
}

fn mode() -> BoxedStrategy<Mode> {
    prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Audit)].boxed()
}

pub fn cluster_policy() -> BoxedStrategy<ClusterEgressPolicySpec> {
    let in_tier = |tier: PolicyTier| {
        (
            prop_oneof![Just(100_i64), Just(500), Just(500), Just(900)],
            mode(),
            weighted(0.15, select(vec!["guard-0", "guard-1"])),
            weighted(0.15, select(vec!["billing", "web"])),
            maybe(0.1, some_of(&[NAMESPACE, "web"], 1)),
            vec(rule_in(Some(tier)), 0..=4),
        )
            .prop_map(move |(priority, mode, replaces, app, namespaces, rules)| {
                ClusterEgressPolicySpec {
                    tier,
                    priority,
                    mode,
                    replaces: replaces.filter(|_| mode == Mode::Audit).map(str::to_owned),
                    subject: ClusterSubject {
                        namespaces,
                        pod_selector: labels(app),
                        ..ClusterSubject::default()
                    },
                    rules: named(rules),
                }
            })
    };
    prop_oneof![3 => in_tier(PolicyTier::Admin), 1 => in_tier(PolicyTier::Baseline)].boxed()
}

pub fn namespaced_policy() -> BoxedStrategy<(&'static str, EgressPolicySpec)> {
    (
        prop_oneof![8 => Just(NAMESPACE), 1 => Just("web")],
        mode(),
        weighted(0.2, select(vec!["team-0", "team-1"])),
        weighted(0.3, select(vec!["billing", "billing", "web"])),
        maybe(0.1, some_of(&["billing", "web"], 1)),
        vec(rule_in(None), 0..=5),
    )
        .prop_map(
            |(namespace, mode, replaces, app, service_accounts, rules)| {
                (
                    namespace,
                    EgressPolicySpec {
                        mode,
                        replaces: replaces.filter(|_| mode == Mode::Audit).map(str::to_owned),
                        subject: Subject {
                            pod_selector: labels(app),
                            service_accounts,
                        },
                        rules: named(rules),
                    },
                )
            },
        )
        .boxed()
}

/// A policy that lets much through for what is inside.
pub fn inviting_policy() -> BoxedStrategy<(&'static str, EgressPolicySpec)> {
    let rule = (
        prop_oneof![5 => Just(Action::Allow), 1 => Just(Action::Deny), 1 => Just(Action::Alert)],
        some_of(&["ok.test", "*.test", "*.wild.test"], 1),
        prop_oneof![6 => Just(TlsMode::Auto), 1 => Just(TlsMode::Inspect), 1 => Just(TlsMode::Passthrough)],
        weighted(0.4, select(vec!["GET", "POST"])),
        weighted(0.2, select(vec!["2xx", "4xx"])),
        weighted(0.25, select(vec!["wide", "wide", "narrow", "other"])),
    )
        .prop_map(|(action, hosts, mode, method, status, inject)| {
            let mode = match (action, mode) {
                (Action::Deny, _) | (Action::Alert, TlsMode::Passthrough) => TlsMode::Auto,
                (_, mode) => mode,
            };
            possible(Rule {
                name: String::new(),
                action,
                to: Some(To {
                    hosts,
                    allow_broad: true,
                    ..To::default()
                }),
                from: None,
                tls: (mode != TlsMode::Auto).then(|| RuleTls {
                    mode,
                    ..RuleTls::default()
                }),
                http: method.map(|method| Http {
                    methods: vec![method.to_owned()],
                    ..Http::default()
                }),
                response: status.map(|status| Response {
                    status: vec![IntOrText::Text(status.to_owned())],
                    ..Response::default()
                }),
                when: None,
                not: None,
                inject: inject
                    .filter(|_| action == Action::Allow)
                    .map(|name| Inject {
                        credential_ref: CredentialRef {
                            name: name.to_owned(),
                        },
                    }),
                expires_at: None,
                reason: None,
            })
        });
    vec(rule, 2..=4)
        .prop_map(|rules| {
            (
                NAMESPACE,
                EgressPolicySpec {
                    rules: named(rules),
                    ..EgressPolicySpec::default()
                },
            )
        })
        .boxed()
}
