//! Content, trailers, interim responses, resets and goodbyes.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, server};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::sync::mpsc;

use super::kit::{
    Client, World, drain, get, json_of, mirror, origin, post, read, redial, rules, upstream,
};

/// Sends back what comes, piece by piece, and its trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut content = request.into_body();
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
        return;
    };
    while let Some(Ok(data)) = content.data().await {
        let mut data = data;
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return;
            };
            let piece = data.split_to(room.min(data.len()));
            let length = piece.len();
            if stream.send_data(piece, false).is_err() {
                return;
            }
            content.flow_control().release_capacity(length).unwrap();
        }
    }
    match content.trailers().await {
        Ok(Some(trailers)) => drop(stream.send_trailers(trailers)),
        Ok(None) => drop(stream.send_data(Bytes::new(), true)),
        Err(_) => {}
    }
}

fn trailers() -> HeaderMap {
    let mut map = HeaderMap::new();
    for name in [
        "grpc-status",
        "x-sum",
        "authorization",
        "host",
        "content-length",
        "exitgate-reason",
    ] {
        map.insert(name, HeaderValue::from_static("0"));
    }
    map
}

#[tokio::test]
async fn content_and_trailers_go_both_ways_as_they_come() {
    let world = World::new();
    let client = world.client(echo).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut upload) = send.send_request(post("/api/x"), false).unwrap();
    let mut content = response.await.unwrap().into_body();
    for piece in ["one", "two", "three"] {
        upload.send_data(piece.into(), false).unwrap();
        let data = content.data().await.unwrap().unwrap();
        assert_eq!(data, piece);
        content.flow_control().release_capacity(data.len()).unwrap();
    }
    upload.send_trailers(trailers()).unwrap();
    let (rest, got) = drain(&mut content).await.unwrap();
    assert_eq!(rest, b"");
    let mut names: Vec<&str> = got.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x-sum"]);
    let records = world.records();
    assert_eq!(records[0]["traffic"]["bytes_in"], 11);
    assert_eq!(records[0]["traffic"]["bytes_out"], 11);
}

#[tokio::test]
async fn large_content_goes_both_ways() {
    const LENGTH: usize = 8 << 20;
    let world = World::new();
    let client = world.client(echo).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut upload) = send.send_request(post("/api/x"), false).unwrap();
    let sender = async {
        let mut left = LENGTH;
        while left > 0 {
            upload.reserve_capacity(left);
            let room = poll_fn(|cx| upload.poll_capacity(cx))
                .await
                .unwrap()
                .unwrap();
            let piece = vec![7; room.min(left)];
            left -= piece.len();
            upload.send_data(piece.into(), left == 0).unwrap();
        }
    };
    let ((), got) = tokio::join!(sender, async {
        read(response.await.unwrap()).await.unwrap()
    });
    assert_eq!(got.body.len(), LENGTH);
    let records = world.records();
    assert_eq!(records[0]["traffic"]["bytes_in"], LENGTH);
    assert_eq!(records[0]["traffic"]["bytes_out"], LENGTH);
}

#[tokio::test]
async fn an_origin_sends_no_faster_than_the_client_reads() {
    let world = World::new();
    let (sent_tx, mut sent_rx) = mpsc::channel(1024);
    let client = world
        .client(move |_, mut respond| {
            let sent_tx = sent_tx.clone();
            async move {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                loop {
                    stream.reserve_capacity(1 << 20);
                    let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    if stream.send_data(vec![0; room].into(), false).is_err() {
                        return;
                    }
                    sent_tx.send(room).await.unwrap();
                }
            }
        })
        .await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, _) = send.send_request(get("/open/x"), true).unwrap();
    let content = response.await.unwrap().into_body();
    let mut total = 0;
    // Nothing is read, so the origin comes to a stop; silence is how that looks.
    while let Ok(Some(room)) =
        tokio::time::timeout(Duration::from_millis(300), sent_rx.recv()).await
    {
        total += room;
    }
    assert!(
        (64 * 1024..2 << 20).contains(&total),
        "{total} bytes are under way"
    );
    drop(content);
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let world = World::new();
    let client = world
        .client(|_, mut respond: SendResponse<Bytes>| async move {
            let mut hints = Response::builder()
                .status(103)
                .header("link", "</a>")
                .body(())
                .unwrap();
            hints
                .headers_mut()
                .insert("exitgate-reason", HeaderValue::from_static("x"));
            respond
                .send_informational(Response::builder().status(100).body(()).unwrap())
                .unwrap();
            respond.send_informational(hints).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        })
        .await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (mut response, _) = send.send_request(get("/open/x"), true).unwrap();
    let mut interim = Vec::new();
    while let Some(one) = poll_fn(|cx| response.poll_informational(cx)).await {
        let one = one.unwrap();
        interim.push((one.status().as_u16(), one.headers().len()));
    }
    assert_eq!(interim, [(100, 0), (103, 1)]);
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_switch_of_protocols_is_no_response() {
    let world = World::new();
    let client = world
        .client(|_, mut respond: SendResponse<Bytes>| async move {
            let switch = Response::builder().status(101).body(()).unwrap();
            respond.send_informational(switch).unwrap();
            poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        })
        .await;
    let got = client.get("/open/x").await.unwrap();
    assert_eq!(got.status, 502);
    assert_eq!(got.header("exitgate-reason"), "bad-response");
}

