//! Section 5, and what of section 4 holds without interception: the shapes of a ClientHello.

use std::time::Duration;

use exitgate_tests::client::Wire;
use exitgate_tests::hello::{
    EARLY_DATA, ENCRYPTED_HELLO, Hello, KEY_SHARE, SERVER_NAME, VERSIONS, encrypted_hello,
    post_quantum_shares, records, server_name,
};
use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

const NAME_REASONS: &[&str] = &["name-mismatch"];

/// A world with an origin that sends back what it gets, and the target of a tunnel to it.
async fn echoing(reached: Reached) -> (World, String) {
    let mut world = World::start().await;
    let origin = world.add(Origin::echo(ORIGIN).await, reached);
    let port = world.origin(origin).port();
    world.may_ask(&["ok.test"]);
    (world, format!("ok.test:{port}"))
}

async fn echoed(world: &mut World, mut tunnel: Wire, hello: &[u8]) {
    assert_eq!(
        tunnel.take(hello.len()).await,
        hello,
        "the origin got other bytes than the client sent"
    );
    tunnel.finish_sending().await;
    tunnel.closed().await;
    world.allowed().host("ok.test");
}

/// All these bytes in a tunnel to ok.test are refused, and nothing of them reaches the origin.
async fn refused(hellos: &[Vec<u8>], reasons: &[&str]) {
    let (mut world, target) = echoing(Reached::Silently).await;
    for hello in hellos {
        let mut tunnel = world.tunnel(&target).await;
        tunnel.offer(hello).await;
        tunnel.refused_in_tls().await;
        world.closed(reasons);
    }
    world.finish().await;
}

/// Sends `bytes` in pieces of `size`, each in a segment of its own, and nothing comes back in between.
async fn in_pieces(tunnel: &mut Wire, bytes: &[u8], size: usize) {
    let mut sent = 0;
    for piece in bytes.chunks(size) {
        tunnel.send(piece).await;
        sent += piece.len();
        if sent < bytes.len() {
            tunnel.silent_for(Duration::from_millis(1)).await;
        }
    }
}

