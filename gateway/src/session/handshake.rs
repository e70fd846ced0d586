//! The client's side of an opened connection: a handshake in which we are the origin that it asked for.

use std::sync::Arc;

use bytes::BytesMut;
use exitgate_policy::name::Name;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ServerConfig, SignatureScheme};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::conn::Conn;
use crate::authority::{LeafError, LeafKey};
use crate::evidence::alert;
use crate::live::Interception;
use crate::net::Replay;
use crate::reason::Reason;
use crate::tls::prefers_chacha;

// RFC 8446, 6.2.
const ALERT_INTERNAL_ERROR: u8 = 80;

/// Why a client's TLS was not opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The client went away or took too long.
    Gone,
    /// No certificate can be shown.
    Leaf(LeafError),
    /// The handshake failed in another way.
    Protocol(String),
    /// The client says that it does not trust our certificate.
    Rejected(&'static str),
}

impl Unopened {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Gone => Reason::ClientGone,
            Self::Leaf(LeafError::Pending) => Reason::CaPending,
            Self::Leaf(_) => Reason::LeafUnavailable,
            Self::Protocol(_) => Reason::BadHello,
            Self::Rejected(_) => Reason::CertificateRejected,
        }
    }
}

/// What all these handshakes have in common. Nothing is resumed and no early data is taken: every connection is judged
/// from its own hello.
pub(crate) fn base_config() -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(crate::tls::provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoLeaf));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

#[derive(Debug)]
struct NoLeaf;

impl ResolvesServerCert for NoLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Debug)]
struct Leaf(Arc<CertifiedKey>);

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Does the handshake for `name`; `spoken` is what ALPN settles on. The hello is in the buffer still.
pub(super) async fn accept(
    interception: &Interception,
    name: &Name,
    conn: Conn,
    spoken: Option<&'static [u8]>,
    deadline: Instant,
) -> Result<TlsStream<Replay>, Unopened> {
    let Conn { io, buf, .. } = conn;
    let lazy = LazyConfigAcceptor::new(Acceptor::default(), Replay::new(buf, io));
    let start = match timeout_at(deadline, lazy).await {
        Ok(Ok(start)) => start,
        Ok(Err(error)) => return Err(Unopened::Protocol(error.to_string())),
        Err(_) => return Err(Unopened::Gone),
    };
    let hello = start.client_hello();
    let schemes = hello.signature_schemes();
    let ecdsa = schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
    let in_our_order = !prefers_chacha(hello.cipher_suites());
    let key = if ecdsa { LeafKey::Ecdsa } else { LeafKey::Rsa };
    let leaf = match interception.authority.leaf(name, key).await {
        Ok(leaf) => leaf,
        Err(error) => {
            cut(start.io, ALERT_INTERNAL_ERROR).await;
            return Err(Unopened::Leaf(error));
        }
    };
    let mut config = interception.base_config.clone();
    config.ignore_client_order = in_our_order;
    config.cert_resolver = Arc::new(Leaf(leaf));
    config.alpn_protocols = spoken.iter().map(|protocol| protocol.to_vec()).collect();
    match timeout_at(deadline, start.into_stream(Arc::new(config))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unopened(&error)),
        Err(_) => Err(Unopened::Gone),
    }
}

async fn cut(io: Replay, code: u8) {
    let (peer, sans) = (std::net::SocketAddr::from(([0, 0, 0, 0], 0)), Arc::new([]));
    let mut conn = Conn {
        io: io.into_inner(),
        buf: BytesMut::new(),
        peer,
        sans,
    };
    conn.send_and_close(&alert(code)).await;
}

fn unopened(error: &std::io::Error) -> Unopened {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) => match rejection(*alert) {
            Some(word) => Unopened::Rejected(word),
            None => Unopened::Protocol(error.to_string()),
        },
        Some(_) => Unopened::Protocol(error.to_string()),
        None => Unopened::Gone,
    }
}

/// Alerts by which a client says that it does not want our certificate (RFC 8446, 6.2).
fn rejection(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::AccessDenied => "access_denied",
        // It trusts an authority of this name that has another key.
        AlertDescription::DecryptError => "decrypt_error",
        _ => return None,
    })
}