#[tokio::test]
async fn a_response_is_cut_at_its_bound() {
    let world = World::new();
    let client = world
        .client(|_, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            for piece in ["1234", "5678", "90abc"] {
                drop(stream.send_data(piece.into(), false));
            }
            drop(poll_fn(|cx| stream.poll_reset(cx)).await);
        })
        .await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, _) = send.send_request(get("/bounded"), true).unwrap();
    let mut content = response.await.unwrap().into_body();
    let mut body = Vec::new();
    let error = loop {
        match content.data().await.unwrap() {
            Ok(data) => body.extend_from_slice(&data),
            Err(error) => break error,
        }
    };
    assert_eq!(body, b"1234567890");
    assert!(error.is_reset() && error.is_remote());
    let records = world.records();
    assert_eq!(records[0]["exitgate"]["verdict"], "deny");
    assert_eq!(records[0]["traffic"]["bytes_in"], 10);
}

#[tokio::test]
async fn content_is_as_long_as_declared() {
    let world = World::new();
    let (seen_tx, mut seen_rx) = mpsc::channel(8);
    let client = world
        .client(move |request: Request<RecvStream>, _respond| {
            let seen_tx = seen_tx.clone();
            async move {
                let error = drain(&mut request.into_body()).await.unwrap_err();
                seen_tx.send(error.reason()).await.unwrap();
            }
        })
        .await;
    for body in [&b"abc"[..], b"abcdefgh"] {
        let mut request = post("/api/x");
        request
            .headers_mut()
            .insert("content-length", HeaderValue::from_static("5"));
        let error = client.ask(request, body).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
        assert_eq!(seen_rx.recv().await.unwrap(), Some(Reason::CANCEL));
    }
    let records = world.records();
    assert_eq!(records[0]["exitgate"]["reason"], "bad-request");
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_origin() {
    let world = World::new();
    let (seen_tx, mut seen_rx) = mpsc::channel(8);
    let client = world
        .client(
            move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
                let seen_tx = seen_tx.clone();
                async move {
                    seen_tx.send(Reason::NO_ERROR).await.unwrap();
                    let reason = if request.uri().path() == "/api/answered" {
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        stream.send_data("x".into(), false).unwrap();
                        poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()
                    } else {
                        poll_fn(|cx| respond.poll_reset(cx)).await.unwrap()
                    };
                    seen_tx.send(reason).await.unwrap();
                }
            },
        )
        .await;
    for (path, end) in [
        ("/api/silent", true),
        ("/api/silent", false),
        ("/api/answered", true),
        ("/api/answered", false),
    ] {
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut upload) = send.send_request(post(path), end).unwrap();
        assert_eq!(seen_rx.recv().await.unwrap(), Reason::NO_ERROR);
        let mut content = None;
        if path == "/api/answered" {
            let mut stream = response.await.unwrap().into_body();
            assert_eq!(stream.data().await.unwrap().unwrap(), "x");
            content = Some(stream);
        }
        upload.send_reset(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(
            seen_rx.recv().await.unwrap(),
            Reason::ENHANCE_YOUR_CALM,
            "{path} {end}"
        );
        drop(content);
    }
    let records = world.records();
    assert_eq!(records.len(), 4);
    for record in &records {
        assert_eq!(record["exitgate"]["reason"], "client-gone");
        assert_eq!(record["exitgate"]["closed_by"], "client");
    }
}

#[tokio::test]
async fn a_reset_by_the_origin_reaches_the_client() {
    let world = World::new();
    let client = world
        .client(
            |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
                if request.uri().path() == "/open/answered" {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data("x".into(), false).unwrap();
                    stream.reserve_capacity(1);
                    drop(poll_fn(|cx| stream.poll_capacity(cx)).await);
                    tokio::task::yield_now().await;
                    stream.send_reset(Reason::HTTP_1_1_REQUIRED);
                } else {
                    respond.send_reset(Reason::HTTP_1_1_REQUIRED);
                }
            },
        )
        .await;
    for path in ["/open/silent", "/open/answered"] {
        let error = client.get(path).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::HTTP_1_1_REQUIRED), "{path}");
        assert!(error.is_remote());
    }
    let records = world.records();
    for record in &records {
        assert_eq!(record["exitgate"]["reason"], "upstream-reset");
        assert_eq!(record["exitgate"]["closed_by"], "upstream");
    }
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let world = World::new();
    let client = world
        .client(|_, mut respond: SendResponse<Bytes>| async move {
            let response = Response::builder().status(413).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        })
        .await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut upload) = send.send_request(post("/api/x"), false).unwrap();
    upload.send_data(vec![0; 1024].into(), false).unwrap();
    assert_eq!(read(response.await.unwrap()).await.unwrap().status, 413);
    let reset = poll_fn(|cx| upload.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, Reason::NO_ERROR);
    let records = world.records();
    assert_eq!(records[0]["exitgate"]["verdict"], "allow");
}

