//! The parts of some rows that need no look inside TLS; the other part of each is with the rows about opened TLS.

use exitgate_tests::client::Wire;
use exitgate_tests::hello::Hello;
use exitgate_tests::origin::{Origin, Reply};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

/// `length` bytes of body that nothing announces: in chunks, or up to the end of the connection.
fn unannounced(length: usize, chunked: bool) -> Vec<u8> {
    let body = "x".repeat(length);
    let text = if chunked {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    } else {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")
    };
    text.into_bytes()
}

/// The body bytes of an answer that ended before its end, and whether it ended as if it were whole.
async fn cut(wire: &mut Wire) -> (usize, bool) {
    let (bytes, _) = wire.rest().await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    (body.matches('x').count(), body.ends_with("0\r\n\r\n"))
}

rows! {
    async fn row_076_no_server_name() {
        let mut world = World::start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Silently);
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(Hello::nameless().bytes()).await;
        tunnel.refused_in_tls().await;
        world.closed(&["sni-missing"]).phase("preRequest").host("ok.test");
        world.finish().await;

        // Unless the rule says that there is none.
        let rule = "  - {name: old, action: Allow, to: {hosts: [ok.test]}, tls: {sni: Absent}}\n";
        let mut world = Plan::rules(rule).start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(1));
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&target).await;
        let hello = Hello::nameless().bytes();
        tunnel.send(&hello).await;
        assert_eq!(tunnel.take(hello.len()).await, hello);
        drop(tunnel);
        world.allowed().rule("old");
        world.finish().await;
    }

    async fn row_082_another_port_in_host() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Silently);
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        for host in ["ok.test:80", "ok.test:443"] {
            let mut tunnel = world.tunnel(&target).await;
            let answer = tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            tunnel.closed().await;
            world.refused(&answer, 400, &["port-mismatch"]).phase("preRequest");
        }
        world.finish().await;
    }

    async fn row_089_reload_removes_the_name() {
        let mut world = Plan::default().settings("  timeouts: {recheckGrace: 300ms}\n").start().await;
        let web = world.add(Origin::http(ORIGIN).await, Reached::Unchecked);
        let web = format!("ok.test:{}", world.origin(web).port());
        let echo = world.add(Origin::echo(ORIGIN).await, Reached::Times(1));
        let echo = format!("ok.test:{}", world.origin(echo).port());
        world.may_ask(&["ok.test"]);

        let mut tunnel = world.tunnel(&echo).await;
        let hello = Hello::for_name("ok.test").bytes();
        tunnel.send(&hello).await;
        tunnel.take(hello.len()).await;
        let absolute = format!("GET http://{web}/ HTTP/1.1\r\nHost: {web}\r\n\r\n");
        let mut forward = world.client().await;
        assert_eq!(forward.ask(&absolute).await.status, 200);
        world.allowed().host("ok.test");
        let inner = format!("GET / HTTP/1.1\r\nHost: {web}\r\n\r\n");
        let mut cleartext = world.tunnel(&web).await;
        assert_eq!(cleartext.ask(&inner).await.status, 200);
        world.allowed().host("ok.test");

        let without = exitgate_tests::documents::policy("  - {name: names, action: Allow, to: {hosts: [also.test]}}\n");
        world.gateway.documents.replace("world.yaml", &without);
        world.gateway.says("applied revision=").await;
        world.closed_after_allow(&["policy-changed"]).host("ok.test");
        tunnel.closed().await;
        for (mut wire, request) in [(forward, absolute), (cleartext, inner)] {
            let answer = wire.ask(&request).await;
            wire.closed().await;
            world.refused(&answer, 403, &["no-rule"]).host("ok.test");
        }
        world.finish().await;
    }

    async fn row_151_undeclared_length_over_a_bound() {
        let rule = "  - {name: small, action: Allow, to: {hosts: [ok.test]}, response: {contentLength: {max: 1000}}}\n";
        for chunked in [true, false] {
            for (length, whole) in [(1000, true), (1001, false), (60_000, false)] {
                let mut world = Plan::rules(rule).start().await;
                let reply = move |_: &exitgate_tests::origin::Request| Reply::raw(unannounced(length, chunked)).close();
                let origin = world.add(Origin::http_with(ORIGIN, reply).await, Reached::Times(6));
                let host = format!("ok.test:{}", world.origin(origin).port());
                world.may_ask(&["ok.test"]);
                for turn in 0..6 {
                    // In absolute form and in a tunnel alike.
                    let (mut wire, target) = match turn % 2 {
                        0 => (world.client().await, format!("http://{host}/")),
                        _ => (world.tunnel(&host).await, "/".to_owned()),
                    };
                    wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
                    let (received, ended) = cut(&mut wire).await;
                    assert_eq!(received, length.min(1000), "{length} bytes, chunked: {chunked}, turn {turn}");
                    if chunked {
                        assert_eq!(ended, whole, "{length} bytes, turn {turn}: is the cut visible?");
                    }
                    if whole {
                        world.allowed().rule("small");
                    } else {
                        world.closed(&["rule-denied"]).rule("small").phase("postResponse");
                    }
                }
                world.finish().await;
            }
        }
    }

    async fn row_155_cookies_and_redirects_elsewhere() {
        let rules = "  - {name: names, action: Allow, to: {hosts: [ok.test]}}
  - {name: elsewhere, action: Alert, to: {hosts: [ok.test]}, response: {headers: {location: {glob: [\"http://bad.test/*\"]}}}}\n";
        let extra = "Set-Cookie: id=1; Domain=bad.test; Path=/\r\nSet-Cookie: b=2\r\nLocation: http://bad.test/x\r\n";
        for (headers, flagged) in [(extra, 1), ("Set-Cookie: id=1; Domain=bad.test\r\n", 0)] {
            let mut world = Plan::rules(rules).start().await;
            let reply = move |_: &exitgate_tests::origin::Request| {
                Reply::raw(format!("HTTP/1.1 302 Found\r\n{headers}Content-Length: 0\r\n\r\n"))
            };
            let origin = world.add(Origin::http_with(ORIGIN, reply).await, Reached::Times(1));
            let host = format!("ok.test:{}", world.origin(origin).port());
            world.may_ask(&["ok.test"]);
            let answer = world.client().await.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(answer.status, 302, "{}", answer.head);
            assert!(answer.head.contains(headers), "changed: {}", answer.head);
            world.allowed().rule("names");
            let records = world.finish().await;
            let alerts = records[0].0.pointer("/exitgate/alerts").and_then(|alerts| alerts.as_array());
            assert_eq!(alerts.map_or(0, Vec::len), flagged, "{records:#?}");
        }
    }

    async fn row_157_expression_that_fails() {
        let rules = "  - {name: names, action: Allow, to: {hosts: [ok.test]}}
  - {name: broken, action: Deny, to: {hosts: [ok.test]}, when: 'request.headers[\"token\"] == \"bad\"'}\n";
        let mut world = Plan::rules(rules).start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Unchecked);
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        // A header that is not there is an error of the expression.
        let cases = [("", Some("policy-error")), ("Token: good\r\n", None), ("Token: bad\r\n", Some("rule-denied")), ("Token: good\r\n", None)];
        for (header, refused) in cases {
            let mut wire = world.client().await;
            let answer = wire.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{header}\r\n")).await;
            if let Some(reason) = refused {
                world.refused(&answer, 403, &[reason]).rule("broken");
            } else {
                assert_eq!(answer.status, 200, "{}", answer.head);
                world.allowed().rule("names");
            }
        }
        assert_eq!(world.origin(origin).seen.requests.all().len(), 2);
        world.finish().await;
    }
}
