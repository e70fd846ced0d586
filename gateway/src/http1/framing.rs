//! Where a body ends.

use super::{error::HeadError, lines::plain_number};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyFraming {
    Chunked,
    Length(u64),
    None,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// The two fields that say so, as they are met. Each may occur once, and only one of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
}

impl Framing {
    /// The value must be one plain number behind at most one space: other spellings are read differently by different parsers.
    pub(super) fn content_length(&mut self, raw_value: &[u8]) -> Result<(), HeadError> {
        if self.chunked {
            return Err(HeadError::ConflictingFraming);
        }
        if self.length.is_some() {
            return Err(HeadError::DuplicateFraming);
        }
        let length = plain_number(after_one_space(raw_value)).ok_or(HeadError::BadContentLength)?;
        // Signed 64-bit counters are common behind us.
        if i64::try_from(length).is_err() {
            return Err(HeadError::BadContentLength);
        }
        self.length = Some(length);
        Ok(())
    }

    /// `chunked` and nothing else: no other coding is understood by us, so none is passed.
    pub(super) fn transfer_encoding(&mut self, raw_value: &[u8]) -> Result<(), HeadError> {
        if self.length.is_some() {
            return Err(HeadError::ConflictingFraming);
        }
        if self.chunked {
            return Err(HeadError::DuplicateFraming);
        }
        if !after_one_space(raw_value).eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::BadTransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }
}

fn after_one_space(raw_value: &[u8]) -> &[u8] {
    raw_value.strip_prefix(b" ").unwrap_or(raw_value)
}
