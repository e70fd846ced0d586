//! The web servers of the demo: one with TLS, one without, both on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
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
    /// Who has to be trusted, by clients and by a gateway that opens TLS.
    pub(super) root: CertificateDer<'static>,
    pub(super) root_pem: String,
    _tasks: JoinSet<()>,
}

impl Origins {
    /// Starts both, with a certificate for every name that the rows use. The path /account needs the key.
    pub(super) async fn start<'a>(
        rows: impl Iterator<Item = &'a Row>,
        key: String,
    ) -> io::Result<Self> {
        let mut names: Vec<String> = rows
            .flat_map(|row| std::iter::once(row.host().to_owned()).chain(row.sni.clone()))
            .collect();
        names.sort();
        names.dedup();
        let identity = identity(names).map_err(io::Error::other)?;
        let config = rustls::ServerConfig::builder_with_provider(super::client::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], identity.key)
            .map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let plain = TcpListener::bind("127.0.0.1:0").await?;
        let tls = TcpListener::bind("127.0.0.1:0").await?;
        let (http, https) = (plain.local_addr()?, tls.local_addr()?);
        let key: Arc<str> = key.into();
        let mut tasks = JoinSet::new();
        let shared = key.clone();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = plain.accept().await {
                let key = shared.clone();
                open.spawn(async move { answer(stream, &key).await });
            }
        });
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = tls.accept().await {
                let (acceptor, key) = (acceptor.clone(), key.clone());
                open.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, &key).await;
                    }
                });
            }
        });
        Ok(Self {
            http,
            https,
            root: identity.root,
            root_pem: identity.root_pem,
            _tasks: tasks,
        })
    }
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    root: CertificateDer<'static>,
    root_pem: String,
}

/// A certificate for these names, from a root of its own.
fn identity(names: Vec<String>) -> Result<Identity, rcgen::Error> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.distinguished_name
        .push(DnType::CommonName, "Origins of the demo");
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let mut leaf = CertificateParams::new(names)?;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &root)?;
    Ok(Identity {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        root: root.der().clone(),
        root_pem: root.pem(),
    })
}

/// One request, one answer: status 500 where the path asks for it, an archive, or an account that needs the key.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, key: &str) {
    let exchange = async {
        let head = read_head(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap_or("/");
        let plain = "text/plain";
        let (status, kind, body) = if path.contains("/status/500") {
            ("500 Internal Server Error", plain, "sorry\n")
        } else if path == "/export.zip" {
            ("200 OK", "application/zip", "PK\u{5}\u{6}")
        } else if path == "/account" {
            match field(&head, "authorization") {
                Some(shown) if shown.strip_prefix("Bearer ") == Some(key) => {
                    ("200 OK", plain, "key accepted\n")
                }
                Some(_) => ("401 Unauthorized", plain, "wrong key\n"),
                None => ("401 Unauthorized", plain, "no key\n"),
            }
        } else {
            ("200 OK", plain, "hello from the origin\n")
        };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    // A client that goes away is its own business; one that says nothing must not hold the task.
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .ok();
}

/// The value of a header field.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
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
