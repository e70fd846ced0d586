//! A plain HTTP/1.1 origin that keeps each request as its bytes.

use std::sync::Arc;

use crate::client::{Io, Wire, find, header_values};
use crate::log::Log;

/// A request as the origin read it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers, with their line ends.
    pub head: String,
    pub body: Vec<u8>,
    /// Which of the origin's connections it came on.
    pub connection: usize,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or("")
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        header_values(&self.head, name)
    }
}

/// What an origin sends: exact bytes, and whether it then closes.
pub struct Reply {
    bytes: Vec<u8>,
    close: bool,
    /// Sent as soon as the head has been read; the body is then left unread.
    early: bool,
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// 200 with more headers, each ending in CRLF.
    pub fn with(headers: &str, body: &str) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            close: false,
            early: false,
        }
    }

    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }
}

/// `reply` is asked once per request, when its head is read.
pub(super) async fn serve<R: Fn(&Request) -> Reply + Send + Sync>(
    stream: Box<dyn Io>,
    requests: Log<Request>,
    connection: usize,
    reply: Arc<R>,
) {
    let mut wire = Wire::over(stream);
    while let Some(head) = wire.head().await {
        let mut request = Request {
            head,
            body: Vec::new(),
            connection,
        };
        let reply = reply(&request);
        if reply.early {
            requests.push(request);
            if wire.offer(&reply.bytes).await && !reply.close {
                // What follows is the body: read and forgotten.
                drop(wire.drain().await);
            }
            return;
        }
        let Some(body) = wire.body(&request).await else {
            return;
        };
        request.body = body;
        requests.push(request);
        if !wire.offer(&reply.bytes).await || reply.close {
            return;
        }
    }
}

impl Wire {
    async fn grow(&mut self) -> Option<()> {
        self.unread.reserve(16 * 1024);
        let length = self.read_more().await.ok()?;
        (length > 0).then_some(())
    }

    /// The next head; nothing when the peer ends. An origin waits without a deadline: its clients have theirs.
    async fn head(&mut self) -> Option<String> {
        self.marked(b"\r\n\r\n")
            .await
            .map(|head| String::from_utf8_lossy(&head).into_owned())
    }

    async fn marked(&mut self, marker: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.unread, marker) {
                return Some(self.unread.drain(..at + marker.len()).collect());
            }
            self.grow().await?;
        }
    }

    async fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        if let Some(length) = request.headers("content-length").first() {
            let length = length.parse().ok()?;
            while self.unread.len() < length {
                self.grow().await?;
            }
            return Some(self.unread.drain(..length).collect());
        }
        if request.headers("transfer-encoding").is_empty() {
            return Some(Vec::new());
        }
        // Chunks are kept as they came, so that a row can look at their framing and trailers.
        let mut raw = Vec::new();
        loop {
            let line = self.marked(b"\r\n").await?;
            let size = String::from_utf8_lossy(&line)
                .trim()
                .split(';')
                .next()
                .map(str::to_owned)?;
            let size = usize::from_str_radix(&size, 16).ok()?;
            raw.extend(line);
            if size == 0 {
                loop {
                    let line = self.marked(b"\r\n").await?;
                    raw.extend_from_slice(&line);
                    if line == b"\r\n" {
                        return Some(raw);
                    }
                }
            }
            while self.unread.len() < size + 2 {
                self.grow().await?;
            }
            raw.extend(self.unread.drain(..size + 2));
        }
    }
}
