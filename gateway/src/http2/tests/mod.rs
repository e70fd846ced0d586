#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod driving;
mod heads;
mod kit;
mod peers;
mod streams;
