//! The Exitgate gateway: listeners, evidence, enforcement, relay and records.
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests play clients and origins")
)]

pub mod authority;
pub mod control;
mod dial;
mod enforce;
pub mod evidence;
mod heads;
pub mod http1;
mod http2;
pub mod identity;
mod inject;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod net;
pub mod origin;
pub mod reason;
pub mod record;
mod refuse;
pub mod relay;
pub mod resolve;
mod server;
mod session;
pub mod tls;

pub use server::{Bound, Controlled, Early, Gateway, ListenerKind, Options, StartError};
