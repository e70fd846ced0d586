//! One direction of a relay.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::buffer::{Buffer, SIZE};
use super::splice::{self, Pipe};
use super::{Activity, Broken, Side};

/// Full buffers in a row after which a direction counts as bulk and moves through a pipe.
const BULK_AFTER: u32 = 2;

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Upstream,
        Side::Upstream => Side::Client,
    }
}

/// TCP to TCP. Waits without a buffer; takes one when bytes are there, a pipe when there are many.
pub(super) async fn tcp(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    source: Side,
    count: &AtomicU64,
    activity: &Activity,
) -> Result<(), Broken> {
    let mut full_reads = 0;
    loop {
        from.readable().await.map_err(|_| Broken(source))?;
        if full_reads >= BULK_AFTER
            && let Some(pipe) = Pipe::take()
        {
            full_reads = 0;
            if splice::drain(&mut from, &mut to, source, pipe, count, activity).await? {
                return finish(&mut to, source).await;
            }
            continue;
        }
        let mut buffer = Buffer::take();
        let bytes = buffer.bytes();
        // Polled once: if the readiness was stale, the buffer goes back before waiting again.
        let read = poll_fn(|cx| {
            let mut target = ReadBuf::new(bytes);
            Poll::Ready(match Pin::new(&mut from).poll_read(cx, &mut target) {
                Poll::Ready(Ok(())) => Some(Ok(target.filled().len())),
                Poll::Ready(Err(error)) => Some(Err(error)),
                Poll::Pending => None,
            })
        })
        .await;
        let length = match read {
            None => continue,
            Some(Ok(0)) => return finish(&mut to, source).await,
            Some(Ok(length)) => length,
            Some(Err(_)) => return Err(Broken(source)),
        };
        full_reads = if length == SIZE { full_reads + 1 } else { 0 };
        activity.touch();
        let Some(filled) = bytes.get(..length) else {
            return Err(Broken(source));
        };
        to.write_all(filled)
            .await
            .map_err(|_| Broken(other(source)))?;
        activity.touch();
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Any stream to any stream, for clients whose own leg is TLS.
pub(super) async fn any(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    source: Side,
    count: &AtomicU64,
    activity: &Activity,
) -> Result<(), Broken> {
    let mut buffer = vec![0; SIZE / 2];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) => return finish(&mut to, source).await,
            Ok(length) => length,
            Err(_) => return Err(Broken(source)),
        };
        activity.touch();
        let Some(filled) = buffer.get(..length) else {
            return Err(Broken(source));
        };
        to.write_all(filled)
            .await
            .map_err(|_| Broken(other(source)))?;
        to.flush().await.map_err(|_| Broken(other(source)))?;
        activity.touch();
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Passes the end of the source on as a half-close.
async fn finish(to: &mut (impl AsyncWrite + Unpin), source: Side) -> Result<(), Broken> {
    match to.shutdown().await {
        Ok(()) => Ok(()),
        // The other side closed first: nothing is left to tell it.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        Err(_) => Err(Broken(other(source))),
    }
}
