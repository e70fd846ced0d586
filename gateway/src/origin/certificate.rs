//! What an origin's certificate says, for records.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::der::{INTEGER, Reader, SEQUENCE};
use crate::reason::OriginReason;

/// Longest text taken over from a certificate.
const TEXT: usize = 200;
/// RFC 7633, id-pe-tlsfeature.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// RFC 6066: the feature that is the stapled status.
const STATUS_REQUEST: &[u8] = &[5];

/// The certificate that an origin showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Who issued it, as RFC 4514 writes it; cut where it is long.
    pub issuer: String,
    /// How many names it is for.
    pub names: usize,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 over the whole certificate.
    pub fingerprint: Fingerprint,
    /// Its stapled status.
    pub staple: Staple,
    /// Whether it was verified.
    pub verification: Verification,
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    pub(super) fn of(certificate: &[u8]) -> Self {
        Self(sha256(&[certificate]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A stapled certificate status (OCSP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staple {
    /// Valid, and good.
    Good,
    /// Came, and could not be verified: it counts as if it had not come.
    Invalid(&'static str),
    /// Did not come.
    None,
    /// The session was resumed; it counted when the session began.
    Resumed,
    /// Valid, and the responder does not know the certificate.
    Unknown,
}

impl Staple {
    /// For records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Invalid(_) => "invalid",
            Self::None => "none",
            Self::Resumed => "resumed",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a certificate was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It was, and is what it should be.
    Verified,
    /// `insecureSkipVerify` is set for this host, and it is what it should be nevertheless.
    Skipped,
    /// `insecureSkipVerify` is set for this host, and otherwise this would have refused it.
    Ignored(OriginReason),
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = match parts {
        [only] => digest(&SHA256, only),
        several => {
            let mut context = aws_lc_rs::digest::Context::new(&SHA256);
            for part in several {
                context.update(part);
            }
            context.finish()
        }
    };
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// A certificate taken apart.
pub(super) struct Parsed<'a>(X509Certificate<'a>);

impl<'a> Parsed<'a> {
    pub(super) fn read(der: &'a CertificateDer<'_>) -> Option<Self> {
        X509Certificate::from_der(der)
            .ok()
            .filter(|(rest, _)| rest.is_empty())
            .map(|(_, certificate)| Self(certificate))
    }

    pub(super) fn facts(&self, der: &[u8]) -> Certificate {
        Certificate {
            issuer: printable(&self.0.issuer().to_string()),
            names: self.names().count(),
            not_after: self.not_after(),
            fingerprint: Fingerprint::of(der),
            staple: Staple::None,
            verification: Verification::Verified,
        }
    }

    fn names(&self) -> impl Iterator<Item = &GeneralName<'a>> {
        self.0
            .extensions()
            .iter()
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
    }

    /// What it is for, in words.
    pub(super) fn names_shown(&self) -> String {
        let mut names: Vec<String> = self
            .names()
            .take(6)
            .map(|name| match name {
                GeneralName::DNSName(name) => printable(name),
                other => printable(&other.to_string()),
            })
            .collect();
        match names.len() {
            0 => "no subject alternative name; its common name does not count".to_owned(),
            6 => {
                names.truncate(5);
                format!("{} and more", names.join(", "))
            }
            _ => names.join(", "),
        }
    }

    pub(super) fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    pub(super) fn issuer(&self) -> String {
        printable(&self.0.issuer().to_string())
    }

    pub(super) fn subject(&self) -> String {
        printable(&self.0.subject().to_string())
    }

    pub(super) fn raw_issuer(&self) -> &[u8] {
        self.0.issuer().as_raw()
    }

    pub(super) fn raw_subject(&self) -> &[u8] {
        self.0.subject().as_raw()
    }

    pub(super) fn raw_serial(&self) -> &'a [u8] {
        self.0.raw_serial()
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.raw_issuer() == self.raw_subject()
    }

    /// Whether it says where its issuer's certificate can be fetched, as all of the public web do.
    pub(super) fn names_issuer_location(&self) -> bool {
        self.0.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::AuthorityInfoAccess(access)
                if access.accessdescs.iter().any(|d| d.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2"))
        })
    }

    /// A key usage that does not hold the signing of certificates.
    pub(super) fn must_not_issue(&self) -> bool {
        self.0.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign())
        })
    }

    /// RFC 7633: it is to be refused without a stapled status.
    pub(super) fn must_staple(&self) -> bool {
        self.0
            .extensions()
            .iter()
            .filter(|extension| extension.oid.to_id_string() == TLS_FEATURE)
            .any(|extension| demands_status(extension.value))
    }

    /// What is weak about its key.
    pub(super) fn weakness(&self) -> Option<String> {
        weakness(self.0.public_key())
    }
}

fn weakness(key: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Option<String> {
    match key.parsed().ok()? {
        PublicKey::RSA(rsa) if rsa.key_size() < 2048 => {
            Some(format!("an RSA key of {} bits", rsa.key_size()))
        }
        PublicKey::EC(point) if point.key_size() < 256 => {
            Some(format!("a curve of {} bits", point.key_size()))
        }
        PublicKey::DSA(_) => Some("a DSA key".to_owned()),
        _ => None,
    }
}

/// What is weak about a bare `SubjectPublicKeyInfo`.
pub(super) fn key_weakness(key: &[u8]) -> Option<String> {
    let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(key).ok()?;
    weakness(&key)
}

fn demands_status(features: &[u8]) -> bool {
    let Ok(mut features) = Reader::new(features).inside(SEQUENCE) else {
        // It demands something; without knowing what, the stricter reading holds.
        return true;
    };
    while !features.is_empty() {
        match features.take(INTEGER) {
            Ok(STATUS_REQUEST) | Err(_) => return true,
            Ok(_) => {}
        }
    }
    false
}

/// Text that a stranger wrote, fit for a record and a terminal.
fn printable(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(TEXT)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(TEXT).is_some() {
        out.push('…');
    }
    out
}