/// An origin that says goodbye once it has seen a number of requests, and does not act on later ones.
fn leaving_origin(served: Arc<AtomicUsize>) -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut connection = server::handshake(far).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        served.fetch_add(1, Ordering::SeqCst);
        connection.graceful_shutdown();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            mirror(request, respond).await;
        });
        while connection.accept().await.is_some() {}
    });
    near
}

#[tokio::test]
async fn a_goodbye_of_the_origin_costs_no_request() {
    let world = World::new();
    let served = Arc::new(AtomicUsize::new(0));
    let first = upstream(leaving_origin(served.clone())).await;
    let second = origin(&server::Builder::new(), mirror);
    let (io, gateway) = world.serve(first, Some(redial(vec![second])));
    let client = Client::over(io, gateway).await;
    for round in 0..3 {
        let got = client.ask(post("/api/x"), b"body").await.unwrap();
        assert_eq!(got.status, 200, "{round}");
        assert_eq!(json_of(&got)["body"], "body");
    }
    assert_eq!(served.load(Ordering::SeqCst), 1);
    let got = {
        drop(client);
        world.records()
    };
    assert_eq!(got.len(), 3);
}

#[tokio::test]
async fn without_another_origin_the_client_is_told_to_come_back() {
    let world = World::new();
    let served = Arc::new(AtomicUsize::new(0));
    let first = upstream(leaving_origin(served)).await;
    let (io, gateway) = world.serve(first, None);
    let client = Client::over(io, gateway).await;
    assert_eq!(client.get("/open/x").await.unwrap().status, 200);
    let error = client.get("/open/x").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM), "{error}");
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_again_is_a_502() {
    let world = World::new();
    let first = upstream(leaving_origin(Arc::default())).await;
    let (io, gateway) = world.serve(first, Some(redial(Vec::new())));
    let client = Client::over(io, gateway).await;
    assert_eq!(client.get("/open/x").await.unwrap().status, 200);
    let got = client.get("/open/x").await.unwrap();
    assert_eq!(got.status, 502);
    assert_eq!(got.header("exitgate-reason"), "dial-failed");
}

fn websocket(path: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://ok.test{path}"))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    request
}

async fn websocket_client(world: &World) -> Client {
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    let client = world.client_of(&builder, echo).await;
    // The settings are there with the first answer.
    assert_eq!(client.get("/secret").await.unwrap().status, 403);
    client
}

#[tokio::test]
async fn a_websocket_is_judged_as_the_get_that_it_is() {
    let world = World::new();
    let client = websocket_client(&world).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut upload) = send.send_request(websocket("/open/chat"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut content = response.into_body();
    for piece in ["ping", "pong"] {
        upload.send_data(piece.into(), false).unwrap();
        let data = content.data().await.unwrap().unwrap();
        assert_eq!(data, piece);
        content.flow_control().release_capacity(data.len()).unwrap();
    }
    upload.send_data(Bytes::new(), true).unwrap();
    assert!(drain(&mut content).await.unwrap().0.is_empty());
    let (response, _) = send
        .ready()
        .await
        .unwrap()
        .send_request(websocket("/secret"), false)
        .unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    let mut other = websocket("/open/chat");
    other
        .extensions_mut()
        .insert(Protocol::from_static("connect-udp"));
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, _) = send.send_request(other, false).unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    let records = world.records();
    assert_eq!(records[1]["exitgate"]["verdict"], "allow", "{records:#?}");
    assert_eq!(records[1]["traffic"]["bytes_in"], 8);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_policy_no_longer_allows_ends_after_the_grace_time() {
    let world = World::new();
    let client = websocket_client(&world).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut upload) = send.send_request(websocket("/open/chat"), false).unwrap();
    let mut content = response.await.unwrap().into_body();
    let mut tighter = rules();
    tighter[0]["http"]["paths"] = serde_json::json!(["/open/other"]);
    world.apply(&tighter);
    let before = tokio::time::Instant::now();
    upload.send_data("still".into(), false).unwrap();
    assert_eq!(content.data().await.unwrap().unwrap(), "still");
    let error = content.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(7),
        "{took:?}"
    );
    // New requests see the new policy at once.
    assert_eq!(client.get("/open/x").await.unwrap().status, 403);
    let records = world.records();
    let websocket = records
        .iter()
        .find(|r| r["http_request"]["http_method"] == "CONNECT")
        .unwrap();
    assert_eq!(websocket["exitgate"]["reason"], "policy-changed");
}
