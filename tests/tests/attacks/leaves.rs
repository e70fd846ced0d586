//! Section 12: the certificates that clients of opened TLS are shown, and who signs them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use exitgate_tests::client::Wire;
use exitgate_tests::corpus::Ca;
use exitgate_tests::deadline::within;
use exitgate_tests::documents;
use exitgate_tests::gateway::{Folder, run};
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::pki::Authority;
use exitgate_tests::programs;
use exitgate_tests::rows;
use exitgate_tests::tunnel::handshake;
use exitgate_tests::world::{ORIGIN, Reached, World};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const GETS: &str = "  - {name: reads, action: Allow, to: {hosts: [ok.test, also.test, \"*.wild.test\"]}, http: {methods: [GET]}}\n";
const CUSTODIES: [&str; 3] = ["Development", "PerGateway", "PerLeaf"];

/// The certificates that a client is shown, its own first.
async fn shown(
    opened: &Opened,
    world: &World,
    name: &str,
    port: u16,
) -> Vec<CertificateDer<'static>> {
    let tunnel = world.tunnel(&format!("{name}:{port}")).await;
    let connector = tokio_rustls::TlsConnector::from(opened.client(&["http/1.1"]));
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let session = within(
        "the handshake",
        connector.connect(server, tunnel.into_stream()),
    )
    .await
    .unwrap();
    let chain = session.get_ref().1.peer_certificates().unwrap();
    chain
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect()
}

/// The settings with this custody.
fn with_custody(opened: &Opened, custody: &str, more: &str) -> String {
    opened.settings(more).replace(
        "authority: {",
        &format!("authority: {{custody: {custody}, "),
    )
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(certificate).unwrap().1
}

