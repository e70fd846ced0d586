//! Clients that mean no good, time, and the end of the gateway.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, client, server};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::kit::{Client, World, get, mirror, origin, upstream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// GET https://ok.test/open/x, from the static table where it can be.
fn request(stream: u32) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x41, 7];
    block.extend_from_slice(b"ok.test");
    block.extend([0x44, 7]);
    block.extend_from_slice(b"/open/x");
    frame(1, 5, stream, &block)
}

/// What is left of a connection that sends these frames and reads to the end: the goodbye's code.
async fn goodbye(world: &World, frames: Vec<u8>) -> Option<u32> {
    let upstream = upstream(origin(&server::Builder::new(), mirror)).await;
    let (io, gateway) = world.serve(upstream, None);
    let (mut read, mut write) = tokio::io::split(io);
    let sender = tokio::spawn(async move {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frames);
        // Our side may close before it has taken everything.
        drop(write.write_all(&bytes).await);
        write
    });
    let mut got = Vec::new();
    drop(read.read_to_end(&mut got).await);
    gateway.await.unwrap();
    drop(sender.await);
    let mut rest = &got[..];
    let mut code = None;
    while let [high, middle, low, kind, _, _, _, _, _, tail @ ..] = rest {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let payload = tail.get(..length)?;
        if *kind == 7 {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = &tail[length..];
    }
    code
}

