//! Conditions on the TLS handshake, the request and the response.

use std::ops::RangeInclusive;

use crate::{
    evidence::{Headers, Hello, RequestHead, ResponseHead, TlsVersion},
    matcher::{Glob, MediaType, PathPattern, Ranges, Side, Tri},
    model::Presence,
};

/// Conditions on the handshake.
#[derive(Debug, Default)]
pub(crate) struct TlsMatcher {
    pub(crate) sni: Option<Presence>,
    pub(crate) alpn: Box<[Box<[u8]>]>,
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) ja4: Box<[Glob]>,
}

impl TlsMatcher {
    pub(crate) fn matches(&self, hello: &Hello) -> bool {
        self.sni
            .is_none_or(|wanted| (wanted == Presence::Present) == hello.sni.is_some())
            && (self.alpn.is_empty() || self.alpn.iter().any(|wanted| hello.alpn.contains(wanted)))
            && self.min_version.is_none_or(|floor| hello.version >= floor)
            && (self.ja4.is_empty()
                || self
                    .ja4
                    .iter()
                    .any(|glob| glob.matches(hello.ja4.as_bytes())))
    }
}

/// How one header must look.
#[derive(Debug)]
pub(crate) struct HeaderRule {
    /// In lower case.
    pub(crate) name: Box<str>,
    pub(crate) exact: Box<[Box<[u8]>]>,
    pub(crate) prefix: Box<[Box<[u8]>]>,
    pub(crate) glob: Box<[Glob]>,
    pub(crate) present: Option<bool>,
}

impl HeaderRule {
    fn matches(&self, headers: Headers<'_>, lenient: bool) -> bool {
        let present = headers.iter().any(|(name, _)| *name == &*self.name);
        let on_value = !(self.exact.is_empty() && self.prefix.is_empty() && self.glob.is_empty());
        self.present.is_none_or(|wanted| wanted == present)
            && (!on_value
                || values(headers, &self.name, lenient, |value| {
                    self.value_matches(value)
                }))
    }

    fn value_matches(&self, value: &[u8]) -> bool {
        (self.exact.is_empty() || self.exact.iter().any(|wanted| **wanted == *value))
            && (self.prefix.is_empty()
                || self.prefix.iter().any(|wanted| value.starts_with(wanted)))
            && (self.glob.is_empty() || self.glob.iter().any(|glob| glob.matches(value)))
    }
}

/// An absent header does not match; of a repeated one every value must, or any, by the treatment.
fn values(headers: Headers<'_>, name: &str, lenient: bool, check: impl Fn(&[u8]) -> bool) -> bool {
    let mut found = headers
        .iter()
        .filter(|(one, _)| *one == name)
        .map(|(_, value)| *value)
        .peekable();
    if lenient {
        found.any(check)
    } else {
        found.peek().is_some() && found.all(check)
    }
}

fn content_type(headers: Headers<'_>, types: &[MediaType], lenient: bool) -> bool {
    let one_of = |value: &[u8]| types.iter().any(|one| one.matches(value));
    values(headers, "content-type", lenient, |value| {
        // Some readers take the first of several types on one line, others the last.
        let mut several = elements(value);
        if lenient {
            several.any(one_of)
        } else {
            several.all(one_of)
        }
    })
}

/// The elements of a value that may be a list: commas inside quotes do not count.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |&byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !literal => escaped = true,
            b'"' if !literal => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
}

/// Conditions on the request.
#[derive(Debug, Default)]
pub(crate) struct HttpMatcher {
    pub(crate) methods: Box<[Box<str>]>,
    pub(crate) paths: Box<[PathPattern]>,
    pub(crate) headers: Box<[HeaderRule]>,
    pub(crate) content_types: Box<[MediaType]>,
    pub(crate) user_agents: Box<[Glob]>,
    pub(crate) content_length: Option<RangeInclusive<u64>>,
}

impl HttpMatcher {
    pub(crate) fn matches(&self, head: &RequestHead<'_>, side: Side) -> bool {
        let lenient = side.lenient();
        let path = |reading: &[u8]| self.paths.iter().any(|pattern| pattern.matches(reading));
        (self.methods.is_empty() || self.methods.iter().any(|method| **method == *head.method))
            && (self.paths.is_empty()
                || if lenient {
                    path(head.path.plain()) || path(head.path.slashed())
                } else {
                    path(head.path.plain()) && path(head.path.slashed())
                })
            && self
                .headers
                .iter()
                .all(|rule| rule.matches(head.headers, lenient))
            && (self.content_types.is_empty()
                || content_type(head.headers, &self.content_types, lenient))
            && (self.user_agents.is_empty()
                || values(head.headers, "user-agent", lenient, |value| {
                    self.user_agents.iter().any(|glob| glob.matches(value))
                }))
            && self
                .content_length
                .as_ref()
                .is_none_or(|bounds| match head.content_length {
                    Some(length) => bounds.contains(&length),
                    // Not declared: it may be any.
                    None => lenient,
                })
    }
}

/// Conditions on the response.
#[derive(Debug, Default)]
pub(crate) struct ResponseMatcher {
    pub(crate) status: Option<Ranges>,
    pub(crate) content_types: Box<[MediaType]>,
    pub(crate) headers: Box<[HeaderRule]>,
    pub(crate) content_length: Option<RangeInclusive<u64>>,
}

impl ResponseMatcher {
    pub(crate) fn matches(&self, head: &ResponseHead<'_>, side: Side) -> Tri {
        let lenient = side.lenient();
        let envelope = self
            .status
            .as_ref()
            .is_none_or(|status| status.contains(head.status))
            && self
                .headers
                .iter()
                .all(|rule| rule.matches(head.headers, lenient));
        let content = if self.content_types.is_empty() && self.content_length.is_none() {
            true
        } else if head.bodiless {
            // No content can follow: its conditions hold in an Allow and are false in a Deny, negated or not.
            side.favourable()
        } else {
            (self.content_types.is_empty()
                || content_type(head.headers, &self.content_types, lenient))
                && self
                    .content_length
                    .as_ref()
                    .is_none_or(|bounds| match head.content_length {
                        Some(length) => bounds.contains(&length),
                        // Not declared: the gateway counts, and cuts the stream at the bound.
                        None => side.favourable(),
                    })
        };
        (envelope && content).into()
    }

    /// Whether a body of undeclared length must be cut, and where.
    pub(crate) fn body_limit(&self, head: &ResponseHead<'_>, denies: bool) -> Option<u64> {
        let bounds = self
            .content_length
            .as_ref()
            .filter(|_| head.content_length.is_none() && !head.bodiless)?;
        if denies {
            bounds.start().checked_sub(1)
        } else {
            Some(*bounds.end()).filter(|&end| end < u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn several_types_on_one_line_are_several() {
        let types = [MediaType::parse("application/zip").unwrap()];
        let is = |value: &str, lenient| {
            content_type(&[("content-type", value.as_bytes())], &types, lenient)
        };
        for (value, allow, deny) in [
            ("application/zip", true, true),
            ("application/zip,x/y", false, true),
            ("x/y, application/zip; a=b", false, true),
            ("application/zip; a=\"x,y\"", true, true),
            ("application/zip; a=\"\\\",x\"", true, true),
            ("x/y; a=\",application/zip\"", false, false),
            // An escaped backslash escapes nothing, and outside quotes there is no escape.
            ("x/y; a=\"\\\\\", application/zip", false, true),
            ("x/y; a=\\\"b, application/zip", false, false),
        ] {
            assert_eq!(
                (is(value, false), is(value, true)),
                (allow, deny),
                "{value}"
            );
        }
    }
}
