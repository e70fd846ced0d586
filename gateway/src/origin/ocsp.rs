//! Stapled certificate status (RFC 6960): read, and believed only if the issuer or someone it delegated signed it for now.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificate::Parsed;
use super::der::{
    self, ENUMERATED, INTEGER, Malformed, OCTET_STRING, OID, Reader, SEQUENCE, constructed,
    primitive,
};

/// Longest response that is read. They have a few hundred octets, some thousands with a delegate's certificate.
const SIZE: usize = 32 * 1024;
/// How far clocks may be apart.
const SKEW: i64 = 300;
/// How long a status holds that does not say when the next one is due.
const UNDATED: i64 = 24 * 3600;
/// Statuses and certificates in one response; ours is one, a delegate needs one.
const ENTRIES: usize = 8;

/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-kp-OCSPSigning.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];
const SHA1_ID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

/// What a valid response says about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Not revoked.
    Good,
    /// Revoked at this time, in seconds since 1970.
    Revoked(i64),
    /// Not known to the responder.
    Unknown,
}

/// Who issued the certificate.
pub(super) enum Issuer<'a> {
    /// A root.
    Anchor(&'a TrustAnchor<'a>),
    /// A certificate of the chain.
    Certificate(CertificateDer<'a>),
}

const MALFORMED: &str = "it cannot be read";

impl From<Malformed> for &'static str {
    fn from(Malformed: Malformed) -> Self {
        MALFORMED
    }
}

/// The status of `leaf` and until when it holds; or why the response says nothing.
pub(super) fn read(
    response: &[u8],
    leaf: &Parsed<'_>,
    issuer: &Issuer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<(Status, i64), &'static str> {
    if response.len() > SIZE {
        return Err("it is too large");
    }
    let anchor = match issuer {
        Issuer::Anchor(anchor) => (*anchor).clone(),
        Issuer::Certificate(certificate) => {
            anchor_from_trusted_cert(certificate).map_err(|_| MALFORMED)?
        }
    };
    let issuer = Key::of(&anchor)?;
    let basic = basic(response)?;
    let signed = signed(basic, &anchor, &issuer, algorithms, now)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    status(signed, leaf, &issuer, seconds)
}

/// A public key as signatures and identifiers use it.
struct Key<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Key<'a> {
    fn of(anchor: &'a TrustAnchor<'_>) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&anchor.subject_public_key_info);
        let algorithm = reader.take(SEQUENCE)?;
        let bits = reader.bits()?;
        reader.end()?;
        Ok(Self { algorithm, bits })
    }
}

/// The BasicOCSPResponse in a successful OCSPResponse.
fn basic(response: &[u8]) -> Result<Reader<'_>, &'static str> {
    let mut outer = Reader::new(response);
    let mut response = outer.inside(SEQUENCE)?;
    outer.end()?;
    if response.take(ENUMERATED)? != [0] {
        return Err("the responder had no answer");
    }
    let mut bytes = response.inside(constructed(0))?.inside(SEQUENCE)?;
    response.end()?;
    if bytes.take(OID)? != BASIC {
        return Err("it is of an unknown kind");
    }
    let mut basic = Reader::new(bytes.take(OCTET_STRING)?);
    bytes.end()?;
    let content = basic.inside(SEQUENCE)?;
    basic.end()?;
    Ok(content)
}

/// The ResponseData, after its signature has been verified.
fn signed<'a>(
    mut basic: Reader<'a>,
    issuer: &TrustAnchor<'_>,
    issuer_key: &Key<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
) -> Result<Reader<'a>, &'static str> {
    let data = basic.element(SEQUENCE)?;
    let algorithm = basic.take(SEQUENCE)?;
    let signature = basic.bits()?;
    let certificates = basic.take_if(constructed(0))?;
    basic.end()?;

    let mut content = Reader::new(data.content);
    if let Some(version) = content.take_if(constructed(0))?
        && Reader::new(version).take(INTEGER)? != [0]
    {
        return Err("it is of an unknown version");
    }
    let responder = content.any()?;

    if is_responder(&responder, &issuer.subject, issuer_key.bits)? {
        return verify(issuer_key, algorithm, data.whole, signature, algorithms).map(|()| content);
    }
    let Some(certificates) = certificates else {
        return Err("the issuer did not sign it");
    };
    let mut certificates = Reader::new(certificates).inside(SEQUENCE)?;
    for _ in 0..ENTRIES {
        if certificates.is_empty() {
            break;
        }
        let der = CertificateDer::from(certificates.element(SEQUENCE)?.whole);
        let delegate = anchor_from_trusted_cert(&der).map_err(|_| MALFORMED)?;
        let key = Key::of(&delegate)?;
        if !is_responder(&responder, &delegate.subject, key.bits)? {
            continue;
        }
        // The delegation is a certificate of this very issuer, for this purpose, and valid now.
        EndEntityCert::try_from(&der)
            .and_then(|certificate| {
                let anchors = std::slice::from_ref(issuer);
                let usage = KeyUsage::required(OCSP_SIGNING);
                certificate
                    .verify_for_usage(algorithms, anchors, &[], now, usage, None, None)
                    .map(|_| ())
            })
            .map_err(|_| "its signer is not delegated by the issuer")?;
        return verify(&key, algorithm, data.whole, signature, algorithms).map(|()| content);
    }
    Err("its signer is unknown")
}

