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

/// What a controller signs of an update, so that a gateway can verify what it has stored: the revision and the position.
pub fn signed_text(revision: &str, position: &control::Position) -> Vec<u8> {
    let mut sources: Vec<_> = position.sources.iter().collect();
    sources.sort_unstable();
    let mut lines = vec![
        "exitgate manifest 1".to_owned(),
        format!("revision {revision}"),
        format!("epoch {}", position.epoch),
    ];
    lines.extend(
        sources
            .into_iter()
            .map(|(kind, number)| format!("source {kind:?} {number}")),
    );
    lines.push(String::new());
    lines.join("\n").into_bytes()
}
