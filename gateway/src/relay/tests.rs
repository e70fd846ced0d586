#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dialled, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (dialled.unwrap(), accepted.unwrap().0)
}

struct Running {
    client: TcpStream,
    origin: TcpStream,
    stop: oneshot::Sender<()>,
    counts: Arc<Counts>,
    end: JoinHandle<End<()>>,
}

async fn start(limits: Limits) -> Running {
    let (client, near) = pair().await;
    let (far, origin) = pair().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let counts = Arc::new(Counts::default());
    let in_task = counts.clone();
    let end = tokio::spawn(async move {
        let interrupt = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        run(
            &mut ClientIo::Tcp(near),
            &mut OriginIo::Tcp(far),
            limits,
            &in_task,
            interrupt,
        )
        .await
    });
    Running {
        client,
        origin,
        stop,
        counts,
        end,
    }
}

const PATIENT: Limits = Limits {
    idle: Duration::from_mins(1),
    total: None,
};

fn brief() -> Limits {
    Limits {
        idle: Duration::from_millis(80),
        total: None,
    }
}

#[tokio::test]
async fn a_half_close_is_passed_on_and_the_other_direction_goes_on() {
    let mut r = start(PATIENT).await;
    r.client.write_all(b"question").await.unwrap();
    r.client.shutdown().await.unwrap();
    let mut question = Vec::new();
    r.origin.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    r.origin.write_all(b"a late answer").await.unwrap();
    drop(r.origin);
    let mut answer = Vec::new();
    r.client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"a late answer");
    assert_eq!(r.end.await.unwrap(), End::Finished(Side::Client));
    assert_eq!(r.counts.totals(), (8, 13));
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let mut r = start(PATIENT).await;
    r.client.write_all(b"x").await.unwrap();
    assert_eq!(r.origin.read_u8().await.unwrap(), b'x');
    reset_on_close(&r.client);
    drop(r.client);
    let error = r.origin.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(r.end.await.unwrap(), End::Reset(Side::Client));

    let mut r = start(PATIENT).await;
    reset_on_close(&r.origin);
    drop(r.origin);
    let error = r.client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(r.end.await.unwrap(), End::Reset(Side::Upstream));
}

#[tokio::test]
async fn silence_ends_a_relay_and_a_byte_puts_it_off() {
    let mut r = start(brief()).await;
    let began = Instant::now();
    let quiet = tokio::time::timeout(Duration::from_millis(50), r.client.read_u8());
    assert!(quiet.await.is_err(), "it ended early");
    r.client.write_all(b"x").await.unwrap();
    assert_eq!(r.origin.read_u8().await.unwrap(), b'x');
    assert_eq!(r.end.await.unwrap(), End::Idle);
    assert!(began.elapsed() >= Duration::from_millis(125));
    assert!(r.client.read_u8().await.is_err(), "not a clean end");
}

#[tokio::test]
async fn total_time_ends_even_a_busy_relay() {
    let mut r = start(Limits {
        idle: Duration::from_mins(1),
        total: Some(Duration::from_millis(60)),
    })
    .await;
    let echo = async {
        while r.client.write_all(b"x").await.is_ok() && r.origin.read_u8().await.is_ok() {}
    };
    let (end, ()) = tokio::join!(r.end, echo);
    assert_eq!(end.unwrap(), End::TotalTime);
}

#[tokio::test]
async fn an_interrupt_ends_a_relay_at_once() {
    let mut r = start(PATIENT).await;
    r.stop.send(()).unwrap();
    assert_eq!(r.end.await.unwrap(), End::Interrupted(()));
    assert_eq!(
        r.client.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn bulk_arrives_whole_in_both_directions_through_a_slow_reader() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let r = start(PATIENT).await;
    let data: Vec<u8> = (0..LENGTH)
        .map(|i| u8::try_from((i / 7 + i) % 251).unwrap())
        .collect();
    let expected = data.clone();
    let (mut client_read, mut client_write) = r.client.into_split();
    let (mut origin_read, mut origin_write) = r.origin.into_split();
    let back = data.clone();
    let upload = tokio::spawn(async move {
        client_write.write_all(&data).await.unwrap();
        client_write.shutdown().await.unwrap();
    });
    let download = tokio::spawn(async move {
        origin_write.write_all(&back).await.unwrap();
        origin_write.shutdown().await.unwrap();
    });
    let slow = tokio::spawn(async move {
        let mut got = Vec::new();
        let mut piece = vec![0; 100_000];
        loop {
            tokio::task::yield_now().await;
            let n = origin_read.read(&mut piece).await.unwrap();
            if n == 0 {
                return got;
            }
            got.extend_from_slice(piece.get(..n).unwrap());
        }
    });
    let mut got = Vec::new();
    client_read.read_to_end(&mut got).await.unwrap();
    assert!(got == expected && slow.await.unwrap() == expected);
    upload.await.unwrap();
    download.await.unwrap();
    assert!(matches!(r.end.await.unwrap(), End::Finished(_)));
    assert_eq!(r.counts.totals(), (LENGTH as u64, LENGTH as u64));
}
