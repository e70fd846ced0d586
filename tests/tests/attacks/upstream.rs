//! Section 11: TLS with origins. What is wrong with it is told inside our own TLS, and nothing is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exitgate_tests::corpus::{Case, Corpus, Expected};
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::Origin;
use exitgate_tests::pki::Authority;
use exitgate_tests::rows;
use exitgate_tests::tunnel::handshake;
use exitgate_tests::world::{ORIGIN, Reached};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// The method makes the gateway look inside.
const GETS: &str = "  - {name: reads, action: Allow, to: {hosts: [ok.test, also.test, \"*.wild.test\"]}, http: {methods: [GET]}}\n";

/// Meets every one of these origins; returns the reasons for which they were refused.
async fn met(wanted: impl Fn(&Case) -> bool) -> BTreeSet<&'static str> {
    let corpus = Corpus::new();
    let opened = Opened::new();
    opened.file("origins.pem", &corpus.roots);
    let mut world = opened.plan(GETS).start().await;
    let cases = corpus
        .cases
        .iter()
        .filter(|case| wanted(case))
        .collect::<Vec<_>>();
    world.may_ask(&cases.iter().map(|case| case.host).collect::<Vec<_>>());
    let mut reasons = BTreeSet::new();
    for case in &cases {
        let origin = Origin::https(ORIGIN, Arc::clone(&case.config)).await;
        let number = world.add(origin, Reached::Times(1));
        let port = world.origin(number).port();
        let asked = Instant::now();
        let mut wire = opened.open(&world, case.host, port).await;
        let answer = wire.ask(get(&format!("{}:{port}", case.host), "/")).await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(5), "{}: {took:?}", case.name);
        let shown = format!("{}: {}{}", case.name, answer.head, answer.text());
        match case.reason() {
            None => {
                assert_eq!(answer.status, 200, "{shown}");
                world.allowed().rule("reads").host(case.host);
                drop(wire);
            }
            Some(reason) => {
                assert_eq!(answer.header("exitgate-reason"), reason, "{shown}");
                wire.closed().await;
                world.refused(&answer, 502, &[reason]).host(case.host);
                reasons.insert(reason);
                assert!(
                    world.origin(number).request_lines().is_empty(),
                    "{}: asked",
                    case.name
                );
            }
        }
    }
    for record in world.finish().await {
        if record.verdict() != "allow" {
            assert!(
                !record.detail().is_empty(),
                "a refusal that does not say what is wrong: {record:#?}"
            );
        }
    }
    reasons
}

fn is_about_names(case: &Case) -> bool {
    let other = [
        "wildcard",
        "name only",
        "address as a name",
        "root dot",
        "a name below",
        "the name above",
    ];
    other.iter().any(|part| case.name.contains(part))
}

fn is_about_staples(case: &Case) -> bool {
    case.name.contains("staple")
}

fn is_large(case: &Case) -> bool {
    let large = ["too many", "100 KiB", "circle", "loop", "cross"];
    case.name.starts_with(|first: char| first.is_ascii_digit())
        || large.iter().any(|part| case.name.contains(part))
}

/// A server that lets in only who shows a certificate of this authority.
fn asking(opened: &Opened, clients: &Authority, alpn: &[u8]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider.clone());
    let leaf = opened.origins.leaf(&["ok.test", "also.test"]);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.certificate], leaf.key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// More than the end of a handshake without a certificate takes, and less than that and a request.
const FLIGHT: usize = 130;

/// The same server, which reads the end of a client's handshake only once more has come: what TLS 1.3 lets a client send
/// before it knows that it is refused.
async fn asking_late(config: Arc<ServerConfig>) -> Origin {
    Origin::scripted(ORIGIN, move |wire| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (mut from_client, mut to_client) = tokio::io::split(wire.into_stream());
            let (mut from_server, mut to_server) = tokio::io::split(near);
            let back = async {
                tokio::io::copy(&mut from_server, &mut to_client).await?;
                to_client.shutdown().await
            };
            let forth = async {
                let mut bytes = Vec::with_capacity(16 * 1024);
                from_client.read_buf(&mut bytes).await?;
                to_server.write_all(&bytes).await?;
                bytes.clear();
                while bytes.len() <= FLIGHT && from_client.read_buf(&mut bytes).await? > 0 {}
                to_server.write_all(&bytes).await?;
                tokio::io::copy(&mut from_client, &mut to_server).await
            };
            let (served, ..) = tokio::join!(acceptor.accept(far), back, forth);
            assert!(served.is_err(), "a client without a certificate");
        }
    })
    .await
}

