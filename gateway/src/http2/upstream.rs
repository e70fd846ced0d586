//! A connection to an origin, driven by a task of its own, so that it outlives the client for which it was made.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::limits;
use super::wire::{Watched, Wire};
use crate::dial::DialError;
use crate::origin::{Certificate, PoolKey, Shared};
use crate::reason::Reason;

/// No origin announces this many streams; it stands for settings that have not come.
const UNKNOWN: usize = 0x7fff_ff3d;
/// What resets and the goodbye get once nobody uses the connection any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Connections that are put by, how long each may be unused, and how long it may live.
const PARKED: usize = 1024;
const UNUSED: Duration = Duration::from_mins(1);
const AGE: Duration = Duration::from_mins(10);

/// An origin's connection that may carry streams.
#[derive(Debug)]
pub(crate) struct Upstream {
    send: SendRequest<Bytes>,
    wire: Arc<Wire>,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    made: Instant,
    /// When it was last put by.
    parked: Mutex<Instant>,
    /// The origin takes WebSocket over extended CONNECT.
    extended: bool,
    streams: u32,
    ended: Arc<AtomicBool>,
    /// Dropping it tells the driver that no new stream will come.
    _in_use: oneshot::Sender<()>,
}

impl Upstream {
    /// Opens HTTP/2 on an established stream and waits for the origin's settings.
    pub(crate) async fn open<I>(
        io: I,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<Self, DialError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, wire) = Watched::origin(io);
        let opening = async {
            let mut builder = limits::origin();
            builder.initial_max_send_streams(UNKNOWN);
            let (send, mut connection) = builder
                .handshake(io)
                .await
                .map_err(|_| Reason::UpstreamReset)?;
            settled(&send, &mut connection).await?;
            Ok::<_, Reason>((send, connection))
        };
        let opened = timeout(deadline, opening).await;
        let (send, connection) = opened
            .unwrap_or(Err(Reason::DialTimeout))
            .map_err(|reason| match wire.refusal() {
                Some(refusal) => DialError {
                    reason: refusal.reason(),
                    detail: refusal.to_string(),
                },
                None => DialError {
                    reason,
                    detail: String::new(),
                },
            })?;
        let extended = send.is_extended_connect_protocol_enabled();
        let streams = u32::try_from(send.current_max_send_streams()).unwrap_or(u32::MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let (in_use, unused) = oneshot::channel();
        tokio::spawn(drive(connection, wire.clone(), unused, ended.clone()));
        Ok(Self {
            send,
            wire,
            address,
            certificate: None,
            made: Instant::now(),
            parked: Mutex::new(Instant::now()),
            extended,
            streams,
            ended,
            _in_use: in_use,
        })
    }

    fn is_fresh(&self) -> bool {
        !self.is_ended() && self.parked.lock().elapsed() < UNUSED && self.made.elapsed() < AGE
    }

    pub(super) fn handle(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// The same with the certificate that the origin showed.
    pub(crate) fn with_certificate(mut self, certificate: Arc<Certificate>) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// The certificate that the origin showed.
    pub(crate) fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_extended(&self) -> bool {
        self.extended
    }

    /// Streams that the origin takes at once.
    pub(super) fn streams(&self) -> u32 {
        self.streams
    }

    /// Whether it can carry no more streams. An origin that says goodbye shows in the next request only.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// To be used no more: the origin takes no new streams.
    pub(super) fn retire(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Connections that no client uses now, one for each origin of a workload. They are lent whole: streams of several clients
/// on one connection would wait for each other's windows.
pub(crate) struct Parked(Shared<Arc<Upstream>>);

impl Default for Parked {
    fn default() -> Self {
        Self(Shared::new(PARKED))
    }
}

impl Parked {
    /// Takes a connection out.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<Arc<Upstream>> {
        let taken = self.0.remove(key, |_| true)?;
        taken.is_fresh().then_some(taken)
    }

    /// Puts a connection by that its client is done with.
    pub(crate) fn put(&self, key: PoolKey, upstream: Arc<Upstream>) {
        *upstream.parked.lock() = Instant::now();
        if upstream.is_fresh() {
            drop(self.0.insert(key, upstream));
        }
    }

    /// Closes connections that are old, unused for long, or closed by their origin.
    pub(crate) fn sweep(&self) {
        self.0.sweep(|upstream| upstream.is_fresh());
    }
}

/// Reads until the origin's settings are there.
async fn settled<I>(
    send: &SendRequest<Bytes>,
    connection: &mut Connection<I, Bytes>,
) -> Result<(), Reason>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        let ended = Pin::new(&mut *connection).poll(cx);
        if send.current_max_send_streams() != UNKNOWN {
            return Poll::Ready(Ok(()));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(Reason::UpstreamReset)),
            Poll::Ready(Err(error)) if error.is_io() => Poll::Ready(Err(Reason::UpstreamReset)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::BadResponse)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

struct Driven<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<I, Bytes>,
    wire: Arc<Wire>,
}

impl<I> Future for Driven<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.connection).poll(cx) {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an origin's connection ended");
                }
                Poll::Ready(())
            }
            // An origin that floods us is left alone with it.
            Poll::Pending if self.wire.flooded() => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Lives as long as the connection, and not much longer than its last user.
async fn drive<I>(
    connection: Connection<I, Bytes>,
    wire: Arc<Wire>,
    unused: oneshot::Receiver<()>,
    ended: Arc<AtomicBool>,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut driven = Driven { connection, wire };
    let finished = tokio::select! {
        biased;
        () = &mut driven => true,
        _ = unused => false,
    };
    if !finished && timeout(LAST_WORDS, &mut driven).await.is_err() {
        tracing::debug!("an origin's connection did not close");
    }
    ended.store(true, Ordering::Release);
}
