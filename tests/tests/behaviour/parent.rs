//! A parent proxy that says no, and plain HTTP through one; what it is asked for is attack row 29.

use exitgate_tests::client::Wire;
use exitgate_tests::origin::Origin;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

async fn behind(parent: &Origin) -> World {
    let settings = format!("  parent: {{address: \"{}\"}}\n", parent.address);
    let mut world = Plan::default().settings(&settings).start().await;
    world.may_ask(&["ok.test"]);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_refuses_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nX-Secret: parent\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        "",
    ] {
        let parent = Origin::scripted("127.0.0.1", move |mut wire: Wire| async move {
            wire.take_until("\r\n\r\n").await;
            wire.offer(answer).await;
        });
        let parent = parent.await;
        let mut world = behind(&parent).await;
        world.add(parent, Reached::Times(2));
        world
            .connect_refused("ok.test:443", 502, &["parent-failed"])
            .await
            .host("ok.test");
        let request = "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n";
        world
            .request_refused(request, 502, &["parent-failed"])
            .await
            .host("ok.test");
        // What the policy refuses does not reach the parent.
        world
            .connect_refused("bad.test:443", 403, &["no-rule"])
            .await
            .phase("preDns");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_goes_through_a_tunnel_of_the_parent() {
    let parent = Origin::scripted("127.0.0.1", |mut wire: Wire| async move {
        let head = wire.take_until("\r\n\r\n").await;
        assert!(head.starts_with(format!("CONNECT {ORIGIN}:80 HTTP/1.1\r\n").as_bytes()));
        wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
        wire.take_until("\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        drop(wire.drain().await);
    });
    let parent = parent.await;
    let mut world = behind(&parent).await;
    let parent = world.add(parent, Reached::Times(1));
    let answer = world
        .client()
        .await
        .ask("GET http://ok.test/a?b HTTP/1.1\r\nHost: ok.test\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "hi"),
        "{}",
        answer.head
    );
    world.allowed().host("ok.test");
    let seen = world.origin(parent).visits().await.remove(0).bytes;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let (_, inner) = seen.split_once("\r\n\r\n").unwrap();
    assert!(inner.starts_with("GET /a?b HTTP/1.1\r\n"), "{inner}");
    assert!(
        inner.to_lowercase().contains("\r\nhost: ok.test\r\n"),
        "{inner}"
    );
    world.finish().await;
}
