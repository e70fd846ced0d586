//! Section 6: what is inside a tunnel.

use exitgate_tests::client::Wire;
use exitgate_tests::hello::Hello;
use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

const TLS_ONLY: &str =
    "  - {name: tls-only, action: Allow, to: {hosts: [ok.test], protocol: TLS}}\n";
const RAW: &str = "  - {name: raw, action: Allow, to: {hosts: [ok.test], protocol: TCP}}\n";
const SHORT_PEEK: &str = "  timeouts: {peek: 700ms}\n";

async fn to_echo(plan: Plan, reached: Reached) -> (World, String) {
    let mut world = plan.settings(SHORT_PEEK).start().await;
    let origin = world.add(Origin::echo(ORIGIN).await, reached);
    world.may_ask(&["ok.test"]);
    let target = format!("ok.test:{}", world.origin(origin).port());
    (world, target)
}

async fn greeting(script: Plan, reached: Reached) -> (World, String) {
    let mut world = script.settings(SHORT_PEEK).start().await;
    let origin = Origin::scripted(ORIGIN, |mut wire: Wire| async move {
        wire.offer("220 mail.test ESMTP\r\n").await;
        drop(wire.drain().await);
    });
    let origin = world.add(origin.await, reached);
    world.may_ask(&["ok.test"]);
    let target = format!("ok.test:{}", world.origin(origin).port());
    (world, target)
}

rows! {
    async fn row_106_other_protocols_where_tls_is_required() {
        let others = [
            ("SSH-2.0-OpenSSH_9.6\r\n", "ssh"),
            ("EHLO client.test\r\n", "smtp"),
            ("\x01\x02\x03\x04raw bytes", "tcp"),
            ("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "proxy"),
            ("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "proxy"),
        ];
        let (mut world, target) = to_echo(Plan::rules(TLS_ONLY), Reached::Silently).await;
        for (bytes, _) in others {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.send(bytes).await;
            tunnel.closed().await;
            world.closed(&["protocol-not-allowed", "no-rule"]).phase("preRequest").host("ok.test");
        }
        let mut tunnel = world.tunnel(&target).await;
        let answer = tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        tunnel.closed().await;
        assert_eq!(answer.status, 403, "{}", answer.head);
        world.closed(&["protocol-not-allowed", "no-rule", "port-mismatch"]);
        let records = world.finish().await;
        let details = records.iter().map(exitgate_tests::records::Record::detail).collect::<Vec<_>>();
        for (_, guess) in others {
            assert!(details.iter().any(|detail| detail.contains(guess)), "no record guesses {guess}: {details:?}");
        }
    }

    async fn row_107_server_speaks_first() {
        let (mut world, target) = greeting(Plan::default(), Reached::Silently).await;
        let mut tunnel = world.tunnel(&target).await;
        tunnel.closed().await;
        world.closed(&["protocol-not-allowed", "hello-timeout", "no-rule"]).host("ok.test");
        world.finish().await;

        let (mut world, target) = greeting(Plan::rules(RAW), Reached::Times(1)).await;
        let mut tunnel = world.tunnel(&target).await;
        assert_eq!(tunnel.take_until("\r\n").await, b"220 mail.test ESMTP\r\n");
        tunnel.finish_sending().await;
        tunnel.closed().await;
        world.allowed().rule("raw");
        world.finish().await;
    }

    async fn row_110_application_protocols() {
        let rule = "  - {name: web, action: Allow, to: {hosts: [ok.test]}, tls: {alpn: [h2, http/1.1]}}\n";
        let (mut world, target) = to_echo(Plan::rules(rule), Reached::Times(5)).await;
        for offered in [&["h2", "http/1.1"][..], &["http/1.1"]] {
            let hello = Hello::for_name("ok.test").offering(offered).bytes();
            let mut tunnel = world.tunnel(&target).await;
            tunnel.send(&hello).await;
            assert_eq!(tunnel.take(hello.len()).await, hello);
            tunnel.finish_sending().await;
            tunnel.closed().await;
            world.allowed().rule("web");
        }
        for offered in ["acme-tls/1", "postgresql", "ssh"] {
            let mut tunnel = world.tunnel(&target).await;
            tunnel.send(Hello::for_name("ok.test").offering(&[offered]).bytes()).await;
            tunnel.refused_in_tls().await;
            world.closed(&["no-rule"]).phase("preRequest");
        }
        world.finish().await;
    }
}
