//! A client that sends exactly the bytes it is given.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::within;

/// What a [`Wire`] runs over.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes the drop of this stream a reset.
    fn linger_zero(&self);
}

impl Io for TcpStream {
    fn linger_zero(&self) {
        socket2::SockRef::from(self)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

impl<T: Io> Io for tokio_rustls::client::TlsStream<T> {
    fn linger_zero(&self) {
        self.get_ref().0.linger_zero();
    }
}

impl<T: Io> Io for tokio_rustls::server::TlsStream<T> {
    fn linger_zero(&self) {
        self.get_ref().0.linger_zero();
    }
}

impl Io for Box<dyn Io> {
    fn linger_zero(&self) {
        self.as_ref().linger_zero();
    }
}

/// An HTTP/1 answer as it was on the wire.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// All values of a header, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        header_values(&self.head, name)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers(name).first().copied().unwrap_or("")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.head, self.text()))
    }
}

/// How the peer ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

/// One connection, with what was read and not yet used.
pub struct Wire {
    stream: Box<dyn Io>,
    pub unread: Vec<u8>,
    pub local: Option<SocketAddr>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within(
            &format!("a connection to {address}"),
            TcpStream::connect(address),
        )
        .await
        .unwrap();
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().ok();
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            local,
        }
    }

    pub fn over(stream: impl Io + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            local: None,
        }
    }

    pub fn into_stream(self) -> Box<dyn Io> {
        assert!(
            self.unread.is_empty(),
            "bytes were read past the answer: {:?}",
            self.unread
        );
        self.stream
    }

    pub(crate) fn reader(&mut self) -> &mut (dyn Io + 'static) {
        &mut *self.stream
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(
            "the peer to take bytes",
            self.stream.write_all(bytes.as_ref()),
        )
        .await
        .unwrap();
        within("the peer to take bytes", self.stream.flush())
            .await
            .unwrap();
    }

    /// Sends to a peer that may close at any byte.
    pub async fn offer(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within(
            "the peer to take bytes or to close",
            self.stream.write_all(bytes.as_ref()),
        )
        .await
        .is_ok()
    }

    pub async fn finish_sending(&mut self) {
        within("the end of sending", self.stream.shutdown())
            .await
            .unwrap();
    }

    /// Reads what is there, without a deadline: an origin's clients have theirs.
    pub(crate) async fn read_more(&mut self) -> std::io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    async fn more(&mut self, what: &str) -> Result<usize, End> {
        self.unread.reserve(16 * 1024);
        match within(what, self.read_more()).await {
            Ok(0) => Err(End::Closed),
            Ok(length) => Ok(length),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(End::Closed),
            Err(_) => Err(End::Reset),
        }
    }

    /// Exactly so many bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let read = self.more(&format!("{count} bytes")).await;
            assert!(
                read.is_ok(),
                "the peer ended after {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
        self.unread.drain(..count).collect()
    }

    /// Reads and forgets so many bytes; returns how many came.
    pub async fn swallow(&mut self, count: u64) -> u64 {
        let mut received = self.unread.len() as u64;
        self.unread.clear();
        while received < count && self.more("more of a long body").await.is_ok() {
            received += self.unread.len() as u64;
            self.unread.clear();
        }
        received
    }

    /// Everything up to and with a marker.
    pub async fn take_until(&mut self, marker: &str) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, marker.as_bytes()) {
                return self.unread.drain(..at + marker.len()).collect();
            }
            let read = self.more(&format!("bytes up to {marker:?}")).await;
            assert!(
                read.is_ok(),
                "the peer ended before {marker:?}, after {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// Fails if a byte comes or the connection ends within this time.
    pub async fn silent_for(&mut self, time: Duration) {
        assert!(self.unread.is_empty(), "bytes were left: {:?}", self.unread);
        let read = tokio::time::timeout(time, self.read_more()).await;
        assert!(
            read.is_err(),
            "no silence: {read:?} {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }

    /// Reads to the end of the connection: what came, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more("the peer to close the connection").await {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.linger_zero();
    }

    /// Fails unless the peer ends the connection without another byte.
    pub async fn closed(&mut self) -> End {
        let (bytes, end) = self.rest().await;
        assert!(
            bytes.is_empty(),
            "bytes came before the close: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        end
    }

    /// Fails unless a tunnel that carried a hello ends with nothing but a fatal TLS alert, if anything. Returns the
    /// alert's description.
    pub async fn refused_in_tls(&mut self) -> Option<u8> {
        let (bytes, _) = self.rest().await;
        match bytes.as_slice() {
            [] => None,
            [21, 3, _, 0, 2, 2, description] => Some(*description),
            other => panic!(
                "neither closed nor alerted: {:?}",
                String::from_utf8_lossy(other)
            ),
        }
    }

    /// The next answer; `bodiless` for HEAD and for a CONNECT that is let through.
    pub async fn answer_to(&mut self, bodiless: bool) -> Answer {
        let head = String::from_utf8_lossy(&self.take_until("\r\n\r\n").await).into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if bodiless || status == 204 || status == 304 || status < 200 {
            return answer;
        }
        answer.body = if answer
            .header("transfer-encoding")
            .eq_ignore_ascii_case("chunked")
        {
            self.chunked().await
        } else if let Ok(length) = answer.header("content-length").parse() {
            self.take(length).await
        } else {
            self.rest().await.0
        };
        answer
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to(false).await
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.take_until("\r\n").await).unwrap();
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while self.take_until("\r\n").await != b"\r\n" {}
                return body;
            }
            body.extend(self.take(size).await);
            assert_eq!(self.take(2).await, b"\r\n");
        }
    }

    /// One request, one answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// A CONNECT: the answer, the tunnel being open if its status is 200.
    pub async fn connect(&mut self, target: &str) -> Answer {
        self.send(connect_head(target)).await;
        let head = String::from_utf8_lossy(&self.take_until("\r\n\r\n").await).into_owned();
        let open = head.split(' ').nth(1) == Some("200");
        self.unread.splice(..0, head.into_bytes());
        self.answer_to(open).await
    }
}

/// All values of a header in a head, in order.
pub(crate) fn header_values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

pub fn connect_head(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
