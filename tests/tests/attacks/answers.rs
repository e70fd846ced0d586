//! Section 10 inside opened TLS, over HTTP/1.1 and over HTTP/2: what an origin's answer leads to.

use exitgate_tests::client::End;
use exitgate_tests::deadline::within;
use exitgate_tests::http2::{self, request};
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::{Answered, Manners, Reply, Request};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};

const SMALL: &str = "  - {name: small, action: Allow, to: {hosts: [ok.test]}, response: {contentLength: {max: 1000}}}\n";

/// The bytes of content that a stream brings, and how it ended if not well.
async fn content(client: &http2::Client, authority: &str) -> (u16, usize, Option<h2::Error>) {
    let open = client
        .open(request("GET", authority, "/"), true)
        .await
        .unwrap();
    let (answer, mut body, _sender) = open.head().await.unwrap();
    let mut length = 0;
    loop {
        match within("more content", body.data()).await {
            Some(Ok(piece)) => {
                length += piece.len();
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            Some(Err(error)) => return (answer.status, length, Some(error)),
            None => return (answer.status, length, None),
        }
    }
}

/// A world whose origin speaks HTTP/2, and a client in it.
async fn over_http2(
    opened: &Opened,
    rules: &str,
    reply: impl Fn(&Request) -> Answered + Send + Sync + 'static,
) -> (World, http2::Client, String) {
    let origin = opened.http2_origin(ORIGIN, Manners::default(), reply).await;
    let (mut world, port) = opened.world_of(rules, origin, Reached::Times(1)).await;
    world.may_ask(&["ok.test"]);
    let client = opened.http2(&world, "ok.test", port).await;
    (world, client, format!("ok.test:{port}"))
}

rows! {
    async fn row_151_undeclared_length_of_a_stream() {
        for (length, whole) in [(1000, true), (1001, false), (200_000, false)] {
            let opened = Opened::new();
            let (mut world, client, authority) = over_http2(&opened, SMALL, move |_| Answered::ok(&"x".repeat(length))).await;
            for _ in 0..4 {
                let (status, received, error) = content(&client, &authority).await;
                assert_eq!((status, received), (200, length.min(1000)), "of {length}");
                if whole {
                    assert!(error.is_none(), "{error:?}");
                    world.allowed().rule("small");
                } else {
                    assert!(error.is_some_and(|error| error.is_reset()), "an end like any other, of {length}");
                    world.closed(&["rule-denied"]).rule("small").phase("postResponse");
                }
            }
            drop(client);
            world.finish().await;
        }
    }

    /// The only thing that can turn out after the head is a length. Over HTTP/1.1 the end is no end of TLS either.
    async fn row_152_refused_after_content_was_sent() {
        let opened = Opened::new();
        let reply = |_: &Request| {
            let body = "x".repeat(5000);
            Reply::raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n"))
        };
        let (mut world, port) = opened.world_of(SMALL, opened.origin_with(ORIGIN, reply).await, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        for _ in 0..3 {
            let mut wire = opened.open(&world, "ok.test", port).await;
            wire.send(get(&format!("ok.test:{port}"), "/")).await;
            let (bytes, _) = wire.rest().await;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert!(!body.ends_with("0\r\n\r\n"), "the cut cannot be seen: {body:?}");
            assert_eq!(body.matches('x').count(), 1000);
            world.closed(&["rule-denied"]).rule("small").phase("postResponse");
        }
        world.finish().await;

        // One stream is reset, with the others of its connection left alone.
        let opened = Opened::new();
        let reply = |request: &Request| Answered::ok(&"x".repeat(if request.line().contains("/small") { 10 } else { 5000 }));
        let (mut world, client, authority) = over_http2(&opened, SMALL, reply).await;
        let (_, _, error) = content(&client, &authority).await;
        assert!(error.is_some_and(|error| error.is_reset()));
        world.closed(&["rule-denied"]).rule("small").phase("postResponse");
        let answer = client.get(&authority, "/small").await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 10));
        world.allowed().rule("small");
        drop(client);
        world.finish().await;
    }

    /// No rule looks into bodies, so a range hides nothing from one; what comes is judged as what it is.
    async fn row_154_ranges() {
        let rules = "  - {name: notes, action: Allow, to: {hosts: [ok.test]}, response: {contentTypes: [text/plain], status: [200]}}\n";
        let part = "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-3/900000\r\nContent-Length: 4\r\n\r\npart";
        let parts = "HTTP/1.1 200 OK\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 62\r\n\r\n--x\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/9\r\n\r\na";
        for answer in [part, parts] {
            let opened = Opened::new();
            let (mut world, port) = opened.world_of(rules, opened.origin_with(ORIGIN, move |_| Reply::raw(answer)).await, Reached::Unchecked).await;
            world.may_ask(&["ok.test"]);
            let mut wire = opened.open(&world, "ok.test", port).await;
            let asked = format!("GET / HTTP/1.1\r\nHost: ok.test:{port}\r\nRange: bytes=0-0,2-2\r\n\r\n");
            let answer = wire.ask(asked).await;
            world.refused(&answer, 403, &["no-rule"]).phase("postResponse");
            assert!(!answer.text().contains("part\"") && !answer.text().contains("Content-Range"), "{}", answer.text());
            drop(wire);
            world.finish().await;
        }
    }

    async fn row_155_cookies_and_redirects_from_inside() {
        let rules = "  - {name: reads, action: Allow, to: {hosts: [ok.test]}, http: {methods: [GET]}}
  - {name: elsewhere, action: Alert, to: {hosts: [ok.test]}, response: {headers: {location: {glob: [\"https://bad.test/*\"]}}}}\n";
        let opened = Opened::new();
        let reply = |_: &Request| Reply::raw("HTTP/1.1 302 Found\r\nSet-Cookie: id=1; Domain=bad.test\r\nSet-Cookie: b=2\r\nLocation: https://bad.test/x\r\nContent-Length: 0\r\n\r\n");
        let (mut world, port) = opened.world_of(rules, opened.origin_with(ORIGIN, reply).await, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
        assert_eq!(answer.headers("set-cookie"), ["id=1; Domain=bad.test", "b=2"]);
        assert_eq!((answer.status, answer.header("location")), (302, "https://bad.test/x"));
        world.allowed().rule("reads");
        // Following it is a connection of its own.
        world.connect_refused("bad.test:443", 403, &["no-rule"]).await;
        drop(wire);
        let records = world.finish().await;
        assert!(records.iter().any(|record| record.1.contains("elsewhere")), "not flagged: {records:#?}");

        let opened = Opened::new();
        let reply = |_: &Request| Answered::ok("").status(302).with("set-cookie", "id=1; Domain=bad.test").with("location", "https://bad.test/x");
        let (mut world, client, authority) = over_http2(&opened, rules, reply).await;
        let answer = client.get(&authority, "/").await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (302, "https://bad.test/x"));
        assert_eq!(answer.headers("set-cookie"), ["id=1; Domain=bad.test"]);
        world.allowed().rule("reads");
        drop(client);
        let records = world.finish().await;
        assert!(records[0].1.contains("elsewhere"), "not flagged: {records:#?}");
    }

    async fn row_157_expression_that_fails_inside() {
        let rules = "  - {name: names, action: Allow, to: {hosts: [ok.test]}}
  - {name: broken, action: Deny, to: {hosts: [ok.test]}, when: 'request.headers[\"token\"] == \"bad\"'}\n";
        // A header that is not there is an error of the expression.
        let cases = [(None, Some("policy-error")), (Some("good"), None), (Some("bad"), Some("rule-denied")), (Some("good"), None)];
        let opened = Opened::new();
        let (mut world, client, authority) = over_http2(&opened, rules, |_| Answered::ok("x")).await;
        for (token, refused) in cases {
            let mut asked = request("GET", &authority, "/");
            if let Some(token) = token {
                asked.headers_mut().insert("token", token.parse().unwrap());
            }
            let answer = client.ask(asked).await.unwrap();
            if let Some(reason) = refused {
                world.stream_refused(&answer, 403, &[reason]).rule("broken");
            } else {
                assert_eq!(answer.status, 200, "{}", answer.head);
                world.allowed().rule("names");
            }
        }
        assert_eq!(world.origin(0).request_lines().len(), 2);
        drop(client);
        world.finish().await;

        let opened = Opened::new();
        let (mut world, port) = opened.world(rules, ORIGIN, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        for (token, refused) in cases {
            let field = token.map(|token| format!("Token: {token}\r\n")).unwrap_or_default();
            let mut wire = opened.open(&world, "ok.test", port).await;
            let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: ok.test:{port}\r\n{field}\r\n")).await;
            if let Some(reason) = refused {
                world.refused(&answer, 403, &[reason]).rule("broken");
                assert_eq!(wire.closed().await, End::Closed);
            } else {
                assert_eq!(answer.status, 200, "{}", answer.head);
                world.allowed().rule("names");
            }
        }
        assert_eq!(world.origin(0).request_lines().len(), 2);
        world.finish().await;
    }
}
