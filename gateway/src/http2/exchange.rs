//! A request to an origin and its response back, each content as it comes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use exitgate_policy::decide::Verdict;
use exitgate_policy::reason::Reason as PolicyReason;
use h2::client::ResponseFuture;
use h2::{Reason as Code, RecvStream, SendStream};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::head::{Answer, keep_from_client};
use super::pump::{Broken, Pump};
use super::stream::Asked;
use super::upgraded::Switched;
use super::wire::Wire;
use super::{Upstream, limits};
use crate::reason::Reason;
use crate::record::{ClosedBy, VerdictLabel};

/// How an attempt ended.
pub(super) enum Ended {
    /// The record says how, and both streams have their end.
    Done,
    /// The client is to be told.
    Refuse(Reason),
    /// The origin has not acted on the request. `retire`: nor will it on another over this connection.
    Lost { retire: bool },
    /// The stream now carries WebSocket in both directions.
    Switched(Box<Switched>),
}

/// What ended the wait for a response, or its content.
enum Trouble {
    /// The client's content is not what its head announced.
    BadBody,
    /// The client reset its stream, or its connection is gone.
    Client(Option<Code>),
    /// More content than the policy lets through.
    Bound,
    Idle,
    TotalTime,
    /// Content after a head that ends the response.
    Content,
    /// An interim response that HTTP/2 does not have, or too many.
    Interim,
    /// The origin reset its stream, or its connection is gone.
    Origin(h2::Error),
}

/// The end of patience: nothing moved, and whoever waits gave no sign of life; or it took longer than any may.
pub(super) struct Patience<'a> {
    timer: Pin<&'a mut Sleep>,
    idle: Duration,
    last: Instant,
    until: Instant,
}

/// Which patience is at its end.
pub(super) enum Spent {
    Idle,
    TotalTime,
}

impl From<Spent> for Trouble {
    fn from(spent: Spent) -> Self {
        match spent {
            Spent::Idle => Self::Idle,
            Spent::TotalTime => Self::TotalTime,
        }
    }
}

impl<'a> Patience<'a> {
    pub(super) fn new(mut timer: Pin<&'a mut Sleep>, idle: Duration, until: Instant) -> Self {
        let last = Instant::now();
        timer.as_mut().reset(until.min(last + idle));
        Self {
            timer,
            idle,
            last,
            until,
        }
    }

    pub(super) fn moved(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when time is up. Pings count while nobody is kept waiting by a full window.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wires: [&Wire; 2],
        blocked: bool,
    ) -> Poll<Spent> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let pinged = wires.iter().filter_map(|wire| wire.pinged()).max();
            let last = match pinged {
                Some(pinged) if !blocked => self.last.max(pinged),
                _ => self.last,
            };
            let (due, now) = (last + self.idle, Instant::now());
            if self.until <= now {
                return Poll::Ready(Spent::TotalTime);
            }
            if due <= now {
                return Poll::Ready(Spent::Idle);
            }
            self.timer.as_mut().reset(due.min(self.until));
        }
        Poll::Pending
    }
}

/// The request's side of a stream.
pub(super) struct Upload {
    /// Content on its way, with the origin's half of the stream.
    pub(super) pump: Option<Pump>,
    /// The origin's half where no content is on its way.
    pub(super) idle: Option<SendStream<Bytes>>,
    pub(super) open: bool,
}

