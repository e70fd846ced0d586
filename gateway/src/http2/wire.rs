//! What a peer does with its connection, seen below the HTTP/2 library: it keeps the protocol, this keeps the peer from
//! wearing it out. Frames that cost work and carry nothing are paid for out of a budget that fills with time and with
//! content that moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use h2::Reason as Code;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

use super::unseen::{End, Refusal, Unseen};
use crate::origin::OriginFailure;

const PREFACE: usize = 24;
const HEADER: usize = 9;
/// The payload of a reset.
const CODE: usize = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// A stream's number, without the reserved bit.
const STREAM: u32 = 0x7fff_ffff;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames of one kind that may come at once, and per second from then on.
const BURST: u64 = 1000;
const PER_SECOND: u64 = 33;
/// Control frames that a request head, or a piece of content in either direction, pays for.
const PER_HEAD: u64 = 2;
const PER_PIECE: u64 = 4;

/// What both ends of a connection know of its peer.
#[derive(Debug)]
pub(super) struct Wire {
    started: Instant,
    /// Milliseconds since `started`, plus one; 0: never.
    pinged: AtomicU64,
    /// Since when a head has been incomplete, counted alike.
    head_since: AtomicU64,
    earned: AtomicU64,
    flooded: AtomicBool,
    unseen: Mutex<Unseen>,
    /// Why the peer wants nothing to do with us, which TLS 1.3 says after the handshake.
    refusal: Mutex<Option<OriginFailure>>,
}

impl Wire {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            pinged: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            earned: AtomicU64::new(0),
            flooded: AtomicBool::new(false),
            unseen: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        let elapsed = self.started.elapsed().as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX - 1) + 1
    }

    fn at(&self, mark: u64) -> Option<Instant> {
        let elapsed = Duration::from_millis(mark.checked_sub(1)?);
        self.started.checked_add(elapsed)
    }

    /// When the peer last asked for a sign of life.
    pub(super) fn pinged(&self) -> Option<Instant> {
        self.at(self.pinged.load(Ordering::Relaxed))
    }

    /// Since when a head has been waiting for its rest.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.at(self.head_since.load(Ordering::Relaxed))
    }

    /// A piece of content moved to the peer: it may answer with window updates.
    pub(super) fn moved(&self) {
        self.earned.fetch_add(PER_PIECE, Ordering::Relaxed);
    }

    /// The peer sent more than its budget of frames without content.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Why an origin refused the connection after its handshake.
    pub(super) fn refusal(&self) -> Option<OriginFailure> {
        self.refusal.lock().clone()
    }

    /// The library handed a client's stream over.
    pub(super) fn accepted(&self, stream: u32) {
        self.unseen.lock().accepted(stream);
    }

    /// Streams that it has refused since the last call instead.
    pub(super) fn refused(&self) -> Vec<Refusal> {
        self.unseen.lock().take()
    }
}

/// Tokens for frames of one kind.
#[derive(Debug)]
struct Budget {
    left: u64,
    filled: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    fn earn(&mut self, tokens: u64) {
        self.left = self.left.saturating_add(tokens).min(BURST);
    }

    /// Whether there was a token; the clock is asked only when there seems to be none.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let elapsed = now.duration_since(self.filled).as_millis();
            self.filled = now;
            let tokens = u64::try_from(elapsed).unwrap_or(u64::MAX);
            self.earn(tokens.saturating_mul(PER_SECOND) / 1000);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Finds the frame headers in a stream of bytes.
#[derive(Debug)]
struct Scanner {
    /// Bytes of the preface or of a payload still to come.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// The header block that has begun is not complete.
    open_head: bool,
    /// The stream that it belongs to.
    head_of: Option<u32>,
    control: Budget,
    resets: Budget,
}

impl Scanner {
    fn new(skip: usize, now: Instant) -> Self {
        Self {
            skip,
            header: [0; HEADER],
            have: 0,
            open_head: false,
            head_of: None,
            control: Budget::new(now),
            resets: Budget::new(now),
        }
    }