/// Whether a ResponderID names the owner of this subject and key.
fn is_responder(id: &der::Element<'_>, subject: &[u8], key: &[u8]) -> Result<bool, Malformed> {
    let mut inner = Reader::new(id.content);
    match id.tag {
        tag if tag == constructed(1) => Ok(inner.take(SEQUENCE)? == subject),
        tag if tag == constructed(2) => {
            let hash = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, key);
            Ok(inner.take(OCTET_STRING)? == hash.as_ref())
        }
        _ => Err(Malformed),
    }
}

fn verify(
    key: &Key<'_>,
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), &'static str> {
    let mut known = false;
    for candidate in algorithms {
        if *candidate.signature_alg_id() == *algorithm
            && *candidate.public_key_alg_id() == *key.algorithm
        {
            known = true;
            if candidate
                .verify_signature(key.bits, message, signature)
                .is_ok()
            {
                return Ok(());
            }
        }
    }
    Err(if known {
        "its signature is wrong"
    } else {
        "it is signed with an algorithm that is not supported"
    })
}

/// What the response says about this certificate; `data` stands after the ResponderID.
fn status(
    mut data: Reader<'_>,
    leaf: &Parsed<'_>,
    issuer: &Key<'_>,
    now: i64,
) -> Result<(Status, i64), &'static str> {
    data.time()?; // producedAt: what counts is thisUpdate.
    let mut responses = data.inside(SEQUENCE)?;
    for _ in 0..ENTRIES {
        if responses.is_empty() {
            break;
        }
        let mut single = responses.inside(SEQUENCE)?;
        if !is_about(single.inside(SEQUENCE)?, leaf, issuer)? {
            continue;
        }
        let said = single.any()?;
        let status = match said.tag {
            tag if tag == primitive(0) => Status::Good,
            tag if tag == constructed(1) => Status::Revoked(Reader::new(said.content).time()?),
            tag if tag == primitive(2) => Status::Unknown,
            _ => return Err(MALFORMED),
        };
        let this_update = single.time()?;
        let next_update = match single.take_if(constructed(0))? {
            Some(time) => Reader::new(time).time()?,
            None => this_update.saturating_add(UNDATED),
        };
        if this_update > now.saturating_add(SKEW) {
            return Err("it is from the future");
        }
        if next_update < now.saturating_sub(SKEW) {
            return Err("it is out of date");
        }
        return Ok((status, next_update.saturating_add(SKEW)));
    }
    Err("it is about another certificate")
}

/// Whether a CertID means this certificate.
fn is_about(mut id: Reader<'_>, leaf: &Parsed<'_>, issuer: &Key<'_>) -> Result<bool, Malformed> {
    let algorithm = match id.inside(SEQUENCE)?.take(OID)? {
        // Here SHA-1 only finds the issuer; the signature is over something better.
        SHA1_ID => &SHA1_FOR_LEGACY_USE_ONLY,
        SHA256_ID => &SHA256,
        SHA384_ID => &SHA384,
        SHA512_ID => &SHA512,
        _ => return Ok(false),
    };
    let name = id.take(OCTET_STRING)?;
    let key = id.take(OCTET_STRING)?;
    let serial = id.take(INTEGER)?;
    id.end()?;
    Ok(
        name == digest::digest(algorithm, leaf.raw_issuer()).as_ref()
            && key == digest::digest(algorithm, issuer.bits).as_ref()
            && serial == leaf.raw_serial(),
    )
}
