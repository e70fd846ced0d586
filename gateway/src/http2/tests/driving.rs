//! The origin's connection moves whatever becomes of those who use it: streams, clients, or nobody.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream, server};
use http::{Request, Response};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::Upstream;
use super::kit::{
    Client, World, drain, get, json_of, mirror, origin, post, read, redial, upstream,
};

const LIMIT: Duration = Duration::from_mins(1);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future).await.expect("nothing moves")
}

async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (body, _) = drain(&mut request.into_body()).await.unwrap_or_default();
    // Whoever broke off wants no answer.
    if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        drop(stream.send_data(body.into(), true));
    }
}

/// A client on a connection to the origin that it gives back: what `uses` it, and the connection afterwards.
async fn with_client(
    world: &World,
    upstream: Arc<Upstream>,
    uses: impl AsyncFnOnce(&Client),
) -> Arc<Upstream> {
    let (io, serving) = world.lend(upstream, None);
    let client = Client::over(io, tokio::spawn(async {})).await;
    uses(&client).await;
    client.tasks.1.abort();
    drop(client);
    soon(serving).await.unwrap()
}

/// An origin that says when it is asked and answers when it is told to.
fn patient(told: &mpsc::Sender<()>, go: &Arc<Notify>) -> DuplexStream {
    let (told, go) = (told.clone(), go.clone());
    origin(&server::Builder::new(), move |_, mut respond| {
        let (told, go) = (told.clone(), go.clone());
        async move {
            let gone = go.notified();
            told.send(()).await.unwrap();
            tokio::select! {
                () = gone => drop(respond.send_response(Response::new(()), true)),
                reset = poll_fn(|cx| respond.poll_reset(cx)) => {
                    assert_eq!(reset.unwrap(), Reason::CANCEL);
                    told.send(()).await.unwrap();
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_cancelled_hold_up_none_of_the_others() {
    const STREAMS: usize = 40;
    let world = World::new();
    let (told, mut asked) = mpsc::channel(2 * STREAMS);
    let go = Arc::new(Notify::new());
    let upstream = upstream(patient(&told, &go)).await;
    let (io, gateway) = world.serve(upstream, None);
    let client = Client::over(io, gateway).await;
    let mut waiting = Vec::new();
    for _ in 0..STREAMS {
        let mut send = client.send.clone().ready().await.unwrap();
        waiting.push(send.send_request(get("/open/x"), true).unwrap());
    }
    for _ in 0..STREAMS {
        soon(asked.recv()).await.unwrap();
    }
    // The first, the last, and every other one in between.
    let mut index = 0;
    waiting.retain(|_| {
        index += 1;
        index % 2 == 0 && index != STREAMS
    });
    for _ in waiting.len()..STREAMS {
        soon(asked.recv()).await.unwrap();
    }
    go.notify_waiters();
    for (response, _) in waiting {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_cut_off_leaves_the_connection_driven() {
    let world = World::new();
    let (told, mut asked) = mpsc::channel(8);
    let go = Arc::new(Notify::new());
    let upstream = Arc::new(upstream(patient(&told, &go)).await);
    let (io, serving) = world.lend(upstream.clone(), None);
    let client = Client::over(io, tokio::spawn(async {})).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let _response = send.send_request(get("/open/x"), true).unwrap();
    soon(asked.recv()).await.unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    // The origin hears of it.
    soon(asked.recv()).await.unwrap();
    // And the next client can use it.
    with_client(&world, upstream, async |client: &Client| {
        let going = async {
            asked.recv().await.unwrap();
            go.notify_waiters();
        };
        let (got, ()) = soon(async { tokio::join!(client.get("/open/x"), going) }).await;
        assert_eq!(got.unwrap().status, 200);
    })
    .await;
}

/// An origin that can be told to leave, and its pings. It ends when its connection does.
fn pinging() -> (DuplexStream, PingPongs, Arc<Notify>, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (pings_tx, pings) = mpsc::channel(1);
    let leave = Arc::new(Notify::new());
    let leaving = leave.clone();
    let task = tokio::spawn(async move {
        let mut connection = server::handshake(far).await.unwrap();
        let ping_pong = connection.ping_pong().unwrap();
        pings_tx.send(ping_pong).await.unwrap();
        loop {
            tokio::select! {
                () = leaving.notified() => connection.graceful_shutdown(),
                asked = connection.accept() => match asked {
                    Some(Ok((request, respond))) => drop(tokio::spawn(mirror(request, respond))),
                    Some(Err(_)) | None => return,
                }
            }
        }
    });
    (near, pings, leave, task)
}

type PingPongs = mpsc::Receiver<PingPong>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_answered_and_a_goodbye_is_seen_with_and_without_a_client() {
    let world = World::new();
    let (io, mut pings, leave, ended) = pinging();
    let mut lent = Arc::new(upstream(io).await);
    let mut pings = soon(pings.recv()).await.unwrap();
    soon(pings.ping(Ping::opaque())).await.unwrap();
    for _ in 0..50 {
        lent = with_client(&world, lent, async |client: &Client| {
            soon(pings.ping(Ping::opaque())).await.unwrap();
            assert_eq!(soon(client.get("/open/x")).await.unwrap().status, 200);
            // Nothing is asked any more.
            soon(pings.ping(Ping::opaque())).await.unwrap();
        })
        .await;
        soon(pings.ping(Ping::opaque())).await.unwrap();
        assert!(!lent.is_ended());
    }
    // The goodbye comes in two parts, and the second only once a ping is answered.
    leave.notify_one();
    soon(ended).await.unwrap();
    soon(async {
        while !lent.is_ended() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let (io, _pings, leave, ended) = pinging();
    let upstream = Arc::new(upstream(io).await);
    let upstream = with_client(&world, upstream, async |_: &Client| {
        leave.notify_one();
        soon(ended).await.unwrap();
    })
    .await;
    soon(async {
        while !upstream.is_ended() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_with_content_go_both_ways_while_others_break_off() {
    const STREAMS: u8 = 100;
    const LENGTH: usize = 150_000;
    let world = World::new();
    let client = world.client(echo).await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut send = client.send.clone().ready().await.unwrap();
                let (response, mut upload) = send.send_request(post("/api/x"), false).unwrap();
                let mut left = LENGTH;
                while left > 0 {
                    upload.reserve_capacity(left);
                    let room = poll_fn(|cx| upload.poll_capacity(cx)).await;
                    let room = room.unwrap().unwrap();
                    left -= room.min(left);
                    upload
                        .send_data(vec![number; room].into(), left == 0)
                        .unwrap();
                    if number % 4 == 3 {
                        // In the middle of its content, and of everybody else's.
                        upload.send_reset(Reason::CANCEL);
                        return;
                    }
                }
                let got = read(response.await.unwrap()).await.unwrap();
                assert_eq!(got.body.len(), LENGTH);
                assert!(got.body.iter().all(|byte| *byte == number));
            })
        })
        .collect();
    for stream in streams {
        soon(stream).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_new_streams_no_longer_use_finishes_its_own() {
    let world = World::new();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let go = Arc::new(Notify::new());
    let going = go.clone();
    let (told, mut asked) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut connection = server::handshake(far).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        connection.graceful_shutdown();
        told.send(()).await.unwrap();
        tokio::spawn(async move {
            going.notified().await;
            mirror(request, respond).await;
        });
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    });
    let second = origin(&server::Builder::new(), mirror);
    let first = upstream(near).await;
    let (io, gateway) = world.serve(first, Some(redial(vec![second])));
    let client = Client::over(io, gateway).await;
    let slow = client.clone();
    let slow = tokio::spawn(async move { slow.ask(post("/api/x"), b"slow").await });
    soon(asked.recv()).await.unwrap();
    soon(async {
        // Until the goodbye is there, the first origin refuses.
        while let Err(error) = client.get("/open/x").await {
            assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM), "{error}");
        }
    })
    .await;
    assert_eq!(soon(client.get("/open/x")).await.unwrap().status, 200);
    go.notify_one();
    let got = soon(slow).await.unwrap().unwrap();
    assert_eq!(json_of(&got)["body"], "slow");
    assert_eq!(soon(client.get("/open/x")).await.unwrap().status, 200);
}
