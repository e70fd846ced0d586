//! Streams that the HTTP/2 library refuses by itself. It tells the client and not us, so what is read and written below it
//! has to say which they were.

use std::collections::VecDeque;

use h2::Reason as Code;

/// Streams of a connection that may wait for their fate; nobody opens as many between two reads.
const WAITING: usize = 16 * 1024;

/// A stream that never became a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) stream: u32,
    pub(super) end: End,
}

/// How the library ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It answered with a head of its own, which it does where the client's is too large.
    Answered,
    Reset(Code),
    /// It has not said so yet.
    Unknown,
}

/// The streams that a client has opened.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    highest: u32,
    /// In ascending order, as they must be opened; with what was said of those that nobody has taken over yet.
    waiting: VecDeque<(u32, Option<End>)>,
    told: bool,
    refused: Vec<Refusal>,
}

impl Unseen {
    /// A head is complete. One on a stream that was opened before is a trailer.
    pub(super) fn opened(&mut self, stream: u32) {
        // Even numbers, and those out of order, cost the connection.
        if stream <= self.highest || stream.is_multiple_of(2) {
            return;
        }
        self.highest = stream;
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((stream, None));
    }

    /// The library hands a stream over. It does so in their order: what was opened before it is not to come.
    pub(super) fn accepted(&mut self, stream: u32) {
        while let Some((first, end)) = self.waiting.front().copied()
            && first <= stream
        {
            self.waiting.pop_front();
            if first < stream {
                let end = end.unwrap_or(End::Unknown);
                self.refused.push(Refusal { stream: first, end });
            }
        }
    }

    /// A frame goes out that ends or answers a stream. One that is ended for its content is handed over nevertheless.
    pub(super) fn told(&mut self, stream: u32, end: End) {
        if self.waiting.is_empty() {
            return;
        }
        if let Ok(at) = self.waiting.binary_search_by_key(&stream, |one| one.0)
            && let Some((_, said @ None)) = self.waiting.get_mut(at)
        {
            *said = Some(end);
            self.told = true;
        }
    }

    /// Those that were refused since the last call, which comes when the library has no more to hand over.
    pub(super) fn take(&mut self) -> Vec<Refusal> {
        let mut refused = std::mem::take(&mut self.refused);
        if std::mem::take(&mut self.told) {
            self.waiting.retain(|(stream, said)| match *said {
                Some(end) => {
                    let stream = *stream;
                    refused.push(Refusal { stream, end });
                    false
                }
                None => true,
            });
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(stream: u32, end: End) -> Refusal {
        Refusal { stream, end }
    }

    #[test]
    fn what_is_neither_accepted_nor_waiting_was_refused() {
        let mut unseen = Unseen::default();
        for stream in [1, 3, 3, 2, 5, 7, 9, 1] {
            unseen.opened(stream);
        }
        unseen.accepted(1);
        assert_eq!(unseen.take(), []);
        unseen.told(1, End::Reset(Code::CANCEL));
        unseen.told(5, End::Reset(Code::PROTOCOL_ERROR));
        // Its content was wrong; it is handed over all the same.
        unseen.told(7, End::Reset(Code::PROTOCOL_ERROR));
        unseen.accepted(7);
        assert_eq!(
            unseen.take(),
            [
                refusal(3, End::Unknown),
                refusal(5, End::Reset(Code::PROTOCOL_ERROR))
            ]
        );
        unseen.told(3, End::Reset(Code::PROTOCOL_ERROR));
        unseen.told(9, End::Answered);
        unseen.told(9, End::Reset(Code::PROTOCOL_ERROR));
        assert_eq!(unseen.take(), [refusal(9, End::Answered)]);
    }

    #[test]
    fn waiting_has_a_bound() {
        let mut unseen = Unseen::default();
        for stream in 0..100_000 {
            unseen.opened(2 * stream + 1);
        }
        assert_eq!(unseen.waiting.len(), WAITING);
    }
}
