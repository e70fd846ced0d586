//! What is judged, what is refused and how, and what reaches the other side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exitgate_policy::evidence::Entry;

use h2::{Reason, server};
use http::{HeaderValue, Method, Request, Response};

use super::super::tell;
use super::kit::{Client, World, get, json_of, mirror, origin, post, upstream};
use crate::reason::{OriginReason, Reason as Reasons};
use crate::record::Class;

#[tokio::test]
async fn a_request_is_passed_on_and_recorded() {
    let world = World::new();
    let client = world.client(mirror).await;
    let got = client.ask(post("/api/x?q=1"), b"hello").await.unwrap();
    assert_eq!(got.status, 200);
    let seen = json_of(&got);
    assert_eq!(seen["uri"], "https://ok.test/api/x?q=1");
    assert_eq!(seen["body"], "hello");
    let records = world.records();
    assert_eq!(records.len(), 1, "{records:#?}");
    let record = &records[0];
    assert_eq!(record["class_uid"], 4002);
    assert_eq!(record["exitgate"]["verdict"], "allow");
    assert_eq!(record["exitgate"]["rule"], "call");
    assert_eq!(record["exitgate"]["assurance"], "Inspected");
    assert_eq!(record["http_request"]["url"]["path"], "/api/x");
    assert_eq!(record["http_request"]["url"]["scheme"], "https");
    assert_eq!(record["http_response"]["code"], 200);
    assert_eq!(record["traffic"]["bytes_out"], 5);
    assert_eq!(record["traffic"]["bytes_in"], got.body.len());
}

