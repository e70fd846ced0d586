//! Section 3: the forms of a forward-proxy request.

use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

const MALFORMED: &[&str] = &["bad-request", "bad-target", "authority-mismatch"];

/// A world with an HTTP origin that must never be reached.
async fn untouched() -> (World, String) {
    let mut world = World::start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
    let host = format!("ok.test:{}", world.origin(origin).port());
    (world, host)
}

rows! {
    async fn row_049_connect_with_another_host() {
        let (mut world, target) = untouched().await;
        let port = target.rsplit(':').next().unwrap().to_owned();
        for host in [format!("bad.test:{port}"), format!("also.test:{port}"), "ok.test:1".into(), "127.1.0.1".into()] {
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            world.request_refused(request, 400, &["authority-mismatch"]).await;
        }
        world.finish().await;
    }

    /// We refuse instead of rewriting, and the origin is not reached.
    async fn row_050_absolute_form_with_another_host() {
        let (mut world, target) = untouched().await;
        for host in ["bad.test", "also.test", "ok.test:1"] {
            let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            world.request_refused(request, 400, &["authority-mismatch"]).await;
        }
        world.finish().await;
    }

    async fn row_052_absolute_form_without_host() {
        let (mut world, target) = untouched().await;
        world.request_refused(format!("GET http://{target}/ HTTP/1.1\r\n\r\n"), 400, MALFORMED).await;
        world.request_refused(format!("GET http://{target}/ HTTP/1.1\r\nHost:\r\n\r\n"), 400, MALFORMED).await;
        world.finish().await;

        // In HTTP/1.0 the target is the URI.
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let answer = world.client().await.ask(format!("GET http://{host}/old HTTP/1.0\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().host("ok.test");
        world.request_refused("GET http://bad.test/ HTTP/1.0\r\n\r\n", 403, &["no-rule"]).await.phase("preDns");
        let requests = world.origin(origin).seen.requests.all();
        assert_eq!(requests[0].headers("host"), [host.as_str()], "{requests:?}");
        world.finish().await;
    }

    async fn row_053_repeated_listed_and_folded_host() {
        let (mut world, host) = untouched().await;
        let lines = [
            format!("Host: {host}\r\nHost: {host}"),
            format!("Host: {host}\r\nHost: bad.test"),
            format!("Host: bad.test\r\nHost: {host}"),
            format!("Host: {host}, bad.test"),
            format!("Host: {host}\r\n , bad.test"),
            format!("Host:\r\n {host}"),
            format!("Host:{host}\tbad.test"),
            format!("Host: {host} bad.test"),
            format!("Host : {host}"),
            format!(" Host: {host}"),
            format!("X: y\r\n Host: bad.test\r\nHost: {host}"),
        ];
        for line in lines {
            world.request_refused(format!("GET http://{host}/ HTTP/1.1\r\n{line}\r\n\r\n"), 400, MALFORMED).await;
            world.request_refused(format!("CONNECT {host} HTTP/1.1\r\n{line}\r\n\r\n"), 400, MALFORMED).await;
        }
        world.finish().await;
    }

    /// Refused: this gateway originates no TLS for a client that speaks in clear.
    async fn row_055_https_in_absolute_form() {
        let (mut world, host) = untouched().await;
        for uri in [format!("https://{host}/"), "https://ok.test/".into(), format!("HTTPS://{host}/")] {
            let authority = uri.split('/').nth(2).unwrap();
            let request = format!("GET {uri} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            world.request_refused(request, 400, MALFORMED).await;
        }
        world.finish().await;
    }

    async fn row_056_schemes() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(2));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        for scheme in ["http", "HTTP"] {
            let answer = world.client().await.ask(format!("GET {scheme}://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(answer.status, 200, "{scheme}: {}", answer.head);
            world.allowed().host("ok.test");
        }
        let others = [
            format!("ftp://{host}/"), format!("gopher://{host}/"), "file:///etc/passwd".into(), format!("file://{host}/"),
            format!("ws://{host}/"), format!("wss://{host}/"), "javascript:alert(1)".into(), format!("//{host}/"),
            format!("http:{host}/"), format!("http:/{host}/"), format!(" http://{host}/"), "/".into(), format!("h\u{74}tpx://{host}/"),
        ];
        for target in others {
            world.request_refused(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400, MALFORMED).await;
        }
        world.finish().await;
    }

    async fn row_058_connect_with_a_body() {
        let (mut world, host) = untouched().await;
        for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{framing}");
            world.request_refused(request, 400, MALFORMED).await;
        }
        for target in ["ok.test", "ok.test:", "ok.test:0", "ok.test:65536", "ok.test:http", "http://ok.test:443", "ok.test:443/", "[ok.test]:443", "*"] {
            world.connect_refused(target, 400, MALFORMED).await;
        }
        world.finish().await;
    }

    async fn row_059_bytes_after_a_refused_connect() {
        let (mut world, host) = untouched().await;
        let smuggled = format!(
            "CONNECT bad.test:443 HTTP/1.1\r\nHost: bad.test:443\r\n\r\nGET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        );
        world.request_refused(smuggled, 403, &["no-rule"]).await.phase("preDns").host("bad.test");
        world.finish().await;
    }

    async fn row_061_second_request_names_another_host() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        let answer = wire.ask(format!("GET http://ok.test:{port}/1 HTTP/1.1\r\nHost: ok.test:{port}\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().host("ok.test");
        let answer = wire.ask(format!("GET http://bad.test:{port}/2 HTTP/1.1\r\nHost: bad.test:{port}\r\n\r\n")).await;
        wire.closed().await;
        world.refused(&answer, 403, &["no-rule"]).phase("preDns").host("bad.test");
        assert_eq!(world.origin(origin).request_lines(), ["GET /1 HTTP/1.1"]);
        world.finish().await;
    }

    async fn row_062_two_hosts_in_one_segment() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(1));
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        wire.send(format!(
            "GET http://ok.test:{port}/1 HTTP/1.1\r\nHost: ok.test:{port}\r\n\r\nGET http://bad.test:{port}/2 HTTP/1.1\r\nHost: bad.test:{port}\r\n\r\n"
        )).await;
        assert_eq!(wire.answer().await.status, 200);
        world.allowed().host("ok.test");
        let answer = wire.answer().await;
        wire.closed().await;
        world.refused(&answer, 403, &["no-rule"]).phase("preDns").host("bad.test");
        assert_eq!(world.origin(origin).seen.requests.all().len(), 1);
        world.finish().await;
    }

    async fn row_064_trace_options_and_max_forwards() {
        let (mut world, host) = untouched().await;
        let secret = "X-Secret: do-not-echo";
        let requests = [
            format!("TRACE http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{secret}\r\n\r\n"),
            format!("TRACE http://{host}/ HTTP/1.1\r\nHost: {host}\r\nMax-Forwards: 0\r\n{secret}\r\n\r\n"),
            format!("OPTIONS http://{host}/ HTTP/1.1\r\nHost: {host}\r\nMax-Forwards: 0\r\n{secret}\r\n\r\n"),
            format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n{secret}\r\n\r\n"),
        ];
        for request in requests {
            let mut wire = world.client().await;
            let answer = wire.ask(&request).await;
            assert!([200, 204, 400, 405, 501].contains(&answer.status), "{request}: {}", answer.head);
            assert!(!format!("{}{}", answer.head, answer.text()).contains("do-not-echo"), "{}", answer.head);
            world.any_record();
        }
        // Named by the DNS-free form only: nothing was resolved and nothing was dialled.
        world.finish().await;
    }

    async fn row_113_connect_udp_and_connect_ip() {
        let mut world = Plan::everything().start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
        let port = world.origin(origin).port();
        let host = format!("ok.test:{port}");
        for protocol in ["connect-udp", "connect-ip"] {
            let headers = format!("Host: {host}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nCapsule-Protocol: ?1\r\n\r\n");
            let request = format!("GET http://{host}/.well-known/masque/udp/ok.test/443/ HTTP/1.1\r\n{headers}");
            world.request_refused(request, 403, &["protocol-not-allowed"]).await;
        }
        let request = format!("GET http://{host}/.well-known/masque/udp/ok.test/443/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        world.request_refused(request, 403, &["protocol-not-allowed"]).await;
        for method in ["CONNECT-UDP", "CONNECT-IP"] {
            let mut wire = world.client().await;
            let answer = wire.ask(format!("{method} {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            wire.closed().await;
            assert!([400, 403, 405, 501].contains(&answer.status), "{}", answer.head);
            world.any_record();
        }
        world.finish().await;
    }
}
