//! Bodies: found in the caller's buffer, validated in place, relayed as ranges of it.

use std::ops::Range;

use thiserror::Error;

use super::{framing::BodyFraming, head::split_field, lines::is_value_byte, write::write_field};

/// All chunk extensions of one body. They are dropped, so this is only what we are willing to read.
const EXTENSION_BYTES: u32 = 16 * 1024;
/// All trailer lines of one body.
const TRAILER_BYTES: usize = 8 * 1024;
/// Sixteen hexadecimal digits hold any length that we count.
const SIZE_DIGITS: u8 = 16;

/// The chunk that ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a body was refused. For a request 400 `bad-request`, for a response the connection ends.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum BodyError {
    #[error("a chunk is malformed")]
    BadChunk,
    #[error("a trailer field is malformed")]
    BadTrailer,
    #[error("the chunk extensions are larger than allowed")]
    ExtensionsTooLarge,
    #[error("the trailer section is larger than allowed")]
    TrailersTooLarge,
    #[error("the connection ended before the body")]
    Truncated,
}

/// What one call found. Call again with the rest of the input until it is used up or `done`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Bytes of the input that are dealt with, `data` included.
    pub consumed: usize,
    /// The range of the input that is body; may be empty.
    pub data: Range<usize>,
    /// The body is complete; what follows in the input is the next message.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before a chunk-size line; the digits read and their value so far.
    Size {
        digits: u8,
        value: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Length {
        left: u64,
    },
    UntilClose,
    Done,
}

/// Follows one body through the input. Holds no body bytes.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    extension_bytes: u32,
    trailer_bytes: usize,
    /// The trailer line that is being read.
    line: Vec<u8>,
    /// Trailer lines that are passed on.
    trailers: Vec<u8>,
}