/// A counter of the gateway, all its labels together.
async fn counter(world: &World, name: &str) -> f64 {
    let mut wire = Wire::open(world.gateway.listener("metrics")).await;
    let text = wire
        .ask("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .text();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[derive(Debug)]
struct Slow(Duration);

impl TimeProvider for Slow {
    fn current_time(&self) -> Option<UnixTime> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        now.checked_sub(self.0).map(UnixTime::since_unix_epoch)
    }
}

rows! {
    /// The linters of certificates look at the same ones in gateway/tests/certificates.rs.
    async fn row_169_strict_verifiers() {
        if !programs::present(&[("openssl", &["version"])]) {
            return;
        }
        for custody in CUSTODIES {
            let opened = Opened::new();
            let mut world = opened.plan(GETS).settings(&with_custody(&opened, custody, "")).start().await;
            let origin = world.add(opened.origin(ORIGIN).await, Reached::Unchecked);
            let port = world.origin(origin).port();
            let names = (0..20).map(|number| format!("n{number}.wild.test")).collect::<Vec<_>>();
            world.may_ask(&names.iter().map(String::as_str).collect::<Vec<_>>());
            world.tolerates(|record| record.host().ends_with(".wild.test"));
            let (mut serials, mut keys) = (BTreeSet::new(), BTreeSet::new());
            let folder = Folder::new();
            let root = folder.write("root.pem", &opened.gateway.pem()).display().to_string();
            for name in &names {
                let chain = shown(&opened, &world, name, port).await;
                let leaf = parsed(&chain[0]);
                assert!(leaf.raw_serial().len() >= 8, "{custody}: {:?}", leaf.raw_serial());
                assert!(serials.insert(leaf.raw_serial().to_vec()), "{custody}: a serial twice");
                keys.insert(leaf.public_key().raw.to_vec());
                for issuer in &chain[1..] {
                    assert_ne!(parsed(issuer).public_key().raw, leaf.public_key().raw, "{custody}");
                    assert_ne!(issuer.as_ref(), opened.gateway.der().as_ref(), "{custody}: the root is sent");
                }
                let file = folder.write("leaf.pem", &pem(&chain[0])).display().to_string();
                let issuers = chain[1..].iter().map(pem).collect::<String>();
                let issuers = folder.write("issuers.pem", &issuers).display().to_string();
                let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile", &root];
                if chain.len() > 1 {
                    arguments.extend(["-untrusted", &issuers]);
                }
                arguments.push(&file);
                programs::run("openssl", &arguments).await.success();
            }
            let root = CertificateDer::from(opened.gateway.der().to_vec());
            assert!(!keys.contains(parsed(&root).public_key().raw), "{custody}: the root's key");
            world.finish().await;
        }
    }

    async fn row_170_validity() {
        for custody in CUSTODIES {
            let opened = Opened::new();
            let mut world = opened.plan(GETS).settings(&with_custody(&opened, custody, "")).start().await;
            let origin = world.add(opened.origin(ORIGIN).await, Reached::Unchecked);
            let port = world.origin(origin).port();
            world.may_ask(&["ok.test"]);
            let chain = shown(&opened, &world, "ok.test", port).await;
            world.any_record();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
            let validity = |certificate: &CertificateDer<'_>| {
                let parsed = parsed(certificate);
                (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp())
            };
            let (from, to) = validity(&chain[0]);
            assert!(to - from <= 7 * 86_400, "{custody}: {} s long", to - from);
            assert!((30 * 60..=3600 + 60).contains(&(now - from)), "{custody}: backdated by {} s", now - from);
            for issuer in &chain[1..] {
                let (issuer_from, issuer_to) = validity(issuer);
                assert!(issuer_from <= from && to <= issuer_to, "{custody}: {from}..{to} is outside {issuer_from}..{issuer_to}");
            }
            // A client whose clock is half an hour late.
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let client = rustls::ClientConfig::builder_with_details(provider, Arc::new(Slow(Duration::from_mins(30))))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(opened.gateway.roots())
                .with_no_client_auth();
            let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
            let (mut wire, _) = handshake(tunnel, "ok.test", Arc::new(client)).await.unwrap();
            let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            world.allowed();
            drop(wire);
            world.finish().await;
        }
    }

    async fn row_172_exactly_the_name_and_nothing_of_the_origin() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Unchecked).await;
        let long = format!("{}.{}.wild.test", "a".repeat(60), "b".repeat(60));
        world.may_ask(&["ok.test", "a.wild.test", &long]);
        for name in ["ok.test", "a.wild.test", &long] {
            let chain = shown(&opened, &world, name, port).await;
            world.any_record();
            let leaf = parsed(&chain[0]);
            let names = leaf.subject_alternative_name().unwrap().expect("alternative names");
            let names = &names.value.general_names;
            assert!(matches!(names.as_slice(), [GeneralName::DNSName(only)] if *only == name), "{names:?}");
            let subject = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect::<Vec<_>>();
            assert!(subject.is_empty() || subject == [name], "{subject:?}");
            assert!(!leaf.is_ca());
            // Key usage, its purpose, that it is no CA, the key of its issuer, its name: no pointers, no proofs.
            let known = ["2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.35", "2.5.29.17", "2.5.29.14"];
            for extension in leaf.extensions() {
                let id = extension.oid.to_id_string();
                assert!(known.contains(&&*id), "{name}: an extension {id}");
            }
        }
        world.finish().await;
    }

    /// The cache's own bound, and the rate of minting, are measured with 100,000 names in gateway/src/authority.
    async fn row_173_random_names() {
        const NAMES: u32 = 3_000;
        let opened = Opened::new();
        let settings = opened.settings("  listeners: {metrics: [\"127.0.0.1:0\"]}\n");
        let mut world = opened.plan(GETS).settings(&settings).start().await;
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Unchecked);
        let port = world.origin(origin).port();
        let names = (0..NAMES).map(|number| format!("r{number}.wild.test")).collect::<Vec<_>>();
        let mut asked = names.iter().map(String::as_str).collect::<Vec<_>>();
        asked.push("ok.test");
        world.may_ask(&asked);
        world.tolerates(|record| record.host().ends_with(".wild.test") || record.host().ends_with(".bad.test") || record.host() == "ok.test");

        // Names that no rule lets us look into: refused before anything is signed, in CONNECT and in the hello.
        drop(shown(&opened, &world, "ok.test", port).await);
        let minted = counter(&world, "tls_leaves_minted").await;
        for number in 0..300 {
            let refused = world.client().await.connect(&format!("r{number}.bad.test:{port}")).await;
            assert_eq!(refused.status, 403, "{}", refused.head);
            let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
            assert!(handshake(tunnel, &format!("r{number}.bad.test"), opened.client(&[])).await.is_err());
        }
        assert!(counter(&world, "tls_leaves_minted").await <= minted + 1.0, "signed for names that are refused");

        // Names below an allowed wildcard.
        let before = world.gateway.memory("VmRSS");
        let client = opened.client(&["http/1.1"]);
        let flood = async {
            let mut served = 0;
            for block in names.chunks(16) {
                let attempts = block.iter().map(|name| {
                    let (proxy, name, client) = (world.proxy, name.clone(), Arc::clone(&client));
                    tokio::spawn(async move {
                        let mut wire = Wire::open(proxy).await;
                        wire.connect(&format!("{name}:{port}")).await.status == 200
                            && handshake(wire, &name, client).await.is_ok()
                    })
                });
                for attempt in attempts.collect::<Vec<_>>() {
                    served += usize::from(attempt.await.unwrap());
                }
            }
            served
        };
        let other = async {
            let mut times = Vec::new();
            for _ in 0..100 {
                let asked = Instant::now();
                let mut wire = opened.open(&world, "ok.test", port).await;
                let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
                assert_eq!(answer.status, 200, "{}", answer.head);
                times.push(asked.elapsed());
            }
            times.sort();
            times[98]
        };
        let (served, slowest) = tokio::join!(flood, other);
        assert!(slowest < Duration::from_secs(1), "another client waited {slowest:?} at the 99th percentile");
        let grown = world.gateway.memory("VmRSS").saturating_sub(before);
        assert!(grown < 64 * 1024, "{grown} KiB for {NAMES} names");
        let signed = counter(&world, "tls_leaves_minted").await - minted;
        assert!(signed <= f64::from(NAMES) + 1.0, "{signed} certificates for {NAMES} names");
        assert!(served > 0);
        world.finish().await;
    }

    async fn row_175_another_authority_at_run_time() {
        let opened = Opened::new();
        let settings = opened.settings("  listeners: {admin: [\"127.0.0.1:0\"]}\n");
        let mut world = opened.plan(GETS).settings(&settings).start().await;
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Unchecked);
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        world.tolerates(|record| record.host() == "ok.test");
        let roots = async || {
            let mut wire = Wire::open(world.gateway.listener("admin")).await;
            wire.ask("GET /ca.pem HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.text()
        };
        let count = |text: &str| text.matches("BEGIN CERTIFICATE").count();
        assert_eq!(count(&roots().await), 1);
        let mut kept = opened.open(&world, "ok.test", port).await;
        let authority = format!("ok.test:{port}");
        assert_eq!(kept.ask(get(&authority, "/")).await.status, 200);

        let next = Authority::new();
        opened.replace("ca.pem", &next.pem());
        opened.replace("ca-key.pem", &next.key_pem());
        let changed = format!("{GETS}  - {{name: more, action: Allow, to: {{hosts: [more.test]}}}}\n");
        world.gateway.documents.replace("world.yaml", &documents::policy(&changed));
        world.gateway.says("applied revision=").await;
        // One client that knows both, whose sessions of before are still there, and one for each.
        let (old, new) = (opened.client(&["http/1.1"]), next.client_config(&["http/1.1"]));
        within("a certificate of the new authority", async {
            loop {
                let tunnel = world.tunnel(&authority).await;
                if handshake(tunnel, "ok.test", Arc::clone(&new)).await.is_ok() {
                    break;
                }
            }
        })
        .await;
        let tunnel = world.tunnel(&authority).await;
        assert!(handshake(tunnel, "ok.test", old).await.is_err(), "still signed by the old one");
        let published = roots().await;
        assert_eq!(count(&published), 2, "both are to be trusted for a while:\n{published}");
        // Who was here before is not sent away.
        assert_eq!(kept.ask(get(&authority, "/again")).await.status, 200);
        drop(kept);
        world.finish().await;
    }

    async fn row_176_authorities_that_must_not_sign() {
        if !programs::present(&[("openssl", &["version"])]) {
            return;
        }
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (key, certificate) = (path("ca-key.pem"), path("ca.pem"));
        let make = async |extensions: &str| {
            let config = format!("[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\n[dn]\nCN=Bad CA\n[v3]\n{extensions}");
            let config = folder.write("openssl.cnf", &config).display().to_string();
            let arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", &config, "-keyout", &key, "-out", &certificate,
            ];
            programs::run("openssl", &arguments).await.success();
        };
        let refused = async |problem: &str| {
            let documents = Folder::new();
            documents.write("world.yaml", &documents::policy(GETS));
            let spec = format!("  tls:\n    inspection: On\n    authority: {{certFile: {certificate}, keyFile: {key}}}\n");
            documents.write("gateway.yaml", &documents::settings(&spec));
            let (code, _, said) = run(&["up", &documents.path().display().to_string(), "--listen", "127.0.0.1:0"]).await;
            assert!(code.is_some_and(|code| code != 0), "{problem}: started: {said}");
            assert!(said.to_lowercase().contains(problem) && said.contains("ca"), "{problem}: {said}");
            assert!(!said.contains("listening proxy"), "{problem}: {said}");
        };
        let good = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
        let old = Ca::root_with("Bad CA", |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
        folder.write("ca.pem", &old.pem());
        folder.write("ca-key.pem", &old.key().serialize_pem());
        refused("expired").await;
        make("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n").await;
        refused("not a certificate authority").await;
        make("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\n").await;
        refused("keycertsign").await;
        make("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=none\n").await;
        refused("subject key identifier").await;
        make(good).await;
        folder.write("ca-key.pem", &Authority::new().key_pem());
        refused("not the one of the private key").await;
        // What is left of the list, a key that everybody has, is in gateway/src/authority: no such key belongs here.
    }

    async fn row_178_clients_that_do_not_trust_us() {
        let opened = Opened::new();
        let settings = opened.settings("  listeners: {metrics: [\"127.0.0.1:0\"]}\n");
        let mut world = opened.plan(GETS).settings(&settings).start().await;
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Unchecked);
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        // One trusts other authorities; the other, as after a change of the root that it missed, one of the same name.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(Ca::root("Somebody else").der()).unwrap();
        let pinning = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let clients = [Arc::new(pinning), opened.origins.client_config(&[])];
        for turn in 0..5 {
            let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
            assert!(handshake(tunnel, "ok.test", Arc::clone(&clients[turn % 2])).await.is_err(), "not opened");
            world.closed_after_allow(&["certificate-rejected"]).host("ok.test");
        }
        let fifth = world.gateway.records.find("the fifth refusal", |record| record.detail().contains("5 times"));
        fifth.await;

        let counted = counter(&world, "certificates_rejected").await;
        assert!((counted - 5.0).abs() < 0.5, "{counted} counted");
        // Others are served as ever.
        let mut wire = opened.open(&world, "ok.test", port).await;
        assert_eq!(wire.ask(get(&format!("ok.test:{port}"), "/")).await.status, 200);
        world.allowed();
        drop(wire);
        let records = world.finish().await;
        let hint = records.iter().find(|record| record.detail().contains("5 times")).unwrap();
        assert!(hint.detail().contains("Passthrough"), "no advice: {hint:#?}");
        assert_eq!(hint.closed_by(), "client");
    }
}
