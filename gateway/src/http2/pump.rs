//! Content of one direction of a stream, with its trailers: taken from one peer only as fast as the other takes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::sync::oneshot;

use super::head::keep_trailers;
use super::wire::Wire;

/// Why content did not get through.
#[derive(Debug)]
pub(super) enum Broken {
    /// More came than the policy lets through; exactly as much as it does is on its way.
    Bound,
    /// The sender's stream broke.
    Source(h2::Error),
    /// The receiver's stream broke, or it wants no more.
    Sink(Option<h2::Error>),
}

/// One direction.
pub(super) struct Pump {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// Read and not yet sent.
    held: Bytes,
    /// Most bytes that may still pass.
    room: u64,
    /// Resolves when the last byte that may pass has been written.
    written: Option<oneshot::Receiver<()>>,
    /// Something moved since it was last asked.
    moved: bool,
    /// Trailers pass.
    trailers: bool,
}

impl Pump {
    /// Whether trailers pass; they do unless this says otherwise.
    pub(super) fn trailers(mut self, pass: bool) -> Self {
        self.trailers = pass;
        self
    }

    pub(super) fn new(from: RecvStream, to: SendStream<Bytes>, bound: u64) -> Self {
        Self {
            from,
            to,
            held: Bytes::new(),
            room: bound,
            written: None,
            moved: false,
            trailers: true,
        }
    }

    /// Whether something moved since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The receiver has not made room for what is there.
    pub(super) fn is_blocked(&self) -> bool {
        !self.held.is_empty()
    }

    /// Nothing was taken from the sender.
    pub(super) fn is_untouched(&self, count: u64) -> bool {
        count == 0 && self.held.is_empty()
    }

    /// Ends the receiver's stream without its end.
    pub(super) fn reset(&mut self, reason: h2::Reason) {
        self.to.send_reset(reason);
    }

    pub(super) fn into_source(self) -> RecvStream {
        self.from
    }

    /// Moves what can be moved. `wire` is that of the receiver.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        count: &mut u64,
        wire: &Wire,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if !self.held.is_empty() {
                if ready!(self.poll_send(cx, count, wire))? {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match self.from.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if !data.is_empty() => self.held = data,
                Poll::Ready(Some(Ok(_))) => {
                    if self.from.is_end_stream() {
                        return Poll::Ready(self.end());
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Ready(None) => break,
                Poll::Pending => {
                    return match self.to.poll_reset(cx) {
                        Poll::Ready(result) => Poll::Ready(Err(sink(result))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
        match self.from.poll_trailers(cx) {
            Poll::Ready(Ok(Some(mut trailers))) => {
                keep_trailers(&mut trailers);
                if !self.trailers {
                    trailers.clear();
                }
                self.moved = true;
                if trailers.is_empty() {
                    return Poll::Ready(self.end());
                }
                let sent = self.to.send_trailers(trailers);
                Poll::Ready(sent.map_err(|error| Broken::Sink(Some(error))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Source(error))),
            Poll::Ready(Ok(None)) => Poll::Ready(self.end()),
            Poll::Pending => match self.to.poll_reset(cx) {
                Poll::Ready(result) => Poll::Ready(Err(sink(result))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Sends as much of what is held as the receiver has room for; true at the end of the content.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        count: &mut u64,
        wire: &Wire,
    ) -> Poll<Result<bool, Broken>> {
        let wanted = usize::try_from(self.room).map_or(self.held.len(), |r| r.min(self.held.len()));
        if wanted == 0 {
            // The reset that follows would overtake what is not written yet.
            return match &mut self.written {
                Some(written) => Pin::new(written).poll(cx).map(|_| Err(Broken::Bound)),
                None => Poll::Ready(Err(Broken::Bound)),
            };
        }
        if self.to.capacity() < wanted {
            self.to.reserve_capacity(wanted);
        }
        let mut capacity = self.to.capacity();
        while capacity == 0 {
            capacity = match self.to.poll_capacity(cx) {
                Poll::Ready(Some(Ok(capacity))) => capacity,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Broken::Sink(Some(error))));
                }
                Poll::Ready(None) => return Poll::Ready(Err(Broken::Sink(None))),
                Poll::Pending => {
                    return match self.to.poll_reset(cx) {
                        Poll::Ready(result) => Poll::Ready(Err(sink(result))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            };
        }
        let mut piece = self.held.split_to(capacity.min(wanted));
        let length = piece.len();
        if length as u64 == self.room {
            let (told, written) = oneshot::channel();
            piece = Bytes::from_owner(Told { piece, _told: told });
            self.written = Some(written);
        }
        let last = self.held.is_empty() && self.from.is_end_stream();
        let sent = self.to.send_data(piece, last);
        sent.map_err(|error| Broken::Sink(Some(error)))?;
        *count += length as u64;
        self.room -= length as u64;
        self.moved = true;
        wire.moved();
        // Only now may the sender send more. A stream that is gone has given its share back already.
        self.from.flow_control().release_capacity(length).ok();
        Poll::Ready(Ok(last))
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.moved = true;
        let sent = self.to.send_data(Bytes::new(), true);
        sent.map_err(|error| Broken::Sink(Some(error)))
    }
}

/// Says so when it has been written, which is when it is dropped.
struct Told {
    piece: Bytes,
    _told: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

fn sink(result: Result<h2::Reason, h2::Error>) -> Broken {
    Broken::Sink(Some(result.map_or_else(|error| error, h2::Error::from)))
}
