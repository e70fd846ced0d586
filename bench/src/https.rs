//! Requests inside a tunnel that the proxy opens: HTTP/1.1 and HTTP/2 over TLS.

use crate::load::Context;
use crate::{modes, origin};
use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Which name each connection asks for.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    /// One for all: its certificate is made once.
    One,
    /// Another for each: each needs a certificate of its own.
    Fresh,
}

async fn open(c: &Context, host: &str, port: u16, alpn: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    let s = crate::net::tunnel(c.o.proxy, host, c.o.base + port, c.o.mss).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = if alpn == b"h2" { &c.h2 } else { &c.http1 };
    let s = TlsConnector::from(Arc::clone(config))
        .connect(name, s)
        .await?;
    match s.get_ref().1.alpn_protocol() {
        Some(chosen) if chosen == alpn => Ok(s),
        // who does not speak ALPN speaks HTTP/1
        None if alpn == b"http/1.1" => Ok(s),
        other => Err(io::Error::other(format!("ALPN gave {other:?}"))),
    }
}

fn head(host: &str, port: u16) -> String {
    format!(
        "GET /bench HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: exitgate-bench\r\nAccept: */*\r\n\r\n"
    )
}

/// Requests on one connection for each worker.
pub(crate) async fn http1(c: Rc<Context>) {
    let head = head(&c.o.host, c.o.base + origin::HTTPS);
    let mut kept = None;
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let mut s = match kept.take() {
                Some(s) => s,
                None => open(&c, &c.o.host, origin::HTTPS, b"http/1.1").await?,
            };
            if modes::exchange(&mut s, head.as_bytes()).await? {
                kept = Some(s);
            }
            Ok(())
        };
        c.record(started, r.await).await;
    }
}

/// A connection, a handshake, a request and its answer, all closed again.
pub(crate) async fn new(c: Rc<Context>, port: u16, names: Names) {
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let host = match names {
                Names::One => c.o.host.clone(),
                Names::Fresh => {
                    format!("f{:x}-{:x}.origin.test", std::process::id(), c.run.number())
                }
            };
            let mut s = open(&c, &host, port, b"http/1.1").await?;
            modes::exchange(&mut s, head(&host, c.o.base + port).as_bytes()).await?;
            modes::close(s.into_inner().0).await
        };
        c.record(started, r.await).await;
    }
}

async fn open_h2(c: &Context) -> io::Result<SendRequest<Bytes>> {
    let s = open(c, &c.o.host, origin::HTTPS, b"h2").await?;
    let (send, connection) = h2::client::handshake(s).await.map_err(io::Error::other)?;
    spawn_local(async move {
        // the requests tell how it went
        drop(connection.await);
    });
    send.ready().await.map_err(io::Error::other)
}

async fn exchange_h2(send: &mut SendRequest<Bytes>, uri: &str) -> io::Result<()> {
    let request = http::Request::get(uri)
        .header("user-agent", "exitgate-bench")
        .header("accept", "*/*")
        .body(())
        .map_err(io::Error::other)?;
    let (response, _) = send.send_request(request, true).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if response.status() != http::StatusCode::OK {
        return Err(io::Error::other(response.status().to_string()));
    }
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(part) = body.data().await {
        let part = part.map_err(io::Error::other)?;
        length += part.len();
        body.flow_control()
            .release_capacity(part.len())
            .map_err(io::Error::other)?;
    }
    if length == 100 {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Requests on one HTTP/2 connection for each worker, one at a time.
pub(crate) async fn http2(c: Rc<Context>) {
    let uri = format!("https://{}:{}/bench", c.o.host, c.o.base + origin::HTTPS);
    let mut kept = None;
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let send = match kept.take() {
                Some(send) => send,
                None => open_h2(&c).await?,
            };
            let mut send = send.ready().await.map_err(io::Error::other)?;
            exchange_h2(&mut send, &uri).await?;
            kept = Some(send);
            Ok(())
        };
        c.record(started, r.await).await;
    }
}

/// Requests on one HTTP/2 connection for each worker, a hundred at a time.
pub(crate) async fn http2_many(c: Rc<Context>) {
    let uri = format!("https://{}:{}/bench", c.o.host, c.o.base + origin::HTTPS);
    let send = match open_h2(&c).await {
        Ok(send) => send,
        Err(e) => return c.record(Instant::now(), Err(e)).await,
    };
    let mut all = JoinSet::new();
    for _ in 0..100 {
        let (c, send, uri) = (Rc::clone(&c), send.clone(), uri.clone());
        all.spawn_local(async move {
            while c.run.take() {
                let started = Instant::now();
                let r = async {
                    let mut send = send.clone().ready().await.map_err(io::Error::other)?;
                    exchange_h2(&mut send, &uri).await
                };
                c.record(started, r.await).await;
            }
        });
    }
    while all.join_next().await.is_some() {}
}
