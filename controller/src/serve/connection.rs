//! Connections: TLS, and who is at the other end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use rustls::RootCertStore;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use super::limits::Limits;
use super::metrics::Metrics;
use crate::trust::{Identity, Serving, not_after};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    identity: Result<Identity, String>,
    /// The last second of its certificate.
    not_after: u64,
}

impl Peer {
    fn of(stream: &rustls::ServerConnection) -> Self {
        let leaf = stream.peer_certificates().and_then(|chain| chain.first());
        Self(leaf.map(|leaf| {
            Arc::new(Known {
                identity: Identity::of_certificate(leaf).map_err(|error| error.to_string()),
                not_after: not_after(leaf).unwrap_or(0),
            })
        }))
    }
}

/// The identity of a caller, and until when it holds.
pub(super) fn identity<T>(request: &Request<T>, now: u64) -> Result<(Identity, u64), Status> {
    let peer = request.extensions().get::<Peer>();
    let known = peer
        .and_then(|peer| peer.0.as_ref())
        .ok_or_else(|| Status::unauthenticated("show the certificate that enrolment gave out"))?;
    let identity = known.identity.clone().map_err(Status::unauthenticated)?;
    // A connection outlives its handshake.
    if known.not_after < now {
        let message = "the certificate has ended; enrol again";
        return Err(Status::unauthenticated(message));
    }
    Ok((identity, known.not_after))
}

/// A connection whose handshake is done.
pub(super) struct Connection<C> {
    stream: TlsStream<C>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl<C> Connected for Connection<C> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// What new connections are served with. A caller without a certificate may enrol, and do nothing else.
fn config(serving: &Serving) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in &serving.roots {
        roots.add(root.clone())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(serving.chain.clone(), serving.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would bring back a certificate that has ended.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The certificate to serve with, as it is now.
struct Current {
    serving: watch::Receiver<Arc<Serving>>,
    config: Arc<ServerConfig>,
}

impl Current {
    fn new(mut serving: watch::Receiver<Arc<Serving>>) -> Result<Self, rustls::Error> {
        let config = config(&serving.borrow_and_update().clone())?;
        Ok(Self { serving, config })
    }

    fn acceptor(&mut self) -> TlsAcceptor {
        if self.serving.has_changed().unwrap_or(false) {
            let serving = self.serving.borrow_and_update().clone();
            match config(&serving) {
                Ok(config) => self.config = config,
                Err(error) => {
                    tracing::error!(%error, "the new certificate cannot be used; the old one stays");
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Connections with their handshakes done. What fails is counted and forgotten.
pub(super) fn secured<C>(
    connections: impl Stream<Item = io::Result<C>> + Send + 'static,
    serving: watch::Receiver<Arc<Serving>>,
    limits: &Limits,
    metrics: Metrics,
) -> Result<impl Stream<Item = io::Result<Connection<C>>> + Send, rustls::Error>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut current = Current::new(serving)?;
    let places = Arc::new(Semaphore::new(limits.connections));
    let (handshakes, limit) = (limits.handshakes, limits.handshake);
    let stream = connections
        .filter_map(|accepted| std::future::ready(accepted.ok()))
        .map(move |connection| {
            let acceptor = current.acceptor();
            let place = Arc::clone(&places).try_acquire_owned();
            let metrics = metrics.clone();
            async move {
                let Ok(place) = place else {
                    metrics.connection("full");
                    return None;
                };
                let Ok(Ok(stream)) = timeout(limit, acceptor.accept(connection)).await else {
                    metrics.connection("handshake");
                    return None;
                };
                let peer = Peer::of(stream.get_ref().1);
                metrics.connection("accepted");
                Some(Ok(Connection {
                    stream,
                    peer,
                    _place: place,
                }))
            }
        })
        .buffer_unordered(handshakes)
        .filter_map(std::future::ready);
    Ok(stream)
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
