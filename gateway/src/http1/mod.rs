//! A strict HTTP/1 codec without I/O.
//!
//! The gateway judges what it parses and the origin acts on what it receives, so both must read the same message. Whatever two
//! parsers could read differently is refused here: bare line feeds, folded lines, two lengths, lists where one value belongs.
//! Heads are parsed from the caller's buffer, bodies are validated in place and relayed as ranges of the caller's buffer.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

mod body;
mod error;
mod framing;
mod head;
mod lines;
mod local;
mod request;
mod response;
mod switch;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use body::may_trail;
pub use body::{BodyDecoder, BodyError, ChunkHeader, LAST_CHUNK, Step};
pub use error::{HeadError, ResponseError};
pub use framing::BodyFraming;
pub use head::{Headers, Limits, Parse, Version};
pub use local::{LocalAnswer, answer_locally};
pub(crate) use request::METHODS;
pub(crate) use request::is_misspelled;
pub use request::{Request, Target, parse_request};
pub use response::{RequestKind, Response, parse_response};
pub use switch::{Upgrade, check_switch};
pub use write::{
    Connection, Onward, UpgradeMode, is_spelled, write_request_head, write_response_head,
};
