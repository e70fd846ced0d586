//! Section 7: framing of HTTP/1 responses, and upgrades.

use exitgate_tests::origin::{Origin, Reply, Request};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};

async fn answering(
    reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    reached: Reached,
) -> (World, usize, String) {
    let mut world = World::start().await;
    let origin = world.add(Origin::http_with(ORIGIN, reply).await, reached);
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    (world, origin, host)
}

fn get(host: &str, headers: &str) -> String {
    format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

rows! {
    async fn row_125_ambiguous_responses() {
        let replies = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/0.9 200 OK\r\n\r\n",
            "not http at all\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        ];
        for raw in replies {
            let (mut world, _, host) = answering(move |_| Reply::raw(raw), Reached::Times(1)).await;
            let answer = world.client().await.ask(get(&host, "")).await;
            assert_eq!(answer.status, 502, "{raw:?}: {}", answer.head);
            assert_eq!(answer.header("exitgate-reason"), "bad-response", "{raw:?}: {}", answer.head);
            world.closed(&["bad-response"]);
            world.finish().await;
        }
        // Bytes after the body belong to nobody: the answer is whole, and the connection is not used again.
        let extra = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
        let (mut world, origin, host) = answering(move |_| Reply::raw(extra), Reached::Times(2)).await;
        let mut wire = world.client().await;
        for _ in 0..2 {
            let answer = wire.ask(get(&host, "")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{}", answer.head);
            world.allowed();
            if answer.header("connection").eq_ignore_ascii_case("close") {
                wire = world.client().await;
            }
        }
        let requests = world.origin(origin).seen.requests.all();
        assert_eq!(requests.len(), 2);
        assert_ne!(requests[0].connection, requests[1].connection);
        world.finish().await;
    }

    async fn row_127_upgrade_that_the_origin_ignores() {
        let (mut world, origin, host) = answering(|_| Reply::ok("plain"), Reached::Times(1)).await;
        let mut wire = world.client().await;
        let answer = wire.ask(get(&host, UPGRADE)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "plain"), "{}", answer.head);
        world.allowed();
        // Still HTTP: the next request is judged.
        let answer = wire.ask("GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\n\r\n").await;
        wire.closed().await;
        world.refused(&answer, 403, &["no-rule"]).phase("preDns");
        assert_eq!(world.origin(origin).seen.requests.all().len(), 1);
        world.finish().await;

        // Bytes sent on the assumption of a switch are a request like any other.
        let (mut world, origin, host) = answering(|_| Reply::ok("plain"), Reached::Times(1)).await;
        let mut wire = world.client().await;
        wire.send(format!("{}GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\n\r\n", get(&host, UPGRADE))).await;
        assert_eq!(wire.answer().await.status, 200);
        world.allowed();
        let answer = wire.answer().await;
        wire.closed().await;
        world.refused(&answer, 403, &["no-rule"]).phase("preDns");
        assert_eq!(world.origin(origin).seen.requests.all().len(), 1);
        world.finish().await;
    }

    async fn row_128_upgrade_that_nobody_asked_for() {
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        let right = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{accept}\r\n");
        let cases = [
            ("", right.clone()),
            (UPGRADE, right.replace("websocket", "h2c")),
            (UPGRADE, right.replace("Connection: Upgrade\r\n", "")),
            (UPGRADE, right.replace("Upgrade: websocket\r\n", "")),
            (UPGRADE, right.replace(accept, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n")),
            (UPGRADE, right.replace(accept, "")),
        ];
        for (headers, raw) in cases {
            let shown = raw.clone();
            let (mut world, _, host) = answering(move |_| Reply::raw(raw.clone()), Reached::Times(1)).await;
            let mut wire = world.client().await;
            let answer = wire.ask(get(&host, headers)).await;
            assert_eq!(answer.status, 502, "{shown:?}: {}", answer.head);
            wire.closed().await;
            world.closed(&["bad-response"]);
            world.finish().await;
        }

        // The right answer switches, and bytes flow both ways.
        let (mut world, _, host) = answering(move |_| Reply::raw(format!("{right}hello")), Reached::Times(1)).await;
        let mut wire = world.client().await;
        wire.send(get(&host, UPGRADE)).await;
        let answer = wire.answer_to(true).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(wire.take(5).await, b"hello");
        drop(wire);
        world.allowed();
        world.finish().await;
    }
}
