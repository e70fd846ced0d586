//! The Exitgate gateway: listeners, evidence, enforcement, relay and records.

pub mod evidence;
pub mod http1;
pub mod resolve;
