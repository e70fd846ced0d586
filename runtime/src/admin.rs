//! A small HTTP server for readiness, metrics and administration. Handlers are synchronous and cheap;
//! request bodies are limited, every connection has a deadline, and the number of connections is bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const MAX_BODY: usize = 4096;
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);

/// What a handler answers.
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A plain-text answer.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: value.to_string().into_bytes(),
        }
    }

    /// The answer for a path that nobody serves.
    pub fn not_found() -> Self {
        Self::text(404, "not found\n")
    }
}

/// One request as a handler sees it.
pub struct Ask {
    /// `true` for PUT and POST.
    pub write: bool,
    /// Path without the query.
    pub path: String,
    /// The body of a write, at most 4 KiB.
    pub body: Vec<u8>,
}

/// Answers requests of one port.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, ask: Ask) -> Reply;
}

impl<F: Fn(Ask) -> Reply + Send + Sync + 'static> Handler for F {
    fn answer(&self, ask: Ask) -> Reply {
        self(ask)
    }
}

/// Serves until the future is dropped; its connections end with it.
pub async fn serve(listener: TcpListener, handler: Arc<dyn Handler>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        let (stream, _peer): (_, SocketAddr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        tasks.spawn(async move {
            let service = service_fn(move |request| respond(handler.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A broken admin connection concerns its peer only.
            drop(tokio::time::timeout(CONNECTION_TIMEOUT, connection).await);
            drop(slot);
        });
    }
}

async fn respond(
    handler: Arc<dyn Handler>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let write = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST | Method::PUT => true,
        _ => return Ok(response(Reply::text(405, "method not allowed\n"))),
    };
    let path = request.uri().path().to_owned();
    let body = if write {
        match tokio::time::timeout(
            HEAD_TIMEOUT,
            Limited::new(request.into_body(), MAX_BODY).collect(),
        )
        .await
        {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            Ok(Err(_)) => return Ok(response(Reply::text(413, "body over 4 KiB\n"))),
            Err(_) => return Ok(response(Reply::text(408, "body too late\n"))),
        }
    } else {
        Vec::new()
    };
    Ok(response(handler.answer(Ask { write, path, body })))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut out = Response::new(Full::new(Bytes::from(reply.body)));
    *out.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    out.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    out
}
