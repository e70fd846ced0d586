//! The server behind every measurement. Ports from `base`: echo, TLS echo, HTTP/1.1, bulk, HTTPS, and
//! HTTPS that keeps neither connections nor sessions.

use crate::{Result, dns, net, tls};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio_rustls::TlsAcceptor;

pub(crate) const ECHO: u16 = 0;
pub(crate) const TLS: u16 = 1;
pub(crate) const HTTP: u16 = 2;
pub(crate) const BULK: u16 = 3;
pub(crate) const HTTPS: u16 = 4;
pub(crate) const HTTPS_ONCE: u16 = 5;

const CHUNK: usize = 256 * 1024;
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

const REPLY_ONCE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\nConnection: close\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
const BODY: &[u8] = REPLY.split_at(REPLY.len() - 100).1;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    base: u16,
    /// Where to write the CA certificate
    #[arg(long)]
    ca: PathBuf,
    /// Where to answer DNS; may be given more than once
    #[arg(long)]
    dns: Vec<SocketAddr>,
    #[arg(long, default_value_t = 0)]
    mss: u32,
}

pub(crate) async fn run(o: Options) -> Result<()> {
    let servers = tls::servers(&o.ca)?;
    let acceptor = TlsAcceptor::from(servers.plain);
    let https = TlsAcceptor::from(servers.https);
    let once = TlsAcceptor::from(servers.once);
    let chunk: Rc<[u8]> = vec![b'y'; CHUNK].into();
    let at = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, o.base + offset));
    let mut jobs = JoinSet::new();
    for addr in o.dns {
        jobs.spawn_local(dns::serve(addr));
    }
    jobs.spawn_local(serve(at(ECHO), o.mss, echo));
    jobs.spawn_local(serve(at(TLS), o.mss, move |s| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(s) = acceptor.accept(s).await {
                echo(s).await;
            }
        }
    }));
    jobs.spawn_local(serve(at(HTTP), o.mss, |s| http(s, false)));
    jobs.spawn_local(serve(at(HTTPS), o.mss, move |s| {
        let acceptor = https.clone();
        async move {
            match acceptor.accept(s).await {
                Ok(s) if s.get_ref().1.alpn_protocol() == Some(b"h2") => http2(s).await,
                Ok(s) => http(s, false).await,
                Err(_) => {}
            }
        }
    }));
    jobs.spawn_local(serve(at(HTTPS_ONCE), o.mss, move |s| {
        let acceptor = once.clone();
        async move {
            if let Ok(s) = acceptor.accept(s).await {
                http(s, true).await;
            }
        }
    }));
    jobs.spawn_local(serve(at(BULK), o.mss, move |s| bulk(s, Rc::clone(&chunk))));
    net::say("ready");
    while let Some(job) = jobs.join_next().await {
        job??;
    }
    Ok(())
}

async fn serve<F, Fut>(addr: SocketAddr, mss: u32, handle: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let listener = net::listen(addr, mss)?;
    loop {
        match listener.accept().await {
            Ok((s, _)) => {
                s.set_nodelay(true)?;
                spawn_local(handle(s));
            }
            // out of descriptors: some will come back
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut s: S) {
    let mut buf = [0; 2048];
    while let Ok(n @ 1..) = s.read(&mut buf).await {
        if s.write_all(&buf[..n]).await.is_err() || s.flush().await.is_err() {
            return;
        }
    }
    drop(s.shutdown().await);
}

fn asks_to_close(head: &[u8]) -> bool {
    const FIELD: &[u8] = b"\r\nconnection: close\r\n";
    head.windows(FIELD.len())
        .any(|w| w.eq_ignore_ascii_case(FIELD))
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(mut s: S, once: bool) {
    let mut buf = Vec::with_capacity(2048);
    loop {
        while let Some(end) = net::head_end(&buf) {
            let last = asks_to_close(&buf[..end]);
            buf.drain(..end);
            let reply = if once { REPLY_ONCE } else { REPLY };
            if s.write_all(reply).await.is_err() || s.flush().await.is_err() {
                return;
            }
            if last || once {
                drop(s.shutdown().await);
                return;
            }
        }
        if buf.len() > 64 * 1024 || !matches!(s.read_buf(&mut buf).await, Ok(1..)) {
            return;
        }
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(s: S) {
    let Ok(mut connection) = h2::server::handshake(s).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let head = http::Response::builder()
            .header("content-type", "text/plain")
            .header("content-length", "100")
            .body(());
        if let Ok(head) = head
            && let Ok(mut body) = respond.send_response(head, false)
        {
            drop(body.send_data(Bytes::from_static(BODY), true));
        }
    }
}

/// The first byte chooses: `D` sends until the other side goes, anything else swallows.
async fn bulk(mut s: TcpStream, chunk: Rc<[u8]>) {
    match s.read_u8().await {
        Ok(b'D') => while s.write_all(&chunk).await.is_ok() {},
        Ok(_) => {
            let mut scratch = vec![0; CHUNK];
            while let Ok(1..) = net::discard(&s, &mut scratch).await {}
        }
        Err(_) => {}
    }
}
