//! Moves one HTTP/1 body, validated on the way and never held whole.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::http1::{BodyDecoder, BodyError, BodyFraming, ChunkHeader};

const STEP_MIN: usize = 16 * 1024;
const STEP_MAX: usize = 256 * 1024;

/// Why a body did not get through.
#[derive(Debug)]
pub(super) enum BodyFailure {
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
    /// Longest silence.
    pub(super) idle: Duration,
}

/// Moves the body; returns the number of body bytes.
pub(super) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    body: Body<'_>,
    moved: &mut u64,
) -> Result<(), BodyFailure> {
    let Body {
        buf,
        prefix: mut out,
        framing,
        chunked,
        idle,
    } = body;
    let mut decoder = BodyDecoder::new(framing);
    let mut step_size = STEP_MIN;
    loop {
        while !buf.is_empty() && !decoder.is_done() {
            let step = decoder.decode(buf).map_err(BodyFailure::Malformed)?;
            let data = buf.get(step.data.clone()).unwrap_or_default();
            *moved += data.len() as u64;
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
            buf.advance(step.consumed);
        }
        if decoder.is_done() {
            if chunked {
                out.extend_from_slice(&decoder.last_chunk());
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
        match timeout(idle, from.read_buf(buf)).await {
            Err(_) => return Err(BodyFailure::Idle),
            Ok(Err(_)) => return Err(BodyFailure::Source),
            Ok(Ok(0)) => decoder.end_of_input().map_err(BodyFailure::Malformed)?,
            Ok(Ok(length)) if length == room => step_size = (step_size * 2).min(STEP_MAX),
            Ok(Ok(_)) => {}
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
