//! A running gateway: its listeners, its life from binding to drained.

mod accept;
mod controlled;
mod ports;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exitgate_policy::compile::Problem;
use exitgate_policy::model::{self, RecordSink, SinkType};
use exitgate_policy::snapshot::Snapshot;
use exitgate_runtime::clock;
use exitgate_runtime::logging::LogLevel;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::identity::Passwords;
use crate::limits::Share;
use crate::live::{ApplyError, Secrets, State};
use crate::metrics::Metrics;
use crate::origin;
use crate::record::{Class, Overflow, Recorder, SinkConfig, Target, VerdictLabel};
use crate::tls::{self, TlsError};
pub use controlled::{Controlled, Early};

/// After the drain time: for records of connections that are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a gateway needs beside its snapshot.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where relative file names in settings are looked up.
    pub base: PathBuf,
    /// Shown and changed by the admin port.
    pub log: LogLevel,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Settings, policy, log level.
    Admin,
    /// Prometheus.
    Metrics,
    /// The HTTP proxy.
    Proxy,
    /// The HTTP proxy over TLS.
    ProxyTls,
    /// Readiness.
    Ready,
}

impl ListenerKind {
    /// The word that the command line prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Proxy => "proxy",
            Self::ProxyTls => "proxy-tls",
            Self::Ready => "ready",
        }
    }
}

/// A listener that stands.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// What it is for.
    pub kind: ListenerKind,
    /// Its address, with the real port.
    pub address: SocketAddr,
}

impl Bound {
    /// The URL that clients use.
    pub fn url(&self) -> String {
        let scheme = if self.kind == ListenerKind::ProxyTls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener address that cannot be read.
    #[error(
        "spec.listeners.{field}: {value:?} is not ADDRESS:PORT; write for example 127.0.0.1:3128"
    )]
    Address { field: &'static str, value: String },
    /// The snapshot cannot be used.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A port that cannot be had.
    #[error("cannot listen on {address} ({what}): {error}")]
    Bind {
        what: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
    /// A record sink that cannot be opened.
    #[error("records: {0}")]
    Records(io::Error),
    /// The TLS listener cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    Draining,
    Killed,
}

/// What every connection has in common.
pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) passwords: Passwords,
    pub(crate) total: Arc<Share>,
    stage: watch::Sender<Stage>,
}

#[cfg(test)]
impl Shared {
    /// What connections have in common, without listeners. Relative files are looked up in `base`.
    pub(crate) fn for_tests(snapshot: Snapshot, sinks: Vec<SinkConfig>, base: &Path) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        let recorder = Recorder::start(sinks, metrics.clone()).expect("sinks");
        let state = State::new(base);
        state
            .apply(snapshot, &Secrets::default())
            .expect("a snapshot that applies");
        Arc::new(Self {
            state,
            recorder: Arc::new(recorder),
            metrics,
            passwords: Passwords::default(),
            total: Arc::default(),
            stage: watch::Sender::new(Stage::Running),
        })
    }

    pub(crate) fn drain_for_tests(&self) {
        self.stage.send_replace(Stage::Draining);
    }
}

impl Shared {
    async fn reached(&self, stage: Stage) {
        let mut watch = self.stage.subscribe();
        // The sender lives in self: this cannot fail while we wait.
        drop(watch.wait_for(|now| *now >= stage).await);
    }

    /// Resolves when no new work may begin.
    pub(crate) async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Resolves when open streams must end.
    pub(crate) async fn killed(&self) {
        self.reached(Stage::Killed).await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }
}

/// A running gateway. Dropping it ends its connections at once; [`Gateway::drain`] ends them in peace.
pub struct Gateway {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    own: Vec<SocketAddr>,
}

impl Gateway {
    /// Binds every listener, puts the snapshot in force and serves. `on_bound` is told each listener.
    pub fn start(
        snapshot: Snapshot,
        secrets: &Secrets,
        options: &Options,
        on_bound: impl FnMut(Bound),
    ) -> Result<(Self, Vec<Problem>), StartError> {
        let metrics = Arc::new(Metrics::new());
        Self::start_beside(&[], metrics, snapshot, None, secrets, options, on_bound)
    }

