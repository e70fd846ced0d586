//! The streams of a connection: the client's, the origin's, and bytes that were read ahead.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A client's stream.
pub enum ClientIo {
    /// TLS that a workload meant for an origin, opened by us.
    Opened(Box<server::TlsStream<Replay>>),
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS that ends at our own proxy listener.
    Tls(Box<server::TlsStream<TcpStream>>),
}

impl ClientIo {
    /// The TCP connection underneath.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Opened(tls) => tls.get_ref().0.io.tcp(),
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// A client's stream of which some bytes are already read: they are read again first.
pub struct Replay {
    early: BytesMut,
    io: Box<ClientIo>,
}

impl Replay {
    /// `early` are bytes that came from `io`.
    pub fn new(early: BytesMut, io: ClientIo) -> Self {
        let io = Box::new(io);
        Self { early, io }
    }

    /// The stream; what was read ahead is given up.
    pub fn into_inner(self) -> ClientIo {
        *self.io
    }
}

/// An origin's stream.
pub enum OriginIo {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS of our own, to an origin whose client's TLS we opened.
    Tls(Box<client::TlsStream<TcpStream>>),
}

impl OriginIo {
    /// The TCP connection underneath.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Whether the origin has neither closed nor sent anything that was not asked for.
    pub async fn is_quiet(&mut self) -> bool {
        match self {
            Self::Tcp(tcp) => {
                let unread = tcp.try_read(&mut [0]);
                unread.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets are read away on the way; only then is the stream known to be quiet.
            Self::Tls(tls) => {
                poll_fn(|cx| {
                    let mut byte = [0];
                    let read = Pin::new(&mut **tls).poll_read(cx, &mut ReadBuf::new(&mut byte));
                    Poll::Ready(read.is_pending())
                })
                .await
            }
        }
    }
}

impl From<TcpStream> for OriginIo {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut *this.io).poll_read(cx, buf);
        }
        let take = this.early.len().min(buf.remaining());
        buf.put_slice(this.early.get(..take).unwrap_or_default());
        this.early.advance(take);
        if this.early.is_empty() {
            this.early = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}

/// A stream that is one of several: every call goes to the one that it is.
macro_rules! one_of {
    ($stream:ty: $($variant:ident),+) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_write(cx, buf),)+
                }
            }

            // A flight of a TLS handshake is several pieces, which one call can send.
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(io) => io.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_shutdown(cx),)+
                }
            }
        }
    };
}

one_of!(ClientIo: Opened, Tcp, Tls);
one_of!(OriginIo: Tcp, Tls);
