//! Values that must not be shown.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// The value of a credential. It is never shown and never serialised; its bytes are overwritten when the last holder lets go.
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

/// Why bytes cannot be the value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// A line break in the middle, or another control character.
    #[error("it has a line break or another control character, which no header can carry")]
    Control,
    /// Header values have no space around them.
    #[error("it begins or ends with a space, which no header can carry")]
    Space,
    /// Longer than a request head should be.
    #[error("it is longer than {MAX_SECRET} bytes")]
    TooLong,
}

/// Longest value of a credential.
pub const MAX_SECRET: usize = 16 << 10;

impl SecretValue {
    /// Takes what a file or variable holds; one line break at its end is not part of the value.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let (first, last) = (bytes.first().copied(), bytes.last().copied());
        if first.is_none() {
            return Err(SecretError::Empty);
        }
        if bytes.len() > MAX_SECRET {
            return Err(SecretError::TooLong);
        }
        if bytes
            .iter()
            .any(|&byte| byte != b'\t' && byte.is_ascii_control())
        {
            return Err(SecretError::Control);
        }
        let blank = |byte: Option<u8>| matches!(byte, Some(b' ' | b'\t'));
        if blank(first) || blank(last) {
            return Err(SecretError::Space);
        }
        Ok(Self(Arc::new(bytes)))
    }

    /// The bytes, for the one place that writes them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretValue {
    /// Not for checking a guess: it takes longer the more is equal.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for SecretValue {}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> Result<Vec<u8>, SecretError> {
        SecretValue::parse(text.as_bytes().to_vec()).map(|value| value.expose().to_vec())
    }

    #[test]
    fn one_line_break_at_the_end_is_left_out() {
        assert_eq!(parse("abc\n").unwrap(), b"abc");
        assert_eq!(parse("abc\r\n").unwrap(), b"abc");
        assert_eq!(parse("a bc").unwrap(), b"a bc");
        assert_eq!(parse("abc\n\n"), Err(SecretError::Control));
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        for (text, expected) in [
            ("", SecretError::Empty),
            ("\n", SecretError::Empty),
            ("a\nX-Other: b", SecretError::Control),
            ("a\rb", SecretError::Control),
            ("a\0", SecretError::Control),
            (" a", SecretError::Space),
            ("a ", SecretError::Space),
        ] {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(
            parse(&"x".repeat(MAX_SECRET + 1)),
            Err(SecretError::TooLong)
        );
    }

    #[test]
    fn it_is_not_shown() {
        let value = SecretValue::parse(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{value:?}"), "SecretValue(..)");
    }
}
