//! What the first bytes of a connection show: the protocol, and for TLS the ClientHello.
//!
//! Pure: the caller peeks, these functions look. They never hold back a verdict out of doubt; what cannot be read as what it
//! claims to be is an error with a name.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

mod cursor;
mod hello;
mod ja4;
mod parse;
mod sniff;

#[cfg(test)]
mod tests;

pub use hello::{HELLO_LIMIT, HelloReader, Progress, alert};
pub use parse::HelloError;
pub use sniff::{Guess, sniff, sniff_at_end};