    /// Whether the peer keeps within its budget.
    fn scan(&mut self, mut bytes: &[u8], wire: &Wire) -> bool {
        let mut within = true;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip == 0 && self.have == 0 {
                self.close_head(wire);
            }
            while self.have < HEADER {
                let (Some((byte, rest)), Some(place)) =
                    (bytes.split_first(), self.header.get_mut(self.have))
                else {
                    break;
                };
                *place = *byte;
                self.have += 1;
                bytes = rest;
            }
            if self.have == HEADER {
                self.have = 0;
                within &= self.frame(wire);
                if self.skip == 0 {
                    self.close_head(wire);
                }
            }
        }
        let mid_head = self.open_head && (self.skip > 0 || self.have > 0 || !self.ends_head());
        if mid_head != (wire.head_since.load(Ordering::Relaxed) != 0) {
            let mark = if mid_head { wire.now() } else { 0 };
            wire.head_since.store(mark, Ordering::Relaxed);
        }
        within
    }

    /// After the last byte of a frame: the head that it ends is complete.
    fn close_head(&mut self, wire: &Wire) {
        if self.head_of.is_some()
            && self.ends_head()
            && let Some(stream) = self.head_of.take()
        {
            wire.unseen.lock().opened(stream);
        }
    }

    fn ends_head(&self) -> bool {
        let [_, _, _, kind, flags, ..] = self.header;
        matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0
    }

    fn frame(&mut self, wire: &Wire) -> bool {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length as usize;
        self.open_head = matches!(kind, HEADERS | CONTINUATION);
        match kind {
            DATA if length > 0 => {
                self.control.earn(PER_PIECE);
                true
            }
            HEADERS => {
                self.head_of = Some(u32::from_be_bytes(stream) & STREAM);
                self.control.earn(PER_HEAD);
                true
            }
            RST_STREAM => self.resets.spend(),
            CONTINUATION => true,
            _ => {
                if kind == PING && flags & ACK == 0 {
                    wire.pinged.store(wire.now(), Ordering::Relaxed);
                }
                if self.control.left == 0 {
                    self.control.earn(wire.earned.swap(0, Ordering::Relaxed));
                }
                self.control.spend()
            }
        }
    }
}

/// Finds in the bytes to a client which streams are ended or answered.
#[derive(Debug, Default)]
struct Listener {
    skip: usize,
    header: [u8; HEADER + CODE],
    have: usize,
}

impl Listener {
    fn scan(&mut self, mut bytes: &[u8], wire: &Wire) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            while let (false, Some((byte, rest)), Some(place)) = (
                self.is_whole(),
                bytes.split_first(),
                self.header.get_mut(self.have),
            ) {
                *place = *byte;
                self.have += 1;
                bytes = rest;
            }
            if self.is_whole() {
                self.frame(wire);
            }
        }
    }

    /// Whether the header is there, and with a reset its code.
    fn is_whole(&self) -> bool {
        let [_, _, _, kind, ..] = self.header;
        self.have >= HEADER && (kind != RST_STREAM || self.have >= HEADER + CODE)
    }

    fn frame(&mut self, wire: &Wire) {
        let [high, middle, low, kind, _, s0, s1, s2, s3, code @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = (length + HEADER).saturating_sub(self.have);
        self.have = 0;
        let end = match kind {
            RST_STREAM => End::Reset(Code::from(u32::from_be_bytes(code))),
            HEADERS => End::Answered,
            _ => return,
        };
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & STREAM;
        wire.unseen.lock().told(stream, end);
    }
}

/// A connection whose peer is watched.
pub(super) struct Watched<I> {
    io: I,
    wire: Arc<Wire>,
    scanner: Scanner,
    /// On a client's connection.
    listener: Option<Listener>,
}

impl<I> Watched<I> {
    /// A client's connection, which begins with the preface.
    pub(super) fn client(io: I) -> (Self, Arc<Wire>) {
        Self::new(io, PREFACE, Some(Listener::default()))
    }

    /// An origin's connection.
    pub(super) fn origin(io: I) -> (Self, Arc<Wire>) {
        Self::new(io, 0, None)
    }

    fn new(io: I, skip: usize, listener: Option<Listener>) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::new());
        let scanner = Scanner::new(skip, wire.started);
        (
            Self {
                io,
                wire: wire.clone(),
                scanner,
                listener,
            },
            wire,
        )
    }
}

