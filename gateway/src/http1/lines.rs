//! Splitting a head into lines, and the byte classes of HTTP.

use super::error::HeadError;

/// The lines of a head that is still arriving. Only CR LF ends a line; a lone LF is an error at once, so that a client which
/// uses it is told so instead of waiting for an end that we would never see.
pub(super) struct Lines<'a> {
    buf: &'a [u8],
    start: usize,
    position: usize,
    head_limit: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(buf: &'a [u8], start: usize, head_limit: usize) -> Self {
        Self {
            buf,
            start,
            position: start,
            head_limit,
        }
    }

    /// The offset just behind the last complete line.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// What has arrived of the line that is not complete yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.buf.get(self.position..).unwrap_or_default()
    }

    /// The next line without its end, or `None` when it is not complete. `line_limit` counts the CR, not the LF.
    pub(super) fn next(&mut self, line_limit: usize) -> Result<Option<&'a [u8]>, HeadError> {
        let rest = self.rest();
        let end = memchr::memchr(b'\n', rest);
        let line_bytes = end.unwrap_or(rest.len());
        let head_bytes = self.position - self.start + line_bytes + usize::from(end.is_some());
        if line_bytes > line_limit || head_bytes > self.head_limit {
            return Err(HeadError::HeadTooLarge);
        }
        let Some(end) = end else { return Ok(None) };
        let line = rest
            .get(..end)
            .and_then(|line| line.strip_suffix(b"\r"))
            .ok_or(HeadError::BadLineEnd)?;
        self.position += end + 1;
        Ok(Some(line))
    }
}

/// Skips the one empty line that some clients send after a body (RFC 9112, 2.2). `None`: not enough bytes to tell.
pub(super) fn skip_empty_line(buf: &[u8]) -> Option<usize> {
    match buf {
        [] | [b'\r'] => None,
        [b'\r', b'\n', ..] => Some(2),
        _ => Some(0),
    }
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Controls are never part of a field value; a tab is.
pub(super) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Digits only, no sign, no space, no overflow.
pub(super) fn plain_number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    bytes.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}
