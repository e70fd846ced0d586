//! The Exitgate gateway: listeners, evidence, enforcement, relay and records.
