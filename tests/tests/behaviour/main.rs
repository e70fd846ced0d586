//! What the gateway promises beyond the attack rows: who is asking, how long things live, where records go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod identity;
mod lifetime;
mod listeners;
mod parent;
mod refusals;
mod sinks;
mod tunnels;
