//! One HTTP/1 request to an origin and its response back, with the response judged on its head.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use exitgate_policy::name::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::{self, Body, BodyFailure};
use super::conn::Pace;
use crate::http1::{
    BodyFraming, Connection, Limits, Parse, Request, RequestKind, Response, Upgrade, UpgradeMode,
    Version, check_switch, parse_response, write_request_head, write_response_head,
};

/// A connection to an origin.
pub(super) struct Upstream {
    pub(super) stream: TcpStream,
    pub(super) buf: BytesMut,
    /// It has carried a request before.
    pub(super) used: bool,
}

impl Upstream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buf: BytesMut::new(),
            used: false,
        }
    }

    /// Whether a kept connection can take another request: the origin has neither closed it nor sent anything.
    pub(super) fn is_quiet(&self) -> bool {
        let unread = self.stream.try_read(&mut [0]);
        self.buf.is_empty() && unread.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The response went to the client in full. The flags say what may be used again.
    Done {
        client_reusable: bool,
        upstream_reusable: bool,
    },
    /// A valid 101 went to the client; the connection is now the upgraded protocol's.
    Switched(Box<Response>),
    /// The response was refused; nothing of it went to the client.
    Refused,
    /// It failed.
    Failed { failure: Failure, answered: bool },
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The origin closed or broke off before one byte of a response.
    NoResponse,
    /// The origin broke off later.
    UpstreamBroke,
    /// The origin's message is malformed.
    BadResponse,
    /// The client's body is malformed.
    BadBody,
    /// The response went over the bound that the policy sets.
    Bound,
    /// The client broke off.
    ClientBroke,
    /// Nothing moved for the idle time.
    Idle,
}

/// Bytes of both bodies and the status that was seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) status: Option<u16>,
    pub(super) detail: Option<String>,
}

/// Everything that one exchange needs to know.
pub(super) struct Terms<'a> {
    pub(super) request: &'a Request,
    pub(super) authority: &'a Authority,
    pub(super) limits: Limits,
    pub(super) idle: Duration,
    /// The gateway wants the client's connection to end after this exchange.
    pub(super) closing: bool,
}

/// What the policy says to a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It may pass, with at most so many bytes of body.
    Pass { bound: u64 },
    /// It may not.
    Refuse,
}

/// Runs the exchange. `judge` says whether a response head may pass.
pub(super) async fn run<R, W>(
    client_read: &mut R,
    client_buf: &mut BytesMut,
    client_write: &mut W,
    upstream: &mut Upstream,
    terms: &Terms<'_>,
    judge: impl FnMut(&Response) -> Answer,
    tally: &mut Tally,
) -> Ended
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let request = terms.request;
    let mut head = Vec::with_capacity(1024);
    let upgrade = match request.upgrade {
        Some(Upgrade::WebSocket { .. }) => UpgradeMode::Pass,
        _ => UpgradeMode::Strip,
    };
    write_request_head(
        &mut head,
        request,
        terms.authority,
        Connection::KeepAlive,
        upgrade,
    );
    let Upstream {
        stream,
        buf: upstream_buf,
        ..
    } = upstream;
    let (mut upstream_read, mut upstream_write) = stream.split();

    let mut sent = 0;
    let mut received = Received::default();
    let ended = {
        let send = body::copy(
            client_read,
            &mut upstream_write,
            Body {
                buf: client_buf,
                prefix: head,
                framing: request.framing,
                chunked: request.framing == BodyFraming::Chunked,
                bound: u64::MAX,
                idle: terms.idle,
            },
            &mut sent,
        );
        let receive = receive(
            &mut upstream_read,
            upstream_buf,
            client_write,
            terms,
            judge,
            &mut received,
        );
        let mut send = std::pin::pin!(send);
        let mut receive = std::pin::pin!(receive);
        let mut sending = true;
        loop {
            tokio::select! {
                biased;
                result = &mut send, if sending => match result {
                    // On a broken sink too: the origin may have answered before it closed its reading side, and the
                    // answer decides.
                    Ok(()) | Err(BodyFailure::Sink) => sending = false,
                    Err(BodyFailure::Malformed(_)) => break Err(Failure::BadBody),
                    Err(BodyFailure::Source) => break Err(Failure::ClientBroke),
                    Err(BodyFailure::Idle) => break Err(Failure::Idle),
                    Err(BodyFailure::Bound) => break Err(Failure::Bound),
                },
                result = &mut receive => break result.map(|r| (r, sending)),
            }
        }
    };
    tally.up = sent;
    tally.down = received.body;
    tally.status = received.status;
    tally.detail = received.detail;
    match ended {
        Ok((
            Reception::Complete {
                keep_client,
                keep_upstream,
            },
            still_sending,
        )) => Ended::Done {
            client_reusable: keep_client && !still_sending && request.keep_alive && !terms.closing,
            upstream_reusable: keep_upstream && !still_sending && upstream_buf.is_empty(),
        },
        Ok((Reception::Refused, _)) => Ended::Refused,
        Ok((Reception::Switched(response), _)) => Ended::Switched(response),
        Err(failure) => Ended::Failed {
            failure,
            answered: received.answered,
        },
    }
}

