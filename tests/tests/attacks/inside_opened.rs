//! Sections 5 and 6, what of them needs a look inside TLS: encrypted hellos, TLS in TLS, ways around the gateway.

use std::sync::Arc;

use exitgate_tests::frames::{ALTSVC, DATA, Frame, Frames, GOAWAY, HEADERS, request};
use exitgate_tests::hello::Hello;
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::{Answered, Manners, Origin, Reply};
use exitgate_tests::rows;
use exitgate_tests::tunnel::handshake;
use exitgate_tests::world::{ORIGIN, Reached};
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs::hpke::{ALL_SUPPORTED_SUITES, DH_KEM_X25519_HKDF_SHA256_AES_128};
use rustls::crypto::hpke::Hpke as _;
use rustls::pki_types::EchConfigListBytes;
use rustls::{ClientConfig, PeerIncompatible};

const GETS: &str =
    "  - {name: reads, action: Allow, to: {hosts: [ok.test, also.test]}, http: {methods: [GET]}}\n";

/// A client of the gateway's root with encrypted hellos.
fn encrypting(opened: &Opened, mode: EchMode) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_ech(mode)
        .unwrap();
    Arc::new(
        client
            .with_root_certificates(opened.gateway.roots())
            .with_no_client_auth(),
    )
}

/// What a name server would publish for a front that hides other names behind `public`.
fn published(public: &str) -> EchConfigListBytes<'static> {
    let (key, _) = DH_KEM_X25519_HKDF_SHA256_AES_128
        .generate_key_pair()
        .unwrap();
    let mut contents = vec![7];
    contents.extend([0, 0x20, 0, 32]);
    contents.extend(&key.0);
    contents.extend([0, 4, 0, 1, 0, 1, 64, u8::try_from(public.len()).unwrap()]);
    contents.extend(public.as_bytes());
    contents.extend([0, 0]);
    let mut config = vec![0xfe, 0x0d];
    config.extend(u16::try_from(contents.len()).unwrap().to_be_bytes());
    config.extend(contents);
    let mut list = u16::try_from(config.len()).unwrap().to_be_bytes().to_vec();
    list.extend(config);
    EchConfigListBytes::from(list)
}