impl Upload {
    fn cancel(&mut self, code: Code) {
        if let Some(pump) = &mut self.pump {
            pump.reset(code);
        }
        if let Some(stream) = &mut self.idle {
            stream.send_reset(code);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        count: &mut u64,
        wire: &Wire,
        idle: &mut Patience<'_>,
    ) -> Result<(), Trouble> {
        let Some(pump) = self.pump.as_mut().filter(|_| self.open) else {
            return Ok(());
        };
        let polled = pump.poll(cx, count, wire);
        if pump.take_moved() {
            idle.moved();
        }
        match polled {
            Poll::Pending => {}
            // An origin that wants no more may have answered: the answer decides.
            Poll::Ready(Ok(()) | Err(Broken::Sink(_) | Broken::Bound)) => self.open = false,
            Poll::Ready(Err(Broken::Source(error))) => {
                self.open = false;
                return Err(client_trouble(&error));
            }
        }
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.open && self.pump.as_ref().is_some_and(Pump::is_blocked)
    }
}

fn client_trouble(error: &h2::Error) -> Trouble {
    if error.is_library() && error.is_reset() {
        Trouble::BadBody
    } else {
        Trouble::Client(error.reason().filter(|_| error.is_reset()))
    }
}

/// One attempt. `body` is taken once content has moved; if it is still there afterwards, nothing has.
pub(super) async fn run(
    asked: &mut Asked<'_>,
    upstream: &Upstream,
    body: &mut Option<RecvStream>,
    injected: &[(HeaderName, HeaderValue)],
) -> Ended {
    let Some(from) = body.take() else {
        return Ended::Lost { retire: false };
    };
    let bodiless = from.is_end_stream() && !asked.head.upgrade;
    let timer = std::pin::pin!(sleep_until(asked.until));
    let mut idle = Patience::new(timer, asked.live.settings.idle, asked.until);
    let mut handle = upstream.handle();
    let ready = poll_fn(|cx| {
        if let Poll::Ready(result) = handle.poll_ready(cx) {
            return Poll::Ready(Ok(result));
        }
        poll_waiting(asked, upstream, &mut idle, cx, false).map(Err)
    });
    let sent = match ready.await {
        Ok(Ok(())) => handle.send_request(asked.head.to_request(injected), bodiless),
        Ok(Err(error)) => Err(error),
        Err(trouble) => {
            return fail(
                asked,
                trouble,
                &mut Upload {
                    pump: None,
                    idle: None,
                    open: false,
                },
            );
        }
    };
    let (mut response, stream) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "the origin's connection takes no more requests");
            *body = Some(from);
            return Ended::Lost { retire: true };
        }
    };
    drop(handle);
    let mut held = None;
    let mut upload = if asked.head.upgrade || bodiless {
        held = Some(from);
        Upload {
            pump: None,
            idle: Some(stream),
            open: false,
        }
    } else {
        Upload {
            // A credential of ours is not to be contradicted by a trailer of the same name.
            pump: Some(Pump::new(from, stream, u64::MAX).trailers(injected.is_empty())),
            idle: None,
            open: true,
        }
    };
    let answered =
        poll_fn(|cx| poll_answer(asked, upstream, &mut upload, &mut response, &mut idle, cx)).await;
    let response = match answered {
        Ok(response) => response,
        Err(Trouble::Origin(error)) => {
            if let Some(refusal) = upstream.wire().refusal() {
                asked.record.fields.detail = Some(refusal.to_string());
                return Ended::Refuse(refusal.reason());
            }
            // An origin that has answered, be it in passing, has the request.
            if asked.interim == 0
                && let Some(ended) = lost(asked, &error, &mut upload, &mut held, body)
            {
                return ended;
            }
            return fail(asked, Trouble::Origin(error), &mut upload);
        }
        Err(trouble) => return fail(asked, trouble, &mut upload),
    };
    answer(asked, upstream, upload, held, response, idle).await
}

/// Whether the request can be made again: the origin said that it has not acted on it, or died over one that may be repeated.
fn lost(
    asked: &Asked<'_>,
    error: &h2::Error,
    upload: &mut Upload,
    held: &mut Option<RecvStream>,
    body: &mut Option<RecvStream>,
) -> Option<Ended> {
    let goodbye = error.is_go_away() && error.is_remote();
    let refused =
        error.is_reset() && error.is_remote() && error.reason() == Some(Code::REFUSED_STREAM);
    // RFC 9110, 9.2.2.
    let repeatable = matches!(
        asked.head.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    let died = error.is_io() && repeatable && held.is_some() && !asked.head.upgrade;
    if !goodbye && !refused && !died {
        return None;
    }
    *body = match upload.pump.take() {
        Some(pump) if pump.is_untouched(asked.record.fields.bytes_up) => Some(pump.into_source()),
        Some(_) => None,
        None => held.take(),
    };
    Some(Ended::Lost {
        retire: goodbye || died,
    })
}

/// What a stream that waits for its origin watches: the client, and time.
fn poll_waiting(
    asked: &mut Asked<'_>,
    upstream: &Upstream,
    idle: &mut Patience<'_>,
    cx: &mut Context<'_>,
    blocked: bool,
) -> Poll<Trouble> {
    if let Poll::Ready(reset) = asked.respond.poll_reset(cx) {
        return Poll::Ready(Trouble::Client(reset.ok()));
    }
    idle.poll(cx, [&asked.common.wire, upstream.wire()], blocked)
        .map(Trouble::from)
}

fn poll_answer(
    asked: &mut Asked<'_>,
    upstream: &Upstream,
    upload: &mut Upload,
    response: &mut ResponseFuture,
    idle: &mut Patience<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, Trouble>> {
    if let Err(trouble) = upload.poll(cx, &mut asked.record.fields.bytes_up, upstream.wire(), idle)
    {
        return Poll::Ready(Err(trouble));
    }
    // The final head is asked for only where the library says that no interim one is before it: it would drop those.
    loop {
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => {
                idle.moved();
                if let Err(trouble) = pass_interim(asked, interim) {
                    return Poll::Ready(Err(trouble));
                }
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Trouble::Origin(error))),
            Poll::Ready(None) => {
                if let Poll::Ready(result) = Pin::new(&mut *response).poll(cx) {
                    return Poll::Ready(result.map_err(Trouble::Origin));
                }
                break;
            }
            Poll::Pending => break,
        }
    }
    let blocked = upload.is_blocked();
    poll_waiting(asked, upstream, idle, cx, blocked).map(Err)
}

