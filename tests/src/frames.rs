//! HTTP/2 written by hand, so that a row decides about every frame and every field.

use crate::client::{Io, Wire};
use crate::deadline::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const ALTSVC: u8 = 10;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

pub const PROTOCOL_ERROR: u32 = 1;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Setting: the size of the table for compressed fields. At 0 a peer writes every field out.
const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A whole head. The fields go out as they are, uncompressed.
    pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Self {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        Self::new(HEADERS, flags, stream, block(fields))
    }

    pub fn data(stream: u32, content: &str, end: bool) -> Self {
        Self::new(DATA, u8::from(end), stream, content)
    }

    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let payload = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect::<Vec<_>>();
        Self::new(SETTINGS, 0, 0, payload)
    }

    pub fn goaway(last: u32) -> Self {
        Self::new(
            GOAWAY,
            0,
            0,
            [last.to_be_bytes(), 0_u32.to_be_bytes()].concat(),
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The code of a reset, or of a goodbye.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of a response head, which is its first field.
    pub fn status(&self) -> u16 {
        let mut block = self.payload.as_slice();
        // Our own setting is answered by one change of the table's size.
        while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
            block = &block[1..];
        }
        match block {
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
            }
            [0x08 | 0x18 | 0x48, 0x03, digits @ ..] => String::from_utf8_lossy(&digits[..3])
                .parse()
                .expect("a status"),
            [0x08 | 0x18 | 0x48, length, digits @ ..] if length & 0x80 != 0 => {
                let length = usize::from(length & 0x7f);
                packed_digits(&digits[..length]).parse().expect("a status")
            }
            other => panic!("a head that does not begin with its status: {other:?}"),
        }
    }
}

/// Digits in the code of RFC 7541, appendix B.
fn packed_digits(bytes: &[u8]) -> String {
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect::<Vec<_>>();
    let mut digits = String::new();
    let mut rest = bits.as_slice();
    let value = |bits: &[u8]| bits.iter().fold(0_u8, |value, bit| value << 1 | bit);
    while rest.len() >= 5 && digits.len() < 3 {
        let short = value(&rest[..5]);
        let (digit, length) = if short < 3 {
            (short, 5)
        } else {
            (value(&rest[..6]) - 0x19 + 3, 6)
        };
        digits.push(char::from(b'0' + digit));
        rest = &rest[length..];
    }
    digits
}

/// Fields in the literal form, each without leaving a trace in the peer's table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length in seven bits, or in more bytes (RFC 7541, 5.1).
fn put_length(into: &mut Vec<u8>, length: usize) {
    if length < 127 {
        into.push(u8::try_from(length).unwrap());
        return;
    }
    into.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        into.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    into.push(u8::try_from(rest).unwrap());
}

/// The pseudo-fields of an ordinary request.
pub fn request<'a>(
    method: &'a str,
    authority: &'a str,
    path: &'a str,
) -> [(&'static str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
    ]
}

/// One end of a connection that speaks in frames.
pub struct Frames {
    pub wire: Wire,
}

impl Frames {
    /// The client's end: preface and settings are sent.
    pub async fn open(wire: Wire, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self { wire };
        let mut all = vec![(HEADER_TABLE_SIZE, 0)];
        all.extend(settings);
        frames
            .wire
            .send([PREFACE, &Frame::settings(&all).bytes()].concat())
            .await;
        frames
    }

    /// The server's end: the preface is read and settings are sent. Nothing if the client went away.
    pub async fn accept(stream: Box<dyn Io>, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self {
            wire: Wire::over(stream),
        };
        let preface = frames.wire.take(PREFACE.len()).await;
        assert_eq!(preface, PREFACE, "not an HTTP/2 client");
        frames.send(&Frame::settings(settings)).await;
        frames
    }

    pub async fn send(&mut self, frame: &Frame) {
        self.wire.send(frame.bytes()).await;
    }

    /// Sends to a peer that may close at any frame; whether it still took this one.
    pub async fn offer(&mut self, frames: &[Frame]) -> bool {
        let bytes = frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>();
        self.wire.offer(bytes).await
    }

    /// Whether the peer has said more, without waiting for it.
    pub async fn has_more(&mut self) -> bool {
        use std::future::{Future as _, poll_fn};
        use std::task::Poll;
        if self.wire.unread.len() >= 9 {
            return true;
        }
        self.wire.unread.reserve(16 * 1024);
        let mut read = std::pin::pin!(self.wire.read_more());
        poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_ready())).await
    }

    /// The next frame; nothing when the peer ended. Settings and pings are answered on the way.
    pub async fn next(&mut self) -> Option<Frame> {
        within("the next HTTP/2 frame", self.next_whenever()).await
    }

    async fn next_whenever(&mut self) -> Option<Frame> {
        let frame = self.one().await?;
        if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
            let echo = if frame.kind == PING {
                frame.payload.clone()
            } else {
                Vec::new()
            };
            self.offer(&[Frame::new(frame.kind, ACK, 0, echo)]).await;
        }
        Some(frame)
    }

    async fn one(&mut self) -> Option<Frame> {
        self.fill(9).await?;
        let length = u32::from_be_bytes([
            0,
            self.wire.unread[0],
            self.wire.unread[1],
            self.wire.unread[2],
        ]) as usize;
        self.fill(9 + length).await?;
        let bytes = self.wire.unread.drain(..9 + length).collect::<Vec<_>>();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame::new(bytes[3], bytes[4], stream, &bytes[9..]))
    }

    async fn fill(&mut self, count: usize) -> Option<()> {
        while self.wire.unread.len() < count {
            self.wire.unread.reserve(16 * 1024);
            if self.wire.read_more().await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    }

    /// The first frame of these kinds on a stream, others being passed over.
    pub async fn until(&mut self, stream: u32, kinds: &[u8]) -> Frame {
        let frame = self.until_or_goodbye(stream, kinds).await;
        assert_ne!(
            frame.kind, GOAWAY,
            "a goodbye while waiting for {kinds:?} on stream {stream}: {frame:?}"
        );
        frame
    }

    /// The same, or the peer's goodbye.
    pub async fn until_or_goodbye(&mut self, stream: u32, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| {
                panic!("the peer ended before a frame of {kinds:?} on stream {stream}")
            });
            if (frame.stream == stream && kinds.contains(&frame.kind)) || frame.kind == GOAWAY {
                return frame;
            }
        }
    }

    /// Answers settings and pings until the peer ends: what an origin does when it has said what it had to.
    pub async fn rest_whenever(&mut self) {
        while self.next_whenever().await.is_some() {}
    }

    /// Everything that the peer has to say until it ends.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        for (bytes, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x48, 0x03, b'4', b'2', b'1'], 421),
            // 403 and 502 as the compressing encoder writes them.
            (&[0x08, 0x83, 0x68, 0x0c, 0xff], 403),
            (&[0x48, 0x82, 0x6c, 0x02], 502),
        ] {
            let frame = Frame::new(HEADERS, END_HEADERS, 1, bytes);
            assert_eq!(frame.status(), status, "{bytes:?}");
        }
    }
}