#[tokio::test]
async fn floods_end_with_a_plea_for_calm() {
    let rapid: Vec<u8> = (0..10_000)
        .flat_map(|n| [request(2 * n + 1), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let resets: Vec<u8> = (0..10_000)
        .flat_map(|n| {
            [
                request(2 * n + 1),
                frame(8, 0, 2 * n + 1, &[0x7f, 255, 255, 255]),
            ]
            .concat()
        })
        .collect();
    let mut continuations = frame(1, 0, 1, &[0x82]);
    for _ in 0..10_000 {
        continuations.extend(frame(9, 0, 1, &[0x82]));
    }
    for (what, frames) in [
        ("rapid reset", rapid),
        ("resets that are ours", resets),
        ("settings", frame(4, 0, 0, &[]).repeat(10_000)),
        ("pings", frame(6, 0, 0, &[0; 8]).repeat(10_000)),
        (
            "window updates",
            frame(8, 0, 0, &[0, 0, 0, 1]).repeat(10_000),
        ),
        (
            "priorities",
            frame(2, 0, 3, &[0, 0, 0, 1, 0]).repeat(10_000),
        ),
        (
            "empty data",
            [request(1), frame(0, 0, 1, &[]).repeat(10_000)].concat(),
        ),
        ("continuations", continuations),
    ] {
        let world = World::new();
        let code = tokio::time::timeout(Duration::from_secs(20), goodbye(&world, frames)).await;
        let code = code.unwrap_or_else(|_| panic!("{what}: not over"));
        // Empty DATA on a closed stream, and a block that cannot be a head, are errors before they are floods.
        let expected: &[u32] = match what {
            "empty data" => &[11, 5, 1],
            "continuations" => &[11, 1],
            _ => &[11],
        };
        assert!(
            code.is_some_and(|code| expected.contains(&code)),
            "{what}: {code:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_that_stays_shut_is_idle() {
    let world = World::new();
    let upstream = upstream(origin(
        &server::Builder::new(),
        |_, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(vec![0; 200_000].into(), true).unwrap();
            drop(poll_fn(|cx| stream.poll_reset(cx)).await);
        },
    ))
    .await;
    let (io, gateway) = world.serve(upstream, None);
    let (send, mut connection) = client::Builder::new()
        .initial_window_size(10)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    // Pings do not help whoever does not read.
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let before = Instant::now();
    let (response, _) = send
        .clone()
        .ready()
        .await
        .unwrap()
        .send_request(get("/open/x"), true)
        .unwrap();
    let mut content = response.await.unwrap().into_body();
    assert_eq!(content.data().await.unwrap().unwrap().len(), 10);
    let error = content.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_mins(1) && took < Duration::from_secs(63),
        "{took:?}"
    );
    pinging.abort();
    drop((send, content, driver, gateway));
    let records = world.records();
    assert_eq!(records[0]["exitgate"]["reason"], "idle");
    assert_eq!(records[0]["traffic"]["bytes_in"], 10);
}

/// A field in the literal form, both texts shorter than 127 bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.push(u8::try_from(text.len()).unwrap());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_library_refuses_has_a_record() {
    let world = World::new();
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    // It answers one request, and keeps the others waiting.
    let answer = |request: Request<RecvStream>, respond: SendResponse<Bytes>| async move {
        if request.uri().path() == "/open/x" {
            std::future::pending::<()>().await;
        }
        mirror(request, respond).await;
    };
    let upstream = upstream(origin(&builder, answer)).await;
    let (mut io, gateway) = world.serve(upstream, None);
    let repeated = [&request(0)[9..], &[0x87]].concat();
    let mut heavy = request(0)[9..].to_vec();
    for _ in 0..1000 {
        heavy.extend(literal("x-mine", &"a".repeat(100)));
    }
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // A second scheme, after the last regular pseudo-field.
    bytes.extend(frame(1, 5, 1, &repeated));
    bytes.extend(frame(1, 1, 3, &heavy[..16_000]));
    for (at, piece) in heavy[16_000..].chunks(16_000).enumerate() {
        let last = 16_000 * (at + 2) >= heavy.len();
        bytes.extend(frame(9, if last { 4 } else { 0 }, 3, piece));
    }
    let (mut read, mut write) = tokio::io::split(&mut io);
    // Two wait for the origin, which is all that it takes at once.
    let waiting = [5, 7, 9].map(request).concat();
    for (bytes, told) in [
        // The head of its 431.
        (bytes, vec![1, 5, 0, 0, 0, 3]),
        (waiting, frame(3, 0, 9, &[0, 0, 0, 7])),
    ] {
        let (sent, ()) = tokio::join!(write.write_all(&bytes), async {
            let mut got = Vec::new();
            while !got.windows(told.len()).any(|part| part == told) {
                assert!(read.read_buf(&mut got).await.unwrap() > 0, "{got:?}");
            }
        });
        sent.unwrap();
    }
    drop(io);
    gateway.await.unwrap();
    let records = world.records();
    let mut shown: Vec<_> = records
        .iter()
        .map(|record| {
            let of = |name: &str| record["exitgate"][name].as_str().unwrap_or("").to_owned();
            (of("verdict"), of("reason"), of("detail"))
        })
        .collect();
    shown.sort();
    let refused = |reason: &str, detail: &str| ("deny".into(), reason.into(), detail.into());
    let gone = || ("error".into(), "client-gone".into(), String::new());
    assert_eq!(
        shown,
        [
            refused(
                "bad-request",
                "stream 1 is not a request: it was reset with PROTOCOL_ERROR"
            ),
            refused(
                "head-too-large",
                "stream 3 is not a request: its header section is too large"
            ),
            refused(
                "limit",
                "stream 9 is not a request: more streams at once than were offered"
            ),
            gone(),
            gone(),
        ],
        "{records:#?}"
    );
}

async fn slow(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path();
    let seconds: u64 = path.rsplit('/').next().unwrap().parse().unwrap_or(0);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    drop(respond.send_response(Response::new(()), true));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_may_take_the_idle_time() {
    let world = World::new();
    let client = world.client(slow).await;
    assert_eq!(client.get("/open/59").await.unwrap().status, 200);
    let got = client.get("/open/61").await.unwrap();
    assert_eq!(got.status, 504);
    assert_eq!(got.header("exitgate-reason"), "idle");
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_waiting_stream() {
    let world = World::new();
    let upstream = upstream(origin(&server::Builder::new(), slow)).await;
    let (io, gateway) = world.serve(upstream, None);
    let (send, mut connection) = client::handshake(io).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    });
    let client = Client {
        send,
        tasks: std::sync::Arc::new((gateway, driver)),
    };
    assert_eq!(client.get("/open/3600").await.unwrap().status, 200);
    pinging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_total_time() {
    let world = World::new();
    // Half an answer, or none.
    let answer = |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
        if request.uri().path() == "/open/begun" {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            while stream.send_data("tick".into(), false).is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        } else {
            std::future::pending::<()>().await;
        }
    };
    let upstream = upstream(origin(&server::Builder::new(), answer)).await;
    let (io, gateway) = world.serve(upstream, None);
    let (send, mut connection) = client::handshake(io).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    // Neither pings nor content make it live longer.
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    });
    let client = Client {
        send,
        tasks: std::sync::Arc::new((gateway, driver)),
    };
    let before = Instant::now();
    let (begun, silent) = tokio::join!(client.get("/open/begun"), client.get("/open/silent"));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_hours(2) && took < Duration::from_secs(2 * 3600 + 3),
        "{took:?}"
    );
    assert_eq!(begun.unwrap_err().reason(), Some(Reason::CANCEL));
    let silent = silent.unwrap();
    assert_eq!(silent.status, 504);
    assert_eq!(silent.header("exitgate-reason"), "total-time");
    // So old a connection takes no more requests.
    let tasks = std::sync::Arc::into_inner(client.tasks).unwrap();
    tasks.0.await.unwrap();
    pinging.abort();
    assert!(before.elapsed() < Duration::from_secs(2 * 3600 + 10));
    let records = world.records();
    assert_eq!(records.len(), 2, "{records:#?}");
    for record in records {
        assert_eq!(record["exitgate"]["reason"], "total-time");
        assert_eq!(record["exitgate"]["verdict"], "error");
        assert_eq!(record["exitgate"]["closed_by"], "gateway");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed() {
    let world = World::new();
    let upstream = upstream(origin(&server::Builder::new(), mirror)).await;
    let (io, gateway) = world.serve(upstream, None);
    let client = Client::over(io, gateway).await;
    let before = Instant::now();
    let tasks = std::sync::Arc::into_inner(client.tasks).unwrap();
    tasks.0.await.unwrap();
    let took = before.elapsed();
    assert!(
        took >= Duration::from_mins(1) && took < Duration::from_secs(70),
        "{took:?}"
    );
    tasks.1.await.unwrap().unwrap();
    // No request was made, so the tunnel has a record of its own.
    let records = world.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["class_uid"], 4001);
    assert_eq!(records[0]["exitgate"]["reason"], "idle");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_closes_the_connection() {
    let world = World::new();
    let upstream = upstream(origin(&server::Builder::new(), mirror)).await;
    let (mut io, gateway) = world.serve(upstream, None);
    io.write_all(PREFACE).await.unwrap();
    io.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let head = request(1);
    io.write_all(&head[..12]).await.unwrap();
    let before = Instant::now();
    gateway.await.unwrap();
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(30) && took < Duration::from_secs(40),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn draining_lets_streams_finish() {
    let world = World::new();
    let arrived = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = arrived.clone();
    let answer = move |request, respond| {
        told.notify_one();
        slow(request, respond)
    };
    let client = world.client(answer).await;
    let asking = client.clone();
    let asked = tokio::spawn(async move { asking.get("/open/20").await });
    arrived.notified().await;
    world.shared.drain_for_tests();
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
    let before = Instant::now();
    let tasks = std::sync::Arc::into_inner(client.tasks).unwrap();
    tasks.0.await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(5));
    tasks.1.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_streams_along() {
    let world = World::new();
    let (told_tx, mut told_rx) = tokio::sync::mpsc::channel(2);
    let client = world
        .client(move |_, mut respond: SendResponse<Bytes>| {
            let told_tx = told_tx.clone();
            async move {
                told_tx.send(None).await.unwrap();
                let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
                told_tx.send(Some(reset.is_ok())).await.unwrap();
            }
        })
        .await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (_response, _) = send.send_request(get("/open/x"), true).unwrap();
    assert_eq!(told_rx.recv().await.unwrap(), None);
    client.tasks.1.abort();
    assert_eq!(told_rx.recv().await.unwrap(), Some(true));
    let tasks = std::sync::Arc::into_inner(client.tasks).unwrap();
    tasks.0.await.unwrap();
    let records = world.records();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["exitgate"]["reason"], "client-gone");
    assert_eq!(records[0]["exitgate"]["closed_by"], "client");
}
