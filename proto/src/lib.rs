//! The protocols of Exitgate, generated from the files beside this crate. `control.proto` explains the messages.

/// The control channel, version 1.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code"
)]
pub mod control {
    tonic::include_proto!("exitgate.control.v1");
}
