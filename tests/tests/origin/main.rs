//! TLS to origins, in process: the gateway's half against servers that are right and servers that are not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod certificates;
mod clients;
mod kept;
mod scene;
mod trust;
