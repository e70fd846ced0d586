//! Compiled conditions and their three-valued evaluation.

mod cel;
mod content;
mod context;
mod eval;
mod rule;
mod text;
mod tri;

pub(crate) use cel::Expression;
pub(crate) use content::{HeaderRule, HttpMatcher, ResponseMatcher, TlsMatcher};
pub(crate) use context::{Context, Inside};
pub(crate) use eval::Side;
pub(crate) use rule::{
    CidrMatcher, CompiledSet, FromMatcher, Injector, Matcher, NameMatcher, Patterns,
    RULE_ALL_PROTOCOLS, RULE_HTTP, RULE_TCP, RULE_TLS, Rule,
};
pub(crate) use text::{Glob, MediaType, PathPattern, Ranges};
pub(crate) use tri::Tri;
