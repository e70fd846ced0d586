//! What a client is told when a stream is refused or fails.

use bytes::Bytes;
use h2::server::SendResponse;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::reason::Reason;
use crate::record::{ClosedBy, Record, VerdictLabel};
use crate::refuse::{self, Refusal};

const EXITGATE_REASON: HeaderName = HeaderName::from_static("exitgate-reason");
const EXITGATE_DECISION: HeaderName = HeaderName::from_static("exitgate-decision");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Ends the record and answers; the stream ends with it, the connection does not.
pub(super) fn refuse(
    respond: &mut SendResponse<Bytes>,
    record: &mut Record,
    reason: Reason,
    status: Option<u16>,
    grpc: bool,
) {
    let verdict = if reason.is_refusal() {
        VerdictLabel::Deny
    } else {
        VerdictLabel::Error
    };
    record.end(verdict, reason);
    record.fields.closed_by = Some(ClosedBy::Gateway);
    let delivered = record.fields.status.is_some();
    let refusal = refuse::explain(record, reason, status, delivered);
    let sent = match grpc_status(refusal.status).filter(|_| grpc) {
        Some(code) => trailers_only(respond, record, reason, code, &refusal),
        None => problem(respond, record, reason, refusal),
    };
    if let Err(error) = sent {
        tracing::trace!(%error, "the client did not wait for its refusal");
    }
}

fn problem(
    respond: &mut SendResponse<Bytes>,
    record: &Record,
    reason: Reason,
    refusal: Refusal,
) -> Result<(), h2::Error> {
    let mut response = ours(record, reason);
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CONTENT_LENGTH, refusal.body.len().into());
    if matches!(reason, Reason::Limit | Reason::NotReady | Reason::Draining) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    let mut body = respond.send_response(response, false)?;
    body.send_data(refusal.body.into(), true)
}

/// gRPC reads its status from trailers, here those that are the whole answer.
fn trailers_only(
    respond: &mut SendResponse<Bytes>,
    record: &Record,
    reason: Reason,
    code: u8,
    refusal: &Refusal,
) -> Result<(), h2::Error> {
    let mut response = ours(record, reason);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(GRPC_STATUS, u16::from(code).into());
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&refusal.detail)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    respond.send_response(response, true).map(drop)
}

fn ours(record: &Record, reason: Reason) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(EXITGATE_REASON, HeaderValue::from_static(reason.code()));
    if let Ok(id) = HeaderValue::from_str(&record.id().to_string()) {
        headers.insert(EXITGATE_DECISION, id);
    }
    response
}

/// The gRPC status that says what an HTTP status of ours does. 421 is for the HTTP layer below gRPC.
fn grpc_status(status: u16) -> Option<u8> {
    match status {
        403 => Some(7),
        421 => None,
        429 | 500..=599 => Some(14),
        _ => Some(13),
    }
}

/// The form that gRPC gives its messages: printable ASCII without the percent sign.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(nibble.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn messages_are_printable() {
        assert_eq!(percent_encode("a b%ü\n"), "a b%25%C3%BC%0A");
    }
}
