//! Our own certificate, where an origin asks for one. The client's can not be passed on.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::certificate::sha256;
use super::slot;

/// What is shown to an origin that asks for a certificate.
pub(super) struct Client {
    /// Equal only where the certificate is.
    pub(super) id: Option<[u8; 32]>,
    key: Option<Arc<CertifiedKey>>,
}

impl Client {
    /// Nothing is shown.
    pub(super) fn nobody() -> Self {
        Self {
            id: None,
            key: None,
        }
    }

    pub(super) fn new(key: CertifiedKey) -> Self {
        let parts: Vec<[u8; 32]> = key.cert.iter().map(|der| sha256(&[der])).collect();
        let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
        Self {
            id: Some(sha256(&parts)),
            key: Some(Arc::new(key)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("shown", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Client {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        slot::certificate_asked();
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
