//! What must be true of a certificate authority before it signs anything. Clients would find most of these mistakes too, but
//! each in its own words, at the first intercepted connection, and not the operator.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::constraints::Constraints;
use super::key::CaKey;
use super::known::{self, Known};

/// Why a certificate and key cannot be the authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaProblem {
    /// The certificates are not in the order of signing.
    #[error(
        "certificate {position} is not signed by the one after it; the order is: the certificate of keyFile, then each \
         certificate that signed the one before"
    )]
    ChainOrder {
        /// The position in the file, from 1.
        position: usize,
    },
    /// The key is protected by a pass phrase.
    #[error("the private key is encrypted; write it without a pass phrase and protect the file")]
    EncryptedKey,
    /// The date is after the certificate's end.
    #[error("certificate {position} expired at {at}; renew it")]
    Expired {
        /// The position in the file, from 1.
        position: usize,
        /// Its last second.
        at: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the first certificate is not the one of the private key; put the pair that `exitgate ca init` or `ca import` wrote"
    )]
    KeyMismatch,
    /// No subject key identifier.
    #[error(
        "certificate {position} has no subject key identifier, which strict clients demand; have it issued again with one"
    )]
    NoKeyId {
        /// The position in the file, from 1.
        position: usize,
    },
    /// No private key that can be read.
    #[error("no private key in it ({0}); a PEM file with BEGIN PRIVATE KEY is needed")]
    NoKey(String),
    /// The key usage does not allow to sign certificates.
    #[error(
        "certificate {position} may not sign certificates: its key usage lacks keyCertSign; have it issued as a CA"
    )]
    NoCertSign {
        /// The position in the file, from 1.
        position: usize,
    },
    /// A certificate of something else.
    #[error(
        "certificate {position} is not a certificate authority (basic constraints say CA:FALSE or are missing); have it \
         issued as a CA"
    )]
    NotACa {
        /// The position in the file, from 1.
        position: usize,
    },
    /// Not a certificate.
    #[error("certificate {position} cannot be read as X.509")]
    NotACertificate {
        /// The position in the file, from 1.
        position: usize,
    },
    /// The date is before the certificate's beginning.
    #[error("certificate {position} is not valid before {at}; check the clock")]
    NotYetValid {
        /// The position in the file, from 1.
        position: usize,
        /// Its first second.
        at: String,
    },
    /// There is no room for the authority that is to be issued below.
    #[error(
        "path length {allowed} of certificate {position} leaves no room for {needed} below it: path length 0 signs leaves only, \
         which is custody PerLeaf; for another custody have it issued with path length 1 or more"
    )]
    PathLength {
        /// The position in the file, from 1.
        position: usize,
        /// What it says.
        allowed: u32,
        /// How many authorities would stand below it.
        needed: u32,
    },
    /// A key that everyone has.
    #[error(
        "its private key is public: {0}; whoever has it can read your traffic. Make your own with `exitgate ca init`"
    )]
    PublishedKey(&'static str),
    /// A certificate that it signs does not verify.
    #[error("a certificate signed with it is not accepted: {0}")]
    Rejected(String),
    /// A key that we cannot sign with.
    #[error(
        "the private key is of a kind that cannot be used; P-256, P-384, P-521, Ed25519 and RSA of 2048 to 8192 bits can"
    )]
    UnsupportedKey,
}

/// What the authority's certificate says.
#[derive(Debug)]
pub(super) struct CaFacts {
    pub(super) subject: Vec<u8>,
    pub(super) key_id: Vec<u8>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    /// Signs itself.
    pub(super) is_root: bool,
    pub(super) constraints: Constraints,
}