    /// The same where some listeners stand already: what they are for is not bound again.
    fn start_beside(
        early: &[Bound],
        metrics: Arc<Metrics>,
        mut snapshot: Snapshot,
        revision: Option<&str>,
        secrets: &Secrets,
        options: &Options,
        mut on_bound: impl FnMut(Bound),
    ) -> Result<(Self, Vec<Problem>), StartError> {
        let spec = snapshot.settings.clone();
        let sinks = sinks(spec.records.as_deref(), &options.base);
        let recorder =
            Arc::new(Recorder::start(sinks, metrics.clone()).map_err(StartError::Records)?);
        let acceptor = match &spec.listeners.proxy_tls {
            Some(config) => Some(tls::acceptor(config, &options.base)?),
            None => None,
        };
        let tls_addresses = spec
            .listeners
            .proxy_tls
            .as_ref()
            .map(|t| t.addresses.clone())
            .unwrap_or_default();
        let mut wanted = vec![
            (ListenerKind::Proxy, &spec.listeners.proxy),
            (ListenerKind::ProxyTls, &tls_addresses),
            (ListenerKind::Ready, &spec.listeners.ready),
            (ListenerKind::Metrics, &spec.listeners.metrics),
            (ListenerKind::Admin, &spec.listeners.admin),
        ];
        wanted.retain(|(kind, _)| !early.iter().any(|bound| bound.kind == *kind));
        let mut bound = VecDeque::new();
        for (kind, configured) in wanted {
            bound.extend(listen(kind, configured)?);
        }
        let own: Vec<SocketAddr> = bound
            .iter()
            .map(|(bound, _)| bound)
            .chain(early)
            .map(|bound| bound.address)
            .collect();
        snapshot.own_listeners.clone_from(&own);
        let state = State::new(&options.base);
        let (live, problems) = state.apply_as(snapshot, revision, secrets)?;
        metrics.interception.set(live.interception.as_ref());
        metrics
            .policy_loaded_at
            .set(i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX));
        tracing::info!(revision = %live.revision, "policy in force");
        let shared = Arc::new(Shared {
            state,
            recorder,
            metrics,
            passwords: Passwords::default(),
            total: Arc::default(),
            stage: watch::Sender::new(Stage::Running),
        });
        let mut tasks = vec![tokio::spawn(sweep(shared.clone()))];
        for (told, listener) in bound {
            let tls = acceptor
                .clone()
                .filter(|_| told.kind == ListenerKind::ProxyTls);
            tasks.push(match told.kind {
                ListenerKind::Proxy | ListenerKind::ProxyTls => {
                    tokio::spawn(accept::run(shared.clone(), listener, tls))
                }
                ListenerKind::Admin => {
                    ports::serve(listener, ports::admin(shared.clone(), options.log.clone()))
                }
                ListenerKind::Metrics => ports::serve(listener, ports::metrics(shared.clone())),
                ListenerKind::Ready => ports::serve(listener, ports::ready(shared.clone())),
            });
            on_bound(told);
        }
        Ok((Self { shared, tasks, own }, problems))
    }

    /// The revision in force.
    pub fn revision(&self) -> Option<Arc<str>> {
        self.shared
            .state
            .current()
            .map(|live| live.revision.clone())
    }

    /// Puts another snapshot in force; on an error the previous one stays. Listeners and sinks are those of the
    /// start.
    pub fn apply(
        &self,
        snapshot: Snapshot,
        secrets: &Secrets,
    ) -> Result<(Arc<str>, Vec<Problem>), ApplyError> {
        self.apply_as(snapshot, None, secrets)
    }

    fn apply_as(
        &self,
        mut snapshot: Snapshot,
        revision: Option<&str>,
        secrets: &Secrets,
    ) -> Result<(Arc<str>, Vec<Problem>), ApplyError> {
        snapshot.own_listeners.clone_from(&self.own);
        if let Some(live) = self.shared.state.current() {
            let (old, new) = (&live.snapshot.settings, &snapshot.settings);
            if old.listeners != new.listeners || old.records != new.records {
                tracing::warn!(
                    "EgressGateway: changes of spec.listeners and spec.records take effect at the next start"
                );
            }
        }
        let result = self.shared.state.apply_as(snapshot, revision, secrets);
        self.shared.metrics.reloaded(result.is_ok());
        let (live, problems) = result?;
        let metrics = &self.shared.metrics;
        metrics.interception.set(live.interception.as_ref());
        self.shared
            .metrics
            .policy_loaded_at
            .set(i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX));
        Ok((live.revision.clone(), problems))
    }

    /// Takes no new connection, lets open ones finish until the drain time, cuts the rest, writes all records.
    pub async fn drain(mut self) {
        let limit = self
            .shared
            .state
            .current()
            .map_or(Duration::from_mins(1), |live| {
                live.snapshot.settings.timeouts.drain()
            });
        let tasks = std::mem::take(&mut self.tasks);
        self.shared.stage.send_replace(Stage::Draining);
        let finished = async {
            for task in tasks {
                // A listener task that panicked has nothing left to finish.
                drop(task.await);
            }
        };
        let mut finished = std::pin::pin!(finished);
        if tokio::time::timeout(limit, &mut finished).await.is_err() {
            tracing::warn!(
                connections = self.shared.total.taken(),
                "drain time is over; open connections are cut"
            );
            self.shared.recorder.stopping();
            self.shared.stage.send_replace(Stage::Killed);
            drop(tokio::time::timeout(LAST_WORDS, finished).await);
        }
        let recorder = self.shared.recorder.clone();
        drop(tokio::task::spawn_blocking(move || recorder.close(LAST_WORDS)).await);
    }
}

