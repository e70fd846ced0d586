//! The controller's side of the control channel: the services of the protocol over the index.
//!
//! [`Controller`] holds what the services share. [`Controller::run`] serves connections: TLS with a certificate that
//! changes while it runs, callers identified by theirs. A gateway's identity decides what it gets; nothing that a gateway
//! says about itself does.

mod acks;
mod artifact;
mod connection;
mod control;
mod enrol;
mod follow;
mod limits;
mod metrics;
mod names;
mod programmed;
mod session;
mod signing;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::sync::Arc;

use exitgate_proto::control::control_server::ControlServer;
use exitgate_proto::control::enrolment_server::EnrolmentServer;
use exitgate_proto::control::signing_server::SigningServer;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Server;

use crate::index::{Manifest, SharedIndex};
use crate::trust::{Identity, Interception, TokenVerifier, Trust};
pub use acks::{Acks, GatewayRow, Refused, RuleSeen};
pub use limits::Limits;
pub use metrics::Metrics;
pub use programmed::{Programmed, Waiting};

/// What a controller serves with.
pub struct Parts {
    pub index: SharedIndex,
    pub trust: Arc<Trust>,
    pub tokens: Arc<dyn TokenVerifier>,
    /// None: nothing is signed for intercepted connections.
    pub interception: Option<Arc<dyn Interception>>,
    pub metrics: Metrics,
    pub limits: Limits,
}

/// The services of a controller.
#[derive(Clone)]
pub struct Controller(Arc<Shared>);

struct Shared {
    index: SharedIndex,
    trust: Arc<Trust>,
    tokens: Arc<dyn TokenVerifier>,
    interception: Option<Arc<dyn Interception>>,
    metrics: Metrics,
    limits: Limits,
    acks: Acks,
    names: names::Names,
    entries: limits::Entries,
    draining: watch::Sender<bool>,
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the certificate to serve with cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the services ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Controller {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            index,
            trust,
            tokens,
            interception,
            metrics,
            limits,
        } = parts;
        Self(Arc::new(Shared {
            index,
            trust,
            tokens,
            interception,
            acks: Acks::new(metrics.clone()),
            metrics,
            names: names::Names::default(),
            entries: limits::Entries::new(&limits),
            limits,
            draining: watch::Sender::new(false),
        }))
    }

    /// What gateways say that they apply.
    pub fn acks(&self) -> Acks {
        self.0.acks.clone()
    }

    /// Tells gateways to go elsewhere and ends when they have, or after a grace.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// What an identity is to hold now.
    async fn manifest(&self, identity: &Identity) -> Result<Arc<Manifest>, Status> {
        let mut manifests = self.0.index.subscribe(identity.scope());
        let limit = self.0.limits.hello;
        let made = timeout(limit, manifests.wait_for(Option::is_some)).await;
        let made = made.ok().and_then(Result::ok).and_then(|made| made.clone());
        made.ok_or_else(|| Status::unavailable(format!("there is no manifest for {identity} yet")))
    }

    /// Serves what arrives at a listener until [`drain`](Self::drain).
    pub async fn run(&self, listener: TcpListener) -> Result<(), ServeError> {
        self.run_with(accepted(listener)).await
    }

    /// The same for connections from anywhere.
    pub async fn run_with<C>(
        &self,
        connections: impl Stream<Item = io::Result<C>> + Send + 'static,
    ) -> Result<(), ServeError>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = &self.0;
        let limits = &shared.limits;
        let incoming = connection::secured(
            connections,
            shared.trust.serving(),
            limits,
            shared.metrics.clone(),
        )?;
        let enrolment = EnrolmentServer::from_arc(Arc::new(enrol::Enrolment(self.clone())))
            .max_decoding_message_size(limits.small_message);
        let control = ControlServer::from_arc(Arc::new(control::Control(self.clone())))
            .max_decoding_message_size(limits.message)
            .max_encoding_message_size(limits.sent_message);
        let signing = SigningServer::from_arc(Arc::new(signing::Signing(self.clone())))
            .max_decoding_message_size(limits.small_message);
        let mut draining = shared.draining.subscribe();
        Server::builder()
            .max_concurrent_streams(limits.streams_per_connection)
            .http2_max_header_list_size(limits.head)
            .http2_keepalive_interval(Some(limits.silence / 2))
            .http2_keepalive_timeout(Some(limits.silence / 4))
            .http2_max_pending_accept_reset_streams(Some(16))
            .http2_max_local_error_reset_streams(Some(64))
            .add_service(enrolment)
            .add_service(control)
            .add_service(signing)
            .serve_with_incoming_shutdown(incoming, async move {
                // An error means that nobody can ask for it any more.
                draining.wait_for(|draining| *draining).await.ok();
            })
            .await?;
        Ok(())
    }
}

fn accepted(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| {
            // Updates are small and wait for answers.
            stream.set_nodelay(true).ok();
            stream
        });
        if accepted.is_err() {
            // Out of descriptors, most likely: others have to close first.
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
        }
        Some((accepted, listener))
    })
}
