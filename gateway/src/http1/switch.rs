//! Protocol switches: what was asked for, and whether a 101 answers it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    error::ResponseError, head::Headers, lines::trim, request::Request, response::Response,
};

/// What the client asks to switch to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Upgrade {
    /// Anything else, `h2c` included. Not passed on: what follows could not be judged.
    Other,
    WebSocket {
        /// The `Sec-WebSocket-Accept` value that the origin must answer with.
        accept: String,
    },
}

impl Upgrade {
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let mut protocols = headers.all("upgrade");
        let protocol = protocols.next()?;
        let mut keys = headers.all("sec-websocket-key");
        match (protocols.next(), keys.next(), keys.next()) {
            (None, Some(key), None) if protocol.eq_ignore_ascii_case(b"websocket") => {
                Some(Self::WebSocket {
                    accept: accept_value(key),
                })
            }
            _ => Some(Self::Other),
        }
    }
}

/// Whether a 101 is the answer to a WebSocket request that we forwarded as such.
pub fn check_switch(request: &Request, response: &Response) -> Result<(), ResponseError> {
    let Some(Upgrade::WebSocket { accept }) = &request.upgrade else {
        return Err(ResponseError::Switch);
    };
    let only = |name| {
        let mut values = response.headers.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    };
    let fits = response.status == 101
        && only("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && only("sec-websocket-accept").is_some_and(|value| value == accept.as_bytes())
        && response
            .headers
            .all("connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|option| trim(option).eq_ignore_ascii_case(b"upgrade"));
    if fits {
        Ok(())
    } else {
        Err(ResponseError::Switch)
    }
}

/// RFC 6455, 4.2.2. SHA-1 is the protocol's choice and protects nothing here.
fn accept_value(key: &[u8]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}