rows! {
    async fn row_101_encrypted_hello_behind_an_allowed_name() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        let config = EchConfig::new(published("ok.test"), ALL_SUPPORTED_SUITES).unwrap();
        let client = encrypting(&opened, EchMode::Enable(config));
        // The client learns from the outer name's own certificate that nobody there reads its inner hello.
        let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        let error = handshake(tunnel, "bad.test", client).await.err().expect("a refused inner hello");
        let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let rejected = matches!(
            said,
            Some(rustls::Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(None)))
        );
        assert!(rejected, "{error:?}");
        world.closed_after_allow(&["bad-hello", "client-gone", "certificate-rejected", "allowed"]).host("ok.test");
        // It comes back in clear, where the inner name is judged, by the tunnel's and by its own.
        let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        assert!(handshake(tunnel, "bad.test", opened.client(&[])).await.is_err());
        world.closed(&["name-mismatch", "no-rule"]).host("ok.test");
        world.connect_refused(&format!("bad.test:{port}"), 403, &["no-rule"]).await.phase("preDns");
        assert!(world.origin(0).request_lines().is_empty());

        // GREASE means nothing.
        let key = DH_KEM_X25519_HKDF_SHA256_AES_128.generate_key_pair().unwrap().0;
        let grease = EchGreaseConfig::new(DH_KEM_X25519_HKDF_SHA256_AES_128, key);
        let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        let (mut wire, _) = handshake(tunnel, "ok.test", encrypting(&opened, EchMode::Grease(grease))).await.unwrap();
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("reads");
        drop(wire);
        world.finish().await;
    }

    async fn row_109_tls_inside_tls() {
        let opened = Opened::new();
        let rules = "  - {name: reads, action: Allow, to: {hosts: [ok.test]}, tls: {mode: Inspect}}\n";
        let (mut world, port) = opened.world(rules, ORIGIN, Reached::Times(2)).await;
        world.may_ask(&["ok.test"]);
        for name in ["ok.test", "bad.test"] {
            let mut wire = opened.open(&world, "ok.test", port).await;
            let answer = wire.ask(Hello::for_name(name).bytes()).await;
            wire.rest().await;
            world.refused(&answer, 400, &["bad-request", "protocol-not-allowed"]);
        }
        assert!(world.origin(0).request_lines().is_empty());
        world.finish().await;
    }

    /// What the name server says of `alpn=h3` is row 185's.
    async fn row_112_alternative_services() {
        let away = "h3=\":443\"; ma=86400, h3-29=\":443\"";
        let opened = Opened::new();
        let reply = move |request: &exitgate_tests::origin::Request| {
            let value = if request.line().contains("/clear") { "clear" } else { away };
            Reply::with(&format!("Alt-Svc: {value}\r\n"), "x")
        };
        let (mut world, port) = opened.world_of(GETS, opened.origin_with(ORIGIN, reply).await, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let authority = format!("ok.test:{port}");
        let mut wire = opened.open(&world, "ok.test", port).await;
        for (path, expected) in [("/", ""), ("/clear", "clear")] {
            let answer = wire.ask(get(&authority, path)).await;
            assert_eq!((answer.status, answer.header("alt-svc")), (200, expected), "{}", answer.head);
            world.allowed();
        }
        drop(wire);
        world.finish().await;

        let opened = Opened::new();
        let reply = move |request: &exitgate_tests::origin::Request| {
            let value = if request.line().contains("/clear") { "clear" } else { away };
            Answered::ok("x").with("alt-svc", value)
        };
        let origin = opened.http2_origin(ORIGIN, Manners::default(), reply).await;
        let (mut world, port) = opened.world_of(GETS, origin, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let authority = format!("ok.test:{port}");
        let client = opened.http2(&world, "ok.test", port).await;
        for (path, expected) in [("/", ""), ("/clear", "clear")] {
            let answer = client.get(&authority, path).await.unwrap();
            assert_eq!((answer.status, answer.header("alt-svc")), (200, expected), "{}", answer.head);
            world.allowed();
        }
        drop(client);
        world.finish().await;

        // The frame of RFC 7838, on the connection and on the stream.
        let opened = Opened::new();
        let origin = Origin::secured(ORIGIN, opened.certificate(&["h2"]), |stream, _, _| async move {
            let mut frames = Frames::accept(stream, &[]).await;
            let mut named = vec![0, 7];
            named.extend(b"ok.test");
            named.extend(b"h3=\":443\"");
            frames.offer(&[Frame::new(ALTSVC, 0, 0, named)]).await;
            frames.until(1, &[HEADERS]).await;
            let mut own = vec![0, 0];
            own.extend(b"h3=\":443\"");
            let answer = [
                Frame::new(ALTSVC, 0, 1, own),
                Frame::headers(1, &[(":status", "200")], false),
                Frame::data(1, "x", true),
            ];
            frames.offer(&answer).await;
            frames.rest_whenever().await;
        });
        let (mut world, port) = opened.world_of(GETS, origin.await, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let mut frames = opened.frames(&world, "ok.test", port, &[]).await;
        frames.send(&Frame::headers(1, &request("GET", &format!("ok.test:{port}"), "/"), true)).await;
        let mut seen = Vec::new();
        while !seen.iter().any(|frame: &Frame| frame.kind == DATA) {
            let frame = frames.next().await.expect("an answer");
            assert!(!matches!(frame.kind, ALTSVC | GOAWAY), "{frame:?}");
            seen.push(frame);
        }
        let head = seen.iter().find(|frame| frame.kind == HEADERS).unwrap();
        assert_eq!(head.status(), 200);
        world.allowed();
        drop(frames);
        world.finish().await;
    }
}
