//! Whom the gateway trusts, for which hosts and workloads, and that nothing of it leaks from one to the other.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_gateway::origin::{Config, Identity, Origins, Upstream};
use exitgate_gateway::reason::{OriginReason, Reason};
use exitgate_policy::snapshot::Workload;
use exitgate_tests::pki::Authority;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::scene::{
    Folder, H1, config, echo, name, origins, ping, server, shake, shake_as, upstream, workload,
};

const HOST: &str = "private.test";
const OTHER: &str = "other.test";

fn trusting(host: &str, file: &str) -> Upstream {
    let mut entry = upstream(host);
    entry.ca_file = Some(file.to_owned());
    entry
}

/// A server for both hosts, of one version.
async fn serve(authority: &Authority, version: &'static SupportedProtocolVersion) -> SocketAddr {
    let leaf = authority.leaf(&[HOST, OTHER]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate], leaf.key)
        .unwrap();
    config.max_early_data_size = 16 * 1024;
    server(Arc::new(config), |mut tls| async move {
        assert!(tls.get_mut().1.early_data().is_none());
        echo(tls).await;
    })
    .await
}

/// Connects, exchanges something so that tickets arrive, and says whether a session was resumed.
async fn resumes(origins: &Origins, address: SocketAddr, host: &str, who: &Workload) -> bool {
    let stream = shake_as(origins, address, host, who, H1).await.unwrap();
    let resumed = stream.is_resumed();
    assert_eq!(stream.certificate().issuer, "CN=Test root");
    ping(&mut stream.into_io()).await;
    resumed
}

#[tokio::test]
async fn row_167_a_private_root_is_for_its_hosts_only() {
    let (public, private) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.put("private.pem", &private.pem());
    let mut entry = trusting(HOST, "private.pem");
    entry.namespaces = vec!["pay".to_owned()];
    let origins = origins(&folder, &public.pem(), vec![entry]);
    let address = serve(&private, &TLS13).await;
    let (pay, web) = (workload("pay", "api"), workload("apps", "web"));

    let stream = shake_as(&origins, address, HOST, &pay, H1).await.unwrap();
    ping(&mut stream.into_io()).await;
    for (host, who) in [(OTHER, &pay), (HOST, &web), (OTHER, &web)] {
        // The session of the first is no way in for the others.
        let failure = shake_as(&origins, address, host, who, H1)
            .await
            .err()
            .unwrap();
        let expected = Reason::from(OriginReason::UnknownIssuer);
        assert_eq!(failure.reason(), expected, "{host} {}", who.namespace);
    }
    // The system's roots go on to count.
    let address = serve(&public, &TLS13).await;
    shake_as(&origins, address, HOST, &pay, H1).await.unwrap();
}

/// A certificate's path is verified once for all its names; a name that is not its own is refused each time.
#[tokio::test]
async fn a_remembered_certificate_is_for_its_names_only() {
    let authority = Authority::new();
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    for version in [&TLS13, &TLS12] {
        let address = serve(&authority, version).await;
        for _ in 0..2 {
            for host in [HOST, OTHER] {
                assert!(shake(&origins, address, host).await.is_ok(), "{host}");
            }
            let Err(failure) = shake(&origins, address, "third.test").await else {
                panic!("taken for a name that is not its own");
            };
            assert_eq!(failure.reason(), Reason::Origin(OriginReason::WrongName));
        }
    }
}

#[tokio::test]
async fn the_first_entry_that_matches_counts() {
    let (public, private) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.put("private.pem", &private.pem());
    let entries = vec![upstream(HOST), trusting("*.test", "private.pem")];
    let origins = origins(&folder, &public.pem(), entries);
    let address = serve(&private, &TLS13).await;
    assert!(shake(&origins, address, HOST).await.is_err());
    assert!(shake(&origins, address, OTHER).await.is_ok());
}

#[tokio::test]
async fn sessions_are_resumed_and_belong_to_one_workload() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let folder = Folder::new();
        let origins = origins(&folder, &authority.pem(), Vec::new());
        let address = serve(&authority, version).await;
        let web = workload("apps", "web");
        assert!(!resumes(&origins, address, HOST, &web).await);
        for _ in 0..5 {
            assert!(resumes(&origins, address, HOST, &web).await, "{version:?}");
        }
        assert!(!resumes(&origins, address, OTHER, &web).await);
        for stranger in [workload("apps", "db"), workload("pay", "web")] {
            assert!(!resumes(&origins, address, HOST, &stranger).await);
            assert!(resumes(&origins, address, HOST, &stranger).await);
        }
        assert_eq!(origins.counts().resumed.get(), 7);
        assert_eq!(origins.counts().full.get(), 4);
    }
}

