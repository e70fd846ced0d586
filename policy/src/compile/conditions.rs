//! From written conditions to matchers.

use std::collections::BTreeMap;

use super::{At, Compiler, values};
use crate::{
    address::CidrSet,
    evidence::TlsVersion,
    matcher::{
        CidrMatcher, Expression, FromMatcher, Glob, HeaderRule, HttpMatcher, Matcher, MediaType,
        NameMatcher, PathPattern, RULE_ALL_PROTOCOLS, ResponseMatcher, TlsMatcher,
    },
    model::{
        Action, Conditions, From, HeaderMatch, Http, Response, TlsConditions, TlsFloor, To,
        ToProtocol,
    },
};

/// Where a condition stands: what it means depends on the action and on whether it is wrapped in `not`.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) action: Action,
    pub(super) negated: bool,
    /// The namespace of the policy; none for cluster kinds.
    pub(super) namespace: Option<&'a str>,
}

impl Place<'_> {
    fn denies(self) -> bool {
        matches!(self.action, Action::Alert | Action::Deny)
    }
}

impl Compiler {
    pub(super) fn conditions(
        &mut self,
        at: &At,
        conditions: &Conditions,
        place: Place<'_>,
    ) -> Matcher {
        let mut matcher = Matcher::default();
        if let Some(to) = &conditions.to {
            self.destination(&at.field("to"), to, place, &mut matcher);
        }
        if let Some(from) = &conditions.from {
            matcher.from = Some(self.origin(&at.field("from"), from, place));
        }
        if let Some(tls) = &conditions.tls {
            matcher.tls = self.handshake(&at.field("tls"), tls);
        }
        if let Some(http) = &conditions.http {
            matcher.http = Some(Box::new(self.request(&at.field("http"), http)));
        }
        if let Some(response) = &conditions.response {
            matcher.response = Some(Box::new(self.response(&at.field("response"), response)));
        }
        if let Some(text) = &conditions.when {
            match Expression::compile(text, &self.env) {
                Ok(expression) => {
                    self.needs_workload |= expression.uses().needs_workload();
                    matcher.when = Some(Box::new(expression));
                }
                Err(error) => self.error(&at.field("when"), error),
            }
        }
        if matcher.names.is_some() && matcher.protocols_implied && !place.negated && !place.denies()
        {
            // Raw bytes to a name need `protocol: TCP`.
            matcher.protocols = crate::matcher::RULE_HTTP | crate::matcher::RULE_TLS;
        }
        matcher
    }

    fn destination(&mut self, at: &At, to: &To, place: Place<'_>, matcher: &mut Matcher) {
        if !to.hosts.is_empty() || !to.host_sets.is_empty() {
            let patterns = self.hosts(&at.field("hosts"), &to.hosts, to.allow_broad);
            let sets = self.set_refs(&at.field("hostSets"), place.namespace, &to.host_sets);
            self.warn_repeated(&at.field("hosts"), &to.hosts);
            matcher.names = Some(NameMatcher {
                patterns: values::patterns(patterns),
                sets: sets.into(),
            });
        }
        if !to.cidrs.is_empty() || !to.cidr_sets.is_empty() {
            let nets = self.cidrs(&at.field("cidrs"), &to.cidrs);
            let sets = self.set_refs(&at.field("cidrSets"), place.namespace, &to.cidr_sets);
            let named = matcher.names.is_some();
            matcher.cidrs = Some(CidrMatcher {
                own: CidrSet::new(nets.iter().copied()),
                nets: nets.into(),
                sets: sets.into(),
                literal_only: place.action == Action::Allow && !named && !place.negated,
                resolved_only: named && !place.denies(),
                always_strict: matches!(place.action, Action::Pass | Action::Next)
                    && !named
                    && !place.negated,
            });
        }
        matcher.ports = self.ports(&at.field("ports"), &to.ports);
        if let Some(protocol) = to.protocol {
            matcher.protocols_implied = false;
            matcher.protocols = match protocol {
                ToProtocol::Http => crate::matcher::RULE_HTTP,
                ToProtocol::Tls => crate::matcher::RULE_TLS,
                ToProtocol::Tcp if place.denies() => crate::matcher::RULE_TCP,
                ToProtocol::Tcp => {
                    if place.negated {
                        self.warn(
                            &at.field("protocol"),
                            "beside an Allow, Pass or Next TCP is whatever the bytes are, HTTP and TLS included, so that it makes this not no narrower; to leave raw bytes out, leave out protocol and name the hosts",
                        );
                    }
                    RULE_ALL_PROTOCOLS
                }
                ToProtocol::Udp => {
                    self.error(
                        &at.field("protocol"),
                        "UDP is not supported in v1alpha1; write HTTP, TLS or TCP",
                    );
                    0
                }
            };
        }
    }