impl BodyDecoder {
    pub fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::Chunked => State::Size {
                digits: 0,
                value: 0,
            },
            BodyFraming::Length(0) | BodyFraming::None => State::Done,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::UntilClose => State::UntilClose,
        };
        Self {
            state,
            extension_bytes: 0,
            trailer_bytes: 0,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of a body of known length, or of the current chunk, that are still to come. A relay may move these without
    /// looking at them and report them with [`Self::skip`].
    pub fn data_left(&self) -> u64 {
        match self.state {
            State::Length { left } | State::Data { left } => left,
            State::UntilClose => u64::MAX,
            State::Size { .. }
            | State::Extension { .. }
            | State::SizeLf { .. }
            | State::DataCr
            | State::DataLf
            | State::Trailer
            | State::TrailerLf
            | State::Done => 0,
        }
    }

    /// Takes note of body bytes that were relayed without [`Self::decode`]; at most [`Self::data_left`] of them count.
    pub fn skip(&mut self, bytes: u64) {
        match &mut self.state {
            State::Length { left } | State::Data { left } => *left = left.saturating_sub(bytes),
            _ => {}
        }
        match self.state {
            State::Length { left: 0 } => self.state = State::Done,
            State::Data { left: 0 } => self.state = State::DataCr,
            _ => {}
        }
    }

    /// The connection ended. Only a body without announced end may end so.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// The end of the body in our own chunks: last chunk and the trailers that may pass.
    pub fn last_chunk(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.trailers.len() + LAST_CHUNK.len());
        out.extend_from_slice(b"0\r\n");
        out.extend_from_slice(&self.trailers);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Goes on until the first run of body bytes, the end of the body or the end of the input.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        let mut consumed = 0;
        while !self.is_done() {
            let rest = input.get(consumed..).unwrap_or_default();
            let left = self.data_left();
            if left > 0 {
                let take = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                self.skip(take as u64);
                let data = consumed..consumed + take;
                return Ok(Step {
                    consumed: data.end,
                    data,
                    done: self.is_done(),
                });
            }
            let Some(byte) = rest.first() else { break };
            self.control(*byte)?;
            consumed += 1;
        }
        Ok(Step {
            consumed,
            data: consumed..consumed,
            done: self.is_done(),
        })
    }

    /// One byte of chunk framing.
    fn control(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match self.state {
            State::Size { digits, value } => match (hex(byte), byte) {
                (Some(digit), _) if digits < SIZE_DIGITS => State::Size {
                    digits: digits + 1,
                    // Sixteen digits cannot overflow; signed counters behind us could.
                    value: Some(value << 4 | digit)
                        .filter(|value| i64::try_from(*value).is_ok())
                        .ok_or(BodyError::BadChunk)?,
                },
                (None, b'\r') if digits > 0 => State::SizeLf { size: value },
                (None, b';') if digits > 0 => State::Extension { size: value },
                _ => return Err(BodyError::BadChunk),
            },
            State::Extension { size } => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES {
                    return Err(BodyError::ExtensionsTooLarge);
                }
                match byte {
                    b'\r' => State::SizeLf { size },
                    _ if is_value_byte(byte) => State::Extension { size },
                    _ => return Err(BodyError::BadChunk),
                }
            }
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => State::Trailer,
                (b'\n', left) => State::Data { left },
                _ => return Err(BodyError::BadChunk),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size {
                digits: 0,
                value: 0,
            },
            State::DataCr | State::DataLf => return Err(BodyError::BadChunk),
            State::Trailer => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES {
                    return Err(BodyError::TrailersTooLarge);
                }
                match byte {
                    b'\r' => State::TrailerLf,
                    _ if is_value_byte(byte) => {
                        self.line.push(byte);
                        State::Trailer
                    }
                    _ => return Err(BodyError::BadTrailer),
                }
            }
            State::TrailerLf if byte == b'\n' => {
                if self.line.is_empty() {
                    State::Done
                } else {
                    self.trailer_line()?;
                    State::Trailer
                }
            }
            State::TrailerLf => return Err(BodyError::BadTrailer),
            // `decode` never brings these here.
            state @ (State::Data { .. }
            | State::Length { .. }
            | State::UntilClose
            | State::Done) => state,
        };
        Ok(())
    }

    fn trailer_line(&mut self) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        let (name, value) = split_field(&line).map_err(|_| BodyError::BadTrailer)?;
        if may_trail(&name.to_ascii_lowercase()) {
            write_field(&mut self.trailers, name, super::lines::trim(value));
        }
        Ok(())
    }
}

/// The header of one of our own chunks: size in hexadecimal and CR LF. The data is followed by CR LF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; 18],
    start: usize,
}

impl ChunkHeader {
    /// For `length` bytes of data; a chunk without data would end the body, so zero yields no bytes at all.
    pub fn new(length: usize) -> Self {
        let mut header = Self {
            bytes: *b"0000000000000000\r\n",
            start: 18,
        };
        if length == 0 {
            return header;
        }
        let mut left = length;
        header.start = 16;
        for (index, slot) in header.bytes.iter_mut().enumerate().take(16).rev() {
            *slot = b"0123456789abcdef".get(left & 15).copied().unwrap_or(b'0');
            header.start = index;
            left >>= 4;
            if left == 0 {
                break;
            }
        }
        header
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

fn hex(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'f' => Some(u64::from(byte - b'a') + 10),
        b'A'..=b'F' => Some(u64::from(byte - b'A') + 10),
        _ => None,
    }
}

/// Trailers must not change how a message that was already judged is read (RFC 9110, 6.5.1): nothing about framing, routing,
/// credentials, conditions, caching or the content's form, and nothing of ours.
pub(crate) fn may_trail(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 7] = [
        b"access-control-",
        b"content-",
        b"exitgate-",
        b"if-",
        b"proxy-",
        b"sec-",
        b"x-forwarded-",
    ];
    const NAMES: [&[u8]; 31] = [
        b"accept",
        b"age",
        b"alt-svc",
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"refresh",
        b"retry-after",
        b"set-cookie",
        b"strict-transport-security",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"vary",
        b"via",
        b"www-authenticate",
    ];
    !NAMES.contains(&name) && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
