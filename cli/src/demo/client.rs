//! The client of the demo: what a program behind the gateway would do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::expect::{Row, Trusts};
use super::origins::{Origins, read_head};

/// What a client can reach and whom it can believe.
pub(super) struct Surroundings<'a> {
    pub(super) proxy: SocketAddr,
    pub(super) origins: &'a Origins,
    /// The root of the gateway's CA, where it has one.
    pub(super) gateway_root: Option<CertificateDer<'static>>,
}

impl Surroundings<'_> {
    /// The one root that the client of a row trusts.
    fn root(&self, row: &Row) -> Option<CertificateDer<'static>> {
        match row.trusts {
            Trusts::Gateway => self.gateway_root.clone(),
            Trusts::Origin => Some(self.origins.root.clone()),
        }
    }
}

/// Sends a row's request through the proxy and says what the client saw: a status with what the answer tells beside it, or
/// where it ended.
pub(super) async fn send(around: &Surroundings<'_>, row: &Row) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo's client, not the gateway"
    )]
    let exchange = async {
        let stream = TcpStream::connect(around.proxy).await?;
        if row.is_tls() {
            tunnelled(stream, row, around).await
        } else {
            forwarded(stream, row, around.origins).await
        }
    };
    match tokio::time::timeout(WAIT, exchange).await {
        Ok(Ok(saw)) => saw,
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => "no answer".to_owned(),
    }
}

/// The cryptography of the demo's own TLS.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

async fn forwarded(mut stream: TcpStream, row: &Row, origins: &Origins) -> io::Result<String> {
    let authority = format!("{}:{}", row.host(), origins.http.port());
    let target = format!("http://{authority}{}", row.path());
    request(&mut stream, row, &target, &authority).await
}

async fn tunnelled(
    mut stream: TcpStream,
    row: &Row,
    around: &Surroundings<'_>,
) -> io::Result<String> {
    let authority = format!("{}:{}", row.host(), around.origins.https.port());
    stream
        .write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
        .await?;
    let status = status(&read_head(&mut stream).await?);
    if status != "200" {
        return Ok(format!("{status} to CONNECT"));
    }
    let mut roots = rustls::RootCertStore::empty();
    if let Some(root) = around.root(row) {
        roots.add(root).map_err(io::Error::other)?;
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let shown = row.sni.as_deref().unwrap_or(row.host()).to_owned();
    let shown = ServerName::try_from(shown).map_err(io::Error::other)?;
    match TlsConnector::from(Arc::new(config))
        .connect(shown, stream)
        .await
    {
        Ok(mut stream) => request(&mut stream, row, row.path(), &authority).await,
        Err(_) => Ok("TLS refused".to_owned()),
    }
}

/// Sends a request and reads the answer to its end, so that the connection closes in order.
async fn request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    row: &Row,
    target: &str,
    authority: &str,
) -> io::Result<String> {
    let method = &row.method;
    let agent = row.user_agent.as_deref().unwrap_or("exitgate-demo");
    let body = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n{body}Connection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await?;
    let head = read_head(stream).await?;
    let mut body = Vec::new();
    stream.take(MAX_BODY).read_to_end(&mut body).await.ok();
    let body = String::from_utf8_lossy(&body);
    let told = TOLD.into_iter().find(|told| body.contains(told));
    Ok(match told {
        Some(told) => format!("{}, {told}", status(&head)),
        None => status(&head),
    })
}

fn status(head: &str) -> String {
    head.split(' ').nth(1).unwrap_or("no status").to_owned()
}

/// What the table repeats of an answer: the gateway's on a request that the origin has, the origin's on its key.
const TOLD: [&str; 4] = ["was delivered", "key accepted", "wrong key", "no key"];
const WAIT: Duration = Duration::from_secs(10);
const MAX_BODY: u64 = 64 << 10;
