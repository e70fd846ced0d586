//! Signals that end the process.

use tokio::signal::unix::{SignalKind, signal};

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: a person at a terminal.
    Interrupt,
    /// SIGTERM: an orchestrator.
    Terminate,
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop() -> std::io::Result<Stop> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => Ok(Stop::Terminate),
        _ = int.recv() => Ok(Stop::Interrupt),
    }
}
