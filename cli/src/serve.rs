//! The gateway as the commands use it.

use std::path::PathBuf;

use exitgate_gateway::live::{ApplyError, Secrets};
use exitgate_gateway::{Gateway, Options, StartError};
use exitgate_policy::{Problem, Snapshot};
use exitgate_runtime::logging::{self, LogLevel};

use crate::failure::Failure;

/// The operational log of this process.
pub(crate) type Log = LogLevel;

/// Starts the operational log.
pub(crate) fn logging(filter: &str) -> Result<Log, Failure> {
    logging::init(filter).map_err(|error| Failure::Usage(error.to_string()))
}

/// A running gateway.
pub(crate) struct Server {
    gateway: Gateway,
}

/// Why a snapshot did not take the place of the one in force.
pub(crate) enum Refused {
    Policy(Vec<Problem>),
    Settings(String),
}

impl Server {
    /// Starts a gateway, inside a tokio runtime, on a snapshot whose settings are final; `bound` is told the role and URL of each listener.
    pub(crate) fn start(
        snapshot: Snapshot,
        secrets: &Secrets,
        log: Log,
        mut bound: impl FnMut(&str, &str),
    ) -> Result<Self, Failure> {
        let options = Options {
            // The source has made every path absolute.
            base: PathBuf::from("/"),
            log,
        };
        let (gateway, _problems) = Gateway::start(snapshot, secrets, &options, |listener| {
            bound(listener.kind.as_str(), &listener.url());
        })
        .map_err(|error| failure(&error))?;
        Ok(Self { gateway })
    }

    pub(crate) fn revision(&self) -> String {
        self.gateway
            .revision()
            .map(|revision| revision.to_string())
            .unwrap_or_default()
    }

    /// Puts another snapshot in force and tells its revision; where it is refused, everything stays as it is.
    pub(crate) fn apply(&self, snapshot: Snapshot, secrets: &Secrets) -> Result<String, Refused> {
        match self.gateway.apply(snapshot, secrets) {
            Ok((revision, _problems)) => Ok(revision.to_string()),
            Err(ApplyError::Policy(problems)) => Err(Refused::Policy(problems)),
            Err(other) => Err(Refused::Settings(other.to_string())),
        }
    }

    pub(crate) async fn drain(self) {
        self.gateway.drain().await;
    }
}

fn failure(error: &StartError) -> Failure {
    let text = error.to_string();
    match error {
        StartError::Bind { .. } | StartError::Records(_) => Failure::System(text),
        StartError::Address { .. } | StartError::Apply(_) | StartError::Tls(_) => {
            Failure::Problem(text)
        }
    }
}