impl<I> Watched<I> {
    /// At most `length` of these bytes went out; returns how many.
    fn sent(&mut self, bytes: &[u8], length: usize) -> usize {
        let bytes = bytes.get(..length).unwrap_or(bytes);
        if let Some(listener) = &mut self.listener {
            listener.scan(bytes, &self.wire);
        }
        bytes.len()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.flooded() {
            // Whoever polls the connection sees the mark and ends it; no more is read until then.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        // The library keeps the kind of an error only.
        if this.listener.is_none()
            && let Poll::Ready(Err(error)) = &read
            && let Some(refusal) = OriginFailure::of_read(error)
        {
            *this.wire.refusal.lock() = Some(refusal);
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        if !this.scanner.scan(new, &this.wire) {
            this.wire.flooded.store(true, Ordering::Relaxed);
            cx.waker().wake_by_ref();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = &written {
            this.sent(buf, *length);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(length)) = &written {
            let mut left = *length;
            for buf in bufs {
                left -= this.sent(buf, left);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut out = length[1..].to_vec();
        out.extend([kind, flags, 0, 0, 0, 1]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_flood_is_one_whatever_the_reads_are() {
        for step in [1, 7, 16_384] {
            for (kind, payload, limit) in [
                (PING, 8, true),
                (4, 0, true),
                (RST_STREAM, 4, true),
                (HEADERS, 3, false),
            ] {
                let wire = Wire::new();
                let mut scanner = Scanner::new(PREFACE, Instant::now());
                let mut bytes = vec![b'x'; PREFACE];
                for _ in 0..5000 {
                    bytes.extend(frame(kind, END_HEADERS, &vec![0; payload]));
                }
                let within = bytes
                    .chunks(step)
                    .fold(true, |ok, part| ok & scanner.scan(part, &wire));
                assert_eq!(within, !limit, "kind {kind}, {step} bytes at a time");
            }
        }
    }

    #[test]
    fn content_pays_for_window_updates() {
        let wire = Wire::new();
        let mut scanner = Scanner::new(0, Instant::now());
        for _ in 0..100_000 {
            wire.moved();
            assert!(scanner.scan(&frame(8, 0, &[0; 4]), &wire));
            assert!(scanner.scan(&frame(8, 0, &[0; 4]), &wire));
        }
    }

    #[test]
    fn a_stream_that_is_told_off_before_it_is_accepted_was_refused() {
        for step in [1, 5, 13, 4096] {
            let wire = Wire::new();
            let mut scanner = Scanner::new(PREFACE, Instant::now());
            let mut bytes = vec![b'x'; PREFACE];
            let mut to = |stream: u8, mut frame: Vec<u8>| {
                frame[8] = stream;
                bytes.extend(frame);
            };
            to(1, frame(HEADERS, END_HEADERS, b"abc"));
            to(3, frame(HEADERS, 0, b"abc"));
            to(3, frame(CONTINUATION, END_HEADERS, b""));
            to(5, frame(HEADERS, END_HEADERS, b""));
            to(7, frame(HEADERS, END_HEADERS, b"not all of it"));
            bytes.pop();
            for part in bytes.chunks(step) {
                scanner.scan(part, &wire);
            }
            wire.accepted(1);
            let mut listener = Listener::default();
            let mut bytes = Vec::new();
            let mut to = |stream: u8, mut frame: Vec<u8>| {
                frame[8] = stream;
                bytes.extend(frame);
            };
            to(1, frame(HEADERS, END_HEADERS, b"answer"));
            to(1, frame(DATA, 0, &[3; 100]));
            to(3, frame(RST_STREAM, 0, &[0, 0, 0, 7]));
            to(5, frame(HEADERS, END_HEADERS, b"answer"));
            to(5, frame(RST_STREAM, 0, &[0, 0, 0, 1]));
            to(7, frame(RST_STREAM, 0, &[0, 0, 0, 1]));
            for part in bytes.chunks(step) {
                listener.scan(part, &wire);
            }
            let refused = wire.refused();
            let refused: Vec<_> = refused.iter().map(|one| (one.stream, one.end)).collect();
            assert_eq!(
                refused,
                [(3, End::Reset(Code::REFUSED_STREAM)), (5, End::Answered)]
            );
        }
    }

    #[test]
    fn an_incomplete_head_is_known() {
        let wire = Wire::new();
        let mut scanner = Scanner::new(0, Instant::now());
        let whole = frame(HEADERS, END_HEADERS, b"abc");
        scanner.scan(&whole[..10], &wire);
        assert!(wire.head_since().is_some());
        scanner.scan(&whole[10..], &wire);
        assert!(wire.head_since().is_none());
        scanner.scan(&frame(HEADERS, 0, b"abc"), &wire);
        assert!(wire.head_since().is_some());
        scanner.scan(&frame(CONTINUATION, END_HEADERS, b"abc"), &wire);
        assert!(wire.head_since().is_none());
    }
}