fn pass_interim(asked: &mut Asked<'_>, interim: Response<()>) -> Result<(), Trouble> {
    asked.interim += 1;
    if asked.interim > limits::INTERIM || interim.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Trouble::Interim);
    }
    let (mut parts, ()) = interim.into_parts();
    keep_from_client(&mut parts.headers);
    if asked.decision.verdict == Verdict::Undecided {
        // Nothing of a response passes before its head is judged; that the body may come says nothing of it.
        if parts.status != StatusCode::CONTINUE {
            return Ok(());
        }
        parts.headers.clear();
    }
    let sent = asked
        .respond
        .send_informational(Response::from_parts(parts, ()));
    sent.map_err(|error| Trouble::Client(error.reason()))
}

/// Judges the response and passes it on.
async fn answer(
    asked: &mut Asked<'_>,
    upstream: &Upstream,
    mut upload: Upload,
    held: Option<RecvStream>,
    response: Response<RecvStream>,
    mut idle: Patience<'_>,
) -> Ended {
    idle.moved();
    let (parts, content) = response.into_parts();
    asked.record.fields.status = Some(parts.status.as_u16());
    let ended = content.is_end_stream();
    let to_head = asked.head.method == Method::HEAD;
    let answer = Answer::read(parts.status, parts.headers, to_head, ended);
    let bodiless = answer.is_bodiless();
    let Some(bound) = asked.judge_response(&answer) else {
        upload.cancel(Code::CANCEL);
        return Ended::Refuse(asked.record.fields.reason);
    };
    // RFC 8441, 5: 200 takes the place of 101. A status without content opens no stream.
    let switches = asked.head.upgrade && answer.status == StatusCode::OK;
    let kept = switches.then(|| answer.clone());
    let to_client = match asked
        .respond
        .send_response(answer.into_response(), ended && !switches)
    {
        Ok(to_client) => to_client,
        Err(error) => return fail(asked, Trouble::Client(error.reason()), &mut upload),
    };
    if let (Some(answer), Some(from)) = (kept, held)
        && let Some(to_origin) = upload.idle.take()
    {
        return Ended::Switched(Box::new(Switched {
            answer,
            up: Pump::new(from, to_origin, u64::MAX),
            down: Pump::new(content, to_client, u64::MAX),
            origin: upstream.wire().clone(),
        }));
    }
    let mut down = Pump::new(content, to_client, if bodiless { 0 } else { bound });
    let mut down_open = !ended;
    let finished = poll_fn(|cx| {
        let up = upload.poll(
            cx,
            &mut asked.record.fields.bytes_up,
            upstream.wire(),
            &mut idle,
        );
        if down_open {
            let polled = down.poll(cx, &mut asked.record.fields.bytes_down, &asked.common.wire);
            if down.take_moved() {
                idle.moved();
            }
            match polled {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => down_open = false,
                Poll::Ready(Err(Broken::Bound)) if bodiless => {
                    return Poll::Ready(Err(Trouble::Content));
                }
                Poll::Ready(Err(Broken::Bound)) => return Poll::Ready(Err(Trouble::Bound)),
                Poll::Ready(Err(Broken::Source(error))) => {
                    return Poll::Ready(Err(Trouble::Origin(error)));
                }
                Poll::Ready(Err(Broken::Sink(error))) => {
                    let code = error.and_then(|error| error.reason());
                    return Poll::Ready(Err(Trouble::Client(code)));
                }
            }
        }
        match up {
            Err(trouble) => Poll::Ready(Err(trouble)),
            Ok(()) if !down_open && !upload.open => Poll::Ready(Ok(())),
            Ok(()) => {
                let blocked = upload.is_blocked() || down.is_blocked();
                idle.poll(cx, [&asked.common.wire, upstream.wire()], blocked)
                    .map(|spent| Err(spent.into()))
            }
        }
    })
    .await;
    match finished {
        Ok(()) => {
            asked.record.allow();
            Ended::Done
        }
        // The response is there in full; a client that then stops its upload has what it wanted.
        Err(Trouble::Client(_)) if !down_open => {
            upload.cancel(Code::CANCEL);
            asked.record.allow();
            Ended::Done
        }
        Err(trouble) => cut(asked, trouble, &mut upload, down),
    }
}

