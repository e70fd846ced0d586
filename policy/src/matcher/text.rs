//! Small compiled matchers of texts and numbers.

/// A text where `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Box<[u8]>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.as_bytes().into())
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        glob(&self.0, text)
    }
}

/// Linear in the length of the text times the length of the pattern, whatever they are.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut text) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest, text) {
            ([b'*', tail @ ..], _) => {
                rest = tail;
                retry = Some((tail, text));
            }
            ([p, tail @ ..], [t, text_tail @ ..]) if p == t => {
                rest = tail;
                text = text_tail;
            }
            ([], []) => return true,
            _ => match retry {
                Some((again, [_, skipped @ ..])) => {
                    rest = again;
                    text = skipped;
                    retry = Some((again, skipped));
                }
                _ => return false,
            },
        }
    }
}

/// A path pattern: exact, with `*` within segments, or a path and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Box<[Box<[u8]>]>,
    below: bool,
}

impl PathPattern {
    /// Parses a pattern; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            // No segments and nothing below: only `OPTIONS *` has such a path.
            return Ok(Self {
                segments: Box::default(),
                below: false,
            });
        }
        if !text.starts_with('/') {
            return Err("a path begins with a slash".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("the query takes no part in path matching; leave it out".to_owned());
        }
        let (body, below) = match text.strip_suffix("/**") {
            Some(body) => (body, true),
            None => (text, false),
        };
        if body.contains("**") {
            return Err("\"**\" may only stand at the end, after a slash, as in \"/v2/**\"; \"*\" matches within one segment".to_owned());
        }
        let body = crate::path::unescape(body.as_bytes()).map_err(|error| error.to_string())?;
        let mut segments: Vec<Box<[u8]>> =
            body.split(|&byte| byte == b'/').map(Into::into).collect();
        if segments
            .iter()
            .any(|segment| matches!(&**segment, b"." | b".."))
        {
            return Err(
                "a path pattern has no \".\" or \"..\" segments; write the resolved path"
                    .to_owned(),
            );
        }
        // The text begins with a slash (or is empty before "/**"), so the first piece is empty.
        segments.remove(0);
        Ok(Self {
            segments: segments.into(),
            below,
        })
    }

    /// Whether a reading of a path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        if !path.starts_with(b"/") {
            return self.segments.is_empty() && !self.below && path == b"*";
        }
        let mut found = path.split(|&byte| byte == b'/').skip(1);
        for pattern in &self.segments {
            match found.next() {
                Some(segment) if glob(pattern, segment) => {}
                _ => return false,
            }
        }
        self.below || found.next().is_none()
    }
}

/// A media type such as `application/json` or `text/*`, without parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    kind: Box<str>,
    sub: Option<Box<str>>,
}

impl MediaType {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let token = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let (kind, sub) = text.split_once('/')?;
        if !token(kind) || !(sub == "*" || token(sub)) {
            return None;
        }
        Some(Self {
            kind: kind.into(),
            sub: (sub != "*").then(|| sub.into()),
        })
    }

    /// Whether a Content-Type header has this type.
    pub(crate) fn matches(&self, header: &[u8]) -> bool {
        let essence = header
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let mut parts = essence.splitn(2, |&byte| byte == b'/');
        let (Some(kind), Some(sub)) = (parts.next(), parts.next()) else {
            return false;
        };
        kind.eq_ignore_ascii_case(self.kind.as_bytes())
            && self
                .sub
                .as_ref()
                .is_none_or(|wanted| sub.eq_ignore_ascii_case(wanted.as_bytes()))
    }
}

/// A few ranges of numbers, both ends inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Box<[(u16, u16)]>);

impl Ranges {
    pub(crate) fn new(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        Self(ranges.into())
    }

    pub(crate) fn contains(&self, number: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| low <= number && number <= high)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("*sqlmap*", "x sqlmap/1.7", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a**b", "ab", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        let (pattern, text) = (format!("{}b", "*a".repeat(50)), "a".repeat(50_000));
        assert!(!Glob::new(&pattern).matches(text.as_bytes()));
    }

    #[test]
    fn paths() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/v2/**", "/v2", true),
            ("/v2/**", "/v2/", true),
            ("/v2/**", "/v2/a/b", true),
            ("/v2/**", "/v2a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/**", "*", false),
            ("*", "*", true),
            ("*", "/", false),
            ("/*", "/a", true),
            ("/*", "/a/b", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/x*.json", "/a/xy.json", true),
            ("/a/x*.json", "/a/x/y.json", false),
            ("/a/*/**", "/a/b", true),
            ("/a/*/**", "/a", false),
            ("/%7euser", "/~user", true),
        ] {
            assert_eq!(
                PathPattern::parse(pattern)
                    .unwrap()
                    .matches(path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
        for pattern in ["", "a", "/a/**/b", "/a**", "/a?x", "/a/../b", "/%zz", "**"] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn media_types() {
        for (pattern, header, expected) in [
            ("application/json", "application/json", true),
            ("application/json", "Application/JSON; charset=utf-8", true),
            ("application/json", "application/json+x", false),
            ("text/*", "text/html", true),
            ("text/*", "application/json", false),
            ("text/*", "text", false),
        ] {
            assert_eq!(
                MediaType::parse(pattern)
                    .unwrap()
                    .matches(header.as_bytes()),
                expected,
                "{pattern} {header}"
            );
        }
        for pattern in ["json", "*/*", "a/b/c", "/json", "text/", "text/html;q=1"] {
            assert!(MediaType::parse(pattern).is_none(), "{pattern}");
        }
    }
}
