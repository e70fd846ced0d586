//! Which protocol the first bytes of a connection belong to.

use super::hello::is_sslv2;
use crate::http1::METHODS;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guess {
    /// Cleartext HTTP/1, well-formed or not: the request parser has the last word, and its refusal stands.
    Http,
    /// HTTP/2 without TLS.
    Http2Prior,
    NeedMore,
    /// Neither; a label for the record.
    Other(&'static str),
    /// TLS, well-formed or not: the hello reader has the last word, and its refusal stands.
    Tls,
}

/// A first line longer than this without `HTTP/1.` in it is no request.
const LINE_BYTES: usize = 2048;

/// Openings of other protocols in text: label and first bytes.
const TEXT: [(&str, &[u8]); 12] = [
    ("ssh", b"SSH-"),
    ("proxy", b"PROXY "),
    ("proxy", b"\r\n\r\n\0\r\nQUIT\n"),
    ("smtp", b"EHLO "),
    ("smtp", b"HELO "),
    ("smtp", b"LHLO "),
    ("ftp", b"USER "),
    ("irc", b"NICK "),
    ("imap", b"a001 "),
    ("redis", b"*1\r\n"),
    ("bittorrent", b"\x13BitTorrent protocol"),
    ("nats", b"CONNECT {"),
];

/// Openings of other protocols in binary; `None` is any byte.
const BINARY: [(&str, &[Option<u8>]); 7] = [
    (
        "postgresql",
        &[
            Some(0),
            Some(0),
            Some(0),
            Some(8),
            Some(4),
            Some(0xd2),
            Some(0x16),
            Some(0x2f),
        ],
    ),
    (
        "postgresql",
        &[
            Some(0),
            Some(0),
            None,
            None,
            Some(0),
            Some(3),
            Some(0),
            Some(0),
        ],
    ),
    ("rdp", &[Some(3), Some(0), Some(0), None, None, Some(0xe0)]),
    (
        "smb",
        &[
            Some(0),
            Some(0),
            None,
            None,
            Some(0xfe),
            Some(b'S'),
            Some(b'M'),
            Some(b'B'),
        ],
    ),
    (
        "smb",
        &[
            Some(0),
            Some(0),
            None,
            None,
            Some(0xff),
            Some(b'S'),
            Some(b'M'),
            Some(b'B'),
        ],
    ),
    ("socks", &[Some(5), Some(1), Some(0)]),
    (
        "mqtt",
        &[
            Some(0x10),
            None,
            Some(0),
            Some(4),
            Some(b'M'),
            Some(b'Q'),
            Some(b'T'),
            Some(b'T'),
        ],
    ),
];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at everything that the client has sent so far. More bytes never change an answer other than `NeedMore`.
///
/// Doubt goes to TLS and HTTP, which are then parsed strictly: `0x16 0x03` followed by garbage, or `GET` followed by garbage,
/// is a malformed hello or request and never opaque bytes.
pub fn sniff(first_bytes: &[u8]) -> Guess {
    match first_bytes {
        [] | [0x16] => return Guess::NeedMore,
        [0x16, 3, ..] => return Guess::Tls,
        [0x80..=0xff, ..] if is_sslv2(first_bytes) => return Guess::Tls,
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, 1] | [0x80..=0xff, _, 1, 0 | 3] => {
            return Guess::NeedMore;
        }
        _ => {}
    }
    let mut unfinished = false;
    for (label, opening) in TEXT {
        match compare(first_bytes, opening.iter().map(|byte| Some(*byte))) {
            Compared::Equal => return Guess::Other(label),
            Compared::Prefix => unfinished = true,
            Compared::Different => {}
        }
    }
    for (label, opening) in BINARY {
        match compare(first_bytes, opening.iter().copied()) {
            Compared::Equal => return Guess::Other(label),
            Compared::Prefix => unfinished = true,
            Compared::Different => {}
        }
    }
    if unfinished {
        return Guess::NeedMore;
    }
    match compare(first_bytes, PREFACE.iter().map(|byte| Some(*byte))) {
        Compared::Equal => return Guess::Http2Prior,
        Compared::Prefix => return Guess::NeedMore,
        Compared::Different => {}
    }
    text(first_bytes)
}

