//! A gateway whose snapshots come from elsewhere: it answers on its readiness, metrics and admin ports before the first
//! one, and starts to listen for clients with it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use exitgate_policy::Snapshot;
use exitgate_policy::model::EgressGatewaySpec;
use exitgate_runtime::admin::{self, Ask, Handler, Reply};
use exitgate_runtime::logging::LogLevel;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Bound, Gateway, ListenerKind, Options, Shared, StartError, listen, ports};
use crate::control::{PutError, Target};
use crate::live::Secrets;
use crate::metrics::Metrics;

/// Listeners that stand before there is a policy. What is given here is not taken from the EgressGateway.
#[derive(Clone, Debug, Default)]
pub struct Early {
    /// Addresses of the readiness port.
    pub ready: Vec<String>,
    /// Addresses of the metrics port.
    pub metrics: Vec<String>,
    /// Addresses of the admin port.
    pub admin: Vec<String>,
}

type Adjust = Box<dyn Fn(&mut EgressGatewaySpec) + Send + Sync>;
type OnBound = Box<dyn FnMut(Bound) + Send>;

/// A gateway whose snapshots come from elsewhere.
pub struct Controlled {
    options: Options,
    adjust: Adjust,
    on_bound: Mutex<OnBound>,
    early: Vec<Bound>,
    front: Arc<Front>,
    life: Mutex<Life>,
    ports: Mutex<Vec<JoinHandle<()>>>,
    revision: watch::Sender<Option<Arc<str>>>,
}

enum Life {
    /// For the first snapshot.
    Waiting,
    Running(Gateway),
    /// Nothing is put in force any more.
    Ended,
}

/// What the early ports answer from.
struct Front {
    metrics: Arc<Metrics>,
    shared: OnceLock<Arc<Shared>>,
    why: Mutex<String>,
    log: LogLevel,
}

impl Front {
    fn answer(&self, kind: ListenerKind, ask: &Ask) -> Reply {
        let shared = self.shared.get().map(AsRef::as_ref);
        match kind {
            ListenerKind::Admin => ports::answer_admin(shared, &self.log, ask),
            ListenerKind::Metrics => {
                let dropped = shared.map_or(0, |shared| shared.recorder.dropped());
                ports::answer_metrics(&self.metrics, dropped, ask)
            }
            ListenerKind::Proxy | ListenerKind::ProxyTls | ListenerKind::Ready => {
                ports::answer_ready(shared, &self.why.lock(), ask)
            }
        }
    }
}

fn serve(front: &Arc<Front>, kind: ListenerKind, listener: TcpListener) -> JoinHandle<()> {
    let front = front.clone();
    let handler = move |ask: Ask| front.answer(kind, &ask);
    tokio::spawn(serve_with(listener, handler))
}

async fn serve_with(listener: TcpListener, handler: impl Handler) {
    admin::serve(listener, Arc::new(handler)).await;
}

impl Controlled {
    /// Binds the early listeners. `adjust` changes the settings of every snapshot, as flags do; `on_bound` is told each
    /// listener, those of the first snapshot too.
    pub fn open(
        options: Options,
        early: &Early,
        adjust: impl Fn(&mut EgressGatewaySpec) + Send + Sync + 'static,
        on_bound: impl FnMut(Bound) + Send + 'static,
    ) -> Result<Arc<Self>, StartError> {
        let front = Arc::new(Front {
            metrics: Arc::new(Metrics::new()),
            shared: OnceLock::new(),
            why: Mutex::new("no policy".to_owned()),
            log: options.log.clone(),
        });
        let mut on_bound: OnBound = Box::new(on_bound);
        let mut bound = Vec::new();
        for (kind, configured) in [
            (ListenerKind::Ready, &early.ready),
            (ListenerKind::Metrics, &early.metrics),
            (ListenerKind::Admin, &early.admin),
        ] {
            bound.extend(listen(kind, configured)?);
        }
        let early: Vec<Bound> = bound.iter().map(|(bound, _)| *bound).collect();
        let ports = bound
            .into_iter()
            .map(|(bound, listener)| {
                on_bound(bound);
                serve(&front, bound.kind, listener)
            })
            .collect();
        Ok(Arc::new(Self {
            options,
            adjust: Box::new(adjust),
            on_bound: Mutex::new(on_bound),
            early,
            front,
            life: Mutex::new(Life::Waiting),
            ports: Mutex::new(ports),
            revision: watch::Sender::new(None),
        }))
    }

    /// The metrics, for those who count beside the gateway.
    pub fn metrics(&self) -> &Metrics {
        &self.front.metrics
    }

    /// The revision in force, and word of every later one. None while there is none.
    pub fn revision(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.revision.subscribe()
    }

