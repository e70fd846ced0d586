//! JSON objects and arrays written straight into a buffer, in the form of `serde_json`, with the controls that JSON leaves
//! alone escaped as well: a record is shown in terminals.

use std::net::IpAddr;

use crate::record::DecisionId;

pub(super) struct Json<'a> {
    out: &'a mut Vec<u8>,
}

/// A field's name as it is written: `,"name":`.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

/// The key of this name.
macro_rules! key {
    ($name:literal) => {
        $crate::record::line::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes of UTF-8 that may have to be escaped: C0 controls, the quotation mark, the backslash, DEL, and the byte that begins
/// the C1 controls.
const RISKY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table[0xc2] = true;
    table
};

fn is_risky(byte: u8) -> bool {
    RISKY.get(usize::from(byte)).is_none_or(|risky| *risky)
}

fn hex(byte: u8) -> [u8; 2] {
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 15)]
}

impl<'a> Json<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Begins an object.
    pub(super) fn open(&mut self) {
        self.separate();
        self.out.push(b'{');
    }

    pub(super) fn close(&mut self) {
        self.out.push(b'}');
    }

    /// Begins an object that is a field.
    pub(super) fn object(&mut self, key: Key) {
        self.key(key);
        self.out.push(b'{');
    }

    pub(super) fn number(&mut self, key: Key, value: impl Into<u64>) {
        self.key(key);
        self.digits(value.into());
    }

    pub(super) fn signed(&mut self, key: Key, value: i64) {
        self.key(key);
        if value < 0 {
            self.out.push(b'-');
        }
        self.digits(value.unsigned_abs());
    }

    /// The id of a decision.
    pub(super) fn id(&mut self, key: Key, id: DecisionId) {
        self.key(key);
        self.out.push(b'"');
        for byte in id.run.to_be_bytes() {
            self.out.extend_from_slice(&hex(byte));
        }
        self.out.push(b'-');
        let digits = id.number.to_be_bytes().map(hex);
        let digits = digits.as_flattened();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let start = zeros.min(digits.len() - 1);
        self.out
            .extend_from_slice(digits.get(start..).unwrap_or_default());
        self.out.push(b'"');
    }

    /// Bytes as a string of hexadecimal digits.
    pub(super) fn hex(&mut self, key: Key, bytes: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        for byte in bytes {
            self.out.extend_from_slice(&hex(*byte));
        }
        self.out.push(b'"');
    }

    pub(super) fn flag(&mut self, key: Key, value: bool) {
        self.key(key);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A string in which nothing has to be escaped.
    pub(super) fn word(&mut self, key: Key, value: &'static str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    pub(super) fn text(&mut self, key: Key, value: &str) {
        self.joined(key, &[value]);
    }

    /// A string of several parts.
    pub(super) fn joined(&mut self, key: Key, parts: &[&str]) {
        self.key(key);
        self.out.push(b'"');
        for part in parts {
            self.escaped(part);
        }
        self.out.push(b'"');
    }

    pub(super) fn address(&mut self, key: Key, value: IpAddr) {
        self.key(key);
        self.ip(value);
    }

    /// An array; left out where there is nothing in it.
    pub(super) fn list<T>(&mut self, key: Key, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.key(key);
        self.out.push(b'[');
        for item in items {
            write(self, item);
        }
        self.out.push(b']');
    }

    /// A string as an array's item.
    pub(super) fn item(&mut self, value: &str) {
        self.separate();
        self.out.push(b'"');
        self.escaped(value);
        self.out.push(b'"');
    }

    /// An address as an array's item.
    pub(super) fn address_item(&mut self, value: IpAddr) {
        self.separate();
        self.ip(value);
    }

    /// What has just begun needs no comma. No value ends in an opening bracket, since strings end in a quotation mark.
    fn is_first(&self) -> bool {
        matches!(self.out.last(), None | Some(b'{' | b'['))
    }

    fn separate(&mut self) {
        if !self.is_first() {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: Key) {
        let Key(text) = key;
        let skipped = usize::from(self.is_first());
        self.out
            .extend_from_slice(text.as_bytes().get(skipped..).unwrap_or_default());
    }

    fn digits(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            // A remainder of ten is below 256.
            *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
            start -= 1;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out
            .extend_from_slice(digits.get(start..).unwrap_or_default());
    }

    fn ip(&mut self, address: IpAddr) {
        self.out.push(b'"');
        match address {
            IpAddr::V4(v4) => {
                for (index, octet) in v4.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(b'.');
                    }
                    self.digits(octet.into());
                }
            }
            IpAddr::V6(v6) => self.out.extend_from_slice(v6.to_string().as_bytes()),
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| is_risky(*byte)) {
            let (plain, risky) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            let used = self.escape(risky);
            rest = risky.get(used..).unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
    }

    /// Writes the character at the start of `risky`; returns its length.
    fn escape(&mut self, risky: &[u8]) -> usize {
        let short = match risky {
            [b'"', ..] => b'"',
            [b'\\', ..] => b'\\',
            [0x08, ..] => b'b',
            [0x0c, ..] => b'f',
            [b'\n', ..] => b'n',
            [b'\r', ..] => b'r',
            [b'\t', ..] => b't',
            // The code point of a two-byte character that begins with 0xc2 is its second byte.
            [0xc2, control @ 0x80..=0x9f, ..] => {
                self.code(*control);
                return 2;
            }
            [0xc2, other, ..] => {
                self.out.extend_from_slice(&[0xc2, *other]);
                return 2;
            }
            [control, ..] => {
                self.code(*control);
                return 1;
            }
            [] => return 0,
        };
        self.out.extend_from_slice(&[b'\\', short]);
        1
    }

    fn code(&mut self, point: u8) {
        self.out.extend_from_slice(b"\\u00");
        self.out.extend_from_slice(&hex(point));
    }
}