/// The answer when the client sends nothing more for now; never `NeedMore`. What looks like the start of TLS or of a request
/// counts as that, though it cannot be judged: otherwise a client would send one byte, wait, and go on unseen. Other text
/// without an end is TCP, as silence is.
pub fn sniff_at_end(first_bytes: &[u8]) -> Guess {
    match (sniff(first_bytes), first_bytes) {
        (Guess::NeedMore, []) => Guess::Other("silent"),
        (Guess::NeedMore, [0x16 | 0x80..=0xff, ..]) => Guess::Tls,
        (Guess::NeedMore, [b'\r' | b'\n' | b'\t' | b' '..=b'~', ..]) => unfinished(first_bytes),
        (Guess::NeedMore, _) => Guess::Other("tcp"),
        (guess, _) => guess,
    }
}

enum Compared {
    Different,
    Equal,
    /// Equal as far as there are bytes.
    Prefix,
}

fn compare(bytes: &[u8], opening: impl ExactSizeIterator<Item = Option<u8>>) -> Compared {
    let length = opening.len();
    let same = bytes
        .iter()
        .zip(opening)
        .all(|(byte, expected)| expected.is_none_or(|expected| expected == *byte));
    match same {
        false => Compared::Different,
        true if bytes.len() >= length => Compared::Equal,
        true => Compared::Prefix,
    }
}

/// A line of text without its end: the start of a request if its word is one of a method that we know, or if a target follows.
fn unfinished(first_bytes: &[u8]) -> Guess {
    let line = first_bytes.trim_ascii_start();
    let word_end = line
        .iter()
        .position(|byte| !byte.is_ascii_graphic())
        .unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(word_end).unwrap_or((line, &[]));
    let target = rest.trim_ascii_start();
    let method = !word.is_empty()
        && METHODS.iter().any(|method| {
            let start = method.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        });
    let targeted =
        matches!(target, [b'/' | b'*', ..]) || memchr::memmem::find(target, b"://").is_some();
    if method || targeted {
        Guess::Http
    } else {
        Guess::Other("text")
    }
}

/// A request line, or other text. Lenient origins skip empty lines in front and take methods in any case, so we do here too:
/// what an origin might serve as HTTP is parsed as HTTP.
fn text(first_bytes: &[u8]) -> Guess {
    let start = first_bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t'));
    let Some(bytes) = start.and_then(|start| first_bytes.get(start..)) else {
        return if first_bytes.len() < LINE_BYTES {
            Guess::NeedMore
        } else {
            Guess::Other("tcp")
        };
    };
    let word_end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_graphic())
        .unwrap_or(bytes.len());
    let (word, rest) = bytes.split_at_checked(word_end).unwrap_or((bytes, &[]));
    if !rest.is_empty()
        && METHODS
            .iter()
            .any(|method| method.eq_ignore_ascii_case(word))
    {
        return Guess::Http;
    }
    // A line ends at LF, and for us at the first byte that is no text.
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r');
    let end = bytes.iter().position(|byte| !is_text(byte));
    let line = bytes
        .get(..end.unwrap_or(bytes.len()).min(LINE_BYTES))
        .unwrap_or_default();
    if memchr::memmem::find(line, b"HTTP/").is_some() {
        return Guess::Http;
    }
    match end.and_then(|end| bytes.get(end)) {
        Some(b'\n') => Guess::Other("text"),
        Some(_) => Guess::Other("tcp"),
        None if line.len() < LINE_BYTES => Guess::NeedMore,
        None => Guess::Other("text"),
    }
}
