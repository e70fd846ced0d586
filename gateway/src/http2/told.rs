//! A client that speaks HTTP/2 only and that is only to be told why nothing passes.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason as Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::head::is_grpc;
use super::wire::Watched;
use super::{answer, limits};
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, RequestFields, VerdictLabel};

const STREAMS: u32 = 8;
const HEAD_BYTES: u32 = 64 * 1024;
/// What the client gets to take the answer.
const GOODBYE: Duration = Duration::from_secs(2);

/// Answers the first request with `reason` and closes. `patience` is how long that request may take.
pub(crate) async fn tell<I>(client: I, mut record: Record, reason: Reason, patience: Duration)
where
    I: AsyncRead + AsyncWrite + Send + Unpin,
{
    let verdict = if reason.is_refusal() {
        VerdictLabel::Deny
    } else {
        VerdictLabel::Error
    };
    record.end(verdict, reason);
    record.fields.closed_by = Some(ClosedBy::Gateway);
    let (io, wire) = Watched::client(client);
    let first = async {
        let handshake = limits::client(STREAMS, HEAD_BYTES, false).handshake::<_, Bytes>(io);
        let mut connection = handshake.await.ok()?;
        let first = connection.accept().await?.ok()?;
        Some((connection, first))
    };
    let Ok(Some((mut connection, (request, mut respond)))) = timeout(patience, first).await else {
        return;
    };
    record.fields.request = Some(RequestFields {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().as_bytes().to_vec(),
        scheme: "https",
        user_agent: request
            .headers()
            .get(http::header::USER_AGENT)
            .map(|value| value.as_bytes().to_vec()),
    });
    let grpc = is_grpc(request.headers());
    answer::refuse(&mut respond, &mut record, reason, None, grpc);
    drop((request, respond, record));
    connection.graceful_shutdown();
    let mut goodbye = std::pin::pin!(sleep(GOODBYE));
    poll_fn(|cx| {
        while let Poll::Ready(next) = connection.poll_accept(cx) {
            match next {
                Some(Ok((_, mut respond))) => respond.send_reset(Code::REFUSED_STREAM),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        if wire.flooded() {
            return Poll::Ready(());
        }
        goodbye.as_mut().poll(cx)
    })
    .await;
}
