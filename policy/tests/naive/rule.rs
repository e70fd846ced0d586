//! The conditions of one rule on the evidence.

use std::net::IpAddr;

use exitgate_policy::{
    Action, Attr, Conditions, Evidence, HeaderMatch, Headers, Host, Http, IntOrText, LengthRange,
    Presence, Protocol, RequestHead, Response, ResponseHead, Rule, SetContent, Snapshot,
    TlsConditions, TlsFloor, TlsMode, TlsVersion, To, ToProtocol, Workload,
};

use super::{
    net::{Range, itself, readings_of},
    text::{glob, host_matches, path_matches, readings, rfc3339},
    truth::Truth,
};

/// Whether a condition has to be certain of a match (Allow) or of the absence of one (Deny).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Allow,
    Deny,
}

/// Whether TLS that is not opened yet can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Open,
    Sealed,
    /// That hangs on the name.
    Unclear,
}

/// Where a rule is evaluated.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub snapshot: &'a Snapshot,
    pub workload: &'a Workload,
    pub evidence: &'a Evidence<'a>,
    pub now: u64,
    /// The namespace of the rule's policy.
    pub namespace: Option<&'a str>,
    /// Whether TLS that is not opened yet can be.
    pub inside: Inside,
    /// A Passthrough holds: nobody looks inside TLS.
    pub through: bool,
    /// And content takes no part in this rule, a Deny or Alert.
    pub switched_off: bool,
    /// The opening of the floor: the address in question; what is not known before the dial counts as false.
    pub opening: Option<IpAddr>,
}

/// The value of a rule, expiry included.
pub fn rule(scene: Scene<'_>, rule: &Rule) -> Truth {
    if rule
        .expires_at
        .as_deref()
        .is_some_and(|text| rfc3339(text) <= scene.now)
    {
        return Truth::NO;
    }
    match rule.action {
        Action::Allow => on_side(scene, rule, Side::Allow),
        Action::Alert | Action::Deny => on_side(scene, rule, Side::Deny),
        Action::Next | Action::Pass => Truth::both_treatments(
            on_side(scene, rule, Side::Allow),
            on_side(scene, rule, Side::Deny),
        ),
    }
}

fn on_side(scene: Scene<'_>, rule: &Rule, side: Side) -> Truth {
    let at = Place {
        scene,
        side,
        negated: false,
        action: rule.action,
    };
    let written = Conditions {
        to: rule.to.clone(),
        from: rule.from.clone(),
        tls: rule
            .tls
            .as_ref()
            .map(exitgate_policy::RuleTls::conditions)
            .filter(|tls| *tls != TlsConditions::default()),
        http: rule.http.clone(),
        response: rule.response.clone(),
        when: rule.when.clone(),
    };
    let plain = conditions(at, &written, implied_protocol(rule));
    let not = rule.not.as_deref().map_or(Truth::YES, |inner| {
        !conditions(
            Place {
                negated: true,
                ..at
            },
            inner,
            None,
        )
    });
    plain.and(not)
}

/// In an Allow, Pass or Next with a name matcher an absent protocol means HTTP or TLS.
fn implied_protocol(rule: &Rule) -> Option<[Protocol; 2]> {
    let named =
        |to: Option<&To>| to.is_some_and(|to| !to.hosts.is_empty() || !to.host_sets.is_empty());
    let lets = matches!(rule.action, Action::Allow | Action::Pass | Action::Next);
    let given = rule.to.as_ref().is_some_and(|to| to.protocol.is_some());
    let has_name =
        named(rule.to.as_ref()) || named(rule.not.as_ref().and_then(|not| not.to.as_ref()));
    (lets && has_name && !given).then_some([Protocol::Http, Protocol::Tls])
}

/// One place in a rule.
#[derive(Clone, Copy)]
struct Place<'a> {
    scene: Scene<'a>,
    side: Side,
    negated: bool,
    action: Action,
}

impl Place<'_> {
    /// Whether a match must be beyond doubt here: in an Allow, or under `not` in a Deny.
    fn strict(self) -> bool {
        (self.side == Side::Allow) != self.negated
    }

    /// The inner value that makes this place (negation included) true or false.
    fn literal(self, value: bool) -> Truth {
        Truth::of(value != self.negated)
    }

    /// What several things that must (strict) or may (otherwise) match come to.
    fn several(self, values: impl IntoIterator<Item = Truth>) -> Truth {
        if self.strict() {
            Truth::all(values)
        } else {
            Truth::any(values)
        }
    }
}

