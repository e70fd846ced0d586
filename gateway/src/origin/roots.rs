//! Roots and keys from PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use webpki::anchor_from_trusted_cert;

use super::certificate::sha256;

/// Where distributions keep the bundle that everything on the machine uses.
const PLATFORM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A setting for origins that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// A file.
    #[error("{field}: {path}: {reason}")]
    File {
        /// The setting that names it.
        field: String,
        /// Where it was looked for.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A host pattern.
    #[error("{field}: {reason}")]
    Pattern {
        /// The setting.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No roots are installed and none are configured.
    #[error(
        "systemRootsFile: no CA bundle in the usual places ({}); install the package `ca-certificates`, or name a PEM file here",
        PLATFORM.join(", ")
    )]
    NoSystemRoots,
    /// The TLS library does not take it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The files that were read, to see later whether they changed.
#[derive(Default)]
pub(super) struct Files(Vec<(PathBuf, [u8; 32])>);

impl Files {
    fn read(&mut self, path: &Path, field: &str) -> Result<Vec<u8>, OriginError> {
        let content = fs::read(path).map_err(|e| failed(field, path, &e))?;
        self.0.push((path.to_owned(), sha256(&[&content])));
        Ok(content)
    }

    /// Whether all of them still hold what was read.
    pub(super) fn are_unchanged(&self) -> bool {
        self.0.iter().all(|(path, digest)| {
            fs::read(path).is_ok_and(|content| sha256(&[&content]) == *digest)
        })
    }

    /// The roots of the platform, or of the file that is named instead.
    pub(super) fn system(
        &mut self,
        named: Option<&Path>,
    ) -> Result<Vec<TrustAnchor<'static>>, OriginError> {
        let field = "systemRootsFile";
        let path = match named {
            Some(path) => path,
            None => PLATFORM
                .iter()
                .map(Path::new)
                .find(|path| path.is_file())
                .ok_or(OriginError::NoSystemRoots)?,
        };
        let pem = self.read(path, field)?;
        // A bundle may hold a root that is of no use to TLS; the others count.
        let anchors: Vec<_> = certificates(&pem)
            .map_err(|e| failed(field, path, &e))?
            .iter()
            .filter_map(|certificate| Some(anchor_from_trusted_cert(certificate).ok()?.to_owned()))
            .collect();
        if anchors.is_empty() {
            return Err(failed(field, path, &"no usable CA certificate in it"));
        }
        Ok(anchors)
    }

    /// The roots in a file in which each one is meant.
    pub(super) fn private(
        &mut self,
        path: &Path,
        field: &str,
    ) -> Result<Vec<TrustAnchor<'static>>, OriginError> {
        let pem = self.read(path, field)?;
        let certificates = certificates(&pem).map_err(|e| failed(field, path, &e))?;
        if certificates.is_empty() {
            return Err(failed(field, path, &"no certificate in it"));
        }
        certificates
            .iter()
            .enumerate()
            .map(|(index, certificate)| {
                anchor_from_trusted_cert(certificate)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|e| failed(field, path, &format!("certificate {}: {e}", index + 1)))
            })
            .collect()
    }

    /// A certificate with its key.
    pub(super) fn identity(
        &mut self,
        certificate: &Path,
        key: &Path,
        field: &str,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, OriginError> {
        let certificate_field = format!("{field}.certFile");
        let key_field = format!("{field}.keyFile");
        let pem = self.read(certificate, &certificate_field)?;
        let chain = certificates(&pem).map_err(|e| failed(&certificate_field, certificate, &e))?;
        if chain.is_empty() {
            return Err(failed(
                &certificate_field,
                certificate,
                &"no certificate in it",
            ));
        }
        let pem = self.read(key, &key_field)?;
        let key_der =
            PrivateKeyDer::from_pem_slice(&pem).map_err(|e| failed(&key_field, key, &e))?;
        CertifiedKey::from_der(chain, key_der, provider).map_err(|e| failed(&key_field, key, &e))
    }
}

fn failed(field: &str, path: &Path, reason: &dyn std::fmt::Display) -> OriginError {
    OriginError::File {
        field: field.to_owned(),
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
