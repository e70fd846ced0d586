//! Section 7: framing of HTTP/1 requests. The origin must never see a second request.

use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};

const MALFORMED: &[&str] = &["bad-request", "bad-target"];

/// What a smuggled request would look like at the origin.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: ok.test\r\n\r\n";

/// Each request is refused with 400 (or 501), and the origin gets no connection.
async fn never_sent(requests: &[String]) {
    let mut world = World::start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    for request in requests {
        let request = request.replace("{host}", &host);
        let mut wire = world.client().await;
        wire.offer(&request).await;
        let answer = wire.answer().await;
        let (rest, _) = wire.rest().await;
        assert!(
            rest.is_empty(),
            "{request:?}: more after the refusal: {:?}",
            String::from_utf8_lossy(&rest)
        );
        let status = if answer.status == 501 { 501 } else { 400 };
        assert_eq!(answer.status, status, "{request:?}");
        world.refused(&answer, status, MALFORMED);
    }
    world.finish().await;
}

fn post(headers: &str, body: &str) -> String {
    format!("POST http://{{host}}/ HTTP/1.1\r\nHost: {{host}}\r\n{headers}\r\n{body}")
}

/// A chunked request whose body is wrong; the refusal may come after the head was judged, and a request that has begun
/// at the origin must die there without becoming two.
async fn never_completed(bodies: &[String]) {
    let mut world = World::start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Unchecked);
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    for body in bodies {
        let request = post("Transfer-Encoding: chunked\r\n", body).replace("{host}", &host);
        let mut wire = world.client().await;
        wire.offer(&request).await;
        // A body that ends early is waited for; its end is the end of the connection.
        let answer = wire.answer().await;
        let shown = body.get(..body.len().min(60)).unwrap();
        assert_eq!(answer.status, 400, "{shown:?}: {}", answer.head);
        let (rest, _) = wire.rest().await;
        assert!(rest.is_empty(), "{shown:?}: more after the refusal");
        world.refused(&answer, 400, MALFORMED);
    }
    let requests = world.origin(origin).seen.requests.clone();
    let visits = world.origin(origin).visits().await;
    for visit in &visits {
        let heads = String::from_utf8_lossy(&visit.bytes)
            .matches("HTTP/1.1")
            .count();
        assert!(
            heads <= 1,
            "two requests on one connection: {:?}",
            String::from_utf8_lossy(&visit.bytes)
        );
    }
    world.finish().await;
    assert!(
        requests.all().is_empty(),
        "complete requests reached the origin: {:?}",
        requests.all()
    );
}

