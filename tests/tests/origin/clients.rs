//! Origins that ask for a client certificate, old TLS, other protocols, and silence.

use std::sync::Arc;
use std::time::Duration;

use exitgate_gateway::origin::{Identity, OriginFailure, Upstream};
use exitgate_gateway::reason::{OriginReason, Reason};
use exitgate_tests::pki::Authority;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::scene::{
    BOTH, Folder, H1, echo, listen, name, origins, ping, server, shake, shake_as, upstream,
    workload,
};

const HOST: &str = "mtls.test";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Perhaps,
    Really,
}

/// A server that asks clients for a certificate of `clients`.
fn asking(
    authority: &Authority,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
    wants: Wants,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match wants {
        Wants::Perhaps => verifier.allow_unauthenticated(),
        Wants::Really => verifier,
    };
    let leaf = authority.leaf(&[HOST]);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.certificate], leaf.key)
        .unwrap();
    Arc::new(config)
}

fn with_certificate(folder: &Folder, clients: &Authority) -> Upstream {
    let leaf = clients.leaf(&["gateway"]);
    folder.put("client.pem", &leaf.certificate_pem);
    folder.put("client.key", &leaf.key_pem);
    let mut entry = upstream(HOST);
    entry.client_certificate = Some(Identity {
        cert_file: "client.pem".to_owned(),
        key_file: "client.key".to_owned(),
    });
    entry
}

#[tokio::test]
async fn row_163_required_and_none_configured() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    for version in VERSIONS {
        let config = asking(&authority, &clients, version, Wants::Really);
        let address = server(config, echo).await;
        let failure = match shake(&origins, address, HOST).await {
            Err(failure) => failure,
            // On a busy machine the refusal comes after what we wait for it; the next read has it.
            Ok(stream) => {
                let read = stream.into_io().read(&mut [0]).await;
                OriginFailure::of_read(&read.unwrap_err()).unwrap()
            }
        };
        let expected = Reason::from(OriginReason::ClientCertificateRequired);
        assert_eq!(failure.reason(), expected, "{version:?}: {failure}");
        assert!(
            failure.to_string().contains("clientCertificate"),
            "{failure}"
        );
    }
    assert_eq!(origins.asking(), [(name(HOST), 2)]);
    assert_eq!(origins.asked(&name(HOST)), 2);
    assert_eq!(origins.counts().certificates_asked.get(), 2);
}

#[tokio::test]
async fn row_163_the_configured_one_is_shown_and_for_its_hosts_only() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let origins = origins(
        &folder,
        &authority.pem(),
        vec![with_certificate(&folder, &clients)],
    );
    for version in VERSIONS {
        let (shown_tx, mut shown_rx) = mpsc::channel(8);
        let config = asking(&authority, &clients, version, Wants::Perhaps);
        let address = server(config, move |tls| {
            let shown = tls.get_ref().1.peer_certificates().map(<[_]>::len);
            let shown_tx = shown_tx.clone();
            async move {
                shown_tx.send(shown).await.unwrap();
                echo(tls).await;
            }
        })
        .await;
        let stream = shake(&origins, address, HOST).await.unwrap();
        assert!(stream.asked_for_certificate());
        ping(&mut stream.into_io()).await;
        assert_eq!(shown_rx.recv().await.unwrap(), Some(1), "{version:?}");
    }
    assert!(origins.asking().is_empty());
    assert_eq!(
        origins
            .key(&workload("apps", "web"), &name(HOST), 443)
            .entry(),
        Some("for mtls.test")
    );
    assert_eq!(
        origins
            .key(&workload("apps", "web"), &name("x.test"), 443)
            .entry(),
        None
    );
}

#[tokio::test]
async fn asked_for_but_not_required() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    for version in VERSIONS {
        let config = asking(&authority, &clients, version, Wants::Perhaps);
        let address = server(config, echo).await;
        let stream = shake(&origins, address, HOST).await.unwrap();
        assert!(stream.asked_for_certificate());
        ping(&mut stream.into_io()).await;
    }
}

#[tokio::test]
async fn a_certificate_that_the_origin_does_not_take() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let folder = Folder::new();
    let origins = origins(
        &folder,
        &authority.pem(),
        vec![with_certificate(&folder, &others)],
    );
    let config = asking(&authority, &clients, &TLS12, Wants::Really);
    let address = server(config, echo).await;
    let failure = shake(&origins, address, HOST).await.err().unwrap();
    assert_eq!(failure.reason(), Reason::from(OriginReason::TlsFailed));
    assert!(
        failure
            .to_string()
            .contains("did not take the configured client certificate"),
        "{failure}"
    );
}