    fn warn_repeated(&mut self, at: &At, texts: &[String]) {
        let mut seen = std::collections::HashSet::new();
        for (index, text) in texts.iter().enumerate() {
            if !seen.insert(text.to_ascii_lowercase()) {
                self.warn(&at.item(index), format!("\"{text}\" is there twice"));
            }
        }
    }

    fn origin(&mut self, at: &At, from: &From, place: Place<'_>) -> FromMatcher {
        if place.namespace.is_some() {
            self.error(at, "only cluster policies have from; an EgressPolicy selects its workloads through spec.subject");
        }
        if from.ecs.is_some() {
            // No source reads tasks yet; a selector without a meaning must not match everything, nor silently nothing.
            self.error(
                &at.field("ecs"),
                "nothing that this source knows is an Amazon ECS task; write namespaces, podSelector, serviceAccounts or cidrs",
            );
        }
        let nets = self.cidrs(&at.field("cidrs"), &from.cidrs);
        let id = self.from.len();
        self.from.push(from.clone());
        FromMatcher {
            id,
            cidrs: (!from.cidrs.is_empty()).then(|| CidrSet::new(nets)),
        }
    }

    fn handshake(&mut self, at: &At, tls: &TlsConditions) -> Option<Box<TlsMatcher>> {
        if tls.sni.is_none()
            && tls.alpn.is_empty()
            && tls.min_version.is_none()
            && tls.ja4.is_empty()
        {
            return None;
        }
        self.texts_fit(&at.field("alpn"), &tls.alpn);
        self.texts_fit(&at.field("ja4"), &tls.ja4);
        Some(Box::new(TlsMatcher {
            sni: tls.sni,
            alpn: bytes(&tls.alpn),
            min_version: tls.min_version.map(|version| match version {
                TlsFloor::V10 => TlsVersion::Tls10,
                TlsFloor::V11 => TlsVersion::Tls11,
                TlsFloor::V12 => TlsVersion::Tls12,
                TlsFloor::V13 => TlsVersion::Tls13,
            }),
            ja4: tls.ja4.iter().map(|text| Glob::new(text)).collect(),
        }))
    }

