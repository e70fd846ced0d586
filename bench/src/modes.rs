//! One operation of each mode, repeated by each worker until the run is over.

use crate::load::Context;
use crate::measure::Window;
use crate::{Result, net, origin};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

impl Context {
    async fn tunnel(&self, port: u16) -> io::Result<TcpStream> {
        let o = &self.o;
        net::tunnel(o.proxy, &o.host, o.base + port, o.mss).await
    }

    /// Counts an operation, or its failure without turning the worker into a busy loop.
    pub(crate) async fn record(&self, started: Instant, r: io::Result<()>) {
        match r {
            Ok(()) => self.run.done(started.elapsed()),
            Err(e) => {
                self.run.failed(&e);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

/// Closing, seen from both sides, is part of an operation.
pub(crate) async fn close(mut s: TcpStream) -> io::Result<()> {
    s.shutdown().await?;
    let mut buf = [0; 64];
    let end = async { while let Ok(1..) = s.read(&mut buf).await {} };
    tokio::time::timeout(Duration::from_secs(2), end).await?;
    Ok(())
}

async fn echo_byte<S: AsyncReadExt + AsyncWriteExt + Unpin>(s: &mut S) -> io::Result<()> {
    s.write_all(b"e").await?;
    s.flush().await?;
    match s.read_u8().await? {
        b'e' => Ok(()),
        _ => Err(io::Error::other("not the byte that was sent")),
    }
}

pub(crate) async fn connect(c: Rc<Context>) {
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let mut s = c.tunnel(origin::ECHO).await?;
            echo_byte(&mut s).await?;
            close(s).await
        };
        c.record(started, r.await).await;
    }
}

pub(crate) async fn tls_connect(c: Rc<Context>) {
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let s = c.tunnel(origin::TLS).await?;
            let name = ServerName::try_from(c.o.host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(std::sync::Arc::clone(&c.tls));
            let mut s = connector.connect(name, s).await?;
            echo_byte(&mut s).await?;
            close(s.into_inner().0).await
        };
        c.record(started, r.await).await;
    }
}

pub(crate) async fn ping_pong(c: Rc<Context>) {
    let mut buf = [b'p'; 100];
    let mut s = match c.tunnel(origin::ECHO).await {
        Ok(s) => s,
        Err(e) => return c.run.failed(&e),
    };
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            s.write_all(&buf).await?;
            s.read_exact(&mut buf).await.map(|_| ())
        };
        let r = r.await;
        let lost = r.is_err();
        c.record(started, r).await;
        if lost {
            return;
        }
    }
}

pub(crate) async fn bulk(c: Rc<Context>) {
    let r: io::Result<()> = async {
        let mut s = c.tunnel(origin::BULK).await?;
        s.write_all(b"D").await?;
        let mut scratch = vec![0; 1024 * 1024];
        while !c.run.stopped.get() {
            match net::discard(&s, &mut scratch).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => c.run.moved(n),
            }
        }
        Ok(())
    }
    .await;
    if let Err(e) = r {
        c.run.failed(&e);
    }
}

/// The request, in absolute form where there is a proxy, and the peer to send it to.
fn request(c: &Context) -> (SocketAddr, String) {
    let (host, port) = (&c.o.host, c.o.base + origin::HTTP);
    let (to, scheme) = match c.o.proxy {
        Some(p) => (p, format!("http://{host}:{port}")),
        None => (SocketAddr::from(([127, 0, 0, 1], port)), String::new()),
    };
    let head = format!(
        "GET {scheme}/bench HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: exitgate-bench\r\nAccept: */*\r\n\r\n"
    );
    (to, head)
}

/// Sends a request and reads its answer; true if the connection may carry another one.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    s: &mut S,
    request: &[u8],
) -> io::Result<bool> {
    s.write_all(request).await?;
    s.flush().await?;
    let (head, mut body) = net::read_head(s).await?;
    if head.get(9..12) != Some(b"200") {
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
    }
    while body.len() < 100 {
        if s.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    Ok(head.starts_with("http/1.1") && !head.contains("\r\nconnection: close"))
}

/// Some proxies close without having said so; a client then asks once more on a new connection.
fn is_stale(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

pub(crate) async fn forward(c: Rc<Context>) {
    let (to, head) = request(&c);
    let mut open = None;
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            if let Some(mut s) = open.take() {
                match exchange(&mut s, head.as_bytes()).await {
                    Ok(keep) => {
                        open = keep.then_some(s);
                        return Ok(());
                    }
                    Err(e) if is_stale(&e) => {}
                    Err(e) => return Err(e),
                }
            }
            let mut s = net::dial(to, c.o.mss).await?;
            open = exchange(&mut s, head.as_bytes()).await?.then_some(s);
            Ok(())
        };
        c.record(started, r.await).await;
    }
}

pub(crate) async fn get(c: Rc<Context>) {
    let (to, head) = request(&c);
    while c.run.take() {
        let started = Instant::now();
        let r = async {
            let mut s = net::dial(to, c.o.mss).await?;
            exchange(&mut s, head.as_bytes()).await.map(|_| ())
        };
        c.record(started, r.await).await;
    }
}

/// Opens `count` tunnels, lets them rest, and reads what the proxy holds.
pub(crate) async fn idle(c: &Rc<Context>) -> Result<Value> {
    let count = c.o.count.unwrap_or(2000);
    let mut window = Window::open(&c.o.pids, &c.o.origin_pids);
    let mut open = Vec::new();
    for i in 0..count {
        let mut s = match c.tunnel(origin::ECHO).await {
            Ok(s) => s,
            Err(e) => {
                c.run.failed(&e);
                break;
            }
        };
        // bytes have gone both ways, as in a tunnel that has become idle
        echo_byte(&mut s).await?;
        open.push(s);
        if i + 1 == count / 10 {
            // the first tenth fills what the proxy keeps however many there are
            tokio::time::sleep(Duration::from_millis(300)).await;
            window = Window::open(&c.o.pids, &c.o.origin_pids);
        }
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut record = window.close("idle", &c.run);
    let measured = open.len() as u64 - count / 10;
    let number = |k: &str| record.get(k).and_then(Value::as_f64).unwrap_or(0.0);
    let grown = number("rss_kib") - number("rss_kib_before");
    let mut alive = 0_u64;
    for s in &mut open {
        alive += u64::from(echo_byte(s).await.is_ok());
    }
    if let Some(fields) = record.as_object_mut() {
        fields.insert("tunnels".into(), json!(open.len()));
        fields.insert("alive".into(), json!(alive));
        let each = grown / measured.max(1) as f64;
        fields.insert(
            "kib_per_tunnel".into(),
            json!((each * 100.0).round() / 100.0),
        );
    }
    Ok(record)
}
