//! Moves one HTTP/1 body, validated on the way and never held whole.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::http1::{BodyDecoder, BodyError, BodyFraming, ChunkHeader, LAST_CHUNK};

const STEP_MIN: usize = 16 * 1024;
const STEP_MAX: usize = 256 * 1024;

/// Why a body did not get through.
#[derive(Debug)]
pub(super) enum BodyFailure {
    /// More came than the policy lets through; exactly as much as it does has been passed on.
    Bound,
    /// The source broke off or went against the framing.
    Malformed(BodyError),
    /// The source's connection broke.
    Source,
    /// Nothing moved for the idle time.
    Idle,
    /// The sink's connection broke.
    Sink,
}

/// One body on its way.
pub(super) struct Body<'a> {
    /// Bytes of the source that are already read; what follows the body stays in it.
    pub(super) buf: &'a mut BytesMut,
    /// Written before the first body byte, in one write with it where possible: the head.
    pub(super) prefix: Vec<u8>,
    /// How the source frames it.
    pub(super) framing: BodyFraming,
    /// Whether the sink gets chunks.
    pub(super) chunked: bool,
    /// Most bytes of the body that may pass.
    pub(super) bound: u64,
    /// Trailers pass too.
    pub(super) trailers: bool,
    /// Longest silence, in both directions.
    pub(super) idle: Duration,
    /// Bytes of the other direction so far.
    pub(super) other: &'a AtomicU64,
}

/// Moves the body; returns the number of body bytes.
pub(super) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    body: Body<'_>,
    moved: &AtomicU64,
) -> Result<(), BodyFailure> {
    let Body {
        buf,
        prefix: mut out,
        framing,
        chunked,
        bound,
        trailers,
        idle,
        other,
    } = body;
    let mut decoder = BodyDecoder::new(framing);
    let mut step_size = STEP_MIN;
    loop {
        while !buf.is_empty() && !decoder.is_done() {
            let step = decoder.decode(buf).map_err(BodyFailure::Malformed)?;
            let whole = buf.get(step.data.clone()).unwrap_or_default();
            let room =
                usize::try_from(bound.saturating_sub(moved.load(Relaxed))).unwrap_or(usize::MAX);
            let data = whole.get(..room).unwrap_or(whole);
            let cut = data.len() < whole.len();
            moved.fetch_add(data.len() as u64, Relaxed);
            if chunked && !data.is_empty() {
                out.extend_from_slice(ChunkHeader::new(data.len()).as_bytes());
            }
            // Small pieces ride with what goes before them; large ones are not copied.
            if out.len() + data.len() <= STEP_MIN {
                out.extend_from_slice(data);
            } else {
                write(to, &out, idle).await?;
                out.clear();
                write(to, data, idle).await?;
            }
            if chunked && !data.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
            if cut {
                write(to, &out, idle).await?;
                flush(to, idle).await?;
                return Err(BodyFailure::Bound);
            }
            buf.advance(step.consumed);
        }
        if decoder.is_done() {
            if chunked {
                if trailers {
                    out.extend_from_slice(&decoder.last_chunk());
                } else {
                    out.extend_from_slice(LAST_CHUNK);
                }
            }
            write(to, &out, idle).await?;
            return flush(to, idle).await;
        }
        if !out.is_empty() {
            write(to, &out, idle).await?;
            out.clear();
            flush(to, idle).await?;
        }
        buf.reserve(step_size);
        let room = buf.capacity() - buf.len();
        match patient(idle, other, from.read_buf(buf)).await {
            None => return Err(BodyFailure::Idle),
            Some(Err(_)) => return Err(BodyFailure::Source),
            Some(Ok(0)) => decoder.end_of_input().map_err(BodyFailure::Malformed)?,
            Some(Ok(length)) if length == room => step_size = (step_size * 2).min(STEP_MAX),
            Some(Ok(_)) => {}
        }
    }
}

/// Waits for `event` as long as something moves in the other direction, and for the idle time after that.
pub(super) async fn patient<T>(
    idle: Duration,
    other: &AtomicU64,
    event: impl Future<Output = T>,
) -> Option<T> {
    let mut event = pin!(event);
    loop {
        let before = other.load(Relaxed);
        if let Ok(result) = timeout(idle, event.as_mut()).await {
            return Some(result);
        }
        if other.load(Relaxed) == before {
            return None;
        }
    }
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    idle: Duration,
) -> Result<(), BodyFailure> {
    if bytes.is_empty() {
        return Ok(());
    }
    match timeout(idle, to.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(BodyFailure::Sink),
        Err(_) => Err(BodyFailure::Idle),
    }
}

async fn flush(to: &mut (impl AsyncWrite + Unpin), idle: Duration) -> Result<(), BodyFailure> {
    match timeout(idle, to.flush()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(BodyFailure::Sink),
        Err(_) => Err(BodyFailure::Idle),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    async fn relay(source: &'static [u8], bound: u64) -> (Result<(), BodyFailure>, Vec<u8>) {
        let mut from = source;
        let mut to = Vec::new();
        let mut buf = BytesMut::new();
        let body = Body {
            buf: &mut buf,
            prefix: b"head;".to_vec(),
            framing: BodyFraming::Chunked,
            chunked: true,
            bound,
            trailers: true,
            idle: Duration::from_secs(5),
            other: &AtomicU64::new(0),
        };
        let ended = copy(&mut from, &mut to, body, &AtomicU64::new(0)).await;
        (ended, to)
    }

    #[tokio::test]
    async fn a_body_is_cut_exactly_at_its_bound() {
        const BODY: &[u8] = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
        let (ended, whole) = relay(BODY, 7).await;
        ended.unwrap();
        assert_eq!(whole, b"head;3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
        let (ended, cut) = relay(BODY, 5).await;
        assert!(matches!(ended, Err(BodyFailure::Bound)));
        assert_eq!(cut, b"head;3\r\nabc\r\n2\r\nde\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_move_of_either_side() {
        let idle = Duration::from_secs(10);
        let other = AtomicU64::new(0);
        let mover = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                other.fetch_add(1, Relaxed);
            }
            std::future::pending::<()>().await;
        };
        let start = tokio::time::Instant::now();
        let waiting = patient(idle, &other, std::future::pending::<()>());
        tokio::select! {
            result = waiting => assert_eq!(result, None),
            () = mover => {}
        }
        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_secs(50) && waited <= Duration::from_mins(1),
            "{waited:?}"
        );
    }
}
