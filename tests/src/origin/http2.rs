//! An HTTP/2 origin that keeps each stream's request.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::SendResponse;

use super::Request;
use crate::client::Io;
use crate::http2::{push_field, push_fields};
use crate::log::Log;

/// What a stream is answered.
#[derive(Clone, Debug)]
pub struct Answered {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    /// How often the body is sent.
    times: u64,
}

impl Answered {
    pub fn ok(body: &str) -> Self {
        Self {
            status: 200,
            fields: Vec::new(),
            body: body.into(),
            times: 1,
        }
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// A body of so many bytes.
    pub fn long(bytes: u64) -> Self {
        let block = 64 * 1024;
        let mut answer = Self::ok("");
        answer.body = vec![0x2a; block];
        answer.times = bytes / block as u64;
        answer
    }
}

/// What an HTTP/2 origin says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// WebSocket over extended CONNECT is taken, and what it carries sent back.
    pub extended: bool,
    /// Streams at once.
    pub streams: Option<u32>,
}

pub(super) async fn serve<R: Fn(&Request) -> Answered + Send + Sync + 'static>(
    stream: Box<dyn Io>,
    requests: Log<Request>,
    connection: usize,
    manners: Manners,
    reply: Arc<R>,
) {
    let mut builder = h2::server::Builder::new();
    if manners.extended {
        builder.enable_connect_protocol();
    }
    if let Some(streams) = manners.streams {
        builder.max_concurrent_streams(streams);
    }
    let Ok(mut session) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = session.accept().await {
        let (requests, reply) = (requests.clone(), Arc::clone(&reply));
        tokio::spawn(async move {
            // A peer that resets its stream ends the answer to it.
            drop(stream_of(request, respond, requests, connection, reply).await);
        });
    }
}

async fn stream_of<R: Fn(&Request) -> Answered>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    requests: Log<Request>,
    connection: usize,
    reply: Arc<R>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let mut head = format!("{} {target} HTTP/2\r\n", parts.method);
    if let Some(authority) = parts.uri.authority() {
        push_field(&mut head, ":authority", authority.as_str());
    }
    let protocol = parts.extensions.get::<Protocol>();
    if let Some(protocol) = protocol {
        push_field(&mut head, ":protocol", protocol.as_str());
    }
    push_fields(&mut head, &parts.headers);
    let mut kept = Request {
        head,
        body: Vec::new(),
        connection,
    };
    if protocol.is_some() {
        requests.push(kept);
        let mut sender = respond.send_response(http::Response::new(()), false)?;
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            sender.send_data(piece, false)?;
        }
        return sender.send_data(Bytes::new(), true);
    }
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        kept.body.extend(&piece);
    }
    let answer = reply(&kept);
    requests.push(kept);
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.fields {
        response = response.header(name, value);
    }
    let mut sender = respond.send_response(response.body(()).unwrap(), false)?;
    let body = Bytes::from(answer.body);
    for _ in 0..answer.times {
        let mut rest = body.clone();
        while !rest.is_empty() {
            sender.reserve_capacity(rest.len());
            let Some(room) = std::future::poll_fn(|context| sender.poll_capacity(context)).await
            else {
                return Ok(());
            };
            let piece = rest.split_to(room?.min(rest.len()));
            sender.send_data(piece, false)?;
        }
    }
    sender.send_data(Bytes::new(), true)
}