rows! {
    async fn row_158_certificates_that_are_wrong() {
        let reasons = met(|case| !is_about_names(case) && !is_about_staples(case) && !is_large(case)).await;
        let distinct = [
            "expired", "not-yet-valid", "self-signed", "unknown-issuer", "wrong-name", "incomplete-chain", "weak-signature",
            "weak-key", "ca-as-leaf", "purpose", "name-constraints",
        ];
        for reason in distinct {
            assert!(reasons.contains(&*format!("upstream-certificate-{reason}")), "no case for {reason}: {reasons:?}");
        }
    }

    async fn row_160_names_that_do_not_count() {
        let reasons = met(is_about_names).await;
        assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ["upstream-certificate-wrong-name"]);
    }

    async fn row_161_stapled_status() {
        let reasons = met(is_about_staples).await;
        for reason in ["revoked", "staple-missing"] {
            assert!(reasons.contains(&*format!("upstream-certificate-{reason}")), "{reasons:?}");
        }
        // What comes without one is let through, and the record says that there was none.
        let corpus = Corpus::new();
        let good = corpus.case("as it should be");
        assert_eq!(good.expected, Expected::Accepted { staple: "none" });
        let opened = Opened::new();
        opened.file("origins.pem", &corpus.roots);
        let mut world = opened.plan(GETS).start().await;
        let origin = world.add(Origin::https(ORIGIN, Arc::clone(&good.config)).await, Reached::Times(1));
        let port = world.origin(origin).port();
        world.may_ask(&[good.host]);
        let mut wire = opened.open(&world, good.host, port).await;
        let answer = wire.ask(get(&format!("{}:{port}", good.host), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed();
        drop(wire);
        let records = world.finish().await;
        let staple = records[0].0.pointer("/exitgate/origin_certificate/staple");
        assert_eq!(staple.and_then(serde_json::Value::as_str), Some("none"), "{records:#?}");
    }

    async fn row_163_client_certificates() {
        let opened = Opened::new();
        let clients = Authority::new();
        let own = clients.leaf(&["workload.test"]);
        let configured = clients.leaf(&["gateway.test"]);
        let (certificate, key) = (
            opened.file("client.pem", &configured.certificate_pem),
            opened.file("client-key.pem", &configured.key_pem),
        );
        let opened = opened.tls(&format!(
            "    upstreams: [{{name: partner, hosts: [also.test], clientCertificate: {{certFile: {certificate}, keyFile: {key}}}}}]\n"
        ));
        let origin = Origin::https(ORIGIN, asking(&opened, &clients, b"http/1.1")).await;
        let (mut world, port) = opened.world_of(GETS, origin, Reached::Unchecked).await;
        world.may_ask(&["ok.test", "also.test"]);
        // The client has a certificate that the origin would take. Nobody asks it for that, and it is not passed on.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(opened.gateway.roots())
            .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())
            .unwrap();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = Arc::new(client);
        for _ in 0..2 {
            let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
            let (mut wire, _) = handshake(tunnel, "ok.test", Arc::clone(&client)).await.unwrap();
            let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
            world.refused(&answer, 502, &["client-certificate-required"]).host("ok.test");
        }
        assert!(world.origin(0).request_lines().is_empty());
        let tunnel = world.tunnel(&format!("also.test:{port}")).await;
        let (mut wire, _) = handshake(tunnel, "also.test", client).await.unwrap();
        let answer = wire.ask(get(&format!("also.test:{port}"), "/")).await;
        assert_eq!((answer.status, &*answer.text()), (200, "origin over TLS"), "{}", answer.head);
        world.allowed().host("also.test");
        drop(wire);
        // Refused late: after we took the handshake for done.
        for alpn in ["http/1.1", "h2"] {
            let origin = asking_late(asking(&opened, &clients, alpn.as_bytes())).await;
            let number = world.add(origin, Reached::Times(1));
            let port = world.origin(number).port();
            let mut wire = opened.open_as(&world, "ok.test", port, &["h2", "http/1.1"]).await;
            let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
            world.refused(&answer, 502, &["client-certificate-required"]).host("ok.test");
        }
        let records = world.finish().await;
        let hints = records.iter().filter(|record| record.host() == "ok.test").collect::<Vec<_>>();
        assert_eq!(hints.len(), 4, "{hints:#?}");
        for hint in hints {
            assert!(hint.detail().contains("clientCertificate"), "no advice: {hint:#?}");
        }
    }

    async fn row_164_verification_switched_off_for_one_host() {
        let opened = Opened::new();
        let opened = opened.tls("    upstreams: [{name: lab, hosts: [ok.test], insecureSkipVerify: true}]\n");
        let stranger = Authority::new();
        let config = stranger.server_config(&["ok.test", "also.test"], &["http/1.1"]);
        let (mut world, port) = opened.world_of(GETS, Origin::https(ORIGIN, config).await, Reached::Times(2)).await;
        world.may_ask(&["ok.test", "also.test"]);
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().host("ok.test");
        drop(wire);
        let mut wire = opened.open(&world, "also.test", port).await;
        let answer = wire.ask(get(&format!("also.test:{port}"), "/")).await;
        world.refused(&answer, 502, &["upstream-certificate-unknown-issuer"]).host("also.test");
        drop(wire);
        let said = world.gateway.diagnostics.clone();
        let records = world.finish().await;
        let open = records.iter().find(|record| record.host() == "ok.test").unwrap();
        let field = |name: &str| open.0.pointer(&format!("/exitgate/origin_certificate/{name}")).cloned();
        assert_eq!(field("verification"), Some("ignored".into()), "{open:#?}");
        assert_eq!(field("ignored"), Some("upstream-certificate-unknown-issuer".into()), "{open:#?}");
        let warned = said.all().iter().any(|line| line.contains("insecureSkipVerify"));
        assert!(warned, "nothing warns of it at the start: {:?}", said.all());
    }

    async fn row_166_certificates_that_cost_time() {
        // Each within the five seconds that every case has; the loop of cross-signed issuers is among them.
        let reasons = met(is_large).await;
        assert!(reasons.contains("upstream-certificate-invalid"), "{reasons:?}");
    }

    async fn row_167_private_root_of_one_host() {
        let opened = Opened::new();
        let private = Authority::new();
        let root = opened.file("private.pem", &private.pem());
        let opened = opened.tls(&format!("    upstreams: [{{name: ledger, hosts: [ok.test], caFile: {root}}}]\n"));
        let config = private.server_config(&["ok.test", "also.test"], &["http/1.1"]);
        let (mut world, port) = opened.world_of(GETS, Origin::https(ORIGIN, config).await, Reached::Unchecked).await;
        world.may_ask(&["ok.test", "also.test"]);
        // In both orders: nothing that was kept for the one serves the other.
        for (name, trusted) in [("also.test", false), ("ok.test", true), ("also.test", false), ("ok.test", true)] {
            let mut wire = opened.open(&world, name, port).await;
            let answer = wire.ask(get(&format!("{name}:{port}"), "/")).await;
            if trusted {
                assert_eq!(answer.status, 200, "{}", answer.head);
                world.allowed().host(name);
            } else {
                world.refused(&answer, 502, &["upstream-certificate-unknown-issuer"]).host(name);
            }
        }
        // The system's roots hold beside it.
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Times(1));
        let port = world.origin(origin).port();
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed();
        drop(wire);
        let lines = world.origin(0).request_lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        world.finish().await;
    }
}
