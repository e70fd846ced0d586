//! The gateway's side of the control channel: what it holds, where it keeps that, and how it stays in touch.

#[allow(dead_code, reason = "for the stream, which comes next")]
pub(crate) mod held;