#[tokio::test]
async fn a_burst_resumes_as_often_as_there_are_tickets() {
    let authority = Authority::new();
    let folder = Folder::new();
    let origins = origins(&folder, &authority.pem(), Vec::new());
    let address = serve(&authority, &TLS13).await;
    let web = workload("apps", "web");
    resumes(&origins, address, HOST, &web).await;
    // The server gives two tickets each time, and each is used once.
    let mut streams = Vec::new();
    for expected in [true, true, false] {
        let stream = shake_as(&origins, address, HOST, &web, H1).await.unwrap();
        assert_eq!(stream.is_resumed(), expected);
        streams.push(stream);
    }
}

#[tokio::test]
async fn sessions_do_not_cross_trust_or_client_certificates() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put("private.pem", &Authority::new().pem());
    let leaf = authority.leaf(&["gateway"]);
    folder.put("client.pem", &leaf.certificate_pem);
    folder.put("client.key", &leaf.key_pem);
    let origins = origins(&folder, &authority.pem(), Vec::new());
    let address = serve(&authority, &TLS13).await;
    let web = workload("apps", "web");
    assert!(!resumes(&origins, address, HOST, &web).await);
    assert!(resumes(&origins, address, HOST, &web).await);

    let mut known = upstream(HOST);
    known.client_certificate = Some(Identity {
        cert_file: "client.pem".to_owned(),
        key_file: "client.key".to_owned(),
    });
    let mut insecure = upstream(HOST);
    insecure.insecure_skip_verify = true;
    for entry in [trusting(HOST, "private.pem"), known, insecure] {
        let changed = origins
            .renewed(&config(vec![entry]), folder.path())
            .unwrap();
        assert!(!resumes(&changed, address, HOST, &web).await);
        assert!(resumes(&changed, address, HOST, &web).await);
        // And with the former settings, what belonged to them.
        assert!(resumes(&origins, address, HOST, &web).await);
    }
    // An entry that changes nothing for the host leaves everything as it is.
    let same = origins
        .renewed(&config(vec![upstream(HOST)]), folder.path())
        .unwrap();
    assert!(resumes(&same, address, HOST, &web).await);
    assert_eq!(
        same.key(&web, &name(HOST), 443),
        origins.key(&web, &name(HOST), 443)
    );
}

#[tokio::test]
async fn files_are_read_once_and_watched() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put("private.pem", &authority.pem());
    let origins = origins(
        &folder,
        &authority.pem(),
        vec![trusting(HOST, "private.pem")],
    );
    assert!(origins.is_current());
    folder.put("private.pem", &Authority::new().pem());
    assert!(!origins.is_current());
}

#[test]
fn settings_that_cannot_be_used() {
    let authority = Authority::new();
    let folder = Folder::new();
    let leaf = authority.leaf(&["gateway"]);
    folder.put("roots.pem", &authority.pem());
    folder.put("empty.pem", "");
    folder.put("client.pem", &leaf.certificate_pem);
    folder.put("other.key", &authority.leaf(&["other"]).key_pem);
    let identity = |cert: &str, key: &str| {
        let mut entry = upstream(HOST);
        entry.client_certificate = Some(Identity {
            cert_file: cert.to_owned(),
            key_file: key.to_owned(),
        });
        entry
    };
    for (entry, words) in [
        (trusting(HOST, "missing.pem"), "upstreams[0].caFile: "),
        (trusting(HOST, "empty.pem"), "no certificate in it"),
        (
            identity("empty.pem", "other.key"),
            "upstreams[0].clientCertificate.certFile: ",
        ),
        (
            identity("client.pem", "client.pem"),
            "upstreams[0].clientCertificate.keyFile: ",
        ),
        (
            identity("client.pem", "other.key"),
            "upstreams[0].clientCertificate.keyFile: ",
        ),
        (upstream("**.x.test"), "upstreams[0].hosts[0]: "),
    ] {
        let error = Origins::new(&config(vec![entry]), folder.path())
            .err()
            .unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
    let missing = Config {
        system_roots_file: Some("empty.pem".to_owned()),
        upstreams: Vec::new(),
    };
    let error = Origins::new(&missing, folder.path()).err().unwrap();
    assert!(
        error.to_string().starts_with("systemRootsFile: "),
        "{error}"
    );
}
