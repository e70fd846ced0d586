//! Request paths and their two readings.

use std::fmt;

/// The path of a request without its query: the bytes as sent, and the two readings that rules are matched against.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestPath {
    raw: Box<[u8]>,
    plain: Box<[u8]>,
    /// Only kept where it differs from `plain`.
    slashed: Option<Box<[u8]>>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `%` without two hexadecimal digits.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    BadEscape,
    /// A NUL byte, plain or escaped.
    #[error("the path has a NUL byte")]
    Nul,
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
}

impl RequestPath {
    /// Parses a path. The empty path is `/`, and `*` (of `OPTIONS *`) stands for itself.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.is_empty() {
            return Self::parse(b"/");
        }
        if raw == b"*" {
            return Ok(Self {
                raw: raw.into(),
                plain: raw.into(),
                slashed: None,
            });
        }
        if raw.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        let unescaped = unescape(raw)?;
        let plain = resolve_dots(&unescaped);
        let slashed = resolve_dots(&slash(&unescaped));
        let slashed = (slashed != plain).then(|| slashed.into());
        Ok(Self {
            raw: raw.into(),
            plain: plain.into(),
            slashed,
        })
    }

    /// The bytes as sent.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The first reading: unreserved escapes and dot segments resolved.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// The second reading: also `%2F`, `%5C`, `\` and repeated slashes taken as one slash, and segment parameters left
    /// out.
    pub fn slashed(&self) -> &[u8] {
        self.slashed.as_deref().unwrap_or(&self.plain)
    }
}

impl fmt::Debug for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestPath")
            .field(&String::from_utf8_lossy(&self.raw))
            .finish()
    }
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    let byte = *byte?;
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Resolves escapes of unreserved characters and writes all others with upper-case digits.
pub(crate) fn unescape(raw: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            0 => return Err(PathError::Nul),
            b'%' => {
                let (Some(high), Some(low)) = (hex_digit(rest.next()), hex_digit(rest.next()))
                else {
                    return Err(PathError::BadEscape);
                };
                let value = high << 4 | low;
                if value == 0 {
                    return Err(PathError::Nul);
                }
                if is_unreserved(value) {
                    out.push(value);
                } else {
                    out.extend_from_slice(format!("%{value:02X}").as_bytes());
                }
            }
            _ => out.push(byte),
        }
    }
    Ok(out)
}

/// Takes `%2F`, `%5C`, `\` and runs of slashes as one slash, and leaves the parameters of a segment (`;v=1`) out, as
/// servlet containers do before they look for a resource.
fn slash(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    let mut in_parameters = false;
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match rest {
            [b'%', b'2', b'F', tail @ ..] | [b'%', b'5', b'C', tail @ ..] | [b'\\', tail @ ..] => {
                (b'/', tail)
            }
            _ => (*byte, tail),
        };
        in_parameters = byte == b';' || (in_parameters && byte != b'/');
        if !in_parameters && (byte != b'/' || out.last() != Some(&b'/')) {
            out.push(byte);
        }
        rest = tail;
    }
    out
}

/// Resolves `.` and `..` segments (RFC 3986, 5.2.4).
fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut trailing = false;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        trailing = false;
        match segment {
            b"." => trailing = true,
            b".." => {
                segments.pop();
                trailing = true;
            }
            _ => segments.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if trailing || out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_readings() {
        for (raw, plain, slashed) in [
            ("/", "/", "/"),
            ("", "/", "/"),
            ("*", "*", "*"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/./b", "/a/b", "/a/b"),
            ("/a/../b", "/b", "/b"),
            ("/a/..", "/", "/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/a/b/.", "/a/b/", "/a/b/"),
            ("/../../a", "/a", "/a"),
            ("/a/%2e%2E/b", "/b", "/b"),
            ("/%61%7e%2d", "/a~-", "/a~-"),
            ("/a%2fb", "/a%2Fb", "/a/b"),
            ("/a%5Cb", "/a%5Cb", "/a/b"),
            ("/a\\b", "/a\\b", "/a/b"),
            ("/a//b", "/a//b", "/a/b"),
            ("//a", "//a", "/a"),
            ("/a//", "/a//", "/a/"),
            ("/a%2f..%2fb", "/a%2F..%2Fb", "/b"),
            ("/a//../b", "/a/b", "/b"),
            ("/x/..\\admin", "/x/..\\admin", "/admin"),
            ("/a%252fb", "/a%252fb", "/a%252fb"),
            ("/admin;v=1/x", "/admin;v=1/x", "/admin/x"),
            ("/a/..;/admin", "/a/..;/admin", "/admin"),
            ("/a/;x/b;y", "/a/;x/b;y", "/a/b"),
            ("/a;x%2fb", "/a;x%2Fb", "/a/b"),
            ("/caf%c3%a9", "/caf%C3%A9", "/caf%C3%A9"),
        ] {
            let path = RequestPath::parse(raw.as_bytes()).unwrap();
            assert_eq!(
                String::from_utf8_lossy(path.plain()),
                plain,
                "plain reading of {raw}"
            );
            assert_eq!(
                String::from_utf8_lossy(path.slashed()),
                slashed,
                "slashed reading of {raw}"
            );
            assert_eq!(
                path.raw(),
                if raw.is_empty() { b"/" } else { raw.as_bytes() }
            );
        }
    }

    #[test]
    fn refused() {
        for (raw, error) in [
            (&b"/a%0"[..], PathError::BadEscape),
            (b"/a%", PathError::BadEscape),
            (b"/%zz", PathError::BadEscape),
            (b"/a\0b", PathError::Nul),
            (b"/a%00b", PathError::Nul),
            (b"a/b", PathError::NotAbsolute),
            (b"**", PathError::NotAbsolute),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(error));
        }
    }
}
