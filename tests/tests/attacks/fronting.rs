//! Section 4: one identity across all layers, with TLS opened.

use std::sync::Arc;
use std::time::Duration;

use exitgate_tests::documents;
use exitgate_tests::hello::{Hello, SERVER_NAME, server_name};
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::rows;
use exitgate_tests::tunnel::handshake;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup};

/// The method makes the gateway look inside.
const GETS: &str = "  - {name: reads, action: Allow, to: {hosts: [ok.test, also.test, \"*.wild.test\"]}, http: {methods: [GET]}}\n";

/// Takes the session of any name for any other: what a client that wants to slip through would do.
#[derive(Debug)]
struct OneForAll(ClientSessionMemoryCache);

impl OneForAll {
    fn name() -> ServerName<'static> {
        ServerName::try_from("any.test").unwrap()
    }
}

impl ClientSessionStore for OneForAll {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

/// The first record that answers a hello is one of the handshake, or this alert.
async fn answer_to_hello(world: &World, port: u16, hello: Vec<u8>) -> Result<(), u8> {
    let mut tunnel = world.tunnel(&format!("ok.test:{port}")).await;
    tunnel.send(hello).await;
    let header = tunnel.take(5).await;
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let record = tunnel.take(length).await;
    match header[0] {
        22 => {
            assert_eq!(record[0], 2, "not a ServerHello");
            tunnel.reset();
            Ok(())
        }
        21 => Err(record[1]),
        kind => panic!("a record of kind {kind}"),
    }
}

rows! {
    async fn row_071_all_names_agree() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!((answer.status, &*answer.text()), (200, "origin over TLS"), "{}", answer.head);
        world.allowed().rule("reads").host("ok.test");
        drop(wire);
        let origin = world.origin(0);
        assert_eq!(origin.request_lines(), ["GET / HTTP/1.1"]);
        let visits = origin.visits().await;
        assert_eq!(visits.len(), 1);
        assert_eq!(visits[0].sni.as_deref(), Some("ok.test"));
        let records = world.finish().await;
        assert_eq!(records[0].assurance(), "Inspected");
        assert_eq!(records[0].class(), 4002);
    }

