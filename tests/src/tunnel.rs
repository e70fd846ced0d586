//! TLS from the client's end, straight or through a tunnel.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::client::Wire;
use crate::deadline::within;

/// A TLS session over an open tunnel; the error is the one that the client's TLS library reports.
pub async fn handshake(
    tunnel: Wire,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<(Wire, Option<String>)> {
    let connector = TlsConnector::from(config);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = within(
        "the TLS handshake",
        connector.connect(name, tunnel.into_stream()),
    )
    .await?;
    let protocol = session
        .get_ref()
        .1
        .alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    Ok((Wire::over(session), protocol))
}

/// The same, and the certificate that the client was shown.
pub async fn shown(
    tunnel: Wire,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<(Wire, CertificateDer<'static>)> {
    let connector = TlsConnector::from(config);
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let connect = connector.connect(server, tunnel.into_stream());
    let session = within("the TLS handshake", connect).await?;
    let chain = session.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = chain.first().expect("a certificate").clone().into_owned();
    Ok((Wire::over(session), leaf))
}

/// CONNECT, then TLS with the same name, as an ordinary client does.
pub async fn through(
    proxy: SocketAddr,
    name: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> std::io::Result<Wire> {
    let mut tunnel = Wire::open(proxy).await;
    let answer = tunnel.connect(&format!("{name}:{port}")).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.text());
    Ok(handshake(tunnel, name, config).await?.0)
}
