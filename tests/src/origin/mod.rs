//! Origins: servers that write down everything that reaches them.

mod http;
mod http2;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

pub use self::http::{Reply, Request};
pub use self::http2::{Answered, Manners};
use crate::client::{Io, Wire};
use crate::deadline::within;
use crate::log::Log;

/// One accepted connection.
#[derive(Clone, Debug)]
pub struct Visit {
    pub peer: SocketAddr,
    /// Bytes that arrived, TLS included.
    pub bytes: Vec<u8>,
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    /// The peer ended its sending side.
    pub ended: bool,
}

/// Everything that one origin saw.
#[derive(Clone, Default)]
pub struct Visits {
    pub connections: Log<Visit>,
    pub requests: Log<Request>,
}

/// A listening origin; it ends with the runtime of its row.
pub struct Origin {
    pub address: SocketAddr,
    pub seen: Visits,
}

/// How many bytes of a connection are kept.
const KEPT: usize = 256 * 1024;

type Serve = Arc<
    dyn Fn(Box<dyn Io>, Visits, usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync,
>;

impl Origin {
    /// Answers every request with 200 and keeps the connection.
    pub async fn http(ip: &str) -> Self {
        Self::http_with(ip, |_| Reply::ok("origin")).await
    }

    pub async fn http_with(
        ip: &str,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let reply = Arc::new(reply);
        Self::serve(
            ip,
            Arc::new(move |stream, seen, index| {
                Box::pin(http::serve(
                    stream,
                    seen.requests,
                    index,
                    Arc::clone(&reply),
                ))
            }),
        )
        .await
    }

    /// HTTP over TLS.
    pub async fn https(ip: &str, config: Arc<ServerConfig>) -> Self {
        Self::https_with(ip, config, |_| Reply::ok("origin over TLS")).await
    }

    pub async fn https_with(
        ip: &str,
        config: Arc<ServerConfig>,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let reply = Arc::new(reply);
        Self::secured(ip, config, move |stream, seen, index| {
            http::serve(stream, seen.requests, index, Arc::clone(&reply))
        })
        .await
    }

    /// HTTP/2 over TLS; the configuration says whether `h2` is agreed on.
    pub async fn http2(
        ip: &str,
        config: Arc<ServerConfig>,
        manners: Manners,
        reply: impl Fn(&Request) -> Answered + Send + Sync + 'static,
    ) -> Self {
        let reply = Arc::new(reply);
        Self::secured(ip, config, move |stream, seen, index| {
            let reply = Arc::clone(&reply);
            http2::serve(stream, seen.requests, index, manners, reply)
        })
        .await
    }

    /// Runs `serve` on each connection inside its TLS. The last argument is the connection's number.
    pub async fn secured<F: Future<Output = ()> + Send + 'static>(
        ip: &str,
        config: Arc<ServerConfig>,
        serve: impl Fn(Box<dyn Io>, Visits, usize) -> F + Send + Sync + 'static,
    ) -> Self {
        let serve = Arc::new(serve);
        Self::serve(
            ip,
            Arc::new(move |stream, seen, index| {
                let (config, serve) = (Arc::clone(&config), Arc::clone(&serve));
                Box::pin(async move {
                    let Ok(start) =
                        LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await
                    else {
                        return;
                    };
                    let hello = start.client_hello();
                    let sni = hello.server_name().map(String::from);
                    let alpn = hello.alpn().into_iter().flatten();
                    let alpn = alpn
                        .map(|name| String::from_utf8_lossy(name).into_owned())
                        .collect::<Vec<_>>();
                    seen.connections.update(|visits| {
                        visits[index].sni = sni;
                        visits[index].alpn = alpn;
                    });
                    if let Ok(session) = start.into_stream(config).await {
                        serve(Box::new(session), seen, index).await;
                    }
                })
            }),
        )
        .await
    }

    /// Serves HTTP/2 on a stream, for a row whose origin does something else on others.
    pub async fn speak_http2(stream: Box<dyn Io>, seen: Visits, index: usize) {
        let reply = Arc::new(|_: &Request| Answered::ok("origin over HTTP/2"));
        http2::serve(stream, seen.requests, index, Manners::default(), reply).await;
    }

    /// Runs `script` on each connection; what arrives is written down as it is read.
    pub async fn scripted<F: Future<Output = ()> + Send + 'static>(
        ip: &str,
        script: impl Fn(Wire) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::serve(
            ip,
            Arc::new(move |stream, _, _| Box::pin(script(Wire::over(stream)))),
        )
        .await
    }

    /// Reads and says nothing.
    pub async fn sink(ip: &str) -> Self {
        Self::scripted(ip, |mut wire| async move {
            drop(wire.drain().await);
        })
        .await
    }

    /// Sends back what it reads.
    pub async fn echo(ip: &str) -> Self {
        Self::serve(
            ip,
            Arc::new(|stream, _, _| {
                Box::pin(async move {
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                        drop(tokio::io::AsyncWriteExt::shutdown(&mut writer).await);
                    }
                })
            }),
        )
        .await
    }

    /// Reads something and resets the connection.
    pub async fn resetting(ip: &str) -> Self {
        Self::scripted(ip, |mut wire| async move {
            wire.take(100).await;
            wire.reset();
        })
        .await
    }

    async fn serve(ip: &str, serve: Serve) -> Self {
        let listener = listen(SocketAddr::new(ip.parse().unwrap(), 0));
        Self::serve_on(listener, serve)
    }

    fn serve_on(listener: TcpListener, serve: Serve) -> Self {
        let origin = Self {
            address: listener.local_addr().unwrap(),
            seen: Visits::default(),
        };
        let seen = origin.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let mut index = 0;
                seen.connections.update(|visits| {
                    index = visits.len();
                    visits.push(Visit {
                        peer,
                        bytes: Vec::new(),
                        sni: None,
                        alpn: Vec::new(),
                        ended: false,
                    });
                });
                let recorded = Recorded {
                    stream,
                    visits: seen.connections.clone(),
                    index,
                };
                tokio::spawn(serve(Box::new(recorded), seen.clone(), index));
            }
        });
        origin
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// An origin on another address with the same port, counting only.
    pub async fn twin(&self, ip: &str) -> Self {
        let listener = listen(SocketAddr::new(ip.parse().unwrap(), self.port()));
        Self::serve_on(
            listener,
            Arc::new(|stream, _, _| {
                Box::pin(async move {
                    drop(Wire::over(stream).drain().await);
                })
            }),
        )
    }

    /// The first lines of all requests.
    pub fn request_lines(&self) -> Vec<String> {
        let requests = self.seen.requests.all();
        requests
            .iter()
            .map(|request| request.line().to_owned())
            .collect()
    }

    /// All connections but the suite's own, after everything in the accept queue has been taken.
    pub async fn visits(&self) -> Vec<Visit> {
        let before = self.seen.connections.all().len();
        let connect = TcpStream::connect(self.address);
        let stream = within("a connection of the suite to its origin", connect).await;
        let own = stream.unwrap().local_addr().unwrap();
        // A port may have been the gateway's before: the last connection from it is the suite's.
        let find = |visits: &[Visit]| {
            let own = visits.iter().rposition(|visit| visit.peer == own);
            own.filter(|at| *at >= before)
        };
        let what = "the origin to accept the suite's connection";
        let own = self.seen.connections.wait(what, find).await;
        // Kept in place, because connections know their index.
        self.seen
            .connections
            .update(|visits| visits[own].peer.set_port(0));
        self.seen
            .connections
            .all()
            .into_iter()
            .filter(|visit| visit.peer.port() != 0)
            .collect()
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
        .bind(&address.into())
        .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    socket.listen(4096).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

impl Wire {
    /// Reads to the end without keeping anything.
    pub async fn drain(&mut self) -> std::io::Result<u64> {
        tokio::io::copy(self.reader(), &mut tokio::io::sink()).await
    }
}

/// Writes down what is read from the socket.
struct Recorded {
    stream: TcpStream,
    visits: Log<Visit>,
    index: usize,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(result) = &poll {
            let fresh = &buffer.filled()[before..];
            let index = self.index;
            self.visits.update(|visits| {
                let visit = &mut visits[index];
                visit.ended |= fresh.is_empty() || result.is_err();
                let room = KEPT.saturating_sub(visit.bytes.len()).min(fresh.len());
                visit.bytes.extend_from_slice(&fresh[..room]);
            });
        }
        poll
    }
}

impl Io for Recorded {
    fn linger_zero(&self) {
        self.stream.linger_zero();
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
