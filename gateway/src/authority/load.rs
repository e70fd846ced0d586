//! Reads an authority from its files and checks it.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::AuthorityError;
use super::certificate::Validity;
use super::check::{self, CaProblem};
use super::constraints::Constraints;
use super::key::CaKey;
use super::known;
use super::settings::Settings;
use super::signer::{Ca, SignedLeaf};

/// An authority as it was found in files, checked.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) ca: Arc<Ca>,
    /// The last certificate of the file: what is taken as trusted when our own certificates are checked.
    pub(super) top: CertificateDer<'static>,
    /// The roots that clients are to trust, as far as they are known.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// What the certificates of the file permit, each of them.
    pub(super) constraints: Vec<Constraints>,
}

impl Source {
    /// Reads the files; `below` is how many authorities are to be issued below the one in them.
    pub(super) fn read(settings: &Settings, below: u32, now: u64) -> Result<Self, AuthorityError> {
        let problem = |problem: CaProblem, path: &Path| AuthorityError::Ca {
            path: path.display().to_string(),
            problem,
        };
        let key = read(&settings.key, "keyFile")?;
        let chain = certificates(&settings.certificates, "certFile")?;
        let key = CaKey::from_pem(&key).map_err(|error| problem(error, &settings.key))?;
        let mut source = Self::new(&chain, key, below, now)
            .map_err(|error| problem(error, &settings.certificates))?;
        for file in &settings.trust {
            for root in certificates(file, "trustFiles")? {
                X509Certificate::from_der(&root)
                    .map_err(|_| problem(CaProblem::NotACertificate { position: 1 }, file))?;
                source.publish(root);
            }
        }
        Ok(source)
    }

    pub(super) fn new(
        chain: &[CertificateDer<'static>],
        key: CaKey,
        below: u32,
        now: u64,
    ) -> Result<Self, CaProblem> {
        let facts = check::check(chain, &key, below, now, known::PUBLISHED)?;
        let (first, top) = facts
            .first()
            .zip(chain.last().cloned())
            .ok_or(CaProblem::NotACertificate { position: 1 })?;
        // Nothing that is issued may outlive any of those above it.
        let validity = Validity {
            not_before: facts.iter().map(|f| f.not_before).max().unwrap_or(u64::MAX),
            not_after: facts.iter().map(|f| f.not_after).min().unwrap_or(0),
        };
        let roots = chain
            .iter()
            .zip(&facts)
            .filter(|(_, facts)| facts.is_root)
            .map(|(root, _)| root.clone())
            .collect();
        let sent = chain
            .iter()
            .zip(&facts)
            .take_while(|(_, facts)| !facts.is_root)
            .map(|(certificate, _)| certificate.clone())
            .collect();
        let ca = Ca {
            subject: first.subject.clone(),
            key_id: first.key_id.clone(),
            key,
            validity,
            chain: sent,
        };
        Ok(Self {
            ca: Arc::new(ca),
            top,
            roots,
            constraints: facts.into_iter().map(|facts| facts.constraints).collect(),
        })
    }

    /// One more root that clients are to trust.
    fn publish(&mut self, root: CertificateDer<'static>) {
        if !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }

    /// Whether a client that trusts the top of the file accepts this leaf.
    pub(super) fn accepts(
        &self,
        signed: &SignedLeaf,
        name: &str,
        now: u64,
    ) -> Result<(), CaProblem> {
        let rejected = |error: &dyn std::fmt::Display| CaProblem::Rejected(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(self.top.clone()).map_err(|e| rejected(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| rejected(&e))?;
        let name = ServerName::try_from(name).map_err(|e| rejected(&e))?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        verifier
            .verify_server_cert(&signed.leaf, &signed.issuers, &name, &[], now)
            .map(|_| ())
            .map_err(|e| rejected(&e))
    }
}

fn read(path: &Path, field: &'static str) -> Result<Vec<u8>, AuthorityError> {
    std::fs::read(path).map_err(|error| AuthorityError::File {
        field,
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

fn certificates(
    path: &Path,
    field: &'static str,
) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let pem = read(path, field)?;
    parse_certificates(&pem).map_err(|reason| AuthorityError::File {
        field,
        path: path.display().to_string(),
        reason,
    })
}

/// The certificates of a PEM text; none at all is an error.
pub(super) fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("no certificate in it; a PEM file with BEGIN CERTIFICATE is needed".to_owned());
    }
    Ok(found)
}