    fn request(&mut self, at: &At, http: &Http) -> HttpMatcher {
        self.texts_fit(&at.field("methods"), &http.methods);
        for (index, method) in http.methods.iter().enumerate() {
            let at = at.field("methods").item(index);
            if !is_token(method) {
                self.error(&at, format!("\"{method}\" is not an HTTP method"));
            } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
                self.error(
                    &at,
                    format!(
                        "methods are case-sensitive; write \"{}\"",
                        method.to_ascii_uppercase()
                    ),
                );
            } else if method == "CONNECT" {
                self.error(&at, "CONNECT is how a connection is asked for, not a request that http sees; use to instead");
            }
        }
        let mut paths = Vec::with_capacity(http.paths.len());
        if self.texts_fit(&at.field("paths"), &http.paths) {
            for (index, text) in http.paths.iter().enumerate() {
                match PathPattern::parse(text) {
                    Ok(pattern) => paths.push(pattern),
                    Err(error) => {
                        self.error(
                            &at.field("paths").item(index),
                            format!("\"{text}\" is not a path pattern: {error}"),
                        );
                    }
                }
            }
        }
        self.texts_fit(&at.field("userAgents"), &http.user_agents);
        HttpMatcher {
            methods: http
                .methods
                .iter()
                .map(|method| method.as_str().into())
                .collect(),
            paths: paths.into(),
            headers: self.headers(&at.field("headers"), &http.headers),
            content_types: self.media_types(&at.field("contentTypes"), &http.content_types),
            user_agents: http
                .user_agents
                .iter()
                .map(|text| Glob::new(text))
                .collect(),
            content_length: self.lengths(&at.field("contentLength"), http.content_length),
        }
    }

    fn response(&mut self, at: &At, response: &Response) -> ResponseMatcher {
        ResponseMatcher {
            status: self.statuses(&at.field("status"), &response.status),
            content_types: self.media_types(&at.field("contentTypes"), &response.content_types),
            headers: self.headers(&at.field("headers"), &response.headers),
            content_length: self.lengths(&at.field("contentLength"), response.content_length),
        }
    }

    fn media_types(&mut self, at: &At, texts: &[String]) -> Box<[MediaType]> {
        let mut types = Vec::with_capacity(texts.len());
        if self.texts_fit(at, texts) {
            for (index, text) in texts.iter().enumerate() {
                match MediaType::parse(text) {
                    Some(found) => types.push(found),
                    None => self.error(
                        &at.item(index),
                        format!("\"{text}\" is not a media type; write for example application/json or text/*"),
                    ),
                }
            }
        }
        types.into()
    }

    fn headers(&mut self, at: &At, headers: &BTreeMap<String, HeaderMatch>) -> Box<[HeaderRule]> {
        let mut rules: Vec<HeaderRule> = Vec::with_capacity(headers.len());
        for (name, wanted) in headers {
            let at = at.field(name);
            if !is_token(name) {
                self.error(&at, format!("\"{name}\" is not a header name"));
            }
            for (field, list) in [
                ("exact", &wanted.exact),
                ("prefix", &wanted.prefix),
                ("glob", &wanted.glob),
            ] {
                self.list_fits(&at.field(field), list);
                if let Some(long) = list.iter().position(|text| text.len() > values::MAX_TEXT) {
                    self.error(
                        &at.field(field).item(long),
                        format!("a text here has at most {} bytes", values::MAX_TEXT),
                    );
                }
            }
            let on_value =
                !(wanted.exact.is_empty() && wanted.prefix.is_empty() && wanted.glob.is_empty());
            if !on_value && wanted.present.is_none() {
                self.error(
                    &at,
                    "say how the header must look: exact, prefix, glob or present",
                );
            }
            if on_value && wanted.present == Some(false) {
                self.error(
                    &at,
                    "a header that is not present has no value; this rule could never match",
                );
            }
            let name: Box<str> = name.to_ascii_lowercase().into();
            if rules.iter().any(|rule| rule.name == name) {
                self.error(
                    &at,
                    "the header is there twice (names are compared without regard to case)",
                );
            }
            rules.push(HeaderRule {
                name,
                exact: bytes(&wanted.exact),
                prefix: bytes(&wanted.prefix),
                glob: wanted.glob.iter().map(|text| Glob::new(text)).collect(),
                present: wanted.present,
            });
        }
        rules.into()
    }
}

fn bytes(texts: &[String]) -> Box<[Box<[u8]>]> {
    texts.iter().map(|text| text.as_bytes().into()).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The ranges of a rule that may open the floor: those written in it. A set can be edited by others and opens nothing.
pub(super) fn openings(matcher: &Matcher) -> Box<[ipnet::IpNet]> {
    matcher
        .cidrs
        .as_ref()
        .map(|cidrs| cidrs.nets.clone())
        .unwrap_or_default()
}
