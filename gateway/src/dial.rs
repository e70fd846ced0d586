//! The only module that opens connections to destinations, and only to addresses that were judged.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::reason::Reason;

/// RFC 8305: time before the next address is tried beside the first.
const STAGGER: Duration = Duration::from_millis(250);
const MAX_TRIES: usize = 8;
const PARENT_HEAD: usize = 8 * 1024;

/// Why no connection came about.
#[derive(Debug)]
pub(crate) struct DialError {
    /// For the record and the client.
    pub(crate) reason: Reason,
    /// What the system said.
    pub(crate) detail: String,
}

impl DialError {
    fn io(error: &io::Error) -> Self {
        // EMFILE and ENFILE: ours, not the destination's fault.
        let reason = match error.raw_os_error() {
            Some(23 | 24) => Reason::Limit,
            _ => Reason::DialFailed,
        };
        Self {
            reason,
            detail: error.to_string(),
        }
    }
}

/// Connects to the first of `addresses` that answers; the order is the preference.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let late = || DialError {
        reason: Reason::DialTimeout,
        detail: format!("no answer within {limit:?}"),
    };
    match addresses {
        [] => Err(DialError {
            reason: Reason::NoAddress,
            detail: "no address left to dial".to_owned(),
        }),
        [only] => match tokio::time::timeout(limit, open(*only)).await {
            Ok(Ok(stream)) => Ok((stream, *only)),
            Ok(Err(error)) => Err(DialError::io(&error)),
            Err(_) => Err(late()),
        },
        several => tokio::time::timeout(limit, race(several))
            .await
            .unwrap_or_else(|_| Err(late())),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn race(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut waiting = addresses.iter().copied().take(MAX_TRIES);
    // Dropping the set ends the attempts that lost.
    let mut attempts = JoinSet::new();
    let mut last = DialError {
        reason: Reason::DialFailed,
        detail: String::new(),
    };
    let mut next_at = Instant::now();
    let mut exhausted = false;
    loop {
        if !exhausted && (Instant::now() >= next_at || attempts.is_empty()) {
            match waiting.next() {
                Some(address) => {
                    attempts.spawn(async move { (address, open(address).await) });
                    next_at = Instant::now() + STAGGER;
                }
                None => exhausted = true,
            }
        }
        if exhausted && attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok((address, Ok(stream))) => return Ok((stream, address)),
                Ok((_, Err(error))) => { last = DialError::io(&error); next_at = Instant::now(); }
                Err(error) => last = DialError { reason: Reason::DialFailed, detail: error.to_string() },
            },
            () = tokio::time::sleep_until(next_at), if !exhausted => {}
        }
    }
}

/// Asks a parent proxy for a tunnel to a judged address (never to a name: its resolver is not ours).
pub(crate) async fn through_parent(
    parent: &[SocketAddr],
    destination: SocketAddr,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let deadline = Instant::now() + limit;
    let (mut stream, _) = connect(parent, limit).await.map_err(|e| DialError {
        reason: Reason::ParentFailed,
        detail: e.detail,
    })?;
    let failed = |detail: String| DialError {
        reason: Reason::ParentFailed,
        detail,
    };
    let ask = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    let head = tokio::time::timeout_at(deadline, async {
        stream.write_all(ask.as_bytes()).await?;
        read_head(&mut stream).await
    })
    .await
    .map_err(|_| DialError {
        reason: Reason::DialTimeout,
        detail: "the parent proxy did not answer".to_owned(),
    })?
    .map_err(|e| failed(e.to_string()))?;
    let status = head.split(|&b| b == b' ').nth(1).unwrap_or_default();
    if !head.starts_with(b"HTTP/1.") || !matches!(status, [b'2', _, _]) {
        let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
        return Err(failed(format!(
            "it answered {:?}",
            String::from_utf8_lossy(line)
        )));
    }
    Ok((stream, destination))
}

/// Reads exactly to the end of the head: one byte more would be the destination's.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PARENT_HEAD {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}
