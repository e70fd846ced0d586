#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::wildcard_imports,
    clippy::type_complexity,
    reason = "tests"
)]

mod fixture;
mod floor;
mod inspection;
mod names;
mod order;
mod phases;
mod records;
mod rollout;
