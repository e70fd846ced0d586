//! The gateway's side of the control channel: what it holds, where it keeps that, and how it stays in touch.
//!
//! [`Client::start`] enrols, follows the controller and puts what it sends in force at a [`Target`]. While there is no
//! controller, the last good snapshot stays in force; a gateway that never had one denies everything.

mod artifacts;
mod client;
mod enrol;
mod held;
mod keeper;
pub(crate) mod metrics;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use exitgate_policy::Snapshot;
pub use exitgate_proto::control::Role;

use crate::live::{ApplyError, Secrets};
use crate::server::StartError;
pub use client::Client;

/// Most characters of a message that came from elsewhere.
const MAX_REASON: usize = 1024;

fn brief(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(MAX_REASON).collect()
}

/// How a gateway reaches its controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where controllers answer, such as `https://exitgate-controller.exitgate.svc:8443`. They are tried in turn.
    pub addresses: Vec<String>,
    /// The name in the controllers' certificate, where it is not that of the address.
    pub server_name: Option<String>,
    /// Whom to trust.
    pub roots: Roots,
    /// A file with a token of the controller's audience. It is read anew each time.
    pub token: PathBuf,
    /// What this gateway is.
    pub role: Role,
    /// The EgressGateway that it belongs to; empty leaves that to the controller.
    pub gateway: String,
    /// Where the last good snapshot and large resources are kept. None: nowhere.
    pub state: Option<PathBuf>,
    /// After so long without a controller nothing is in force any more. None: the last snapshot stays.
    pub max_age: Option<Duration>,
    /// Waits and deadlines.
    pub pace: Pace,
}

/// Certificates of the controllers' authority, PEM.
#[derive(Clone, Debug)]
pub enum Roots {
    /// A file, read anew for each connection.
    File(PathBuf),
    /// The certificates themselves.
    Pem(Vec<u8>),
}

/// Waits and deadlines.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first wait after a failure; it doubles.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// How long connecting, enrolling or renewing may take.
    pub connect: Duration,
    /// Heartbeats are sent this often; a controller that is silent for three times as long is gone.
    pub heartbeat: Duration,
    /// How long an update waits for large resources.
    pub artifact: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            artifact: Duration::from_secs(30),
        }
    }
}

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is nobody to ask.
    #[error(
        "no address of a controller is given; write for example https://controller.example:8443"
    )]
    NoAddress,
    /// An address is none.
    #[error(
        "{0:?} is not the address of a controller; write for example https://controller.example:8443"
    )]
    Address(String),
    /// A gateway must say what it is.
    #[error("the role is not given; it is node, pool or sidecar")]
    NoRole,
    /// The state folder cannot be used.
    #[error("the state folder: {0}")]
    State(String),
}

/// Why a snapshot was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The gateway runs, and the snapshot cannot be used.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The gateway could not start with it.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Where snapshots go. Called from a thread that may wait.
pub trait Target: Send + Sync + 'static {
    /// Puts a snapshot in force under this revision, whole or not at all.
    fn put(&self, snapshot: Snapshot, revision: &str, secrets: &Secrets) -> Result<(), PutError>;

    /// Nothing is in force any more, or not yet: everything is denied and the gateway not ready. Says why.
    fn withdraw(&self, why: &str);
}