rows! {
    async fn row_085_server_name_of_a_refused_name() {
        let names = ["bad.test", "also.test", "a.ok.test", "ok.test.bad.test"];
        let hellos = names.map(|name| Hello::for_name(name).bytes());
        refused(&hellos, NAME_REASONS).await;
    }

    /// In TLS 1.3 the server's certificate is not seen: the record claims the name and no more.
    async fn row_086_assurance_of_pass_through() {
        let (mut world, target) = echoing(Reached::Times(1)).await;
        let mut tunnel = world.tunnel(&target).await;
        let hello = Hello::for_name("ok.test").bytes();
        tunnel.send(&hello).await;
        echoed(&mut world, tunnel, &hello).await;
        let records = world.finish().await;
        assert_eq!(records[0].assurance(), "NameResolved", "{records:#?}");
        assert_eq!(records[0].0.pointer("/tls/sni"), Some(&serde_json::json!("ok.test")), "{records:#?}");
        assert!(records[0].0.pointer("/tls/certificate").is_none(), "{records:#?}");
    }

    async fn row_091_one_byte_per_segment() {
        let (mut world, target) = echoing(Reached::Times(2)).await;
        let hello = Hello::for_name("ok.test").bytes();
        let mut tunnel = world.tunnel(&target).await;
        in_pieces(&mut tunnel, &hello, 1).await;
        echoed(&mut world, tunnel, &hello).await;
        // The same verdict for a refused name.
        let mut tunnel = world.tunnel(&target).await;
        let refused = Hello::for_name("bad.test").bytes();
        for piece in refused.chunks(1) {
            tunnel.offer(piece).await;
        }
        tunnel.refused_in_tls().await;
        world.closed(NAME_REASONS);
        world.finish().await;
    }

    async fn row_092_many_records() {
        let hello = Hello::for_name("ok.test");
        let message = hello.message();
        let name = message.windows(7).position(|window| window == b"ok.test").unwrap();
        let mut inside_name = records(&message[..name + 3], 16_384);
        inside_name.extend(records(&message[name + 3..], 16_384));
        let shapes = [hello.split(40), hello.split(1), inside_name];
        let (mut world, target) = echoing(Reached::Times(shapes.len() * 3)).await;
        for bytes in &shapes {
            for size in [bytes.len(), 7] {
                let mut tunnel = world.tunnel(&target).await;
                in_pieces(&mut tunnel, bytes, size).await;
                echoed(&mut world, tunnel, bytes).await;
            }
        }
        for size in [40, 1, 3] {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.offer(Hello::for_name("bad.test").split(size)).await;
            tunnel.refused_in_tls().await;
            world.closed(NAME_REASONS);
        }
        world.finish().await;
    }

    async fn row_094_long_hellos() {
        let (mut world, target) = echoing(Reached::Times(1)).await;
        let long = Hello::for_name("ok.test")
            .instead(KEY_SHARE, post_quantum_shares())
            .offering(&["h2", "http/1.1", "an-unusually-long-protocol-name-that-nobody-speaks"])
            .padded(17 * 1024);
        assert!(long.message().len() >= 17 * 1024);
        let bytes = long.bytes();
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(&bytes).await;
        echoed(&mut world, tunnel, &bytes).await;
        world.finish().await;

        // Padding first, so that the name lies past any limit.
        let mut huge = Hello::nameless().padded(64 * 1024 - 600);
        huge = huge.with(SERVER_NAME, server_name(&[(0, b"ok.test")]));
        assert!(huge.message().len() > 60 * 1024);
        refused(&[huge.bytes()], &["bad-hello", "head-too-large"]).await;
    }

    async fn row_095_lying_lengths() {
        let good = Hello::for_name("ok.test").bytes();
        let mut record_too_long = good.clone();
        record_too_long[3..5].copy_from_slice(&[0x7f, 0xff]);
        let mut record_empty = vec![22, 3, 1, 0, 0];
        record_empty.extend(&good);
        let mut handshake_huge = good.clone();
        handshake_huge[6..9].copy_from_slice(&[0xff, 0xff, 0xff]);
        // The list of extensions claims one byte more than the message has.
        let mut extensions = good.clone();
        let at = 5 + 4 + 2 + 32 + 1 + 32 + 2 + 10 + 2;
        let length = u16::from_be_bytes([extensions[at], extensions[at + 1]]) + 1;
        extensions[at..at + 2].copy_from_slice(&length.to_be_bytes());
        // One extension claims to go past the end.
        let mut one = Hello::for_name("ok.test").message();
        let end = one.len();
        // The server_name extension is the last: twelve bytes of content after its length.
        one[end - 14..end - 12].copy_from_slice(&[0xff, 0xff]);
        let mut session = good.clone();
        session[5 + 4 + 2 + 32] = 255;
        let before = {
            let world = World::start().await;
            let memory = world.gateway.memory("VmRSS");
            world.finish().await;
            memory
        };
        let (mut world, target) = echoing(Reached::Silently).await;
        let shapes = [record_too_long, record_empty, handshake_huge, extensions, records(&one, 16_384), session];
        for hello in shapes.iter().cycle().take(shapes.len() * 20) {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.offer(hello).await;
            // Whatever more the lie announces does not come.
            tunnel.finish_sending().await;
            tunnel.refused_in_tls().await;
            world.closed(&["bad-hello"]);
        }
        let grown = world.gateway.memory("VmRSS").saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB more after {} lying hellos", shapes.len() * 20);
        world.finish().await;
    }

    async fn row_097_garbage_after_a_record_header() {
        let shapes = [vec![0x16, 3, 0xff, 0xff, 0xff, 0xff, 0, 0], b"\x16\x03GET / HTTP/1.1\r\n\r\n".to_vec(), b"\x16\x03\x01\x00\x05hello".to_vec()];
        refused(&shapes, &["bad-hello"]).await;

        // Not even where raw bytes are allowed and TLS is not: what begins like TLS is TLS or nothing.
        let rules = "  - {name: raw, action: Allow, to: {hosts: [ok.test], protocol: TCP}}\n  - {name: no-tls, action: Deny, to: {hosts: [ok.test], protocol: TLS}}\n";
        let mut world = Plan::rules(rules).start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Silently);
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        for bytes in shapes {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.offer(bytes).await;
            tunnel.finish_sending().await;
            tunnel.refused_in_tls().await;
            world.closed(&["bad-hello"]);
        }
        world.finish().await;
    }

    async fn row_098_old_protocol_versions() {
        let old = |version: u16| {
            let mut hello = Hello { version, ..Hello::for_name("ok.test") };
            hello.extensions.retain(|(kind, _)| *kind != VERSIONS && *kind != KEY_SHARE);
            hello.bytes()
        };
        let (mut world, target) = echoing(Reached::Silently).await;
        for hello in [old(0x0300), old(0x0301), old(0x0302)] {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.offer(hello).await;
            assert_eq!(tunnel.refused_in_tls().await, Some(70), "the alert protocol_version");
            world.closed(&["tls-version"]);
        }
        // SSLv2: a two-byte length with the top bit, then client_hello.
        let mut ssl2 = vec![0x80, 0x1c, 1, 0, 2, 0, 3, 0, 0, 0, 0x10, 1, 0, 0x80];
        ssl2.extend([7; 16]);
        let mut tunnel = world.tunnel(&target).await;
        tunnel.offer(ssl2).await;
        tunnel.refused_in_tls().await;
        world.closed(&["bad-hello", "tls-version", "protocol-not-allowed"]);
        world.finish().await;
    }

    async fn row_100_encrypted_hello() {
        let (mut world, target) = echoing(Reached::Times(2)).await;
        let allowed = Hello::for_name("ok.test").with(ENCRYPTED_HELLO, encrypted_hello()).bytes();
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(&allowed).await;
        echoed(&mut world, tunnel, &allowed).await;
        let mut tunnel = world.tunnel(&target).await;
        tunnel.offer(Hello::for_name("front.test").with(ENCRYPTED_HELLO, encrypted_hello()).bytes()).await;
        tunnel.refused_in_tls().await;
        world.closed(NAME_REASONS);
        world.finish().await;
    }

    /// Early data is the client's first bytes like any other: none before the verdict, untouched after it.
    async fn row_103_early_data() {
        let (mut world, target) = echoing(Reached::Times(2)).await;
        let early = |name: &str| {
            let mut bytes = Hello::for_name(name).with(EARLY_DATA, []).bytes();
            bytes.extend([23, 3, 3, 0, 8]);
            bytes.extend(b"zero-rtt");
            bytes
        };
        let mut tunnel = world.tunnel(&target).await;
        tunnel.offer(early("bad.test")).await;
        tunnel.refused_in_tls().await;
        world.closed(NAME_REASONS);
        let allowed = early("ok.test");
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(&allowed).await;
        echoed(&mut world, tunnel, &allowed).await;
        let records = world.finish().await;
        assert_eq!(records.iter().map(exitgate_tests::records::Record::bytes_out).max(), Some(allowed.len() as u64));
    }

    async fn row_104_duplicate_unknown_and_many_extensions() {
        let twice = Hello::for_name("ok.test").with(SERVER_NAME, server_name(&[(0, b"ok.test")]));
        let other = Hello::for_name("bad.test").with(SERVER_NAME, server_name(&[(0, b"ok.test")]));
        let pair = Hello::nameless().with(SERVER_NAME, server_name(&[(0, b"ok.test"), (0, b"bad.test")]));
        let empty = Hello::nameless().with(SERVER_NAME, server_name(&[(0, b"")]));
        let literal = Hello::nameless().with(SERVER_NAME, server_name(&[(0, b"127.1.0.1")]));
        let kind = Hello::nameless().with(SERVER_NAME, server_name(&[(7, b"ok.test")]));
        let repeated = Hello::for_name("ok.test").with(0x5a5a, [1]).with(0x5a5a, [2]);
        let closed = [twice, other, pair, empty, literal, kind, repeated].map(|hello| hello.bytes());
        refused(&closed, &["bad-hello", "sni-missing", "name-mismatch"]).await;

        let (mut world, target) = echoing(Reached::Times(2)).await;
        let mut many = Hello::for_name("ok.test");
        for kind in 0..300 {
            many = many.with(0x6000 + kind, [0]);
        }
        let mut grease = Hello::nameless().with(0x0a0a, []);
        grease.ciphers.insert(0, 0x1a1a);
        grease = grease.with(SERVER_NAME, server_name(&[(0, b"OK.test.")])).with(0xfafa, [0]);
        for hello in [many, grease] {
            let bytes = hello.bytes();
            let mut tunnel = world.tunnel(&target).await;
            tunnel.send(&bytes).await;
            echoed(&mut world, tunnel, &bytes).await;
        }
        world.finish().await;
    }
}
