//! One HTTP/1 request to an origin and its response back, with the response judged on its head.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use exitgate_policy::name::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::body::{self, Body, BodyFailure};
use super::conn::Pace;
use crate::http1::{
    BodyFraming, Connection, Limits, Onward, Parse, Request, RequestKind, Response, Upgrade,
    UpgradeMode, Version, check_switch, parse_response, write_request_head, write_response_head,
};
use crate::net::OriginIo;
use crate::origin::OriginFailure;
use crate::reason::Reason;

/// A connection to an origin.
pub(super) struct Upstream {
    pub(super) stream: OriginIo,
    pub(super) buf: BytesMut,
    /// It has carried a request before.
    pub(super) used: bool,
    pub(super) made: Instant,
}

impl Upstream {
    pub(super) fn new(stream: impl Into<OriginIo>) -> Self {
        Self {
            stream: stream.into(),
            buf: BytesMut::new(),
            used: false,
            made: Instant::now(),
        }
    }

    /// Whether a kept connection can take another request: the origin has neither closed it nor sent anything.
    pub(super) async fn is_quiet(&mut self) -> bool {
        self.buf.is_empty() && self.stream.is_quiet().await
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
    /// The origin refused us after the handshake, as TLS 1.3 has it.
    TurnedAway(Reason),
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
    /// It took longer than any may.
    TotalTime,
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
    /// The port that the scheme implies.
    pub(super) default_port: u16,
    /// The response is still to be judged: no interim one passes before.
    pub(super) bare_interim: bool,
    /// Credentials that the policy adds.
    pub(super) injected: &'a [(&'a str, &'a [u8])],
    pub(super) limits: Limits,
    pub(super) idle: Duration,
    /// When it must have ended.
    pub(super) until: Instant,
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
    let client = Client {
        read: client_read,
        buf: client_buf,
        write: client_write,
    };
    let buf = &mut upstream.buf;
    match &mut upstream.stream {
        OriginIo::Tcp(tcp) => {
            let (mut read, mut write) = tcp.split();
            between(client, (&mut read, buf, &mut write), terms, judge, tally).await
        }
        OriginIo::Tls(tls) => {
            let (mut read, mut write) = tokio::io::split(tls.as_mut());
            between(client, (&mut read, buf, &mut write), terms, judge, tally).await
        }
    }
}

struct Client<'a, R, W> {
    read: &'a mut R,
    buf: &'a mut BytesMut,
    write: &'a mut W,
}

async fn between<R, W, OriginR, OriginW>(
    client: Client<'_, R, W>,
    (upstream_read, upstream_buf, upstream_write): (&mut OriginR, &mut BytesMut, &mut OriginW),
    terms: &Terms<'_>,
    judge: impl FnMut(&Response) -> Answer,
    tally: &mut Tally,
) -> Ended
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    OriginR: AsyncRead + Unpin,
    OriginW: AsyncWrite + Unpin,
{
    let request = terms.request;
    let mut head = Vec::with_capacity(1024);
    let upgrade = match request.upgrade {
        Some(Upgrade::WebSocket { .. }) => UpgradeMode::Pass,
        _ => UpgradeMode::Strip,
    };
    let onward = Onward {
        authority: terms.authority,
        default_port: terms.default_port,
        connection: Connection::KeepAlive,
        upgrade,
        injected: terms.injected,
    };
    write_request_head(&mut head, request, &onward);

    let (sent, got) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut received = Received::default();
    let ended = {
        let send = body::copy(
            client.read,
            upstream_write,
            Body {
                buf: client.buf,
                prefix: head,
                framing: request.framing,
                chunked: request.framing == BodyFraming::Chunked,
                bound: u64::MAX,
                // A credential of ours is not to be contradicted by a trailer of the same name.
                trailers: terms.injected.is_empty(),
                idle: terms.idle,
                other: &got,
            },
            &sent,
        );
        let receive = receive(
            upstream_read,
            upstream_buf,
            client.write,
            terms,
            judge,
            &mut received,
            (&sent, &got),
        );
        let mut send = std::pin::pin!(send);
        let mut receive = std::pin::pin!(receive);
        let mut late = std::pin::pin!(sleep_until(terms.until));
        let mut sending = true;
        loop {
            tokio::select! {
                biased;
                // First, because bodies that never pause would leave it no turn.
                () = &mut late => break Err(Failure::TotalTime),
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
    tally.up = sent.load(Relaxed);
    tally.down = got.load(Relaxed);
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
    (sent, got): (&AtomicU64, &AtomicU64),
) -> Result<Reception, Failure> {
    let request = terms.request;
    let kind = RequestKind::of_method(request.method());
    let mut interim_left = 16u32;
    loop {
        let response = read_head(from, buf, kind, terms, received, sent).await?;
        if response.is_interim() {
            interim_left = interim_left.checked_sub(1).ok_or(Failure::BadResponse)?;
            let held_back = terms.bare_interim && response.status != 100;
            if request.version == Version::Http11 && terms.bare_interim && !held_back {
                // That the body may come says nothing of the response.
                send(to, b"HTTP/1.1 100 Continue\r\n\r\n", terms.idle).await?;
            } else if request.version == Version::Http11 && !held_back {
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
            trailers: true,
            idle: terms.idle,
            other: sent,
        };
        let copied = body::copy(from, to, relay, got).await;
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
    sent: &AtomicU64,
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
        match body::patient(terms.idle, sent, from.read_buf(buf)).await {
            None => return Err(Failure::Idle),
            Some(Err(error)) if let Some(refusal) = OriginFailure::of_read(&error) => {
                received.detail = Some(refusal.to_string());
                return Err(Failure::TurnedAway(refusal.reason()));
            }
            Some(Err(_) | Ok(0)) if buf.is_empty() => return Err(Failure::NoResponse),
            Some(Err(_) | Ok(0)) => return Err(Failure::UpstreamBroke),
            Some(Ok(_)) => {}
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
