//! Names, hosts and authorities, parsed once and canonical from then on.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::address;

/// A DNS name in canonical form: lower case, A-labels, no root dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// Why a text is not a name, host or authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An address in brackets that is not a plain IPv6 address.
    #[error("not a plain IPv6 address in brackets (no zone is accepted)")]
    BadIpv6,
    /// A character that no name has.
    #[error("it has a character that no host name has")]
    Character,
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// Two dots in a row, or one at the beginning.
    #[error("it has an empty label (two dots in a row, or a dot at the beginning)")]
    EmptyLabel,
    /// Not an internationalised name that IDNA accepts.
    #[error("it is not a valid internationalised name")]
    Idna,
    /// A label of more than 63 bytes.
    #[error("it has a label of more than 63 bytes")]
    LongLabel,
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    LongName,
    /// It ends in a number without being an address in its canonical form.
    #[error(
        "it ends in a number but is not an IPv4 address in canonical form (four decimal numbers without leading zeros)"
    )]
    NumericEnd,
    /// Not a port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// User information in front of the host.
    #[error("user information before the host is not accepted")]
    UserInfo,
}

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl Name {
    /// Parses a name and brings it into canonical form.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        canonical(text).map(|text| Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a name that every system takes for its own loopback address.
    pub fn is_localhost(&self) -> bool {
        let text = self.as_str();
        matches!(text, "localhost" | "ip6-localhost" | "ip6-loopback")
            || text.ends_with(".localhost")
    }
}

/// The canonical form of a name; most names are in it already, and long lists are quick to read for that.
pub(crate) fn canonical(text: &[u8]) -> Result<Cow<'_, str>, NameError> {
    // A longer input cannot become a valid name, and the IDNA code should not see it.
    if text.len() > 1_024 {
        return Err(NameError::LongName);
    }
    let ascii = text.is_ascii();
    if ascii && !text.iter().any(u8::is_ascii_uppercase) && !has_a_label(text) {
        let text = std::str::from_utf8(text).map_err(|_| NameError::Character)?;
        return checked(text).map(Cow::Borrowed);
    }
    if ascii {
        let lower = text.to_ascii_lowercase();
        if !has_a_label(&lower) {
            let lower = std::str::from_utf8(&lower).map_err(|_| NameError::Character)?;
            return checked(lower).map(|text| Cow::Owned(text.to_owned()));
        }
    }
    if text
        .iter()
        .any(|&byte| byte.is_ascii() && !is_name_byte(byte.to_ascii_lowercase()) && byte != b'.')
    {
        return Err(NameError::Character);
    }
    let mapped =
        idna::domain_to_ascii_cow(text, idna::AsciiDenyList::URL).map_err(|_| NameError::Idna)?;
    checked(&mapped).map(|text| Cow::Owned(text.to_owned()))
}

/// The text without its root dot, if it is a name.
fn checked(text: &str) -> Result<&str, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.len() > MAX_NAME {
        return Err(NameError::LongName);
    }
    for label in text.as_bytes().split(|&byte| byte == b'.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LongLabel);
        }
        if !label.iter().copied().all(is_name_byte) {
            return Err(NameError::Character);
        }
    }
    if ends_in_number(text) {
        return Err(NameError::NumericEnd);
    }
    Ok(text)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

fn has_a_label(lower: &[u8]) -> bool {
    lower
        .split(|&byte| byte == b'.')
        .any(|label| label.starts_with(b"xn--"))
}

/// Whether common parsers would take the text for some spelling of an IPv4 address.
fn ends_in_number(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)
    }
}

/// A name, or an address in canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address. An IPv4-mapped one is its IPv4 address.
    Addr(IpAddr),
    /// A name.
    Name(Name),
}

