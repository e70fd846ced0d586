//! The ClientHello itself.

use exitgate_policy::{Hello, Host, Name, TlsVersion};
use smallvec::SmallVec;
use thiserror::Error;

use super::{
    cursor::{Cursor, Short, numbers},
    ja4,
};

/// Why the first bytes were not taken as a ClientHello that can be judged.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum HelloError {
    #[error("an application protocol list is malformed")]
    BadAlpn,
    #[error("an extension is malformed or occurs twice")]
    BadExtension,
    #[error("a record has an impossible length")]
    BadRecord,
    #[error("the server name is not one host name")]
    BadSni,
    #[error("a length inside the message goes past its end")]
    Length,
    #[error("a handshake message that is no ClientHello")]
    NotClientHello,
    #[error("not a TLS record")]
    NotTls,
    #[error("only versions below TLS 1.2")]
    TlsVersion,
    #[error("larger than allowed")]
    TooLarge,
    #[error("bytes follow the message")]
    TrailingData,
}

impl HelloError {
    /// The reason code of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::TlsVersion => "tls-version",
            Self::BadAlpn
            | Self::BadExtension
            | Self::BadRecord
            | Self::BadSni
            | Self::Length
            | Self::NotClientHello
            | Self::NotTls
            | Self::TooLarge
            | Self::TrailingData => "bad-hello",
        }
    }

    /// The alert that tells the client (RFC 8446, 6.2).
    pub fn alert(self) -> u8 {
        const UNEXPECTED_MESSAGE: u8 = 10;
        const RECORD_OVERFLOW: u8 = 22;
        const ILLEGAL_PARAMETER: u8 = 47;
        const DECODE_ERROR: u8 = 50;
        const PROTOCOL_VERSION: u8 = 70;
        match self {
            Self::TlsVersion => PROTOCOL_VERSION,
            Self::BadRecord => RECORD_OVERFLOW,
            Self::BadExtension | Self::BadSni => ILLEGAL_PARAMETER,
            Self::BadAlpn | Self::Length | Self::TooLarge => DECODE_ERROR,
            Self::NotClientHello | Self::NotTls | Self::TrailingData => UNEXPECTED_MESSAGE,
        }
    }
}

impl From<Short> for HelloError {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

/// Extension numbers that are looked into.
pub(super) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    /// Encrypted ClientHello, and the draft before it.
    pub(crate) const ECH: u16 = 0xfe0d;
    pub(crate) const ESNI: u16 = 0xffce;
}

/// What is taken from the message on the way; borrowed from it.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) ciphers: &'a [u8],
    pub(super) extensions: SmallVec<[u16; 32]>,
    pub(super) alpn: SmallVec<[&'a [u8]; 4]>,
    pub(super) signature_algorithms: &'a [u8],
    pub(super) sni: Option<Name>,
    pub(super) version: Option<TlsVersion>,
    ech: bool,
}

/// Values that clients sprinkle in so that servers tolerate unknown ones (RFC 8701).
pub(super) fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// Parses the body of a ClientHello message.
pub(super) fn parse_hello(body: &[u8]) -> Result<Hello, HelloError> {
    let mut cursor = Cursor::new(body);
    let legacy_version = cursor.u16()?;
    cursor.take(32)?;
    if cursor.vec8()?.len() > 32 {
        return Err(HelloError::Length);
    }
    let mut seen = Seen {
        ciphers: cursor.vec16()?,
        ..Seen::default()
    };
    if seen.ciphers.is_empty() || numbers(seen.ciphers).is_none() {
        return Err(HelloError::Length);
    }
    if !cursor.vec8()?.contains(&0) {
        return Err(HelloError::BadExtension);
    }
    if !cursor.is_empty() {
        let mut extensions = Cursor::new(cursor.vec16()?);
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.vec16()?;
            seen.extensions.push(kind);
            seen.extension(kind, data)?;
        }
    }
    if !cursor.is_empty() {
        return Err(HelloError::TrailingData);
    }
    refuse_duplicates(&seen.extensions)?;
    let version = match seen.version {
        Some(version) => version,
        None if seen.extensions.contains(&extension::SUPPORTED_VERSIONS) => {
            return Err(HelloError::TlsVersion);
        }
        None => legacy(legacy_version),
    };
    if version < TlsVersion::Tls12 {
        return Err(HelloError::TlsVersion);
    }
    let ja4 = ja4::fingerprint(&seen, version);
    Ok(Hello {
        alpn: seen
            .alpn
            .iter()
            .map(|protocol| Box::from(*protocol))
            .collect(),
        sni: seen.sni,
        version,
        ech: seen.ech,
        ja4,
    })
}

