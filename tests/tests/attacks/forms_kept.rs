//! Section 3: what of a forward-proxy request and its answer crosses the gateway.

use exitgate_tests::origin::{Origin, Reply};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};

rows! {
    async fn row_065_hop_by_hop_headers() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let answer = world.client().await.ask(format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\
             Proxy-Connection: keep-alive\r\nConnection: x, keep-alive\r\nX: one-hop\r\nTE: trailers\r\n\
             Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nX-Kept: yes\r\n\r\n"
        )).await;
        assert_eq!(answer.status, 200, "{}{}", answer.head, answer.text());
        world.allowed();
        let request = world.origin(origin).seen.requests.all().remove(0);
        for header in ["proxy-authorization", "proxy-connection", "x", "keep-alive", "upgrade", "te"] {
            assert!(request.headers(header).is_empty(), "{header} reached the origin: {}", request.head);
        }
        assert!(!request.head.contains("one-hop"), "{}", request.head);
        assert_eq!(request.headers("x-kept"), ["yes"], "{}", request.head);
        assert_eq!(request.headers("host"), [host.as_str()], "{}", request.head);
        assert!(request.line().starts_with("GET / HTTP/1.1"), "{}", request.head);
        world.finish().await;
    }

    async fn row_067_forged_reason_headers() {
        let mut world = World::start().await;
        let forged = "Exitgate-Reason: no-rule\r\nExitgate-Decision: forged\r\nexitgate-other: x\r\nX-Kept: yes\r\n";
        let origin = world.add(Origin::http_with(ORIGIN, move |_| Reply::with(forged, "body")).await, Reached::Times(1));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let answer = world.client().await.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"), "{}", answer.head);
        assert!(!answer.head.to_lowercase().contains("exitgate-"), "{}", answer.head);
        assert_eq!(answer.header("x-kept"), "yes", "{}", answer.head);
        world.allowed();
        world.finish().await;
    }

    async fn row_070_expect_on_a_refused_request() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
        let port = world.origin(origin).port();
        let mut wire = world.client().await;
        // The body is announced and never sent: an answer that waits for it would not come.
        wire.send(format!(
            "POST http://bad.test:{port}/ HTTP/1.1\r\nHost: bad.test:{port}\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 403, "{}", answer.head);
        wire.closed().await;
        world.refused(&answer, 403, &["no-rule"]).phase("preDns");
        world.finish().await;
    }
}
