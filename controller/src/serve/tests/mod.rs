#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod callers;
mod kit;
mod limits;
mod model;
mod signing;
mod stream;