fn conditions(at: Place<'_>, all: &Conditions, implied: Option<[Protocol; 2]>) -> Truth {
    let evidence = at.scene.evidence;
    let mut values = Vec::new();
    if let Some(to) = &all.to {
        values.push(to_matches(at, to));
    }
    if let Some(implied) = implied.filter(|_| at.scene.opening.is_none()) {
        values.push(attribute(&evidence.protocol, |protocol| {
            Truth::of(implied.contains(protocol))
        }));
    }
    if let Some(from) = &all.from {
        values.push(from_matches(at, from));
    }
    if let Some(tls) = &all.tls {
        values.push(tls_matches(at, tls));
    }
    let content = |value: Truth| {
        // Content that may not be looked at makes the condition false, also where it is negated.
        if at.scene.switched_off && closed_tls(evidence) {
            Truth::of(at.negated)
        } else {
            value
        }
    };
    if let Some(http) = &all.http {
        values.push(content(attribute(&request(at.scene), |head| {
            http_matches(at, http, head)
        })));
    }
    if let Some(response) = &all.response {
        values.push(content(attribute(&self::response(at.scene), |head| {
            response_matches(at, response, head)
        })));
    }
    assert!(all.when.is_none(), "the generator writes no CEL");
    Truth::all(values)
}

fn attribute<T>(attribute: &Attr<T>, known: impl FnOnce(&T) -> Truth) -> Truth {
    match attribute {
        Attr::Absent => Truth::NO,
        Attr::Hidden => Truth::CONTENT,
        Attr::Known(value) => known(value),
        Attr::Pending => Truth::PENDING,
    }
}

