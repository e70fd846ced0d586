//! The Exitgate gateway: listeners, evidence, enforcement, relay and records.
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests play clients and origins")
)]

mod dial;
mod enforce;
pub mod evidence;
mod heads;
pub mod http1;
pub mod identity;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod net;
pub mod reason;
pub mod record;
mod refuse;
pub mod relay;
pub mod resolve;
mod server;
mod session;
pub mod tls;

pub use server::{Bound, Gateway, ListenerKind, Options, StartError};