/// Ends an exchange of which the client has no response yet.
fn fail(asked: &mut Asked<'_>, trouble: Trouble, upload: &mut Upload) -> Ended {
    match trouble {
        Trouble::Client(code) => {
            upload.cancel(code.unwrap_or(Code::CANCEL));
            client_left(asked, code);
            Ended::Done
        }
        Trouble::BadBody => {
            upload.cancel(Code::CANCEL);
            bad_body(asked);
            Ended::Done
        }
        Trouble::Idle => {
            upload.cancel(Code::CANCEL);
            Ended::Refuse(Reason::Idle)
        }
        Trouble::TotalTime => {
            upload.cancel(Code::CANCEL);
            Ended::Refuse(Reason::TotalTime)
        }
        Trouble::Content => {
            upload.cancel(Code::PROTOCOL_ERROR);
            asked.record.fields.detail =
                Some("content after a head that cannot have any".to_owned());
            Ended::Refuse(Reason::BadResponse)
        }
        Trouble::Interim => {
            upload.cancel(Code::PROTOCOL_ERROR);
            asked.record.fields.detail =
                Some("interim responses that HTTP/2 does not allow".to_owned());
            Ended::Refuse(Reason::BadResponse)
        }
        Trouble::Bound => Ended::Refuse(Reason::Policy(PolicyReason::RuleDenied)),
        Trouble::Origin(error) => {
            asked.record.fields.detail = Some(error.to_string());
            if error.is_library() {
                return Ended::Refuse(Reason::BadResponse);
            }
            match error.reason().filter(|_| error.is_reset()) {
                // The code means something to the client: to come back over HTTP/1.1, to slow down, to give up.
                Some(code) if code != Code::NO_ERROR => {
                    origin_left(asked);
                    asked.respond.send_reset(code);
                    Ended::Done
                }
                _ => Ended::Refuse(Reason::UpstreamReset),
            }
        }
    }
}

/// Ends an exchange in the middle of its response: both streams break off, visibly.
fn cut(asked: &mut Asked<'_>, trouble: Trouble, upload: &mut Upload, mut down: Pump) -> Ended {
    match trouble {
        Trouble::Client(code) => {
            upload.cancel(code.unwrap_or(Code::CANCEL));
            client_left(asked, code);
        }
        Trouble::BadBody => {
            upload.cancel(Code::CANCEL);
            bad_body(asked);
        }
        Trouble::Content => {
            upload.cancel(Code::PROTOCOL_ERROR);
            down.reset(Code::INTERNAL_ERROR);
            asked.record.fields.detail =
                Some("content after a head that cannot have any".to_owned());
            asked.record.end(VerdictLabel::Error, Reason::BadResponse);
            asked.record.fields.closed_by = Some(ClosedBy::Gateway);
        }
        Trouble::Idle | Trouble::Interim => late(asked, upload, &mut down, Reason::Idle),
        Trouble::TotalTime => late(asked, upload, &mut down, Reason::TotalTime),
        Trouble::Bound => {
            upload.cancel(Code::CANCEL);
            down.reset(Code::CANCEL);
            let reason = Reason::Policy(PolicyReason::RuleDenied);
            asked.record.end(VerdictLabel::Deny, reason);
            asked.record.fields.closed_by = Some(ClosedBy::Gateway);
        }
        Trouble::Origin(error) => {
            asked.record.fields.detail = Some(error.to_string());
            let code = match error.reason() {
                Some(code) if error.is_reset() && error.is_remote() && code != Code::NO_ERROR => {
                    code
                }
                _ => Code::INTERNAL_ERROR,
            };
            down.reset(code);
            if error.is_library() {
                asked.record.end(VerdictLabel::Error, Reason::BadResponse);
                asked.record.fields.closed_by = Some(ClosedBy::Gateway);
            } else {
                origin_left(asked);
            }
        }
    }
    Ended::Done
}

fn late(asked: &mut Asked<'_>, upload: &mut Upload, down: &mut Pump, reason: Reason) {
    upload.cancel(Code::CANCEL);
    down.reset(Code::CANCEL);
    asked.record.end(VerdictLabel::Error, reason);
    asked.record.fields.closed_by = Some(ClosedBy::Gateway);
}

fn client_left(asked: &mut Asked<'_>, code: Option<Code>) {
    asked.record.end(VerdictLabel::Error, Reason::ClientGone);
    asked.record.fields.closed_by = Some(ClosedBy::Client);
    asked.record.fields.detail = code.map(|code| format!("the client reset its stream: {code:?}"));
}

fn origin_left(asked: &mut Asked<'_>) {
    asked.record.end(VerdictLabel::Error, Reason::UpstreamReset);
    asked.record.fields.closed_by = Some(ClosedBy::Upstream);
}

fn bad_body(asked: &mut Asked<'_>) {
    asked.record.end(VerdictLabel::Deny, Reason::BadRequest);
    asked.record.fields.closed_by = Some(ClosedBy::Gateway);
    asked.record.fields.detail = Some("the content is not as long as declared".to_owned());
}