fn request(scene: Scene<'_>) -> Attr<RequestHead<'_>> {
    inside(scene, scene.evidence.request)
}

fn response(scene: Scene<'_>) -> Attr<ResponseHead<'_>> {
    inside(scene, scene.evidence.response)
}

fn inside<T: Copy>(scene: Scene<'_>, given: Attr<T>) -> Attr<T> {
    if !closed_tls(scene.evidence) {
        given
    } else if scene.through || scene.inside == Inside::Sealed {
        Attr::Hidden
    } else {
        Attr::Pending
    }
}

/// TLS that is not opened, or not yet.
pub fn closed_tls(evidence: &Evidence<'_>) -> bool {
    matches!(evidence.protocol, Attr::Known(Protocol::Tls)) && !evidence.inspected
}

// ---- to

fn to_matches(at: Place<'_>, to: &To) -> Truth {
    let named = !to.hosts.is_empty() || !to.host_sets.is_empty();
    let ranged = !to.cidrs.is_empty() || !to.cidr_sets.is_empty();
    let mut values = Vec::new();
    if named {
        values.push(name_matches(at, to));
    }
    if ranged {
        values.push(ranges_match(at, to, named));
    }
    if !to.ports.is_empty() {
        let port = i64::from(at.scene.evidence.port);
        values.push(Truth::of(to.ports.iter().any(|wanted| match wanted {
            IntOrText::Int(number) => *number == port,
            IntOrText::Text(text) => {
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                (low.parse().unwrap()..=high.parse().unwrap()).contains(&port)
            }
        })));
    }
    if let Some(wanted) = to.protocol {
        let lets = matches!(at.action, Action::Allow | Action::Pass | Action::Next);
        values.push(match wanted {
            ToProtocol::Tcp if lets => Truth::YES,
            other => attribute(&at.scene.evidence.protocol, |protocol| {
                Truth::of(match other {
                    ToProtocol::Http => *protocol == Protocol::Http,
                    ToProtocol::Tls => *protocol == Protocol::Tls,
                    ToProtocol::Tcp => *protocol == Protocol::Tcp,
                    ToProtocol::Udp => unreachable!("an error in a policy"),
                })
            }),
        });
    }
    Truth::all(values)
}

fn name_matches(at: Place<'_>, to: &To) -> Truth {
    let evidence = at.scene.evidence;
    if at.side == Side::Allow {
        return match evidence.name {
            // What an Allow leaves out is left out by whichever name the flow shows.
            Attr::Known(_) if at.negated => {
                let (names, more) = visible_names(evidence);
                let open = (more != Truth::NO).then_some(more);
                Truth::any(
                    names
                        .iter()
                        .map(|name| in_patterns(at, to, name))
                        .chain(open),
                )
            }
            Attr::Known(name) => in_patterns(at, to, name.as_str()),
            Attr::Absent => at.literal(false),
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        };
    }
    // A Deny looks at every name that the flow shows.
    let (names, more) = visible_names(evidence);
    if names.is_empty() && more == Truth::NO {
        return at.literal(at.negated);
    }
    let known: Vec<Truth> = names.iter().map(|name| in_patterns(at, to, name)).collect();
    let open = if more == Truth::NO { None } else { Some(more) };
    at.several(known.into_iter().chain(open))
}

/// The names seen so far, and whether there may be more.
pub fn visible_names(evidence: &Evidence<'_>) -> (Vec<String>, Truth) {
    let mut names = Vec::new();
    let mut more = Vec::new();
    match evidence.name {
        Attr::Known(name) => names.push(name.as_str().to_owned()),
        Attr::Pending => more.push(Truth::PENDING),
        Attr::Hidden => more.push(Truth::CONTENT),
        Attr::Absent => {}
    }
    match evidence.hello {
        Attr::Known(hello) => names.extend(hello.sni.iter().map(|sni| sni.as_str().to_owned())),
        Attr::Pending => more.push(Truth::PENDING),
        Attr::Hidden => more.push(Truth::CONTENT),
        Attr::Absent => {}
    }
    match evidence.request {
        // What is inside TLS that is not opened is not shown.
        _ if closed_tls(evidence) => {}
        Attr::Known(head) => {
            if let Some(Host::Name(name)) = head.authority.map(|authority| &authority.host) {
                names.push(name.as_str().to_owned());
            }
        }
        Attr::Pending => more.push(Truth::PENDING),
        Attr::Hidden | Attr::Absent => {}
    }
    (names, Truth::any(more))
}

fn in_patterns(at: Place<'_>, to: &To, name: &str) -> Truth {
    let own = to
        .hosts
        .iter()
        .map(|pattern| Truth::of(host_matches(pattern, name)));
    let sets = to.host_sets.iter().map(|set| match content(at.scene, set) {
        Some(SetContent::Inline { hosts, .. }) => {
            Truth::of(hosts.iter().any(|pattern| host_matches(pattern, name)))
        }
        Some(SetContent::Artifact { .. }) => unreachable!("the generator writes inline sets"),
        Some(SetContent::Unavailable) | None => Truth::SET,
    });
    Truth::any(own.chain(sets))
}

fn content<'a>(scene: Scene<'a>, reference: &str) -> Option<&'a SetContent> {
    let (namespace, name) = match reference.strip_prefix("cluster/") {
        Some(name) => (None, name),
        None => (scene.namespace, reference),
    };
    scene
        .snapshot
        .sets
        .iter()
        .find(|set| set.namespace.as_deref() == namespace && set.name == name)
        .map(|set| &set.content)
}

fn ranges_match(at: Place<'_>, to: &To, named: bool) -> Truth {
    let evidence = at.scene.evidence;
    if let Some(address) = at.scene.opening {
        let nameless = match evidence.name {
            Attr::Absent => Truth::YES,
            Attr::Known(_) => Truth::NO,
            Attr::Pending | Attr::Hidden => Truth::PENDING,
        };
        let literal =
            Truth::of(evidence.literal.map(itself) == Some(itself(address))).and(nameless);
        let reach = if at.action == Action::Allow && !named && !at.negated {
            literal
        } else {
            Truth::YES
        };
        return in_ranges(at, to, address).and(reach);
    }
    let resolved = attribute(&evidence.address, |address| in_ranges(at, to, *address));
    if at.side == Side::Allow && at.action == Action::Allow && !at.negated {
        if named {
            return resolved;
        }
        let Some(literal) = evidence.literal else {
            return Truth::NO;
        };
        let nameless = match evidence.name {
            Attr::Absent => Truth::YES,
            Attr::Known(_) => Truth::NO,
            Attr::Pending => Truth::PENDING,
            Attr::Hidden => Truth::CONTENT,
        };
        return in_ranges(at, to, literal).and(nameless);
    }
    if at.side == Side::Allow && named && !at.negated {
        return resolved;
    }
    let all = evidence
        .literal
        .map(|literal| in_ranges(at, to, literal))
        .into_iter()
        .chain(
            (evidence.literal.is_none() || evidence.address != Attr::Absent).then_some(resolved),
        );
    // A Pass or Next by range alone can skip Denies: it needs every address, however it is read.
    if matches!(at.action, Action::Pass | Action::Next) && !named && !at.negated {
        Truth::all(all)
    } else {
        at.several(all)
    }
}

