//! The compiled form of a rule.

use std::sync::Arc;

use crate::{
    RuleRef,
    address::CidrSet,
    compile::Credential,
    index::NameSet,
    matcher::{Expression, HttpMatcher, Ranges, ResponseMatcher, TlsMatcher, Tri},
    model::{Action, TlsMode},
    name::Name,
    pattern::HostPattern,
    reason::Reason,
};

/// A compiled rule.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts about one rule"
)]
pub(crate) struct Rule {
    pub(crate) reference: RuleRef,
    pub(crate) action: Action,
    /// Seconds since 1970.
    pub(crate) expires: Option<u64>,
    pub(crate) matcher: Matcher,
    pub(crate) mode: TlsMode,
    /// What a denial by this rule is called.
    pub(crate) denial: Reason,
    pub(crate) inject: Option<Injector>,
    /// Something is asked that stands inside TLS.
    pub(crate) touches_content: bool,
    /// That, or TLS has to be opened, or must not be.
    pub(crate) touches_tls: bool,
    /// `protocol: TCP` in an Allow, Pass or Next.
    pub(crate) raw: bool,
    /// `sni: Absent`.
    pub(crate) without_sni: bool,
    /// The ranges as written, for opening the floor.
    pub(crate) openings: Box<[ipnet::IpNet]>,
}

/// The credential that a rule adds.
#[derive(Debug)]
pub(crate) struct Injector {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// None where the reference does not resolve.
    pub(crate) credential: Option<Arc<Credential>>,
}

impl Rule {
    /// Whether the verdict can depend on what is inside TLS because of this rule, or the rule asks for it to be opened. An
    /// Alert changes no verdict: it has to ask.
    pub(crate) fn may_inspect(&self) -> bool {
        match self.mode {
            TlsMode::Auto => {
                self.inject.is_some()
                    || (self.action != Action::Alert && self.matcher.needs_content())
            }
            TlsMode::Inspect => true,
            TlsMode::Passthrough => false,
        }
    }

    pub(crate) fn expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

pub(crate) const RULE_HTTP: u8 = 1;
pub(crate) const RULE_TLS: u8 = 2;
pub(crate) const RULE_TCP: u8 = 4;
pub(crate) const RULE_ALL_PROTOCOLS: u8 = RULE_HTTP | RULE_TLS | RULE_TCP;

/// All fields must hold.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) names: Option<NameMatcher>,
    pub(crate) cidrs: Option<CidrMatcher>,
    pub(crate) ports: Option<Ranges>,
    /// The protocols that match.
    pub(crate) protocols: u8,
    /// The protocols come from the absence of the field.
    pub(crate) protocols_implied: bool,
    pub(crate) from: Option<FromMatcher>,
    pub(crate) tls: Option<Box<TlsMatcher>>,
    pub(crate) http: Option<Box<HttpMatcher>>,
    pub(crate) response: Option<Box<ResponseMatcher>>,
    pub(crate) when: Option<Box<Expression>>,
    pub(crate) not: Option<Box<Matcher>>,
}

impl Default for Matcher {
    fn default() -> Self {
        Self {
            names: None,
            cidrs: None,
            ports: None,
            protocols: RULE_ALL_PROTOCOLS,
            protocols_implied: true,
            from: None,
            tls: None,
            http: None,
            response: None,
            when: None,
            not: None,
        }
    }
}

impl Matcher {
    /// Whether something is asked that stands inside TLS.
    pub(crate) fn needs_content(&self) -> bool {
        self.http.is_some()
            || self.response.is_some()
            || self
                .when
                .as_ref()
                .is_some_and(|when| when.uses().needs_content())
            || self.not.as_ref().is_some_and(|not| not.needs_content())
    }
}

/// `hosts` and `hostSets`.
#[derive(Debug)]
pub(crate) struct NameMatcher {
    pub(crate) patterns: Patterns,
    pub(crate) sets: Box<[Arc<CompiledSet>]>,
}

impl NameMatcher {
    pub(crate) fn matches(&self, name: &Name) -> Tri {
        if self.patterns.contains(name) {
            return Tri::TRUE;
        }
        let mut found = Tri::FALSE;
        for set in &self.sets {
            match &set.names {
                Some(names) if names.contains(name) => return Tri::TRUE,
                Some(_) => {}
                None => found = Tri::SET_UNAVAILABLE,
            }
        }
        found
    }
}

/// The patterns of one rule.
#[derive(Debug)]
pub(crate) enum Patterns {
    Few(Box<[HostPattern]>),
    Many(Box<[HostPattern]>, NameSet),
}

impl Patterns {
    pub(crate) fn contains(&self, name: &Name) -> bool {
        match self {
            Self::Few(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            Self::Many(_, set) => set.contains(name),
        }
    }

    pub(crate) fn list(&self) -> &[HostPattern] {
        match self {
            Self::Few(patterns) | Self::Many(patterns, _) => patterns,
        }
    }
}

/// A compiled domain set. What is not loaded is none.
#[derive(Debug)]
pub(crate) struct CompiledSet {
    /// Its position among all sets.
    pub(crate) id: usize,
    pub(crate) names: Option<SetNames>,
    pub(crate) cidrs: Option<CidrSet>,
    pub(crate) nets: Vec<ipnet::IpNet>,
}

/// The names of a set.
pub(crate) type SetNames = Arc<NameSet>;

/// `cidrs` and `cidrSets`.
#[derive(Debug)]
pub(crate) struct CidrMatcher {
    pub(crate) nets: Box<[ipnet::IpNet]>,
    pub(crate) own: CidrSet,
    pub(crate) sets: Box<[Arc<CompiledSet>]>,
    /// In an Allow without a name: only address literals and captured addresses.
    pub(crate) literal_only: bool,
    /// In an Allow, Pass or Next with a name: only what the name resolves to.
    pub(crate) resolved_only: bool,
    /// In a Pass or Next without a name: both treatments are the strict one.
    pub(crate) always_strict: bool,
}

impl CidrMatcher {
    pub(crate) fn contains(&self, addr: std::net::IpAddr, any_reading: bool) -> Tri {
        let within = |set: &CidrSet| {
            if any_reading {
                set.contains_any_reading(addr)
            } else {
                set.contains(addr)
            }
        };
        if within(&self.own) {
            return Tri::TRUE;
        }
        let mut found = Tri::FALSE;
        for set in &self.sets {
            match &set.cidrs {
                Some(cidrs) if within(cidrs) => return Tri::TRUE,
                Some(_) => {}
                None => found = Tri::SET_UNAVAILABLE,
            }
        }
        found
    }
}

/// `from`: what depends on the workload was settled when the view was made.
#[derive(Debug)]
pub(crate) struct FromMatcher {
    /// The position among all `from` conditions.
    pub(crate) id: usize,
    pub(crate) cidrs: Option<CidrSet>,
}
