//! What path building says, in the words of the person who has to repair it.

use rustls::pki_types::{CertificateDer, TrustAnchor};
use time::OffsetDateTime;
use webpki::Error;

use super::certificate::{Parsed, key_weakness};
use super::der;
use super::failure::OriginFailure;
use crate::reason::OriginReason;

/// Object identifiers, as DER content, of signatures over MD2, MD4, MD5 and SHA-1.
const BROKEN: &[&[u8]] = &[
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x02],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x03],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03],
    &[0x2b, 0x0e, 0x03, 0x02, 0x1d],
    &[0x2b, 0x0e, 0x03, 0x02, 0x1b],
];

/// The failure for an error of path building.
pub(super) fn of(
    error: &Error,
    leaf: &Parsed<'_>,
    chain: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
) -> OriginFailure {
    let (reason, detail) = match error {
        Error::CertExpired { not_after, .. } => (
            OriginReason::Expired,
            format!(
                "expired on {}",
                date(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX))
            ),
        ),
        Error::CertNotValidYet { not_before, .. } => (
            OriginReason::NotYetValid,
            format!(
                "valid from {}",
                date(i64::try_from(not_before.as_secs()).unwrap_or(i64::MAX))
            ),
        ),
        Error::UnknownIssuer => unknown_issuer(leaf, chain),
        Error::CaUsedAsEndEntity if leaf.is_self_issued() && !is_anchor(leaf, anchors) => {
            self_signed(leaf)
        }
        Error::CaUsedAsEndEntity => (
            OriginReason::CaAsLeaf,
            format!("{} is a CA certificate", leaf.subject()),
        ),
        Error::CertNotValidForName(_) => (
            OriginReason::WrongName,
            format!("the certificate is for: {}", leaf.names_shown()),
        ),
        Error::NameConstraintViolation => (
            OriginReason::NameConstraints,
            format!(
                "an issuer's name constraints do not permit: {}",
                leaf.names_shown()
            ),
        ),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => (
            OriginReason::Purpose,
            "the extended key usage of the certificate, or of an issuer, does not hold serverAuth"
                .to_owned(),
        ),
        Error::UnsupportedSignatureAlgorithmContext(context) => {
            signature(&context.signature_algorithm_id)
        }
        Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            bad_signature(leaf, chain, anchors)
        }
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => (
            OriginReason::Invalid,
            "the certificates form too many or too long chains".to_owned(),
        ),
        Error::EndEntityUsedAsCa => (
            OriginReason::Invalid,
            "an issuer's certificate is not one of a CA".to_owned(),
        ),
        Error::PathLenConstraintViolated => (
            OriginReason::Invalid,
            "the chain is longer than an issuer's path length allows".to_owned(),
        ),
        Error::UnsupportedCertVersion => (
            OriginReason::Invalid,
            "not an X.509 version 3 certificate".to_owned(),
        ),
        Error::UnsupportedCriticalExtension => (
            OriginReason::Invalid,
            "a critical extension that is not known".to_owned(),
        ),
        // The library may add to its list; whatever it is, the certificate was not accepted.
        other => (
            OriginReason::Invalid,
            format!("not a valid certificate: {other}"),
        ),
    };
    OriginFailure::new(reason, detail)
}

/// A day in records.
pub(super) fn date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => time.date().to_string(),
        Err(_) => "a day that no calendar has".to_owned(),
    }
}

fn self_signed(leaf: &Parsed<'_>) -> (OriginReason, String) {
    (
        OriginReason::SelfSigned,
        format!("{} issued itself and is no trusted root", leaf.subject()),
    )
}

fn is_anchor(leaf: &Parsed<'_>, anchors: &[TrustAnchor<'_>]) -> bool {
    anchors
        .iter()
        .any(|anchor| leaf.raw_subject() == der::sequence(&anchor.subject))
}

/// Nobody who is trusted issued it: says how far the chain goes.
fn unknown_issuer(leaf: &Parsed<'_>, chain: &[CertificateDer<'_>]) -> (OriginReason, String) {
    if leaf.is_self_issued() {
        return self_signed(leaf);
    }
    let chain: Vec<Parsed<'_>> = chain.iter().filter_map(Parsed::read).collect();
    let issuer_of = |certificate: &Parsed<'_>| {
        chain
            .iter()
            .find(|candidate| candidate.raw_subject() == certificate.raw_issuer())
    };
    // As many steps as there are certificates: they may form a circle.
    let mut top = leaf;
    for _ in 0..chain.len() {
        match issuer_of(top) {
            Some(issuer) if !top.is_self_issued() => top = issuer,
            _ => break,
        }
    }
    let alone = std::ptr::eq(top, leaf);
    if alone && leaf.names_issuer_location() {
        return (
            OriginReason::IncompleteChain,
            format!(
                "the certificate of {} was not sent, and it is no trusted root",
                leaf.issuer()
            ),
        );
    }
    let missing = if top.is_self_issued() {
        top.subject()
    } else {
        top.issuer()
    };
    (
        OriginReason::UnknownIssuer,
        format!("{missing} is no trusted root"),
    )
}

fn signature(algorithm: &[u8]) -> (OriginReason, String) {
    let broken = algorithm
        .get(2..)
        .is_some_and(|content| BROKEN.iter().any(|oid| content.starts_with(oid)));
    if broken {
        let detail = "a certificate is signed over MD5 or SHA-1".to_owned();
        (OriginReason::WeakSignature, detail)
    } else {
        let detail = "a certificate is signed with an algorithm that is not supported".to_owned();
        (OriginReason::Invalid, detail)
    }
}

/// A signature that an issuer's key does not verify: because the key is too weak to be used, or it is another's.
fn bad_signature(
    leaf: &Parsed<'_>,
    chain: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
) -> (OriginReason, String) {
    let weak = chain
        .iter()
        .filter_map(Parsed::read)
        .find_map(|issuer| Some((issuer.weakness()?, issuer.subject())));
    if let Some((weakness, issuer)) = weak {
        return (
            OriginReason::WeakKey,
            format!("{weakness}, of the issuer {issuer}"),
        );
    }
    let issuers: Vec<Parsed<'_>> = chain.iter().filter_map(Parsed::read).collect();
    let weak = anchors
        .iter()
        .filter(|anchor| {
            std::iter::once(leaf)
                .chain(&issuers)
                .any(|certificate| certificate.raw_issuer() == der::sequence(&anchor.subject))
        })
        .find_map(|anchor| key_weakness(&der::sequence(&anchor.subject_public_key_info)));
    if let Some(weakness) = weak {
        return (OriginReason::WeakKey, format!("{weakness}, of the root"));
    }
    (
        OriginReason::UnknownIssuer,
        format!(
            "{} is known, but with another key than the one that signed the certificate",
            leaf.issuer()
        ),
    )
}
