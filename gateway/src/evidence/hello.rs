//! Finding the ClientHello in a stream of TLS records.

use exitgate_policy::Hello;

use super::parse::{HelloError, parse_hello};

/// Default limit. Post-quantum key shares, long ALPN lists and padding together stay well below.
pub const HELLO_LIMIT: usize = 32 * 1024;

const RECORD_HEADER: usize = 5;
/// Largest plaintext fragment of a record (RFC 8446, 5.1).
const MAX_FRAGMENT: usize = 1 << 14;
const HANDSHAKE: u8 = 0x16;
const HANDSHAKE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    Complete(Hello),
    NeedMore,
}

/// Reads a ClientHello from a buffer that grows. Hellos within one record are parsed where they lie; only those split over
/// records are assembled, up to the limit.
#[derive(Clone, Debug)]
pub struct HelloReader {
    limit: usize,
    /// Bytes of the buffer that are in `message` already; always a record boundary.
    position: usize,
    /// Complete fragments so far, while the message is longer than they are.
    message: Vec<u8>,
}

impl HelloReader {
    /// `limit` is for the handshake message and for the records around it, each.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            position: 0,
            message: Vec::new(),
        }
    }

    /// Looks at everything that was received so far: each call passes the whole buffer from the first byte of the connection.
    /// An error is final.
    pub fn push(&mut self, buf: &[u8]) -> Result<Progress, HelloError> {
        loop {
            let record = buf.get(self.position..).unwrap_or_default();
            let Some(fragment) = self.fragment(record)? else {
                return Ok(Progress::NeedMore);
            };
            match fragment {
                Fragment::Part(part) => {
                    // Read early, so that a lie about the length is not waited for.
                    self.message_length(part)?;
                    return Ok(Progress::NeedMore);
                }
                Fragment::Whole(part) => match self.message_length(part)? {
                    Some(length) if self.message.len() + part.len() == length => {
                        return if self.message.is_empty() {
                            body(part)
                        } else {
                            self.message.extend_from_slice(part);
                            body(&self.message)
                        };
                    }
                    _ => {
                        self.message.extend_from_slice(part);
                        self.position += RECORD_HEADER + part.len();
                    }
                },
            }
        }
    }

    /// The fragment of the record at the start of `record`, or as much of it as is there.
    fn fragment<'a>(&self, record: &'a [u8]) -> Result<Option<Fragment<'a>>, HelloError> {
        if self.position == 0 && is_sslv2(record) {
            return Err(HelloError::TlsVersion);
        }
        match record {
            [] | [HANDSHAKE] | [HANDSHAKE, 3] => return Ok(None),
            // The version in the record header says nothing; 3.4 and above were never in use.
            [HANDSHAKE, 3, 0..=3, ..] => {}
            _ => return Err(HelloError::NotTls),
        }
        let Some((header, rest)) = record.split_first_chunk::<RECORD_HEADER>() else {
            return Ok(None);
        };
        let [_, _, _, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > MAX_FRAGMENT {
            return Err(HelloError::BadRecord);
        }
        // Records of one byte each: six bytes on the wire for one of the message.
        if self.position + RECORD_HEADER > self.limit.saturating_mul(RECORD_HEADER + 1) {
            return Err(HelloError::TooLarge);
        }
        Ok(Some(match rest.get(..length) {
            Some(whole) => Fragment::Whole(whole),
            None => Fragment::Part(rest),
        }))
    }

    /// The length of the message with its header, once that is known; checks type, limit, and that `part` does not go past it.
    fn message_length(&self, part: &[u8]) -> Result<Option<usize>, HelloError> {
        let mut header = self.message.iter().chain(part);
        let Some(kind) = header.next() else {
            return Ok(None);
        };
        if *kind != CLIENT_HELLO {
            return Err(HelloError::NotClientHello);
        }
        let (Some(high), Some(middle), Some(low)) = (header.next(), header.next(), header.next())
        else {
            return Ok(None);
        };
        let length = HANDSHAKE_HEADER + (u32::from_be_bytes([0, *high, *middle, *low]) as usize);
        if length > self.limit {
            return Err(HelloError::TooLarge);
        }
        // Nothing may follow a ClientHello before the server has answered it.
        if self.message.len() + part.len() > length {
            return Err(HelloError::TrailingData);
        }
        Ok(Some(length))
    }
}

enum Fragment<'a> {
    Part(&'a [u8]),
    Whole(&'a [u8]),
}

fn body(message: &[u8]) -> Result<Progress, HelloError> {
    parse_hello(message.get(HANDSHAKE_HEADER..).unwrap_or_default()).map(Progress::Complete)
}

/// A client that may speak SSLv2 opens with a two-byte length, message type 1 and a version.
pub(super) fn is_sslv2(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x80..=0xff, _, CLIENT_HELLO, 0, 2, ..] | [0x80..=0xff, _, CLIENT_HELLO, 3, 0..=4, ..]
    )
}

/// A fatal alert record. `access_denied` is 49, `protocol_version` 70, `decode_error` 50.
pub fn alert(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, description]
}
