//! Host patterns.

use std::fmt;

use crate::name::{Host, Name, NameError};

/// `x.io` (that name only) or `*.x.io` (every name below it, at any depth).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    name: Name,
    below: bool,
}

/// Why a text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An address, which belongs into `cidrs`.
    #[error("it is an address; addresses belong into cidrs")]
    Address,
    /// A scheme, port or path.
    #[error("it has a scheme, port or path; write the host name alone (ports belong into ports)")]
    NotAHost,
    /// Not a name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A wildcard that does not exist.
    #[error("write \"{0}\" for that name only, or \"*.{0}\" for every name below it")]
    TwoForms(String),
    /// A wildcard that does not exist, without a name to suggest.
    #[error(
        "the only wildcard is \"*.\" at the beginning, as in \"*.x.io\"; leave out hosts to match every destination"
    )]
    Wildcard,
}

impl HostPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(rest) = text.strip_prefix("*.")
            && !rest.contains('*')
            && !rest.starts_with('.')
        {
            return Ok(Self {
                name: parse_name(rest)?,
                below: true,
            });
        }
        if text.contains('*') || (text.starts_with('.') && text.len() > 1) {
            let bare = text.trim_start_matches(['*', '.']);
            return Err(match Name::parse(bare.as_bytes()) {
                Ok(name) => PatternError::TwoForms(name.to_string()),
                Err(_) => PatternError::Wildcard,
            });
        }
        Ok(Self {
            name: parse_name(text)?,
            below: false,
        })
    }

    /// The name, or the name that all matching names are below of.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether this is `*.name`.
    pub fn is_below(&self) -> bool {
        self.below
    }

    /// Whether the name matches.
    pub fn matches(&self, name: &Name) -> bool {
        if self.below {
            name.as_str()
                .strip_suffix(self.name.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.'))
        } else {
            self.name == *name
        }
    }

    /// Whether every name that the other pattern matches matches this one.
    pub fn covers(&self, other: &Self) -> bool {
        if self.below {
            self.matches(&other.name) || (other.below && self.name == other.name)
        } else {
            self == other
        }
    }

    /// The public or shared-hosting suffix that the pattern covers as a whole, such as `co.uk` or `github.io`.
    pub fn broad_suffix(&self) -> Option<&str> {
        let text = self.name.as_str();
        let suffix =
            psl::suffix(text.as_bytes()).filter(|suffix| self.below && suffix.is_known())?;
        (suffix.as_bytes() == text.as_bytes()).then_some(text)
    }
}

fn parse_name(text: &str) -> Result<Name, PatternError> {
    if text.contains('/') {
        return Err(if crate::address::parse_cidr(text).is_ok() {
            PatternError::Address
        } else {
            PatternError::NotAHost
        });
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(PatternError::Address);
    }
    match Host::parse(text.as_bytes()) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Addr(_)) => Err(PatternError::Address),
        Err(_) if text.contains(':') => Err(PatternError::NotAHost),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            f.write_str("*.")?;
        }
        self.name.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        for (pattern, name, expected) in [
            ("x.io", "x.io", true),
            ("x.io", "a.x.io", false),
            ("X.IO.", "x.io", true),
            ("*.x.io", "x.io", false),
            ("*.x.io", "a.x.io", true),
            ("*.x.io", "b.a.x.io", true),
            ("*.x.io", "evil-x.io", false),
            ("*.x.io", "x.io.bad.test", false),
            ("*.x.io", "io", false),
            ("bücher.example", "xn--bcher-kva.example", true),
        ] {
            let (pattern, name) = (
                HostPattern::parse(pattern).unwrap(),
                Name::parse(name.as_bytes()).unwrap(),
            );
            assert_eq!(pattern.matches(&name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn refused() {
        for (text, message) in [
            (
                ".x.io",
                "write \"x.io\" for that name only, or \"*.x.io\" for every name below it",
            ),
            (
                "**.x.io",
                "write \"x.io\" for that name only, or \"*.x.io\" for every name below it",
            ),
            (
                "*x.io",
                "write \"x.io\" for that name only, or \"*.x.io\" for every name below it",
            ),
            (
                "*..x.io",
                "write \"x.io\" for that name only, or \"*.x.io\" for every name below it",
            ),
            ("*", "the only wildcard is"),
            ("**", "the only wildcard is"),
            ("a.*.io", "the only wildcard is"),
            ("", "it is empty"),
            (".", "empty label"),
            ("10.0.0.1", "it is an address"),
            ("10.0.0.0/8", "it is an address"),
            ("::1", "it is an address"),
            ("127.1", "ends in a number"),
            ("https://x.io", "it has a scheme, port or path"),
            ("x.io/a", "it has a scheme, port or path"),
            ("x.io:443", "it has a scheme, port or path"),
            ("x y.io", "a character that no host name has"),
        ] {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn broad() {
        for (pattern, suffix) in [
            ("*.co.uk", Some("co.uk")),
            ("*.com", Some("com")),
            ("*.github.io", Some("github.io")),
            ("*.x.github.io", None),
            ("github.io", None),
            ("*.x.io", None),
            ("*.wild.test", None),
        ] {
            assert_eq!(
                HostPattern::parse(pattern).unwrap().broad_suffix(),
                suffix,
                "{pattern}"
            );
        }
    }

    #[test]
    fn coverage() {
        for (outer, inner, expected) in [
            ("*.x.io", "a.x.io", true),
            ("*.x.io", "*.a.x.io", true),
            ("*.x.io", "*.x.io", true),
            ("*.x.io", "x.io", false),
            ("x.io", "x.io", true),
            ("x.io", "*.x.io", false),
            ("*.a.x.io", "*.x.io", false),
        ] {
            let (outer, inner) = (
                HostPattern::parse(outer).unwrap(),
                HostPattern::parse(inner).unwrap(),
            );
            assert_eq!(outer.covers(&inner), expected, "{outer} {inner}");
        }
    }
}
