//! What a peer does with its connection, seen below the HTTP/2 library: it keeps the protocol, this keeps the peer from
//! wearing it out. Frames that cost work and carry nothing are paid for out of a budget that fills with time and with
//! content that moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
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
}

impl Wire {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            pinged: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            earned: AtomicU64::new(0),
            flooded: AtomicBool::new(false),
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
            }
        }
        let mid_head = self.open_head && (self.skip > 0 || self.have > 0 || !self.ends_head());
        if mid_head != (wire.head_since.load(Ordering::Relaxed) != 0) {
            let mark = if mid_head { wire.now() } else { 0 };
            wire.head_since.store(mark, Ordering::Relaxed);
        }
        within
    }

    fn ends_head(&self) -> bool {
        let [_, _, _, kind, flags, ..] = self.header;
        matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0
    }

    fn frame(&mut self, wire: &Wire) -> bool {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length as usize;
        self.open_head = matches!(kind, HEADERS | CONTINUATION);
        match kind {
            DATA if length > 0 => {
                self.control.earn(PER_PIECE);
                true
            }
            HEADERS => {
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

/// A connection whose peer is watched.
pub(super) struct Watched<I> {
    io: I,
    wire: Arc<Wire>,
    scanner: Scanner,
}

impl<I> Watched<I> {
    /// A client's connection, which begins with the preface.
    pub(super) fn client(io: I) -> (Self, Arc<Wire>) {
        Self::new(io, PREFACE)
    }

    /// An origin's connection.
    pub(super) fn origin(io: I) -> (Self, Arc<Wire>) {
        Self::new(io, 0)
    }

    fn new(io: I, skip: usize) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::new());
        let scanner = Scanner::new(skip, wire.started);
        (
            Self {
                io,
                wire: wire.clone(),
                scanner,
            },
            wire,
        )
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
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
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
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
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
