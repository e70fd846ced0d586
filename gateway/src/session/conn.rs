//! A client connection with the bytes read from it and not yet used, every read capped and dated.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::net::ClientIo;

const READ_STEP: usize = 4 * 1024;
/// What a client may still send after its refusal before the connection is cut.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(2);
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// A client.
pub(super) struct Conn {
    pub(super) io: ClientIo,
    pub(super) buf: BytesMut,
    pub(super) peer: SocketAddr,
    pub(super) sans: Arc<[String]>,
}

/// Why no more bytes came.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The peer finished.
    Eof,
    /// The deadline passed.
    Late,
    /// The connection broke.
    Broken,
}

impl Conn {
    /// Appends at least one byte.
    pub(super) async fn fill(&mut self, deadline: Instant) -> Result<(), ReadEnd> {
        fill(&mut self.io, &mut self.buf, deadline).await
    }

    /// Writes within the time that any client gets for taking an answer.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        tokio::time::timeout(WRITE_LIMIT, write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a last answer and closes so that the client gets to read it: what it still sends is thrown away
    /// for a while, because closing with unread bytes would reset the connection.
    pub(super) async fn send_and_close(&mut self, bytes: &[u8]) {
        if self.send(bytes).await.is_err() || self.io.shutdown().await.is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER;
        let mut thrown_away = 0;
        while thrown_away < LINGER_BYTES {
            self.buf.clear();
            if self.fill(deadline).await.is_err() {
                return;
            }
            thrown_away += self.buf.len();
        }
    }
}

/// Appends at least one byte to `buf`, or says why not.
pub(super) async fn fill(
    from: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    deadline: Instant,
) -> Result<(), ReadEnd> {
    buf.reserve(READ_STEP);
    match tokio::time::timeout_at(deadline, from.read_buf(buf)).await {
        Ok(Ok(0)) => Err(ReadEnd::Eof),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(ReadEnd::Broken),
        Err(_) => Err(ReadEnd::Late),
    }
}

/// Says when a growing head is worth parsing again: at a line end, or once it has doubled. Without this a peer
/// that sends single bytes would have every head parsed as often as it has bytes.
#[derive(Default)]
pub(super) struct Pace {
    seen: usize,
    next: usize,
}

impl Pace {
    pub(super) fn is_due(&mut self, buf: &[u8]) -> bool {
        let fresh = buf.get(self.seen..).unwrap_or_default();
        let due = buf.len() >= self.next || memchr::memchr(b'\n', fresh).is_some();
        self.seen = buf.len();
        if due {
            self.next = buf.len().saturating_mul(2).max(1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_sent_byte_by_byte_is_parsed_a_few_times() {
        let mut pace = Pace::default();
        let head = vec![b'a'; 60_000];
        let parses = (1..head.len())
            .filter(|end| pace.is_due(&head[..*end]))
            .count();
        assert!(parses < 20, "{parses}");
        assert!(pace.is_due(b"GET http://ok.test/ HTTP/1.1\r\n".repeat(2_001).as_slice()));
    }
}
