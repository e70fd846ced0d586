//! Heads as the gateway sends them.
//!
//! Request target, Host, framing and connection fields are written from what was judged, never copied; all other fields keep
//! their bytes and order.

use std::io::Write as _;

use exitgate_policy::Authority;

use super::{
    framing::BodyFraming,
    head::Version,
    request::{Request, Target},
    response::Response,
};

/// What the gateway wants to do with the connection after this message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connection {
    Close,
    KeepAlive,
}

/// Whether a WebSocket handshake is passed on, or the request goes on as if it had not been asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpgradeMode {
    Pass,
    Strip,
}

/// Appends the head of a request to an origin: origin-form, always HTTP/1.1, `Host` from the judged authority.
pub fn write_request_head(
    out: &mut Vec<u8>,
    request: &Request,
    authority: &Authority,
    connection: Connection,
    upgrade: UpgradeMode,
) {
    out.extend_from_slice(request.method().as_bytes());
    out.push(b' ');
    let path = request.path_and_query();
    match &request.target {
        Target::Asterisk => out.push(b'*'),
        // RFC 9112, 3.2.4: the last proxy turns an absolute OPTIONS without path and query into `*`.
        Target::Absolute { .. } if path.is_empty() && request.method() == "OPTIONS" => {
            out.push(b'*');
        }
        Target::Absolute { .. } | Target::Connect(_) | Target::Origin { .. } => {
            if path.first() != Some(&b'/') {
                out.push(b'/');
            }
            out.extend_from_slice(path);
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    write_authority(out, authority);
    out.extend_from_slice(b"\r\n");
    for (name, original, value) in request.headers.forwarded() {
        match name {
            "content-length" | "host" => {}
            "max-forwards" if request.max_forwards.is_some() => {
                let left = request.max_forwards.unwrap_or_default().saturating_sub(1);
                write_number_field(out, original, left);
            }
            _ if upgrade == UpgradeMode::Strip && name.starts_with("sec-websocket-") => {}
            _ => write_field(out, original, value),
        }
    }
    write_framing(out, request.framing);
    let switches = upgrade == UpgradeMode::Pass
        && matches!(request.upgrade, Some(super::Upgrade::WebSocket { .. }));
    match connection {
        _ if switches => out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Connection::KeepAlive => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an origin's response for the client. `extra` are complete field lines of our own, each with its end.
pub fn write_response_head(
    out: &mut Vec<u8>,
    response: &Response,
    client: Version,
    connection: Connection,
    extra: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(response.reason());
    out.extend_from_slice(b"\r\n");
    for (name, original, value) in response.headers.forwarded() {
        // Our own names are ours alone: an origin cannot fake a refusal.
        if name != "content-length" && !name.starts_with("exitgate-") {
            write_field(out, original, value);
        }
    }
    match response.status {
        101 => out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        100..=199 => {}
        204 => write_connection(out, client, connection),
        _ if response.bodiless => {
            // HEAD and 304 describe the body that is not there.
            if let Some(length) = response.content_length {
                write_number_field(out, b"Content-Length", length);
            }
            write_connection(out, client, connection);
        }
        _ => {
            let framing = response.client_framing(client);
            write_framing(out, framing);
            let connection = if framing == BodyFraming::UntilClose {
                Connection::Close
            } else {
                connection
            };
            write_connection(out, client, connection);
        }
    }
    out.extend_from_slice(extra);
    out.extend_from_slice(b"\r\n");
}

fn write_connection(out: &mut Vec<u8>, client: Version, connection: Connection) {
    match (connection, client) {
        (Connection::Close, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (Connection::KeepAlive, Version::Http10) => {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        (Connection::KeepAlive, Version::Http11) => {}
    }
}

/// The canonical form, without the port where it is the scheme's own.
fn write_authority(out: &mut Vec<u8>, authority: &Authority) {
    write_display(out, &authority.host);
    if let Some(port) = authority.port.filter(|port| *port != 80) {
        out.push(b':');
        write_number(out, u64::from(port));
    }
}

fn write_framing(out: &mut Vec<u8>, framing: BodyFraming) {
    match framing {
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::Length(length) => write_number_field(out, b"Content-Length", length),
        BodyFraming::None | BodyFraming::UntilClose => {}
    }
}

pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_number_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    write_number(out, value);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    write_display(out, number);
}

fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a vector cannot fail.
    write!(out, "{value}").ok();
}
