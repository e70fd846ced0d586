//! The proxy's own TLS listener: its certificate, and client certificates where they are asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use exitgate_policy::model::ProxyTls;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A TLS configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file.
    #[error("spec.listeners.proxyTls.{field}: {path}: {reason}")]
    File {
        field: &'static str,
        path: String,
        reason: String,
    },
    /// Certificate and key do not make a server.
    #[error("spec.listeners.proxyTls: {0}")]
    Unusable(String),
}

fn certificates(
    base: &Path,
    file: &str,
    field: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = base.join(file);
    let failed = |reason: String| TlsError::File {
        field,
        path: path.display().to_string(),
        reason,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect)
        .map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() {
        Err(failed("no certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}

/// The cryptography of every handshake. AES-128 comes first, as in browsers: AES-256 brings SHA-384, which makes the key
/// schedule four times as dear on processors that have instructions for SHA-256 only.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| rank(suite.suite()));
    provider
}

/// By version, then by kind of key, then by cipher; suites of one rank keep their order.
fn rank(suite: CipherSuite) -> u8 {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => 1,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => 2,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 3,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => 4,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => 5,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 6,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 7,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 8,
        _ => u8::MAX,
    }
}

/// Whether a client of these suites is better served in its own order: it puts ChaCha20 first, since it computes AES slowly.
pub(crate) fn prefers_chacha(suites: &[CipherSuite]) -> bool {
    let known = |suite: &&CipherSuite| rank(**suite) < u8::MAX;
    matches!(
        suites.iter().find(known),
        Some(
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    )
}

/// Builds the acceptor of the TLS proxy listener.
pub(crate) fn acceptor(config: &ProxyTls, base: &Path) -> Result<TlsAcceptor, TlsError> {
    let unusable = |e: &dyn std::fmt::Display| TlsError::Unusable(e.to_string());
    let provider = Arc::new(provider());
    let chain = certificates(base, &config.cert_file, "certFile")?;
    let key_path = base.join(&config.key_file);
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|e| TlsError::File {
        field: "keyFile",
        path: key_path.display().to_string(),
        reason: e.to_string(),
    })?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?;
    let builder = match &config.client_ca_file {
        None if config.require_client_cert => {
            return Err(TlsError::Unusable(
                "requireClientCert needs clientCaFile".to_owned(),
            ));
        }
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(base, file, "clientCaFile")? {
                roots.add(certificate).map_err(|e| unusable(&e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if config.require_client_cert {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| unusable(&e))?)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|e| unusable(&e))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// The handshake with a client, and the names in its verified certificate.
pub(crate) async fn accept(
    acceptor: &TlsAcceptor,
    tcp: TcpStream,
    limit: Duration,
) -> Option<(Box<TlsStream<TcpStream>>, Arc<[String]>)> {
    let stream = tokio::time::timeout(limit, acceptor.accept(tcp))
        .await
        .ok()?
        .ok()?;
    let names = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|c| names_in(c))
        .unwrap_or_default();
    Some((Box::new(stream), names.into()))
}

/// DNS names and URIs of a certificate; its subject is not an identity.
fn names_in(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    parsed
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) => Some((*text).to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_suite_has_its_rank_and_none_is_lost() {
        let suites = provider().cipher_suites;
        assert_eq!(
            suites.len(),
            aws_lc_rs::default_provider().cipher_suites.len()
        );
        assert!(suites.iter().all(|suite| rank(suite.suite()) < u8::MAX));
        assert_eq!(
            suites.first().unwrap().suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
        );
    }

    #[test]
    fn a_client_that_puts_chacha_first_gets_it() {
        let grease = CipherSuite::Unknown(0x0a0a);
        let aes = CipherSuite::TLS13_AES_256_GCM_SHA384;
        let chacha = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        assert!(prefers_chacha(&[grease, chacha, aes]));
        assert!(!prefers_chacha(&[grease, aes, chacha]));
        assert!(!prefers_chacha(&[grease]));
    }
}
