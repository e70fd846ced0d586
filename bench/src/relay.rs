//! The floor: a CONNECT relay that knows one address and keeps no account. Its names all mean
//! 127.0.0.1, so it does not even resolve.

use crate::{Result, net};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// Move payload through a pipe in the kernel instead of copying it
    #[arg(long)]
    splice: bool,
}

const SMALL: usize = 2 * 1024;
const LARGE: usize = 32 * 1024;
const PIPE: usize = 1024 * 1024;

pub(crate) async fn run(o: Options) -> Result<()> {
    let listener = net::listen(o.listen, 0)?;
    net::say("ready");
    loop {
        let (client, _) = listener.accept().await?;
        spawn_local(async move {
            // a client that goes away is not news
            drop(serve(client, o.splice).await);
        });
    }
}

async fn serve(mut client: TcpStream, by_splice: bool) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (head, _) = net::read_head(&mut client).await?;
    let authority = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    let port = authority.rsplit(|b| *b == b':').next().unwrap_or_default();
    let port = std::str::from_utf8(port)
        .ok()
        .and_then(|p| p.parse().ok())
        .ok_or(io::ErrorKind::InvalidInput)?;
    let origin = net::dial(SocketAddr::from(([127, 0, 0, 1], port)), 0).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    if by_splice {
        tokio::try_join!(
            through_pipe(&client, &origin),
            through_pipe(&origin, &client)
        )?;
    } else {
        tokio::try_join!(copy(&client, &origin), copy(&origin, &client))?;
    }
    Ok(())
}

/// The buffer exists while bytes flow and grows when they flow fast: idle tunnels hold nothing.
async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut buf: Vec<u8> = Vec::new();
    loop {
        from.readable().await?;
        if buf.is_empty() {
            buf = vec![0; SMALL];
        }
        let n = match from.try_read(&mut buf) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        };
        let mut sent = 0;
        while sent < n {
            match to.try_write(&buf[sent..n]) {
                Ok(k) => sent += k,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        if n == buf.len() && n < LARGE {
            buf = vec![0; LARGE];
        } else if n <= SMALL && buf.len() > SMALL {
            buf = Vec::new();
        }
    }
    rustix::net::shutdown(to, rustix::net::Shutdown::Write)?;
    Ok(())
}

type Pipe = (OwnedFd, OwnedFd);

thread_local! {
    /// A direction holds a pipe only while there is payload in it.
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

fn pipe() -> io::Result<Pipe> {
    if let Some(p) = POOL.with_borrow_mut(Vec::pop) {
        return Ok(p);
    }
    let p = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&p.1, PIPE)?;
    Ok(p)
}

async fn through_pipe(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    loop {
        from.readable().await?;
        let p = pipe()?;
        let got = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, &p.1, None, PIPE, flags)?)
        });
        let mut left = match got {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => return Err(e),
        };
        while left > 0 {
            left -= to
                .async_io(Interest::WRITABLE, || {
                    Ok(splice(&p.0, None, to, None, left, flags)?)
                })
                .await?;
        }
        POOL.with_borrow_mut(|pool| pool.push(p));
    }
    rustix::net::shutdown(to, rustix::net::Shutdown::Write)?;
    Ok(())
}
