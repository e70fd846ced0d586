//! The validating webhook: an object is refused before it is stored, in the words of `exitgate check`.
//!
//! Any pod of the cluster can call it, and the API server does not say who it is: a call is hostile input, bounded in size
//! and time, and its answer tells nothing but what is wrong with the object that it carries.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exitgate_policy::Snapshot;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::watch::envelope;
use crate::api::Kind;
use crate::source::{Finding, ObjectReader};

/// The API server takes objects of 3 MiB at most, and an update carries two.
const MAX_BODY: usize = 8 << 20;
const MAX_HEAD: usize = 64 << 10;
const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The API server keeps its connections; a silent one is closed after this.
const IDLE: Duration = Duration::from_secs(90);
const BODY: Duration = Duration::from_secs(10);
/// The API server cuts warnings and limits their number itself; this bounds what is sent.
const MAX_WARNINGS: usize = 16;

/// Judges objects among what is there.
pub struct Judge {
    reader: ObjectReader,
    among: Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
}

impl Judge {
    /// `among` gives what an object can refer to: settings, sets and credentials.
    pub fn new(among: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static) -> Self {
        Self {
            reader: ObjectReader::new(),
            among: Box::new(among),
        }
    }

    /// Answers one review.
    pub fn answer(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        let written = |object: &DynamicObject| object.data.get("spec").cloned().unwrap_or_default();
        let Some(object) = &request.object else {
            // A removal always takes effect.
            return response;
        };
        let is_kept = match request.operation {
            Operation::Create => false,
            // What is being removed, or keeps its content, need not satisfy a newer judge to lose a finalizer or gain a label.
            Operation::Update => {
                object.metadata.deletion_timestamp.is_some()
                    || request.old_object.as_ref().map(written) == Some(written(object))
            }
            Operation::Delete | Operation::Connect => true,
        };
        if is_kept || request.sub_resource.is_some() {
            return response;
        }
        let Some(kind) = Kind::parse(&request.kind.kind) else {
            let kind = &request.kind.kind;
            return response.deny(format!("{kind} is none of the kinds that are judged here"));
        };
        // With generateName the name is made after the judgement.
        let name = object.metadata.name.as_deref().unwrap_or("generated");
        let namespace = request
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty() && kind.is_namespaced());
        let document = envelope(kind, namespace, name, &written(object));
        let findings = self.reader.judge(&document, &(self.among)());
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(Finding::is_error);
        let mut response = response;
        if !warnings.is_empty() {
            let texts = warnings.iter().take(MAX_WARNINGS);
            response.warnings = Some(texts.map(ToString::to_string).collect());
        }
        if errors.is_empty() {
            return response;
        }
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let mut response = response.deny(texts.join("\n"));
        response.result.code = 422;
        "Invalid".clone_into(&mut response.result.reason);
        response
    }
}

/// Serves a [`Judge`] to the API server.
pub struct Webhook {
    judge: Arc<Judge>,
    tls: TlsAcceptor,
}

impl Webhook {
    /// `tls` may exchange its certificate while it is in use.
    pub fn new(judge: Judge, tls: Arc<ServerConfig>) -> Self {
        Self {
            judge: Arc::new(judge),
            tls: TlsAcceptor::from(tls),
        }
    }

    /// Serves until `stop`; what has begun is then answered.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let slot = tokio::select! {
                () = &mut stop => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { break };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (judge, tls) = (Arc::clone(&self.judge), self.tls.clone());
                    connections.spawn(async move {
                        connection(stream, tls, judge).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let finish = async { while connections.join_next().await.is_some() {} };
        // Kept connections end with their tasks.
        tokio::time::timeout(BODY.min(Duration::from_secs(2)), finish)
            .await
            .ok();
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, judge: Arc<Judge>) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let judge = Arc::clone(&judge);
        async move { Ok::<_, Infallible>(respond(request, &judge).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the webhook ended");
    }
}

async fn respond(request: Request<Incoming>, judge: &Arc<Judge>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match tokio::time::timeout(BODY, body).await {
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        Ok(Err(error)) => return text(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let judge = Arc::clone(judge);
    // A thousand rules take milliseconds to compile, on no thread that others wait for.
    let judged = tokio::task::spawn_blocking(move || {
        let review: AdmissionReview<DynamicObject> =
            serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let request: AdmissionRequest<DynamicObject> = review
            .try_into()
            .map_err(|_| "no request in it".to_owned())?;
        serde_json::to_vec(&judge.answer(&request).into_review()).map_err(|error| error.to_string())
    });
    match judged.await {
        Ok(Ok(json)) => {
            let mut response = Response::new(Full::from(json));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Ok(Err(error)) => {
            let message = format!("this is no AdmissionReview: {error}");
            text(StatusCode::BAD_REQUEST, &message)
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the judgement failed"),
    }
}

fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(message.to_owned()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn judged(operation: &str, spec: &Value, old: Option<&Value>) -> AdmissionResponse {
        let object = |spec: &Value| {
            json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy",
                "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
        };
        let review: AdmissionReview<DynamicObject> = serde_json::from_value(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": "u", "operation": operation, "namespace": "n", "name": "a", "userInfo": {},
                "kind": {"group": "exitgate.dev", "version": "v1alpha1", "kind": "EgressPolicy"},
                "resource": {"group": "exitgate.dev", "version": "v1alpha1", "resource": "egresspolicies"},
                "object": object(spec), "oldObject": old.map(object)}}))
        .unwrap();
        Judge::new(|| Arc::new(Snapshot::default())).answer(&review.try_into().unwrap())
    }

    #[test]
    fn a_bad_object_is_refused_with_all_that_is_wrong() {
        let bad = json!({"rules": [
            {"name": "a", "action": "Allow", "to": {"hosts": ["*x.io"]}},
            {"name": "b", "action": "Alow"}]});
        let response = judged("CREATE", &bad, None);
        assert!(!response.allowed);
        assert_eq!(
            response.result.message,
            "spec.rules[1].action: \"Alow\" is not one of Alert, Allow, Deny, Next, Pass; did you mean \"Allow\"?"
        );
        let response = judged("UPDATE", &bad, Some(&bad));
        assert!(response.allowed, "the content stays as it was");
    }

    #[test]
    fn warnings_do_not_refuse() {
        let spec =
            json!({"rules": [{"name": "a", "action": "Allow", "to": {"hostSets": ["gone"]}}]});
        let response = judged("CREATE", &spec, None);
        assert!(response.allowed);
        assert!(response.warnings.unwrap()[0].contains("gone"));
    }
}
