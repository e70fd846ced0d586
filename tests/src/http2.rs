//! An HTTP/2 client for requests that follow the protocol.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::task::JoinHandle;

use crate::client::{Answer, Wire};
use crate::deadline::within;

/// One connection.
pub struct Client {
    send: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// A request whose body the row writes itself.
pub struct Open {
    pub body: SendStream<Bytes>,
    response: ResponseFuture,
}

impl Open {
    /// The head of the answer, and its body as it comes.
    pub async fn head(self) -> Result<(Answer, RecvStream, SendStream<Bytes>), h2::Error> {
        let response = within("the head of a response", self.response).await?;
        let (parts, body) = response.into_parts();
        Ok((shown(&parts), body, self.body))
    }
}

impl Client {
    pub async fn over(wire: Wire) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false);
        let handshake = builder.handshake(wire.into_stream());
        let (send, connection) = within("the HTTP/2 preface", handshake).await.unwrap();
        Self {
            send,
            ended: tokio::spawn(connection),
        }
    }

    pub async fn open(&self, request: http::Request<()>, ended: bool) -> Result<Open, h2::Error> {
        let ready = within("a free stream", self.send.clone().ready()).await?;
        let mut ready = ready;
        let (response, body) = ready.send_request(request, ended)?;
        Ok(Open { body, response })
    }

    /// A request without a body and its whole answer.
    pub async fn ask(&self, request: http::Request<()>) -> Result<Answer, h2::Error> {
        let (mut answer, mut body, _sender) = self.open(request, true).await?.head().await?;
        while let Some(piece) = within("more of a response", body.data()).await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            answer.body.extend(&piece);
        }
        Ok(answer)
    }

    pub async fn get(&self, authority: &str, path: &str) -> Result<Answer, h2::Error> {
        self.ask(request("GET", authority, path)).await
    }

    /// Whether the peer takes WebSocket over extended CONNECT.
    pub fn is_extended(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Waits for the end of the connection.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        within("the end of an HTTP/2 connection", self.ended)
            .await
            .unwrap()
    }
}

pub fn request(method: &str, authority: &str, path: &str) -> http::Request<()> {
    http::Request::builder()
        .version(http::Version::HTTP_2)
        .method(method)
        .uri(format!("https://{authority}{path}"))
        .body(())
        .unwrap()
}

/// A head in the form that the rows know from HTTP/1.
fn shown(parts: &http::response::Parts) -> Answer {
    let mut head = format!("HTTP/2 {}\r\n", parts.status.as_u16());
    push_fields(&mut head, &parts.headers);
    Answer {
        status: parts.status.as_u16(),
        head,
        body: Vec::new(),
    }
}

pub(crate) fn push_fields(head: &mut String, headers: &http::HeaderMap) {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        push_field(head, name.as_str(), &value);
    }
    head.push_str("\r\n");
}

pub(crate) fn push_field(head: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        head.push_str(part);
    }
}
