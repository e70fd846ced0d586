//! Sockets: loopback only, with a segment size of our choice.

use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::io::{self, Write};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

/// A connection's head is never longer than this.
const MAX_HEAD: usize = 8 * 1024;

pub(crate) fn note(text: &str) {
    // stderr may be closed; there is nobody left to tell then
    drop(writeln!(io::stderr(), "{text}"));
}

pub(crate) fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// As many descriptors as the hard limit allows: idle tunnels need one each here.
pub(crate) fn raise_descriptor_limit() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: hard,
        maximum: hard,
    };
    if let Err(e) = setrlimit(Resource::Nofile, wanted) {
        note(&format!("descriptor limit not raised: {e}"));
    }
}

/// `mss` 0 keeps the segments of the loopback device (65,483 bytes), 1448 is an Ethernet path.
fn socket(mss: u32) -> io::Result<Socket> {
    let s = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    s.set_nonblocking(true)?;
    if mss > 0 {
        s.set_tcp_mss(mss)?;
    }
    Ok(s)
}

pub(crate) fn listen(addr: SocketAddr, mss: u32) -> io::Result<TcpListener> {
    if !addr.ip().is_loopback() {
        return Err(io::Error::other("this tool listens on loopback only"));
    }
    let s = socket(mss)?;
    s.set_reuse_address(true)?;
    s.bind(&addr.into())?;
    s.listen(4096)?;
    TcpListener::from_std(s.into())
}

pub(crate) async fn dial(addr: SocketAddr, mss: u32) -> io::Result<TcpStream> {
    if !addr.ip().is_loopback() {
        return Err(io::Error::other("this tool connects to loopback only"));
    }
    let s = tokio::net::TcpSocket::from_std_stream(socket(mss)?.into())
        .connect(addr)
        .await?;
    s.set_nodelay(true)?;
    Ok(s)
}

/// Reads up to and including the blank line; returns the head and what came after it.
pub(crate) async fn read_head(
    s: &mut (impl AsyncReadExt + Unpin),
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut buf = Vec::with_capacity(1024);
    loop {
        if let Some(end) = head_end(&buf) {
            let rest = buf.split_off(end);
            return Ok((buf, rest));
        }
        if buf.len() > MAX_HEAD {
            return Err(io::Error::other("head too long"));
        }
        if s.read_buf(&mut buf).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

pub(crate) fn head_end(buf: &[u8]) -> Option<usize> {
    buf.windows(4).position(|w| w == b"\r\n\r\n").map(|p| p + 4)
}

/// A tunnel to `host:port`, through CONNECT where there is a proxy.
pub(crate) async fn tunnel(
    proxy: Option<SocketAddr>,
    host: &str,
    port: u16,
    mss: u32,
) -> io::Result<TcpStream> {
    let Some(proxy) = proxy else {
        return dial(SocketAddr::from(([127, 0, 0, 1], port)), mss).await;
    };
    let mut s = dial(proxy, mss).await?;
    let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    s.write_all(head.as_bytes()).await?;
    let (reply, rest) = read_head(&mut s).await?;
    if reply.get(9..12) != Some(b"200") || !rest.is_empty() {
        let line = reply.split(|b| *b == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!(
            "CONNECT answered {}",
            String::from_utf8_lossy(line)
        )));
    }
    Ok(s)
}

/// Takes bytes off the receive queue without copying them, so that the sink costs next to nothing.
pub(crate) async fn discard(s: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    s.async_io(Interest::READABLE, || {
        let (_, n) = rustix::net::recv(s, &mut *scratch, RecvFlags::TRUNC | RecvFlags::DONTWAIT)?;
        Ok(n)
    })
    .await
}