impl Host {
    /// Parses a name, four decimal numbers, or an IPv6 address in brackets. Other spellings of addresses are errors and
    /// never names.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        if let Some(rest) = text.strip_prefix(b"[") {
            let inner = rest.strip_suffix(b"]").ok_or(NameError::BadIpv6)?;
            let inner = std::str::from_utf8(inner).map_err(|_| NameError::BadIpv6)?;
            let addr: Ipv6Addr = inner.parse().map_err(|_| NameError::BadIpv6)?;
            return Ok(Self::Addr(address::canonical(IpAddr::V6(addr))));
        }
        if let Ok(addr) = std::str::from_utf8(text)
            .unwrap_or_default()
            .parse::<Ipv4Addr>()
        {
            return Ok(Self::Addr(IpAddr::V4(addr)));
        }
        Name::parse(text).map(Self::Name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(IpAddr::V6(addr)) => write!(f, "[{addr}]"),
            Self::Addr(IpAddr::V4(addr)) => addr.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A host and perhaps a port, as in a CONNECT target or a Host header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host` or `host:port`. User information is refused.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        if text.contains(&b'@') {
            return Err(NameError::UserInfo);
        }
        let after_bracket = text.iter().rposition(|&byte| byte == b']').unwrap_or(0);
        let colon = text
            .iter()
            .rposition(|&byte| byte == b':')
            .filter(|&at| at >= after_bracket);
        let Some((host, rest)) = colon.and_then(|at| text.split_at_checked(at)) else {
            return Ok(Self {
                host: Host::parse(text)?,
                port: None,
            });
        };
        let host = Host::parse(host)?;
        Ok(Self {
            host,
            port: Some(parse_port(rest.get(1..).unwrap_or_default())?),
        })
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, NameError> {
    if digits.is_empty()
        || digits.len() > 5
        || digits.first() == Some(&b'0')
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return Err(NameError::Port);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(NameError::Port)
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn canonical_names() {
        for (text, name) in [
            ("ok.test", "ok.test"),
            ("OK.TEST", "ok.test"),
            ("ok.test.", "ok.test"),
            ("_x.ok.test", "_x.ok.test"),
            ("1x.ok.test", "1x.ok.test"),
            ("a--b.ok.test", "a--b.ok.test"),
            ("kubernetes", "kubernetes"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("ok。test", "ok.test"),
            ("оk.test", "xn--k-0tb.test"),
            ("0xg.test", "0xg.test"),
            ("a.0xg", "a.0xg"),
        ] {
            let parsed = Name::parse(text.as_bytes()).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), Ok(name), "{text}");
        }
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(Name::parse(long.as_bytes()).unwrap().as_str().len(), 253);
    }

    #[test]
    fn refused_names() {
        let label = format!("{}.test", "a".repeat(64));
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
        let labels = vec!["aa"; 128].join(".");
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::EmptyLabel),
            ("ok.test..", NameError::EmptyLabel),
            (".ok.test", NameError::EmptyLabel),
            ("ok..test", NameError::EmptyLabel),
            ("ok\0.test", NameError::Character),
            ("ok test", NameError::Character),
            ("ok%2etest", NameError::Character),
            ("ok\\.test", NameError::Character),
            ("*.ok.test", NameError::Character),
            ("ok.test:443", NameError::Character),
            ("a@ok.test", NameError::Character),
            ("ok.1", NameError::NumericEnd),
            ("127.1", NameError::NumericEnd),
            ("0", NameError::NumericEnd),
            ("2130706433", NameError::NumericEnd),
            ("0x7f.0.0.1", NameError::NumericEnd),
            ("0x7f000001", NameError::NumericEnd),
            ("x.0x7f", NameError::NumericEnd),
            ("127.0.0.1", NameError::NumericEnd),
            ("１２７.０.０.１", NameError::NumericEnd),
            ("xn--a.test", NameError::Idna),
            (&label, NameError::LongLabel),
            (&long, NameError::LongName),
            (&labels, NameError::LongName),
        ] {
            assert_eq!(Name::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(Name::parse(b"ok\xff.test"), Err(NameError::Idna));
        assert_eq!(Name::parse(&[b'a'; 2_000]), Err(NameError::LongName));
    }

    #[test]
    fn hosts() {
        for (text, host) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[::ffff:169.254.169.254]", Some("169.254.169.254")),
            ("[::ffff:a9fe:a9fe]", Some("169.254.169.254")),
            ("ok.test", Some("ok.test")),
            ("::1", None),
            ("[::1", None),
            ("[fe80::1%eth0]", None),
            ("[fe80::1%25eth0]", None),
            ("[10.0.0.1]", None),
            ("127.1", None),
            ("127.0.1", None),
            ("0251.0376.0251.0376", None),
            ("010.0.0.1", None),
            ("425.510.425.510", None),
            ("169.254.43518", None),
            ("0xa9fea9fe", None),
            ("10.0.0.1.", None),
            ("10.0.0.1.5", None),
        ] {
            assert_eq!(
                Host::parse(text.as_bytes())
                    .ok()
                    .map(|host| host.to_string())
                    .as_deref(),
                host,
                "{text}"
            );
        }
    }

    #[test]
    fn authorities() {
        for (text, authority) in [
            ("ok.test", Some(("ok.test", None))),
            ("ok.test:443", Some(("ok.test", Some(443)))),
            ("[::1]:8443", Some(("[::1]", Some(8443)))),
            ("[::1]", Some(("[::1]", None))),
            ("10.0.0.1:65535", Some(("10.0.0.1", Some(65535)))),
            ("ok.test:", None),
            ("ok.test:0", None),
            ("ok.test:080", None),
            ("ok.test:65536", None),
            ("ok.test:+80", None),
            ("ok.test:80:80", None),
            ("ok.test@bad.test:443", None),
            ("@ok.test", None),
            (":443", None),
            ("[::1]x:80", None),
            ("::1:80", None),
            ("ok.test:44 3", None),
        ] {
            let parsed = Authority::parse(text.as_bytes())
                .ok()
                .map(|found| (found.host.to_string(), found.port));
            assert_eq!(
                parsed.as_ref().map(|(host, port)| (host.as_str(), *port)),
                authority,
                "{text}"
            );
        }
    }

    #[test]
    fn localhost_names() {
        for (text, expected) in [
            ("localhost", true),
            ("localhost.", true),
            ("x.LOCALHOST", true),
            ("ip6-localhost", true),
            ("notlocalhost", false),
        ] {
            assert_eq!(
                Name::parse(text.as_bytes()).unwrap().is_localhost(),
                expected,
                "{text}"
            );
        }
    }
}
