//! Cleartext in tunnels: to an address, with and without a port in Host, and first lines that never end.

use exitgate_tests::origin::Origin;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

async fn cleartext(reached: Reached) -> (World, u16) {
    let mut world = World::start().await;
    let origin = world.add(Origin::http(ORIGIN).await, reached);
    let port = world.origin(origin).port();
    world.may_ask(&["ok.test"]);
    (world, port)
}

/// The 200 comes before the dial, so that the client can show a name; the refusal is told in its own language.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleartext_to_an_address_is_judged_by_the_host_it_shows() {
    let (mut world, port) = cleartext(Reached::Times(1)).await;
    let literal = format!("{ORIGIN}:{port}");
    for host in [format!("bad.test:{port}"), literal.clone()] {
        let mut tunnel = world.tunnel(&literal).await;
        let answer = tunnel
            .ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        tunnel.closed().await;
        world.refused(&answer, 403, &["no-rule"]);
    }
    let mut tunnel = world.tunnel(&literal).await;
    let answer = tunnel
        .ask(format!("GET / HTTP/1.1\r\nHost: ok.test:{port}\r\n\r\n"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    drop(tunnel);
    world.allowed().host("ok.test");
    world.finish().await;
}

/// A port that is shown is the connection's; a Host without one shows none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_port_contradicts_none() {
    let (mut world, port) = cleartext(Reached::Unchecked).await;
    let target = format!("ok.test:{port}");
    for host in ["ok.test", &target] {
        let mut tunnel = world.tunnel(&target).await;
        let answer = tunnel
            .ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        drop(tunnel);
        world.allowed().host("ok.test");
    }
    for host in ["ok.test:80", "ok.test:443", "ok.test:1"] {
        let mut tunnel = world.tunnel(&target).await;
        let answer = tunnel
            .ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        tunnel.closed().await;
        world
            .refused(&answer, 400, &["port-mismatch"])
            .phase("preRequest");
    }
    assert_eq!(world.origin(0).seen.requests.all().len(), 2);
    world.finish().await;
}

/// Beside a Deny for HTTP, an Allow for raw TCP waits for the first bytes: text without an end is TCP, the start of a
/// request is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_line_is_tcp_unless_it_starts_a_request() {
    let rules = "  - {name: raw, action: Allow, to: {hosts: [ok.test], protocol: TCP}}
  - {name: admin, action: Deny, to: {hosts: [ok.test]}, http: {paths: [\"/admin/**\"]}}\n";
    let mut world = Plan::rules(rules)
        .settings("  timeouts: {peek: 500ms}\n")
        .start()
        .await;
    let origin = world.add(Origin::echo(ORIGIN).await, Reached::Unchecked);
    let target = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    for text in ["login: ", "BREW", "\r\n"] {
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(text).await;
        assert_eq!(tunnel.take(text.len()).await, text.as_bytes());
        tunnel.finish_sending().await;
        tunnel.closed().await;
        world.allowed().rule("raw");
    }
    for start in ["G", "post", "BREW /admin/", "\r\nGE", "\u{16}"] {
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(start).await;
        tunnel.refused_in_tls().await;
        world.closed(&["hello-timeout"]);
    }
    let visits = world.origin(origin).visits().await;
    let bytes = visits.iter().map(|visit| visit.bytes.len()).sum::<usize>();
    assert_eq!(bytes, 7 + 4 + 2, "{visits:?}");
    world.finish().await;
}
