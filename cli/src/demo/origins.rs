//! The web servers of the demo: one with TLS, one without, both on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::expect::Row;

/// The running servers; they end with the value.
#[derive(Debug)]
pub(super) struct Origins {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    /// What a client has to trust.
    pub(super) certificate: CertificateDer<'static>,
    _tasks: JoinSet<()>,
}

impl Origins {
    /// Starts both, with a certificate for every name that the rows use.
    pub(super) async fn start(rows: &[Row]) -> io::Result<Self> {
        let mut names: Vec<String> = rows
            .iter()
            .flat_map(|row| std::iter::once(row.host().to_owned()).chain(row.sni.clone()))
            .collect();
        names.sort();
        names.dedup();
        let identity = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let certificate = identity.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
            identity.signing_key.serialize_der(),
        ));
        let config = rustls::ServerConfig::builder_with_provider(super::client::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let plain = TcpListener::bind("127.0.0.1:0").await?;
        let tls = TcpListener::bind("127.0.0.1:0").await?;
        let (http, https) = (plain.local_addr()?, tls.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = plain.accept().await {
                open.spawn(answer(stream));
            }
        });
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = tls.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream).await;
                    }
                });
            }
        });
        Ok(Self {
            http,
            https,
            certificate,
            _tasks: tasks,
        })
    }
}

/// One request, one answer: status 500 where the path asks for it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let exchange = async {
        let head = read_head(&mut stream).await?;
        let failing = head
            .split(' ')
            .nth(1)
            .is_some_and(|path| path.contains("/status/500"));
        let status = if failing {
            "500 Internal Server Error"
        } else {
            "200 OK"
        };
        let body = "hello from the origin\n";
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    // A client that goes away is its own business; one that says nothing must not hold the task.
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .ok();
}

/// The head of a request or response, at most 16 KiB.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16 << 10 {
            return Err(io::Error::other("a head of more than 16 KiB"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