#[tokio::test]
async fn a_refusal_ends_its_stream_only() {
    let world = World::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let client = world
        .client(move |request, respond| {
            counted.fetch_add(1, Ordering::SeqCst);
            mirror(request, respond)
        })
        .await;
    let got = client.ask(post("/open/x"), b"hello").await.unwrap();
    assert_eq!(got.status, 403);
    assert_eq!(got.header("content-type"), "application/problem+json");
    assert_eq!(got.header("exitgate-reason"), "no-rule");
    assert_eq!(json_of(&got)["reason"], "no-rule");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(client.get("/open/x").await.unwrap().status, 200);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let records = world.records();
    assert_eq!(records[0]["exitgate"]["verdict"], "deny");
    assert_eq!(
        records[0]["metadata"]["uid"],
        got.header("exitgate-decision")
    );
    assert_eq!(records[1]["exitgate"]["verdict"], "allow");
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_language() {
    let world = World::new();
    let client = world.client(mirror).await;
    let mut request = post("/other.Service/Do");
    let kind = HeaderValue::from_static("application/grpc+proto");
    request.headers_mut().insert("content-type", kind);
    let got = client.ask(request, b"\0\0\0\0\0").await.unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(got.header("grpc-status"), "7");
    assert!(got.header("grpc-message").contains("refused"), "{got:?}");
    assert_eq!(got.header("exitgate-reason"), "no-rule");
}

#[tokio::test]
async fn another_authority_is_misdirected() {
    let world = World::new();
    let client = world.client(mirror).await;
    for (uri, status) in [
        ("https://also.test/", 421),
        ("https://bad.test/open/x", 421),
        ("https://ok.test:80/open/x", 400),
        ("https://192.0.2.1/open/x", 421),
    ] {
        let got = client
            .ask(Request::get(uri).body(()).unwrap(), b"")
            .await
            .unwrap();
        assert_eq!(got.status, status, "{uri}");
    }
    for uri in ["https://OK.test./open/x", "https://ok.test:443/open/x"] {
        let got = client
            .ask(Request::get(uri).body(()).unwrap(), b"")
            .await
            .unwrap();
        assert_eq!(got.status, 200, "{uri}");
        assert_eq!(json_of(&got)["uri"], "https://ok.test/open/x");
    }
}

#[tokio::test]
async fn what_is_no_request_is_a_stream_error() {
    let world = World::new();
    let client = world.client(mirror).await;
    let request =
        |method: Method, uri: &str| Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut host = get("/open/x");
    host.headers_mut()
        .insert("host", HeaderValue::from_static("bad.test"));
    let mut space = get("/open/x");
    space
        .headers_mut()
        .insert("x-a", HeaderValue::from_static(" b"));
    let mut length = get("/open/x");
    length
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("5"));
    for request in [
        request(Method::GET, "http://ok.test/open/x"),
        host,
        space,
        length,
    ] {
        let text = format!("{request:?}");
        let error = client.ask(request, b"").await.unwrap_err();
        assert!(error.is_reset(), "{text}: {error}");
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{text}");
    }
    for (request, status) in [
        (request(Method::CONNECT, "bad.test:443"), 403),
        (request(Method::TRACE, "https://ok.test/api/x"), 405),
        (
            request(
                Method::from_bytes(b"get").unwrap(),
                "https://ok.test/open/x",
            ),
            400,
        ),
        (get("/open/%zz"), 400),
        (get("/open/%00"), 400),
        (get("/.well-known/masque/udp/x/443/"), 403),
    ] {
        let text = format!("{request:?}");
        let got = client.ask(request, b"").await.unwrap();
        assert_eq!(got.status, status, "{text}");
    }
    // A path is judged by both of its readings.
    assert_eq!(client.get("/open/../secret").await.unwrap().status, 403);
    assert_eq!(client.get("/open/..%2fsecret").await.unwrap().status, 403);
    assert_eq!(client.get("/open/a/../b").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_origin_sees_what_was_judged() {
    let world = World::new();
    let client = world.client(mirror).await;
    let mut request = get("/cookie");
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers"),
        ("x-kept", "yes"),
    ] {
        request
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
    let got = client.ask(request, b"").await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    let mut fields: Vec<String> = json_of(&got)["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    fields.sort();
    let expected = [
        r#"["cookie","a=1; b=2"]"#,
        r#"["te","trailers"]"#,
        r#"["x-kept","yes"]"#,
    ];
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn the_client_sees_nothing_that_leads_it_away() {
    let world = World::new();
    let handshake = |value: &'static str| {
        move |request: Request<h2::RecvStream>, mut respond: server::SendResponse<bytes::Bytes>| async move {
            let clear = request.uri().path().ends_with("clear");
            let mut response = Response::new(());
            for (name, value) in [
                ("alt-svc", if clear { "clear" } else { value }),
                ("exitgate-reason", "rule-denied"),
                ("proxy-authenticate", "Basic"),
                ("x-kept", "yes"),
            ] {
                response
                    .headers_mut()
                    .append(name, HeaderValue::from_static(value));
            }
            respond.send_response(response, true).unwrap();
        }
    };
    let client = world.client(handshake("h3=\":443\"; ma=86400")).await;
    let got = client.get("/open/x").await.unwrap();
    assert_eq!(got.headers.len(), 1, "{got:?}");
    assert_eq!(got.header("x-kept"), "yes");
    let got = client.get("/open/clear").await.unwrap();
    assert_eq!(got.header("alt-svc"), "clear");
}

#[tokio::test]
async fn a_refused_response_stays_here() {
    let world = World::new();
    let client = world
        .client(|request, mut respond| async move {
            let kind = request.headers().get("x-kind").unwrap().clone();
            let response = Response::builder()
                .header("content-type", kind)
                .body(())
                .unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data("secret".into(), false).unwrap();
            // The stream is reset by us, with the code for a lost interest.
            let reset = std::future::poll_fn(|cx| stream.poll_reset(cx))
                .await
                .unwrap();
            assert_eq!(reset, Reason::CANCEL);
        })
        .await;
    let mut request = get("/typed");
    request
        .headers_mut()
        .insert("x-kind", HeaderValue::from_static("text/html"));
    let got = client.ask(request, b"").await.unwrap();
    assert_eq!(got.status, 403);
    let problem = json_of(&got);
    assert_eq!(problem["phase"], "postResponse");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("the request was delivered")
    );
    let records = world.records();
    assert_eq!(records[0]["http_response"]["code"], 200);
    assert_eq!(records[0]["traffic"]["bytes_in"], 0);
}

#[tokio::test]
async fn settings_are_the_origins() {
    let world = World::new();
    for (extended, streams) in [(false, 7), (true, 100_000)] {
        let mut builder = server::Builder::new();
        builder.max_concurrent_streams(streams);
        if extended {
            builder.enable_connect_protocol();
        }
        let upstream = upstream(origin(&builder, mirror)).await;
        let (io, gateway) = world.serve(upstream, None);
        let client = Client::over(io, gateway).await;
        assert_eq!(client.get("/open/x").await.unwrap().status, 200);
        assert_eq!(client.send.is_extended_connect_protocol_enabled(), extended);
        assert_eq!(
            client.send.current_max_send_streams(),
            streams.min(256) as usize
        );
    }
}

#[tokio::test]
async fn a_client_that_is_only_told_why_hears_it_in_its_own_language() {
    let world = World::new();
    for grpc in [false, true] {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let record = world.shared.recorder.begin(
            Class::Network,
            Entry::Connect,
            "127.0.0.1:40000".parse().unwrap(),
        );
        let reason = Reasons::Origin(OriginReason::Expired);
        let telling = tokio::spawn(tell(far, record, reason, Duration::from_secs(5)));
        let client = Client::over(near, telling).await;
        let mut request = post("/api/x");
        if grpc {
            let kind = HeaderValue::from_static("application/grpc");
            request.headers_mut().insert("content-type", kind);
        }
        let got = client.ask(request, b"").await.unwrap();
        let status = if grpc { 200 } else { 502 };
        assert_eq!(got.status, status);
        assert_eq!(got.header("grpc-status"), if grpc { "14" } else { "" });
        assert_eq!(got.header("exitgate-reason"), reason.code());
    }
    let records = world.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["exitgate"]["verdict"], "error");
}
