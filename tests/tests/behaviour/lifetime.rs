//! How long connections live: total time, keep-alive, and a rule that ends.

use std::time::{Duration, Instant};

use exitgate_tests::hello::Hello;
use exitgate_tests::origin::Origin;
use exitgate_tests::world::{ORIGIN, Plan, Reached};

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
