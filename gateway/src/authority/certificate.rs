//! What certificates of ours look like.

use exitgate_policy::Name;
use rustls::pki_types::CertificateDer;

use super::constraints::Constraints;
use super::der::{self, Critical};
use super::key::CaKey;

/// From when to when a certificate is valid, in seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

/// Who signs: what a certificate repeats of its issuer's, and the key.
#[derive(Debug)]
pub(super) struct Issuer<'a> {
    /// The subject of the issuer's certificate, byte for byte.
    pub(super) subject: &'a [u8],
    /// The issuer's subject key identifier, byte for byte.
    pub(super) key_id: &'a [u8],
    pub(super) key: &'a CaKey,
}

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 29, 35];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];
const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 29, 30];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 29, 14];

/// RFC 5280's bound of a common name.
const MAX_COMMON_NAME: usize = 64;
const ORGANISATION: &str = "Exitgate";

/// A server's certificate for exactly one name.
pub(super) fn leaf(
    name: &Name,
    spki: &[u8],
    validity: Validity,
    issuer: &Issuer<'_>,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let text = name.as_str();
    let fits = text.len() <= MAX_COMMON_NAME;
    let subject = der::name(None, fits.then_some(text));
    let alt_name = der::sequence(&[&der::tlv(der::CONTEXT_2, &[text.as_bytes()])]);
    // Where the subject is empty, the alternative name is all there is, and must be understood.
    let alt_critical = if fits { Critical::No } else { Critical::Yes };
    sign(
        &subject,
        spki,
        validity,
        issuer,
        &[
            der::extension(KEY_USAGE, Critical::Yes, &bits(0x80, 7)),
            server_auth(),
            der::extension(BASIC_CONSTRAINTS, Critical::Yes, &der::sequence(&[])),
            authority_key_id(issuer.key_id),
            der::extension(SUBJECT_ALT_NAME, alt_critical, &alt_name),
        ],
    )
}

/// An authority that signs leaves of one gateway and nothing else.
pub(super) fn issuing(
    key: &CaKey,
    constraints: &Constraints,
    validity: Validity,
    issuer: &Issuer<'_>,
) -> Result<IssuedCa, rcgen::Error> {
    let key_id = key_id(key);
    // Clients remember authorities by name: two with one name and different keys would confuse them.
    let subject = der::name(
        Some(ORGANISATION),
        Some(&format!("Exitgate issuing CA {}", hex(&key_id, 8))),
    );
    let certificate = sign(
        &subject,
        &key.spki(),
        validity,
        issuer,
        &[
            der::extension(BASIC_CONSTRAINTS, Critical::Yes, &ca(Some(0))),
            der::extension(KEY_USAGE, Critical::Yes, &bits(0x04, 2)),
            server_auth(),
            der::extension(SUBJECT_KEY_ID, Critical::No, &octets(&key_id)),
            authority_key_id(issuer.key_id),
            der::extension(NAME_CONSTRAINTS, Critical::Yes, &constraints.to_der()),
        ],
    )?;
    Ok(IssuedCa {
        certificate,
        subject,
        key_id,
    })
}

/// A root that signs itself, with room for one authority below it.
pub(super) fn root(
    key: &CaKey,
    common_name: &str,
    validity: Validity,
) -> Result<IssuedCa, rcgen::Error> {
    let key_id = key_id(key);
    let subject = der::name(Some(ORGANISATION), Some(common_name));
    let issuer = Issuer {
        subject: &subject,
        key_id: &key_id,
        key,
    };
    let certificate = sign(
        &subject,
        &key.spki(),
        validity,
        &issuer,
        &[
            der::extension(BASIC_CONSTRAINTS, Critical::Yes, &ca(Some(1))),
            der::extension(KEY_USAGE, Critical::Yes, &bits(0x06, 1)),
            der::extension(SUBJECT_KEY_ID, Critical::No, &octets(&key_id)),
        ],
    )?;
    Ok(IssuedCa {
        certificate,
        subject,
        key_id,
    })
}

/// A new authority's certificate, and what those that it signs repeat of it.
#[derive(Debug)]
pub(super) struct IssuedCa {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) subject: Vec<u8>,
    pub(super) key_id: Vec<u8>,
}

fn sign(
    subject: &[u8],
    spki: &[u8],
    validity: Validity,
    issuer: &Issuer<'_>,
    extensions: &[Vec<u8>],
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let extensions: Vec<&[u8]> = extensions.iter().map(Vec::as_slice).collect();
    let body = der::sequence(&[
        // X.509 version 3
        b"\xa0\x03\x02\x01\x02",
        &der::tlv(der::INTEGER, &[&serial()?]),
        issuer.key.algorithm(),
        issuer.subject,
        &der::sequence(&[
            &der::time(validity.not_before),
            &der::time(validity.not_after),
        ]),
        subject,
        spki,
        &der::tlv(der::CONTEXT_3_CONSTRUCTED, &[&der::sequence(&extensions)]),
    ]);
    let signature = issuer.key.sign(&body)?;
    let signature = der::tlv(der::BIT_STRING, &[&[0], &signature]);
    let certificate = der::sequence(&[&body, issuer.key.algorithm(), &signature]);
    Ok(CertificateDer::from(certificate))
}

/// 128 random bits, under a first byte that keeps the number positive and its encoding of one length.
fn serial() -> Result<[u8; 17], rcgen::Error> {
    let mut serial = [0; 17];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    if let Some(first) = serial.first_mut() {
        *first = 1;
    }
    Ok(serial)
}

/// RFC 7093, method 1: no SHA-1, and the length that everyone is used to.
pub(super) fn key_id(key: &CaKey) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_bits());
    digest.as_ref().iter().copied().take(20).collect()
}

fn authority_key_id(key_id: &[u8]) -> Vec<u8> {
    let value = der::sequence(&[&der::tlv(der::CONTEXT_0, &[key_id])]);
    der::extension(AUTHORITY_KEY_ID, Critical::No, &value)
}

fn server_auth() -> Vec<u8> {
    let value = der::sequence(&[&der::tlv(der::OID, &[SERVER_AUTH])]);
    der::extension(EXTENDED_KEY_USAGE, Critical::No, &value)
}

fn ca(path_length: Option<u8>) -> Vec<u8> {
    let length = path_length.map(|length| der::tlv(der::INTEGER, &[&[length]]));
    der::sequence(&[
        &der::tlv(der::BOOLEAN, &[&[0xff]]),
        &length.unwrap_or_default(),
    ])
}

fn octets(value: &[u8]) -> Vec<u8> {
    der::tlv(der::OCTET_STRING, &[value])
}

fn bits(value: u8, unused: u8) -> Vec<u8> {
    der::tlv(der::BIT_STRING, &[&[unused, value]])
}

/// The first bytes, two digits each.
pub(super) fn hex(bytes: &[u8], take: usize) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .take(take)
        .fold(String::new(), |mut out, byte| {
            // Writing to a String cannot fail.
            write!(out, "{byte:02x}").ok();
            out
        })
}