impl<'a> Seen<'a> {
    fn extension(&mut self, kind: u16, data: &'a [u8]) -> Result<(), HelloError> {
        match kind {
            extension::SERVER_NAME => self.sni = Some(server_name(data)?),
            extension::ALPN => self.alpn = protocols(data).ok_or(HelloError::BadAlpn)?,
            extension::SUPPORTED_VERSIONS => self.version = highest_version(data)?,
            extension::SIGNATURE_ALGORITHMS => {
                self.signature_algorithms = only_vec16(data).ok_or(HelloError::BadExtension)?;
                if numbers(self.signature_algorithms).is_none() {
                    return Err(HelloError::BadExtension);
                }
            }
            extension::ECH | extension::ESNI => self.ech = true,
            _ => {}
        }
        Ok(())
    }
}

fn refuse_duplicates(extensions: &[u16]) -> Result<(), HelloError> {
    let mut sorted: SmallVec<[u16; 32]> = extensions.into();
    sorted.sort_unstable();
    if sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .any(|(one, next)| one == next)
    {
        return Err(HelloError::BadExtension);
    }
    Ok(())
}

/// Exactly one entry, of type host_name, that is a name. A server could pick another entry than we do, and address literals
/// are not allowed there (RFC 6066, 3).
fn server_name(data: &[u8]) -> Result<Name, HelloError> {
    let mut list = Cursor::new(only_vec16(data).ok_or(HelloError::BadSni)?);
    let (kind, name) = (
        list.u8().map_err(|_| HelloError::BadSni)?,
        list.vec16().map_err(|_| HelloError::BadSni)?,
    );
    if kind != 0 || !list.is_empty() || !name.is_ascii() {
        return Err(HelloError::BadSni);
    }
    match Host::parse(name) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Addr(_)) | Err(_) => Err(HelloError::BadSni),
    }
}

fn protocols(data: &[u8]) -> Option<SmallVec<[&[u8]; 4]>> {
    let mut list = Cursor::new(only_vec16(data)?);
    let mut protocols = SmallVec::new();
    while !list.is_empty() {
        protocols.push(list.vec8().ok().filter(|protocol| !protocol.is_empty())?);
    }
    (!protocols.is_empty()).then_some(protocols)
}

/// The highest version that we know; `None` when there is none.
fn highest_version(data: &[u8]) -> Result<Option<TlsVersion>, HelloError> {
    let mut cursor = Cursor::new(data);
    let list = cursor.vec8()?;
    let versions = numbers(list)
        .filter(|_| cursor.is_empty() && !list.is_empty())
        .ok_or(HelloError::BadExtension)?;
    Ok(versions.filter_map(known_version).max())
}

fn known_version(version: u16) -> Option<TlsVersion> {
    match version {
        0x0300 => Some(TlsVersion::Ssl3),
        0x0301 => Some(TlsVersion::Tls10),
        0x0302 => Some(TlsVersion::Tls11),
        0x0303 => Some(TlsVersion::Tls12),
        0x0304 => Some(TlsVersion::Tls13),
        _ => None,
    }
}

/// Without the extension the field in front speaks, and it cannot say 1.3.
fn legacy(version: u16) -> TlsVersion {
    match known_version(version) {
        Some(TlsVersion::Tls13) => TlsVersion::Tls12,
        Some(version) => version,
        None if version > 0x0303 => TlsVersion::Tls12,
        None => TlsVersion::Ssl3,
    }
}

fn only_vec16(data: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(data);
    let list = cursor.vec16().ok()?;
    cursor.is_empty().then_some(list)
}