/// An origin may take its time to say no; then the next read says it.
#[tokio::test]
async fn a_late_refusal_is_known_by_its_alert() {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, alert);
    let failure = OriginFailure::of_read(&error).unwrap();
    assert_eq!(
        failure.reason(),
        Reason::from(OriginReason::ClientCertificateRequired)
    );
    assert_eq!(
        OriginFailure::of_read(&std::io::ErrorKind::ConnectionReset.into()),
        None
    );
}

#[tokio::test]
async fn what_is_not_tls_or_too_old() {
    let authority = Authority::new();
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    // ServerHello of TLS 1.1: version 3.2, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let mut old = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    old.extend([7; 32]);
    old.extend([0, 0, 0x2f, 0]);
    let cases: [(&str, &[u8], Reason, &str); 6] = [
        (
            "alert",
            &[0x15, 3, 1, 0, 2, 2, 70],
            OriginReason::TlsVersion.into(),
            "protocol_version",
        ),
        ("old hello", &old, OriginReason::TlsVersion.into(), ""),
        (
            "HTTP",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            OriginReason::TlsFailed.into(),
            "not TLS",
        ),
        (
            "end",
            b"",
            OriginReason::TlsFailed.into(),
            "closed the connection",
        ),
        (
            "no protocol",
            &[0x15, 3, 3, 0, 2, 2, 120],
            OriginReason::Alpn.into(),
            "no_application_protocol",
        ),
        (
            "refusal",
            &[0x15, 3, 3, 0, 2, 2, 40],
            OriginReason::TlsFailed.into(),
            "handshake_failure",
        ),
    ];
    for (case, answer, reason, words) in cases {
        let answer = answer.to_vec();
        let address = listen(move |mut tcp| {
            let answer = answer.clone();
            async move {
                let read = tcp.read(&mut [0; 4096]).await.unwrap();
                assert!(read > 0);
                tcp.write_all(&answer).await.unwrap();
                tcp.shutdown().await.unwrap();
                drop(tcp.read_to_end(&mut Vec::new()).await);
            }
        })
        .await;
        let failure = shake(&origins, address, HOST).await.err().unwrap();
        assert_eq!(failure.reason(), reason, "{case}: {failure}");
        assert!(failure.to_string().contains(words), "{case}: {failure}");
    }
    assert_eq!(origins.counts().failed.get(), 6);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let authority = Authority::new();
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    let address = listen(|mut tcp| async move {
        drop(tcp.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let key = origins.key(&workload("apps", "web"), &name(HOST), address.port());
    let deadline = Instant::now() + Duration::from_millis(200);
    let failure = origins
        .handshake(tcp, &key, H1, deadline)
        .await
        .err()
        .unwrap();
    assert_eq!(failure.reason(), Reason::DialTimeout);
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn protocols_are_those_of_the_caller_and_the_choice_is_remembered() {
    let authority = Authority::new();
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    let web = workload("apps", "web");
    let h2 = server(authority.server_config(&[HOST], &["h2", "http/1.1"]), echo).await;
    let key = origins.key(&web, &name(HOST), h2.port());
    assert_eq!(origins.alpn_of(&key), None);

    let stream = shake_as(&origins, h2, HOST, &web, BOTH).await.unwrap();
    assert_eq!(stream.alpn(), Some(&b"h2"[..]));
    assert_eq!(origins.alpn_of(&key), Some(Some(b"h2"[..].into())));
    let stream = shake_as(&origins, h2, HOST, &web, H1).await.unwrap();
    assert_eq!(stream.alpn(), Some(&b"http/1.1"[..]));
    let stream = shake_as(&origins, h2, HOST, &web, &[]).await.unwrap();
    assert_eq!(stream.alpn(), None);
    // One protocol, or none, is no choice.
    assert_eq!(origins.alpn_of(&key), Some(Some(b"h2"[..].into())));
    assert_eq!(
        origins.alpn_of(&origins.key(&workload("apps", "db"), &name(HOST), h2.port())),
        None
    );

    let only_h2 = server(authority.server_config(&[HOST], &["h2"]), echo).await;
    let failure = shake(&origins, only_h2, HOST).await.err().unwrap();
    assert_eq!(
        failure.reason(),
        Reason::from(OriginReason::Alpn),
        "{failure}"
    );
}
