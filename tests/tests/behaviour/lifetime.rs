//! How long connections live: total time, keep-alive, and a rule that ends.

use std::time::{Duration, Instant};

use exitgate_tests::client::{End, Wire};
use exitgate_tests::hello::Hello;
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::{Answered, Manners, Origin};
use exitgate_tests::world::{ORIGIN, Plan, Reached};

/// The method makes the gateway look inside.
const READ: &str =
    "  - {name: read, action: Allow, to: {hosts: [ok.test]}, http: {methods: [GET]}}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_tunnel_ends_with_its_total_time() {
    let mut world = Plan::default()
        .settings("  timeouts: {total: 1s, idle: 30s}\n")
        .start()
        .await;
    let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(1));
    let target = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let began = Instant::now();
    let mut tunnel = world.tunnel(&target).await;
    let hello = Hello::for_name("ok.test").bytes();
    let mut moved = 0;
    // As busy as it can be: each echo asks for the next.
    while tunnel.offer(&hello).await
        && tunnel.swallow(hello.len() as u64).await == hello.len() as u64
    {
        moved += hello.len() as u64;
    }
    let lived = began.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&lived),
        "{lived:?}"
    );
    world.closed_after_allow(&["total-time"]).host("ok.test");
    let records = world.finish().await;
    assert_eq!(records[0].closed_by(), "gateway");
    assert!(
        moved > 0 && records[0].bytes_in() >= moved,
        "{moved}: {records:#?}"
    );
}

/// The first answer says 1000 bytes, sends one now and then and never all of them; the others are whole.
async fn trickle(mut wire: Wire) {
    wire.take_until("\r\n\r\n").await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        .await;
    while wire.offer(".").await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a request whose answer trickles, and sees it cut.
async fn trickled(wire: &mut Wire, request: &str) {
    let began = Instant::now();
    wire.send(request).await;
    let head = wire.take_until("\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{head:?}");
    let (body, end) = wire.rest().await;
    let lived = began.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&lived),
        "{lived:?}"
    );
    assert!((1..1000).contains(&body.len()), "{}", body.len());
    assert_eq!(end, End::Reset);
}

const TOTAL: &str = "  timeouts: {total: 1s, idle: 30s}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_ends_with_its_total_time() {
    let mut world = Plan::default().settings(TOTAL).start().await;
    let origin = world.add(Origin::scripted(ORIGIN, trickle).await, Reached::Times(2));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    // As a proxied request, and inside a tunnel.
    let mut wire = world.client().await;
    let absolute = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    trickled(&mut wire, &absolute).await;
    world.closed_after_allow(&["total-time"]).host("ok.test");
    let mut tunnel = world.tunnel(&host).await;
    trickled(&mut tunnel, &get(&host, "/")).await;
    world.closed_after_allow(&["total-time"]).host("ok.test");
    for record in world.finish().await {
        assert_eq!((record.verdict(), record.closed_by()), ("error", "gateway"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_without_an_answer_ends_with_its_total_time() {
    let mut world = Plan::default().settings(TOTAL).start().await;
    let origin = world.add(Origin::sink(ORIGIN).await, Reached::Times(1));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    world
        .request_refused(request, 504, &["total-time"])
        .await
        .host("ok.test");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opened_exchange_ends_with_its_total_time() {
    let opened = Opened::new();
    let plan = Plan::rules(READ).settings(&opened.settings(TOTAL));
    let mut world = plan.start().await;
    let config = opened.certificate(&["http/1.1"]);
    let origin = Origin::secured(ORIGIN, config, |stream, _, _| trickle(Wire::over(stream)));
    let one = world.add(origin.await, Reached::Times(1));
    let endless = |_: &_| Answered::long(1 << 40);
    let two = opened.http2_origin(ORIGIN, Manners::default(), endless);
    let two = world.add(two.await, Reached::Times(1));
    world.may_ask(&["ok.test"]);

    let port = world.origin(one).port();
    let mut wire = opened.open(&world, "ok.test", port).await;
    let request = get(&format!("ok.test:{port}"), "/");
    wire.send(&request).await;
    let head = wire.take_until("\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{head:?}");
    let (body, _) = wire.rest().await;
    assert!((1..1000).contains(&body.len()), "{}", body.len());
    world.closed_after_allow(&["total-time"]).host("ok.test");

    // As busy as it can be.
    let port = world.origin(two).port();
    let client = opened.http2(&world, "ok.test", port).await;
    let began = Instant::now();
    let ended = client.get(&format!("ok.test:{port}"), "/").await;
    let lived = began.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&lived),
        "{lived:?}"
    );
    assert_eq!(ended.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    // The connection is as old as that too.
    client.ended().await.unwrap();
    world.closed_after_allow(&["total-time"]).host("ok.test");
    for record in world.finish().await {
        assert_eq!((record.verdict(), record.closed_by()), ("error", "gateway"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_takes_no_request_after_its_total_time() {
    let mut world = Plan::default().settings(TOTAL).start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut wire = world.client().await;
    let began = Instant::now();
    loop {
        let answer = wire.ask(&request).await;
        assert_eq!(answer.status, 200);
        world.allowed().host("ok.test");
        if answer.header("connection") == "close" {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{}", answer.head);
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    wire.closed().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_is_closed_when_nothing_is_asked() {
    let mut world = Plan::default()
        .settings("  timeouts: {idle: 700ms}\n")
        .start()
        .await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut wire = world.client().await;
    for _ in 0..2 {
        assert_eq!(wire.ask(&request).await.status, 200);
        world.allowed().host("ok.test");
    }
    let silent = Instant::now();
    // Nothing was asked: no answer, and no record.
    wire.closed().await;
    let waited = silent.elapsed();
    assert!(
        (Duration::from_millis(500)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
    let what = "the origin's connection to be closed with it";
    let seen = world.origin(origin).seen.connections.clone();
    seen.wait(what, |visits| visits.first()?.ended.then_some(()))
        .await;
    world.finish().await;
}

/// `expiresAt` of a moment so many seconds from now.
fn in_seconds(seconds: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("{seconds} seconds"), "+%FT%TZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_expires_closes_its_tunnels() {
    let rules = format!(
        "  - {{name: brief, action: Allow, to: {{hosts: [ok.test]}}, expiresAt: \"{}\"}}\n  - {{name: lasting, action: Allow, to: {{hosts: [also.test]}}}}\n",
        in_seconds(4)
    );
    let mut world = Plan::rules(&rules)
        .settings("  timeouts: {recheckGrace: 500ms}\n")
        .start()
        .await;
    let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(2));
    let port = world.origin(origin).port();
    world.may_ask(&["ok.test", "also.test"]);
    let mut open = Vec::new();
    for name in ["ok.test", "also.test"] {
        let mut tunnel = world.tunnel(&format!("{name}:{port}")).await;
        let hello = Hello::for_name(name).bytes();
        tunnel.send(&hello).await;
        tunnel.take(hello.len()).await;
        open.push(tunnel);
    }
    world
        .closed_after_allow(&["policy-changed"])
        .host("ok.test");
    open[0].closed().await;
    world
        .connect_refused(&format!("ok.test:{port}"), 403, &["no-rule"])
        .await
        .phase("preDns");
    // The other rule's tunnel is as before.
    open[1].send("still here").await;
    assert_eq!(open[1].take(10).await, b"still here");
    drop(open);
    world.allowed().host("also.test").rule("lasting");
    let records = world.finish().await;
    let ended = records
        .iter()
        .find(|record| record.reason() == "policy-changed")
        .unwrap();
    assert_eq!(ended.closed_by(), "gateway", "{ended:#?}");
}