/// Closes connections to origins that nobody came back for.
async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(origin::SWEEP);
    loop {
        tokio::select! {
            biased;
            () = shared.draining() => return,
            _ = ticks.tick() => {}
        }
        let live = shared.state.current();
        if let Some(interception) = live.as_ref().and_then(|live| live.interception.as_ref()) {
            interception.origins.sweep();
            interception.parked.sweep();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stage.send_replace(Stage::Killed);
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Binds what is configured for one purpose.
fn listen(
    kind: ListenerKind,
    configured: &[String],
) -> Result<Vec<(Bound, TcpListener)>, StartError> {
    let mut bound = Vec::new();
    for address in addresses(kind, configured)? {
        let listener = bind(kind.as_str(), address)?;
        let address = listener.local_addr().unwrap_or(address);
        bound.push((Bound { kind, address }, listener));
    }
    Ok(bound)
}

fn addresses(kind: ListenerKind, configured: &[String]) -> Result<Vec<SocketAddr>, StartError> {
    let field = match kind {
        ListenerKind::Admin => "admin",
        ListenerKind::Metrics => "metrics",
        ListenerKind::Proxy => "proxy",
        ListenerKind::ProxyTls => "proxyTls.addresses",
        ListenerKind::Ready => "ready",
    };
    let parse = |value: &String| {
        value.parse().map_err(|_| {
            let value = value.clone();
            StartError::Address { field, value }
        })
    };
    configured.iter().map(parse).collect()
}

fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || -> io::Result<TcpListener> {
        let domain = if address.is_ipv4() {
            socket2::Domain::IPV4
        } else {
            socket2::Domain::IPV6
        };
        let socket =
            socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|error| StartError::Bind {
        what,
        address,
        error,
    })
}

fn sinks(configured: Option<&[RecordSink]>, base: &Path) -> Vec<SinkConfig> {
    match configured {
        None => vec![SinkConfig {
            target: Target::Stdout,
            classes: Vec::new(),
            verdicts: Vec::new(),
            overflow: Overflow::Drop,
        }],
        Some(list) => list
            .iter()
            .map(|sink| SinkConfig {
                target: match (sink.kind, &sink.path) {
                    (SinkType::File, Some(path)) => Target::File {
                        path: base.join(path),
                        max_bytes: sink.max_bytes(),
                        keep: sink.keep(),
                    },
                    (SinkType::File | SinkType::Stdout, _) => Target::Stdout,
                },
                classes: sink
                    .classes
                    .iter()
                    .filter_map(|class| match class {
                        model::RecordClass::Dns => None,
                        model::RecordClass::Http => Some(Class::Http),
                        model::RecordClass::Network => Some(Class::Network),
                    })
                    .collect(),
                verdicts: sink
                    .verdicts
                    .iter()
                    .map(|verdict| match verdict {
                        model::RecordVerdict::Allow => VerdictLabel::Allow,
                        model::RecordVerdict::Deny => VerdictLabel::Deny,
                        model::RecordVerdict::Error => VerdictLabel::Error,
                    })
                    .collect(),
                overflow: match sink.overflow {
                    model::Overflow::Drop => Overflow::Drop,
                    model::Overflow::Refuse => Overflow::Refuse,
                },
            })
            .collect(),
    }
}