    /// The listeners that stand so far.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match &*self.life.lock() {
            Life::Running(gateway) => gateway.own.clone(),
            Life::Waiting => self.early.iter().map(|bound| bound.address).collect(),
            Life::Ended => Vec::new(),
        }
    }

    /// Ends in peace; see [`Gateway::drain`]. Readiness is gone at once.
    pub async fn drain(&self) {
        let ports = std::mem::take(&mut *self.ports.lock());
        for port in ports {
            port.abort();
            // Its listener is closed then.
            drop(port.await);
        }
        let life = std::mem::replace(&mut *self.life.lock(), Life::Ended);
        if let Life::Running(gateway) = life {
            gateway.drain().await;
        }
    }

    fn put_first(
        &self,
        snapshot: Snapshot,
        revision: &str,
        secrets: &Secrets,
    ) -> Result<Gateway, StartError> {
        let (gateway, _problems) = Gateway::start_beside(
            &self.early,
            self.front.metrics.clone(),
            snapshot,
            Some(revision),
            secrets,
            &self.options,
            |bound| (self.on_bound.lock())(bound),
        )?;
        // The first and only one.
        drop(self.front.shared.set(gateway.shared.clone()));
        Ok(gateway)
    }
}

impl Target for Controlled {
    fn put(
        &self,
        mut snapshot: Snapshot,
        revision: &str,
        secrets: &Secrets,
    ) -> Result<(), PutError> {
        (self.adjust)(&mut snapshot.settings);
        let mut life = self.life.lock();
        match &*life {
            Life::Running(gateway) => {
                gateway.apply_as(snapshot, Some(revision), secrets)?;
            }
            Life::Waiting => *life = Life::Running(self.put_first(snapshot, revision, secrets)?),
            Life::Ended => return Ok(()),
        }
        self.revision.send_replace(Some(revision.into()));
        Ok(())
    }

    fn withdraw(&self, why: &str) {
        *self.front.why.lock() = format!("no policy: {why}");
        if let Life::Running(gateway) = &*self.life.lock() {
            gateway.shared.state.withdraw();
        }
        self.revision.send_replace(None);
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        for port in self.ports.get_mut() {
            port.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, what: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {what} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_answers_before_the_first_snapshot_and_denies_when_there_is_none() {
        let options = Options {
            base: "/".into(),
            log: LogLevel::detached(),
        };
        let any = || vec!["127.0.0.1:0".to_owned()];
        let early = Early {
            ready: any(),
            metrics: any(),
            admin: Vec::new(),
        };
        let adjust = move |spec: &mut EgressGatewaySpec| {
            spec.listeners.proxy = any();
            spec.records = Some(Vec::new());
        };
        let (told, mut bound) = tokio::sync::mpsc::channel(8);
        let controlled = Controlled::open(options, &early, adjust, move |bound| {
            told.try_send(bound).unwrap();
        })
        .unwrap();
        let ready = bound.recv().await.unwrap().address;
        let metrics = bound.recv().await.unwrap().address;
        let put = |name: &'static str| {
            let controlled = controlled.clone();
            let mut snapshot = Snapshot {
                gateway: "default".to_owned(),
                standalone: true,
                ..Snapshot::default()
            };
            snapshot.settings.listeners.ready = vec!["192.0.2.1:1".to_owned()];
            async move {
                let put = move || controlled.put(snapshot, name, &Secrets::default());
                tokio::task::spawn_blocking(put).await.unwrap().unwrap();
            }
        };

        controlled.withdraw("no controller");
        let answer = ask(ready, "/ready").await;
        assert!(answer.contains(" 503 ") && answer.ends_with("no policy: no controller\n"));
        assert!(
            ask(metrics, "/metrics")
                .await
                .contains("exitgate_control_connected 0")
        );

        put("first").await;
        let proxy = bound.recv().await.unwrap();
        assert_eq!(proxy.kind, ListenerKind::Proxy);
        assert!(controlled.addresses().contains(&ready));
        assert!(ask(ready, "/ready").await.ends_with("ready first\n"));
        let denied = ask(proxy.address, "http://a.test/").await;
        assert!(denied.contains("default-deny"), "{denied}");

        controlled.withdraw("too old");
        assert!(ask(ready, "/ready").await.ends_with("no policy: too old\n"));
        let denied = ask(proxy.address, "http://a.test/").await;
        assert!(denied.contains("not-ready"), "{denied}");
        put("second").await;
        assert_eq!(controlled.revision().borrow().as_deref(), Some("second"));
        assert!(ask(ready, "/ready").await.ends_with("ready second\n"));
        controlled.drain().await;
        assert!(TcpStream::connect(ready).await.is_err());
    }
}