fn in_ranges(at: Place<'_>, to: &To, address: IpAddr) -> Truth {
    let readings = if at.strict() || matches!(at.action, Action::Pass | Action::Next) {
        vec![itself(address)]
    } else {
        readings_of(address)
    };
    let holds = |text: &String| {
        let range = Range::parse(text);
        readings.iter().any(|reading| range.contains(*reading))
    };
    let own = Truth::of(to.cidrs.iter().any(holds));
    let sets = to.cidr_sets.iter().map(|set| match content(at.scene, set) {
        Some(SetContent::Inline { cidrs, .. } | SetContent::Artifact { cidrs, .. }) => {
            Truth::of(cidrs.iter().any(holds))
        }
        Some(SetContent::Unavailable) | None => Truth::SET,
    });
    Truth::any(std::iter::once(own).chain(sets))
}

// ---- from

fn from_matches(at: Place<'_>, from: &exitgate_policy::From) -> Truth {
    let workload = at.scene.workload;
    let mut holds = from.namespaces.is_empty() || from.namespaces.contains(&workload.namespace);
    holds &= selects(&from.namespace_selector, &workload.namespace_labels);
    holds &= selects(&from.pod_selector, &workload.labels);
    holds &= from.service_accounts.is_empty()
        || from
            .service_accounts
            .iter()
            .any(|account| is_account(account, workload));
    let source = if from.cidrs.is_empty() {
        Truth::YES
    } else {
        Truth::of(at.scene.evidence.source.is_some_and(|source| {
            let readings = if at.strict() {
                vec![itself(source)]
            } else {
                readings_of(source)
            };
            from.cidrs.iter().any(|text| {
                readings
                    .iter()
                    .any(|reading| Range::parse(text).contains(*reading))
            })
        }))
    };
    Truth::of(holds).and(source)
}

pub fn is_account(wanted: &str, workload: &Workload) -> bool {
    let Some(account) = &workload.service_account else {
        return false;
    };
    match wanted.split_once('/') {
        Some((namespace, name)) => namespace == workload.namespace && name == account,
        None => wanted == account,
    }
}

