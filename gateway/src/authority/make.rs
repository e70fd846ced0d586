//! New authorities for the command line: a root, a request to an enterprise CA, and its answer.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, RsaKeySize};

use super::certificate::{self, Validity};
use super::check::{self, CaProblem};
use super::key::{CaKey, KeyKind};
use super::load::{Source, parse_certificates};
use super::{BACKDATING, known, pem, state};

/// A new root with its key, PEM.
pub struct NewCa {
    /// The certificate, or the request for one.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
}

fn generate(kind: KeyKind) -> Result<CaKey, CaProblem> {
    match kind {
        KeyKind::Ecdsa => CaKey::generate_ecdsa(),
        KeyKind::Rsa => CaKey::generate_rsa(RsaKeySize::_3072),
    }
}

fn rejected(error: &rcgen::Error) -> CaProblem {
    CaProblem::Rejected(error.to_string())
}

/// Makes a root that is valid for some days.
pub fn create_root(
    name: Option<&str>,
    kind: KeyKind,
    days: u32,
    now: u64,
) -> Result<NewCa, CaProblem> {
    let key = generate(kind)?;
    let unique = certificate::hex(&certificate::key_id(&key), 4);
    let name = name.map_or_else(|| format!("Exitgate root {unique}"), ToOwned::to_owned);
    let validity = Validity {
        not_before: now.saturating_sub(BACKDATING),
        not_after: now + u64::from(days) * 86_400,
    };
    let root = certificate::root(&key, &name, validity).map_err(|error| rejected(&error))?;
    Ok(NewCa {
        certificate_pem: pem::certificate(&root.certificate),
        key_pem: key.pair().serialize_pem(),
    })
}

/// Makes a request to be signed as a subordinate, with a new key or with one that exists.
pub fn create_request(
    name: &str,
    kind: KeyKind,
    key_pem: Option<&[u8]>,
) -> Result<NewCa, CaProblem> {
    let key = match key_pem {
        Some(pem) => CaKey::from_pem(pem)?,
        None => generate(kind)?,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Path length 1: the authorities that gateways make for themselves stand below it.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let request = params
        .serialize_request(key.pair())
        .and_then(|request| request.pem())
        .map_err(|error| rejected(&error))?;
    Ok(NewCa {
        certificate_pem: request,
        key_pem: key.pair().serialize_pem(),
    })
}

/// A signed subordinate as it is to be stored.
#[derive(Debug)]
pub struct Imported {
    /// The certificate and those above it, up to but without the root, PEM.
    pub chain_pem: String,
    /// The root, if it was among them, PEM.
    pub root_pem: Option<String>,
    /// Whether gateways can make an issuing CA below it; otherwise it signs leaves only.
    pub may_issue: bool,
}

/// Checks what the enterprise CA has sent back. The certificates may come in any order.
pub fn import(
    certificate_pem: &[u8],
    chain_pem: Option<&[u8]>,
    key_pem: &[u8],
    now: u64,
) -> Result<Imported, CaProblem> {
    let key = CaKey::from_pem(key_pem)?;
    let unreadable = |_| CaProblem::NotACertificate { position: 1 };
    let mut given = parse_certificates(certificate_pem).map_err(unreadable)?;
    if let Some(pem) = chain_pem {
        given.extend(parse_certificates(pem).map_err(unreadable)?);
    }
    let chain = check::in_order(given, &key)?;
    let facts = check::check(&chain, &key, 0, now, known::PUBLISHED)?;
    let may_issue = check::check(&chain, &key, 1, now, known::PUBLISHED).is_ok();
    let source = Source::new(&chain, key, 0, now)?;
    state::probe(&source, &source.ca, None, now)?;
    let (mut sent, mut root) = (String::new(), None);
    for (position, (certificate, facts)) in chain.iter().zip(&facts).enumerate() {
        if facts.is_root && position > 0 {
            root = Some(pem::certificate(certificate));
        } else {
            sent.push_str(&pem::certificate(certificate));
        }
    }
    Ok(Imported {
        chain_pem: sent,
        root_pem: root,
        may_issue,
    })
}
