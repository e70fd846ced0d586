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

/// How a request goes on to its origin.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The judged authority.
    pub authority: &'a Authority,
    /// The port that the scheme implies; `Host` does not repeat it.
    pub default_port: u16,
    pub connection: Connection,
    pub upgrade: UpgradeMode,
    /// Fields of ours, names in lower case; the client's own ones of these names are left out.
    pub injected: &'a [(&'a str, &'a [u8])],
}

/// Appends the head of a request to an origin: origin-form, always HTTP/1.1, `Host` from the judged authority.
pub fn write_request_head(out: &mut Vec<u8>, request: &Request, onward: &Onward<'_>) {
    let Onward {
        authority,
        default_port,
        connection,
        upgrade,
        injected,
    } = *onward;
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
    write_authority(out, authority, default_port);
    out.extend_from_slice(b"\r\n");
    for (name, original, value) in request.headers.forwarded() {
        match name {
            "content-length" | "host" => {}
            "max-forwards" if request.max_forwards.is_some() => {
                let left = request.max_forwards.unwrap_or_default().saturating_sub(1);
                write_number_field(out, original, left);
            }
            _ if upgrade == UpgradeMode::Strip && name.starts_with("sec-websocket-") => {}
            // Some origins read an underscore as a hyphen.
            _ if injected.iter().any(|(ours, _)| is_spelled(name, ours)) => {}
            _ => write_field(out, original, value),
        }
    }
    for (name, value) in injected {
        write_field(out, name.as_bytes(), value);
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
        match name {
            "content-length" => {}
            // It would lead the client around the gateway (RFC 7838); `clear` only takes such a lead back.
            "alt-svc" if !value.eq_ignore_ascii_case(b"clear") => {}
            // Our own names are ours alone: an origin cannot fake a refusal.
            _ if name.starts_with("exitgate-") => {}
            _ => write_field(out, original, value),
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

/// Whether a field name is another one but for underscores in place of hyphens; both in lower case.
pub fn is_spelled(name: &str, ours: &str) -> bool {
    name.len() == ours.len()
        && name
            .bytes()
            .zip(ours.bytes())
            .all(|(one, other)| one == other || (one == b'_' && other == b'-'))
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
fn write_authority(out: &mut Vec<u8>, authority: &Authority, default_port: u16) {
    write_display(out, &authority.host);
    if let Some(port) = authority.port.filter(|port| *port != default_port) {
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