#[derive(Default)]
struct Received {
    body: u64,
    status: Option<u16>,
    /// A final response head went to the client.
    answered: bool,
    detail: Option<String>,
}

enum Reception {
    Complete {
        keep_client: bool,
        keep_upstream: bool,
    },
    Refused,
    Switched(Box<Response>),
}

async fn receive<W: AsyncWrite + Unpin>(
    from: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    to: &mut W,
    terms: &Terms<'_>,
    mut judge: impl FnMut(&Response) -> Answer,
    received: &mut Received,
) -> Result<Reception, Failure> {
    let request = terms.request;
    let kind = RequestKind::of_method(request.method());
    let mut interim_left = 16u32;
    loop {
        let response = read_head(from, buf, kind, terms, received).await?;
        if response.is_interim() {
            interim_left = interim_left.checked_sub(1).ok_or(Failure::BadResponse)?;
            if request.version == Version::Http11 {
                let mut head = Vec::new();
                write_response_head(
                    &mut head,
                    &response,
                    request.version,
                    Connection::KeepAlive,
                    b"",
                );
                send(to, &head, terms.idle).await?;
            }
            continue;
        }
        received.status = Some(response.status);
        if response.status == 101
            && let Err(error) = check_switch(request, &response)
        {
            received.detail = Some(error.to_string());
            return Err(Failure::BadResponse);
        }
        let Answer::Pass { bound } = judge(&response) else {
            return Ok(Reception::Refused);
        };
        let keep_client = request.keep_alive && !terms.closing;
        let connection = if keep_client {
            Connection::KeepAlive
        } else {
            Connection::Close
        };
        let mut head = Vec::with_capacity(1024);
        write_response_head(&mut head, &response, request.version, connection, b"");
        received.answered = true;
        if response.status == 101 {
            send(to, &head, terms.idle).await?;
            return Ok(Reception::Switched(Box::new(response)));
        }
        let framing = response.client_framing(request.version);
        let relay = Body {
            buf,
            prefix: head,
            framing: response.framing,
            chunked: framing == BodyFraming::Chunked,
            bound,
            idle: terms.idle,
        };
        let mut moved = 0;
        let copied = body::copy(from, to, relay, &mut moved).await;
        received.body = moved;
        copied.map_err(|failure| match failure {
            BodyFailure::Malformed(error) => {
                received.detail = Some(error.to_string());
                Failure::BadResponse
            }
            BodyFailure::Source => Failure::UpstreamBroke,
            BodyFailure::Idle => Failure::Idle,
            BodyFailure::Bound => Failure::Bound,
            BodyFailure::Sink => Failure::ClientBroke,
        })?;
        return Ok(Reception::Complete {
            keep_client: framing != BodyFraming::UntilClose,
            keep_upstream: response.keep_alive && response.framing != BodyFraming::UntilClose,
        });
    }
}

async fn read_head(
    from: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    kind: RequestKind,
    terms: &Terms<'_>,
    received: &mut Received,
) -> Result<Response, Failure> {
    let mut pace = Pace::default();
    loop {
        if !buf.is_empty() && pace.is_due(buf) {
            match parse_response(buf, kind, &terms.limits) {
                Ok(Parse::Complete { head, consumed }) => {
                    buf.advance(consumed);
                    return Ok(head);
                }
                Ok(Parse::Partial) => {}
                Err(error) => {
                    received.detail = Some(error.to_string());
                    return Err(Failure::BadResponse);
                }
            }
        }
        buf.reserve(4096);
        match timeout(terms.idle, from.read_buf(buf)).await {
            Err(_) => return Err(Failure::Idle),
            Ok(Err(_) | Ok(0)) if buf.is_empty() => return Err(Failure::NoResponse),
            Ok(Err(_) | Ok(0)) => return Err(Failure::UpstreamBroke),
            Ok(Ok(_)) => {}
        }
    }
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    idle: Duration,
) -> Result<(), Failure> {
    let write = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match timeout(idle, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Failure::ClientBroke),
        Err(_) => Err(Failure::Idle),
    }
}
