//! The readiness, metrics and admin ports.

use std::sync::Arc;

use exitgate_runtime::admin::{self, Ask, Handler, Reply};
use exitgate_runtime::build;
use exitgate_runtime::logging::LogLevel;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Shared;
use crate::metrics::Metrics;

/// Served beside the traffic, so that an answer proves that traffic is served too. Ends with the gateway.
pub(super) fn serve(listener: TcpListener, handler: (Arc<Shared>, impl Handler)) -> JoinHandle<()> {
    let (shared, handler) = handler;
    tokio::spawn(async move {
        tokio::select! {
            () = admin::serve(listener, Arc::new(handler)) => {}
            () = shared.draining() => {}
        }
    })
}

pub(super) fn ready(shared: Arc<Shared>) -> (Arc<Shared>, impl Handler) {
    let answer = shared.clone();
    (shared, move |ask: Ask| {
        answer_ready(Some(&answer), "no policy", &ask)
    })
}

/// Whether there is anything to decide by; else why not.
pub(super) fn answer_ready(shared: Option<&Shared>, why: &str, ask: &Ask) -> Reply {
    if ask.path != "/ready" && ask.path != "/" {
        return Reply::not_found();
    }
    if shared.is_some_and(|shared| shared.recorder.refuses()) {
        return Reply::text(503, "records cannot be written\n");
    }
    match shared.and_then(|shared| shared.state.current()) {
        Some(live) => Reply::text(200, format!("ready {}\n", live.revision)),
        None => Reply::text(503, format!("{why}\n")),
    }
}

pub(super) fn metrics(shared: Arc<Shared>) -> (Arc<Shared>, impl Handler) {
    let answer = shared.clone();
    (shared, move |ask: Ask| {
        answer_metrics(&answer.metrics, answer.recorder.dropped(), &ask)
    })
}

pub(super) fn answer_metrics(metrics: &Metrics, dropped: u64, ask: &Ask) -> Reply {
    if ask.path != "/metrics" {
        return Reply::not_found();
    }
    Reply {
        status: 200,
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body: metrics.render(dropped).into_bytes(),
    }
}

pub(super) fn admin(shared: Arc<Shared>, log: LogLevel) -> (Arc<Shared>, impl Handler) {
    let answer = shared.clone();
    (shared, move |ask: Ask| {
        answer_admin(Some(&answer), &log, &ask)
    })
}

pub(super) fn answer_admin(shared: Option<&Shared>, log: &LogLevel, ask: &Ask) -> Reply {
    let live = shared.and_then(|shared| shared.state.current());
    match (ask.path.as_str(), ask.write) {
        ("/", false) => Reply::text(
            200,
            "GET /ca.pem\nGET /config\nGET /policy\nGET /version\nGET, PUT /log-level\n",
        ),
        ("/log-level", false) => Reply::text(200, format!("{}\n", log.current())),
        ("/log-level", true) => match log.set(String::from_utf8_lossy(&ask.body).trim()) {
            Ok(()) => Reply::text(200, format!("{}\n", log.current())),
            Err(error) => Reply::text(400, format!("{error}\n")),
        },
        ("/version", false) => Reply::json(
            200,
            &json!({"product": build::PRODUCT, "version": build::VERSION}),
        ),
        ("/ca.pem", false) => match live.as_ref().and_then(|live| live.interception.as_ref()) {
            Some(interception) => Reply {
                status: 200,
                content_type: "application/x-pem-file",
                body: interception.authority.bundle_pem().into_bytes(),
            },
            None => Reply::text(404, "TLS is not opened\n"),
        },
        ("/config", false) => match live {
            // The document names files of secrets, never their content.
            Some(live) => Reply::json(
                200,
                &json!({"gateway": live.snapshot.gateway, "spec": live.snapshot.settings}),
            ),
            None => Reply::text(503, "no policy\n"),
        },
        ("/policy", false) => match live {
            Some(live) => Reply::json(
                200,
                &json!({
                    "revision": &*live.revision,
                    "policies": live.snapshot.policies,
                    "workloads": live.identities.members().iter().map(|m| &*m.workload).collect::<Vec<_>>(),
                }),
            ),
            None => Reply::text(503, "no policy\n"),
        },
        _ => Reply::not_found(),
    }
}