/// Checks the authority that is first in `chain` and those above it. `below` is how many authorities are to be issued
/// below it.
pub(super) fn check(
    chain: &[CertificateDer<'_>],
    key: &CaKey,
    below: u32,
    now: u64,
    published: &[Known],
) -> Result<Vec<CaFacts>, CaProblem> {
    if let Some(owner) = known::owner(&key.spki(), published) {
        return Err(CaProblem::PublishedKey(owner));
    }
    let mut facts: Vec<CaFacts> = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let position = index + 1;
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CaProblem::NotACertificate { position })?;
        if !rest.is_empty() {
            return Err(CaProblem::NotACertificate { position });
        }
        if let Some(owner) = known::owner(certificate.public_key().raw, published) {
            return Err(CaProblem::PublishedKey(owner));
        }
        if index == 0 && certificate.public_key().subject_public_key.data != key.public_bits() {
            return Err(CaProblem::KeyMismatch);
        }
        let above = u32::try_from(index).unwrap_or(u32::MAX);
        let one = facts_of(&certificate, position, below.saturating_add(above), now)?;
        if let Some(before) = chain.get(index.wrapping_sub(1)) {
            let signed = X509Certificate::from_der(before).is_ok_and(|(_, before)| {
                before.issuer().as_raw() == certificate.subject().as_raw()
            });
            if !signed {
                return Err(CaProblem::ChainOrder { position: index });
            }
        }
        facts.push(one);
    }
    if facts.is_empty() {
        return Err(CaProblem::NotACertificate { position: 1 });
    }
    Ok(facts)
}

/// The certificate of the key and those above it, in the order of signing, out of certificates in any order.
pub(super) fn in_order(
    given: Vec<CertificateDer<'static>>,
    key: &CaKey,
) -> Result<Vec<CertificateDer<'static>>, CaProblem> {
    let mut rest: Vec<(CertificateDer<'static>, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut own = None;
    for (index, der) in given.into_iter().enumerate() {
        let position = index + 1;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| CaProblem::NotACertificate { position })?;
        let matches = certificate.public_key().subject_public_key.data == key.public_bits();
        let subject = certificate.subject().as_raw().to_vec();
        let issuer = certificate.issuer().as_raw().to_vec();
        if matches && own.is_none() {
            own = Some((der.clone(), subject, issuer));
        } else {
            rest.push((der.clone(), subject, issuer));
        }
    }
    let (der, subject, mut wanted) = own.ok_or(CaProblem::KeyMismatch)?;
    let mut chain = vec![der];
    let mut last = subject;
    while last != wanted {
        let Some(at) = rest.iter().position(|(_, subject, _)| *subject == wanted) else {
            break;
        };
        let (der, subject, issuer) = rest.swap_remove(at);
        chain.push(der);
        last = subject;
        wanted = issuer;
    }
    Ok(chain)
}

fn facts_of(
    certificate: &X509Certificate<'_>,
    position: usize,
    below: u32,
    now: u64,
) -> Result<CaFacts, CaProblem> {
    let validity = certificate.validity();
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let today = i64::try_from(now).unwrap_or(i64::MAX);
    if today < from {
        return Err(CaProblem::NotYetValid {
            position,
            at: validity.not_before.to_string(),
        });
    }
    if today > to {
        return Err(CaProblem::Expired {
            position,
            at: validity.not_after.to_string(),
        });
    }
    let basic = certificate
        .basic_constraints()
        .map_err(|_| CaProblem::NotACertificate { position })?
        .filter(|extension| extension.value.ca)
        .ok_or(CaProblem::NotACa { position })?;
    if let Some(allowed) = basic.value.path_len_constraint
        && allowed < below
    {
        return Err(CaProblem::PathLength {
            position,
            allowed,
            needed: below,
        });
    }
    let may_sign = certificate
        .key_usage()
        .map_err(|_| CaProblem::NotACertificate { position })?
        .is_some_and(|extension| extension.value.key_cert_sign());
    if !may_sign {
        return Err(CaProblem::NoCertSign { position });
    }
    let key_id = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
        .filter(|id| !id.is_empty())
        .ok_or(CaProblem::NoKeyId { position })?;
    Ok(CaFacts {
        subject: certificate.subject().as_raw().to_vec(),
        key_id,
        not_before: u64::try_from(from).unwrap_or(0),
        not_after: u64::try_from(to).unwrap_or(0),
        is_root: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        constraints: Constraints::of(certificate),
    })
}
