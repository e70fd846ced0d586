//! Kubernetes as a source of objects and a place for reports.
//!
//! [`watch()`] turns what the API server says into [`Event`]s, one object at a time: a malformed object is a problem of its
//! own and of nothing else. [`TokenReviewer`] says who shows a token, [`Webhook`] judges objects before they are stored,
//! [`Statuses`] decides what is written into their status and when, [`hold`] keeps the Lease of the one writer.

mod accepted;
mod admission;
mod event;
mod lease;
mod status;
mod token;
mod watch;

pub use accepted::{AcceptedError, pack, unpack};
pub use admission::{Judge, Webhook};
pub use event::{
    AcceptedSpec, Document, Event, Invalid, Namespace, Node, Object, ObjectKey, Pod, Sink, Watched,
};
pub use lease::{Lease, LeaseError, hold};
pub use status::{PERIOD, Report, Statement, Statuses, next, write_statuses};
pub use token::{AUDIENCE, Caller, TokenError, TokenReviewer};
pub use watch::watch;

use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no cluster to talk to: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// Without one the client would trust whatever roots the machine has.
    #[error(
        "the configuration of the cluster names no certificate authority; write certificate-authority or certificate-authority-data"
    )]
    NoAuthority,
    #[error(
        "the configuration of the cluster switches the verification of certificates off; remove insecure-skip-tls-verify"
    )]
    Unverified,
    #[error("no client for the cluster: {0}")]
    Client(#[from] kube::Error),
}

/// A client by the service account of the pod, or by the user's kubeconfig.
pub async fn client() -> Result<Client, ClientError> {
    client_of(Config::infer().await?)
}

/// A client that trusts the authority of its configuration and nothing else.
pub fn client_of(config: Config) -> Result<Client, ClientError> {
    if config.accept_invalid_certs {
        return Err(ClientError::Unverified);
    }
    if config.root_cert.as_ref().is_none_or(Vec::is_empty) {
        return Err(ClientError::NoAuthority);
    }
    Ok(Client::try_from(config)?)
}