    async fn row_073_host_names_another() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get(&format!("bad.test:{port}"), "/")).await;
        wire.closed().await;
        world.refused(&answer, 421, &["name-mismatch"]).phase("preRequest").host("bad.test");
        assert!(world.origin(0).request_lines().is_empty());
        world.finish().await;
    }

    async fn row_074_server_name_is_another_allowed_one() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Silently).await;
        world.may_ask(&["ok.test"]);
        let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        let shaken = handshake(tunnel, "also.test", opened.client(&[])).await;
        assert!(shaken.is_err(), "a certificate for a name that was not connected to");
        world.closed(&["name-mismatch"]).phase("preRequest").host("ok.test");
        world.finish().await;
    }

    async fn row_076_no_server_name() {
        // Unopened, nothing says that the bytes are for the name: refused.
        let mut world = Plan::rules(documents::NAMES).start().await;
        let opened = Opened::new();
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Silently);
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        tunnel.send(Hello::nameless().bytes()).await;
        tunnel.refused_in_tls().await;
        world.closed(&["sni-missing"]).phase("preRequest").host("ok.test");
        world.finish().await;

        // Opened, the certificate is for the name of the CONNECT, and the request says the rest.
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let mut client = (*opened.client(&["http/1.1"])).clone();
        client.enable_sni = false;
        let tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        let (mut wire, _) = handshake(tunnel, "ok.test", Arc::new(client)).await.unwrap();
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("reads").host("ok.test");
        let answer = wire.ask(get(&format!("also.test:{port}"), "/")).await;
        world.refused(&answer, 421, &["name-mismatch"]);
        drop(wire);
        // The origin is asked for the name all the same.
        let visits = world.origin(0).visits().await;
        assert_eq!(visits[0].sni.as_deref(), Some("ok.test"));
        assert_eq!(world.origin(0).request_lines().len(), 1);
        world.finish().await;
    }

    async fn row_077_forms_of_the_server_name() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        let named = |entries: &[(u8, &[u8])]| Hello::nameless().with(SERVER_NAME, server_name(entries)).bytes();
        let closed = [
            named(&[(0, b"127.1.0.1")]),
            named(&[(0, b"")]),
            named(&[(0, b"ok.test"), (0, b"also.test")]),
            named(&[(0, b"ok.test"), (0, b"ok.test")]),
            named(&[(7, b"ok.test")]),
            named(&[(0, b"ok.test.."), ]),
            named(&[(0, b"ok.test\0.wild.test")]),
        ];
        for hello in closed {
            let shown = String::from_utf8_lossy(&hello).into_owned();
            assert!(answer_to_hello(&world, port, hello).await.is_err(), "{shown:?}");
            world.closed(&["bad-hello", "sni-missing", "name-mismatch"]);
        }
        for name in [&b"ok.test."[..], b"OK.Test", b"OK.TEST."] {
            let hello = named(&[(0, name)]);
            let shown = String::from_utf8_lossy(name).into_owned();
            assert_eq!(answer_to_hello(&world, port, hello).await, Ok(()), "{shown}");
            world.closed_after_allow(&["client-gone", "bad-hello"]).host("ok.test");
        }
        assert!(world.origin(0).request_lines().is_empty());
        world.finish().await;
    }

    async fn row_082_port_in_host() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Times(3)).await;
        world.may_ask(&["ok.test"]);
        for host in ["ok.test:80", "ok.test:443"] {
            let mut wire = opened.open(&world, "ok.test", port).await;
            let answer = wire.ask(get(host, "/")).await;
            wire.closed().await;
            world.refused(&answer, 400, &["port-mismatch"]).phase("preRequest");
        }
        assert!(world.origin(0).request_lines().is_empty());
        // Left out, it contradicts nothing, and stays out.
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get("ok.test", "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed();
        drop(wire);
        let requests = world.origin(0).seen.requests.all();
        assert_eq!(requests[0].headers("host"), ["ok.test"]);
        world.finish().await;
    }

    async fn row_083_tunnel_in_a_tunnel() {
        let opened = Opened::new();
        let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        for target in ["bad.test:443".to_owned(), format!("ok.test:{port}")] {
            let mut wire = opened.open(&world, "ok.test", port).await;
            let answer = wire.ask(exitgate_tests::client::connect_head(&target)).await;
            wire.closed().await;
            assert!(matches!(answer.status, 403 | 405), "{}", answer.head);
            world.closed(&["bad-request", "protocol-not-allowed"]);
        }
        assert!(world.origin(0).request_lines().is_empty());
        world.reached(0, Reached::Unchecked);
        world.finish().await;
    }

    async fn row_088_resumption_under_another_name() {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let opened = Opened::new();
            let (mut world, port) = opened.world(GETS, ORIGIN, Reached::Unchecked).await;
            world.may_ask(&["ok.test", "also.test"]);
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut client = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(opened.gateway.roots())
                .with_no_client_auth();
            client.alpn_protocols = vec![b"http/1.1".to_vec()];
            client.resumption = Resumption::store(Arc::new(OneForAll(ClientSessionMemoryCache::new(8))));
            let client = Arc::new(client);
            for name in ["ok.test", "also.test", "ok.test"] {
                let tunnel = world.tunnel(&format!("{name}:{port}")).await;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(&client));
                let server = ServerName::try_from(name).unwrap();
                let session = connector.connect(server, tunnel.into_stream()).await.unwrap();
                assert_eq!(session.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "{name}");
                let mut wire = exitgate_tests::client::Wire::over(session);
                let answer = wire.ask(get(&format!("{name}:{port}"), "/")).await;
                assert_eq!(answer.status, 200, "{}", answer.head);
                world.allowed().rule("reads").host(name);
            }
            // What another name was let do before says nothing about this one.
            let refused = world.client().await.connect(&format!("bad.test:{port}")).await;
            world.refused(&refused, 403, &["no-rule"]);
            world.finish().await;
        }
    }

    async fn row_089_policy_that_no_longer_allows() {
        let opened = Opened::new();
        let rules = "  - {name: reads, action: Allow, to: {hosts: [ok.test]}, http: {methods: [GET]}}\n  - {name: also, action: Allow, to: {hosts: [also.test]}}\n  - {name: stays, action: Allow, to: {hosts: [x.wild.test]}}\n";
        let settings = opened.settings("  timeouts: {recheckGrace: 1s}\n");
        let mut world = Plan::rules(rules).settings(&settings).start().await;
        let origin = world.add(opened.origin(ORIGIN).await, Reached::Times(3));
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test", "also.test", "x.wild.test"]);
        let mut inside = opened.open(&world, "ok.test", port).await;
        let answer = inside.ask(get(&format!("ok.test:{port}"), "/one")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("reads");
        let through = async |name: &str| {
            let tunnel = world.tunnel(&format!("{name}:{port}")).await;
            handshake(tunnel, name, opened.origins.client_config(&["http/1.1"])).await.unwrap().0
        };
        let (mut relayed, mut kept) = (through("also.test").await, through("x.wild.test").await);
        let answer = relayed.ask(get(&format!("also.test:{port}"), "/two")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);

        let left = documents::policy("  - {name: stays, action: Allow, to: {hosts: [x.wild.test]}}\n");
        world.gateway.documents.replace("world.yaml", &left);
        world.gateway.says("applied revision=").await;
        let answer = inside.ask(get(&format!("ok.test:{port}"), "/three")).await;
        world.refused(&answer, 403, &["no-rule", "policy-changed"]).host("ok.test");
        inside.closed().await;
        let asked = std::time::Instant::now();
        relayed.rest().await;
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        world.closed_after_allow(&["policy-changed", "no-rule"]).host("also.test");
        let answer = kept.ask(get(&format!("x.wild.test:{port}"), "/four")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("stays");
        drop(kept);
        let lines = world.origin(0).request_lines();
        assert_eq!(lines, ["GET /one HTTP/1.1", "GET /two HTTP/1.1", "GET /four HTTP/1.1"]);
        world.finish().await;
    }
}