rows! {
    async fn row_115_length_and_chunking() {
        never_sent(&[
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SECOND}")),
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SECOND}")),
            post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello"),
        ]).await;
    }

    async fn row_116_chunking_and_length() {
        never_sent(&[
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{SECOND}")),
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\n"),
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ]).await;
    }

    async fn row_118_malformed_lengths() {
        let values = [
            "+5", "-1", "0x5", "5,5", "5, 5", "5 5", "", "18446744073709551616", "5;", "5.0", "\u{b}5", "5\u{c}", "five", "5\u{a0}",
        ];
        let requests = values.iter().map(|value| post(&format!("Content-Length: {value}\r\n"), "hello"));
        let mut requests = requests.collect::<Vec<_>>();
        requests.push(post("Content-Length : 5\r\n", "hello"));
        requests.push(post("Content-Length\u{b}: 5\r\n", "hello"));
        requests.push(post("Content-Length:\r\n 5\r\n", "hello"));
        never_sent(&requests).await;
    }

    async fn row_119_malformed_transfer_codings() {
        let values = [
            "xchunked", "chunked, chunked", "identity", "gzip, chunked", "gzip", ",chunked", "chunked,", "chunked\u{b}",
            "\u{b}chunked", "chunked;q=1", "\"chunked\"", "chunked, identity", "",
        ];
        let body = format!("0\r\n\r\n{SECOND}");
        let requests = values.iter().map(|value| post(&format!("Transfer-Encoding: {value}\r\n"), &body));
        let mut requests = requests.collect::<Vec<_>>();
        requests.push(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &body));
        requests.push(post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", &body));
        requests.push(post("Transfer-Encoding:\r\n chunked\r\n", &body));
        requests.push(post("Transfer-Encoding : chunked\r\n", &body));
        requests.push(format!("POST http://{{host}}/ HTTP/1.0\r\nHost: {{host}}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        never_sent(&requests).await;
    }

    async fn row_121_malformed_chunks() {
        let end = "\r\nhello\r\n0\r\n\r\n";
        let mut bodies = [
            "0x5", "+5", "-5", "5_0", "5 ", " 5", "\t5", "00000000000000005", "10000000000000005", "", "g", "5\u{b}", "5;a=\rb", "5;a=\nb",
            "5;a=\0b", "5,",
        ].map(|size| format!("{size}{end}")).to_vec();
        bodies.push("5\nhello\n0\n\n".into());
        bodies.push("5\r\nhello\n0\r\n\r\n".into());
        bodies.push("5\r\nhello0\r\n\r\n".into());
        bodies.push("5\r\nhelloXX0\r\n\r\n".into());
        bodies.push("5\rhello\r\n0\r\n\r\n".into());
        bodies.push(format!("5\r\nhello\r\n0\r\nX: y\n\n{SECOND}"));
        bodies.push(format!("5;{}{end}", "a".repeat(1 << 20)));
        bodies.push(format!("{}0\r\n\r\n", "1;abcdefgh=ijklmnop\r\nx\r\n".repeat(60_000)));
        never_completed(&bodies).await;
    }

    async fn row_122_trailers_that_repeat_headers() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        let trailers = "Content-Length: 99\r\nHost: bad.test\r\nAuthorization: Bearer x\r\nTransfer-Encoding: gzip\r\n";
        let body = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        let answer = wire.ask(post("Transfer-Encoding: chunked\r\n", &body).replace("{host}", &host)).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed();
        let seen = world.origin(origin).visits().await.remove(0).bytes;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(seen.contains("hello"), "{seen}");
        for forbidden in ["99", "bad.test", "Bearer", "gzip"] {
            assert!(!seen.contains(forbidden), "a trailer reached the origin: {seen}");
        }
        world.finish().await;
    }

    async fn row_124_malformed_request_lines() {
        let lines = [
            "G\0ET http://{host}/ HTTP/1.1", "GET  http://{host}/ HTTP/1.1", "GET http://{host}/\tHTTP/1.1",
            "GET http://{host}/  HTTP/1.1", "GET http://{host}/ HTTP/1.32", "GET http://{host}/ HTTP/0.9",
            "GET http://{host}/ HTTP/2.0", "GET http://{host}/ HTTP/3", "GET http://{host}/ http/1.1",
            "GET http://{host}/", "GET http://{host}/a b HTTP/1.1", "GET http://{host}/\0 HTTP/1.1",
            "GET http://{host}/%zz HTTP/1.1", "GET http://{host}/%00 HTTP/1.1", "GET\thttp://{host}/ HTTP/1.1",
            " GET http://{host}/ HTTP/1.1", "GET http://{host}/\r HTTP/1.1", "G(T http://{host}/ HTTP/1.1",
        ];
        let mut requests = lines.map(|line| format!("{line}\r\nHost: {{host}}\r\n\r\n")).to_vec();
        // Bare line feeds, and a bare carriage return in a header.
        requests.push("GET http://{host}/ HTTP/1.1\nHost: {host}\n\n".into());
        requests.push("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n\r\n".into());
        requests.push("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n\r\n".into());
        requests.push("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nX y\r\n\r\n".into());
        requests.push("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n: y\r\n\r\n".into());
        never_sent(&requests).await;
    }

    async fn row_130_answer_before_the_end_of_the_request() {
        use exitgate_tests::origin::Reply;
        let mut world = World::start().await;
        let early = |_: &exitgate_tests::origin::Request| {
            Reply::raw("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge").early()
        };
        let origin = world.add(Origin::http_with(ORIGIN, early).await, Reached::Times(2));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        wire.send(post("Content-Length: 1000000\r\n", "only the beginning").replace("{host}", &host)).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
        drop(wire);
        world.allowed();
        // The connection to the origin is in the middle of a body: another request goes over another one.
        let answer = world.client().await.ask(format!("GET http://{host}/2 HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 413, "{}", answer.head);
        world.allowed();
        assert_eq!(world.origin(origin).request_lines(), ["POST / HTTP/1.1", "GET /2 HTTP/1.1"]);
        world.finish().await;
    }

    async fn row_131_retry_on_a_stale_connection() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        use exitgate_tests::origin::Reply;
        let mut world = World::start().await;
        let served = AtomicUsize::new(0);
        // Every connection answers once and closes at its second request, without a byte.
        let stale = move |request: &exitgate_tests::origin::Request| {
            served.fetch_add(1, Ordering::Relaxed);
            if request.line().contains("/first") { Reply::ok("first") } else { Reply::raw("").close() }
        };
        let origin = world.add(Origin::http_with(ORIGIN, stale).await, Reached::Unchecked);
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        let answer = wire.ask(format!("GET http://{host}/first HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 200);
        world.allowed();
        let answer = wire.ask(post("Content-Length: 4\r\n", "once").replace("{host}", &host)).await;
        assert_eq!(answer.status, 502, "{}", answer.head);
        world.any_record();
        let posts = world.origin(origin).seen.requests.all();
        let posts = posts.iter().filter(|request| request.line().starts_with("POST")).count();
        assert_eq!(posts, 1, "a POST was sent again");
        world.finish().await;
    }
}