pub fn selects(
    selector: &exitgate_policy::LabelSelector,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    assert!(
        selector.match_expressions.is_empty(),
        "the generator writes matchLabels"
    );
    selector
        .match_labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

// ---- tls, http, response

fn tls_matches(at: Place<'_>, tls: &TlsConditions) -> Truth {
    attribute(&at.scene.evidence.hello, |hello| {
        let mut holds = true;
        if let Some(sni) = tls.sni {
            holds &= hello.sni.is_some() == (sni == Presence::Present);
        }
        if !tls.alpn.is_empty() {
            holds &= tls.alpn.iter().any(|wanted| {
                hello
                    .alpn
                    .iter()
                    .any(|offered| **offered == *wanted.as_bytes())
            });
        }
        if let Some(floor) = tls.min_version {
            let least = match floor {
                TlsFloor::V10 => TlsVersion::Tls10,
                TlsFloor::V11 => TlsVersion::Tls11,
                TlsFloor::V12 => TlsVersion::Tls12,
                TlsFloor::V13 => TlsVersion::Tls13,
            };
            holds &= hello.version >= least;
        }
        if !tls.ja4.is_empty() {
            holds &= tls
                .ja4
                .iter()
                .any(|wanted| glob(wanted.as_bytes(), hello.ja4.as_bytes()));
        }
        Truth::of(holds)
    })
}

fn http_matches(at: Place<'_>, http: &Http, head: &RequestHead<'_>) -> Truth {
    let mut values = Vec::new();
    if !http.methods.is_empty() {
        values.push(Truth::of(
            http.methods.iter().any(|method| method == head.method),
        ));
    }
    if !http.paths.is_empty() {
        values.push(at.several(readings(head.path.raw()).iter().map(|reading| {
            Truth::of(
                http.paths
                    .iter()
                    .any(|pattern| path_matches(pattern, reading)),
            )
        })));
    }
    values.extend(headers_match(at, &http.headers, head.headers));
    if !http.content_types.is_empty() {
        values.push(media_types_match(at, &http.content_types, head.headers));
    }
    if !http.user_agents.is_empty() {
        values.push(values_match(at, "user-agent", head.headers, |value| {
            http.user_agents
                .iter()
                .any(|wanted| glob(wanted.as_bytes(), value))
        }));
    }
    if let Some(range) = http.content_length {
        values.push(match head.content_length {
            Some(length) => Truth::of(in_length(range, length)),
            None => at.literal(at.side != Side::Allow),
        });
    }
    Truth::all(values)
}

fn response_matches(at: Place<'_>, response: &Response, head: &ResponseHead<'_>) -> Truth {
    let mut values = Vec::new();
    if !response.status.is_empty() {
        values.push(Truth::of(
            response
                .status
                .iter()
                .any(|wanted| has_status(wanted, head.status)),
        ));
    }
    values.extend(headers_match(at, &response.headers, head.headers));
    // Where no content can follow, a condition on it holds in an Allow and does not in a Deny.
    let no_content = at.literal(at.side == Side::Allow);
    if !response.content_types.is_empty() {
        values.push(if head.bodiless {
            no_content
        } else {
            media_types_match(at, &response.content_types, head.headers)
        });
    }
    if let Some(range) = response.content_length {
        values.push(if head.bodiless {
            no_content
        } else {
            Truth::of(
                head.content_length
                    .is_some_and(|length| in_length(range, length)),
            )
        });
    }
    Truth::all(values)
}

fn has_status(wanted: &IntOrText, status: u16) -> bool {
    match wanted {
        IntOrText::Int(code) => *code == i64::from(status),
        IntOrText::Text(text) => match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => class.parse() == Ok(status / 100),
            (None, Some((low, high))) => {
                (low.parse().unwrap()..=high.parse().unwrap()).contains(&status)
            }
            (None, None) => text.parse() == Ok(status),
        },
    }
}

fn headers_match(
    at: Place<'_>,
    wanted: &std::collections::BTreeMap<String, HeaderMatch>,
    headers: Headers<'_>,
) -> Vec<Truth> {
    wanted
        .iter()
        .map(|(name, want)| {
            let name = name.to_ascii_lowercase();
            let there = headers.iter().any(|(key, _)| *key == name);
            let presence = Truth::of(want.present.is_none_or(|present| present == there));
            let valued = !want.exact.is_empty() || !want.prefix.is_empty() || !want.glob.is_empty();
            if !valued {
                return presence;
            }
            presence.and(values_match(at, &name, headers, |value| {
                (want.exact.is_empty() || want.exact.iter().any(|text| text.as_bytes() == value))
                    && (want.prefix.is_empty()
                        || want
                            .prefix
                            .iter()
                            .any(|text| value.starts_with(text.as_bytes())))
                    && (want.glob.is_empty()
                        || want.glob.iter().any(|text| glob(text.as_bytes(), value)))
            }))
        })
        .collect()
}

fn values_match(
    at: Place<'_>,
    name: &str,
    headers: Headers<'_>,
    one: impl Fn(&[u8]) -> bool,
) -> Truth {
    let values: Vec<Truth> = headers
        .iter()
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| Truth::of(one(value)))
        .collect();
    if values.is_empty() {
        Truth::NO
    } else {
        at.several(values)
    }
}

fn media_types_match(at: Place<'_>, wanted: &[String], headers: Headers<'_>) -> Truth {
    values_match(at, "content-type", headers, |value| {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        let media = text.split(';').next().unwrap_or_default().trim().to_owned();
        wanted.iter().any(|want| match want.strip_suffix("/*") {
            Some(family) => media
                .split_once('/')
                .is_some_and(|(have, _)| have == family),
            None => *want == media,
        })
    })
}

fn in_length(range: LengthRange, length: u64) -> bool {
    range.min.is_none_or(|min| length >= min) && range.max.is_none_or(|max| length <= max)
}

/// How a rule wants TLS handled.
pub fn mode(rule: &Rule) -> TlsMode {
    rule.tls.as_ref().map_or(TlsMode::Auto, |tls| tls.mode)
}
