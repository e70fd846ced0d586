//! TLS to the origins of opened connections: verified as if we were the client, kept and resumed for later requests.
//!
//! What is kept (connections, sessions) belongs to one [`PoolKey`]: it is never used for another workload, under another
//! set of roots or with another client certificate.

mod bounded;
mod certificate;
mod chain;
mod client;
mod counts;
mod der;
mod failure;
mod handshake;
mod key;
mod ocsp;
mod pool;
mod quiet;
mod refusal;
mod roots;
mod sessions;
mod settings;
mod slot;
mod trust;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use self::bounded::Bounded;
use self::certificate::Parsed;
pub use self::certificate::{Certificate, Fingerprint, Staple, Verification};
pub use self::counts::Counts;
pub use self::failure::OriginFailure;
pub use self::key::PoolKey;
pub use self::pool::Shared;
pub use self::roots::OriginError;
use self::sessions::{Scope, Scoped, Sessions};
use self::settings::Routes;
pub use self::settings::{Config, Identity, Upstream};
use self::slot::Slot;
use crate::reason::OriginReason;

/// Configurations that are kept ready, one for each scope.
const CONFIGS: usize = 1024;
/// Origins whose protocol is remembered.
const PROTOCOLS: usize = 8192;
/// How long.
const PROTOCOL_MEMORY: Duration = Duration::from_mins(10);
/// Hosts whose wish for a client certificate is counted one by one.
const HOSTS: usize = 1024;
/// How often the pool should be swept.
pub const SWEEP: Duration = Duration::from_secs(5);

/// Everything that is needed to reach origins.
pub struct Origins {
    routes: Routes,
    common: Arc<Common>,
}

/// What outlives a change of settings.
struct Common {
    provider: Arc<CryptoProvider>,
    configs: Mutex<Bounded<Scope, Ready>>,
    sessions: Sessions,
    idle: pool::Idle,
    protocols: Mutex<Bounded<PoolKey, Remembered>>,
    asking: Mutex<Bounded<Name, u64>>,
    counts: Counts,
}

#[derive(Clone)]
struct Ready {
    config: Arc<ClientConfig>,
    sessions: Scoped,
}

struct Remembered {
    protocol: Option<Box<[u8]>>,
    at: Instant,
}

/// A connection with an origin, after its handshake.
pub struct OriginStream {
    io: TlsStream<TcpStream>,
    certificate: Arc<Certificate>,
    made: Instant,
    resumed: bool,
    asked: bool,
}

impl OriginStream {
    /// The protocol that the origin chose.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.io.get_ref().1.alpn_protocol()
    }

    /// The origin's certificate.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// When the connection was made. [`Origins::put`] wants to know.
    pub fn made(&self) -> Instant {
        self.made
    }

    /// Whether it continued an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the origin asked for a client certificate.
    pub fn asked_for_certificate(&self) -> bool {
        self.asked
    }

    /// The stream.
    pub fn into_io(self) -> TlsStream<TcpStream> {
        self.io
    }
}

impl Origins {
    /// Reads roots and client certificates; relative names are looked up in `base`.
    pub fn new(config: &Config, base: &Path) -> Result<Self, OriginError> {
        let provider = Arc::new(crate::tls::provider());
        let common = Arc::new(Common {
            configs: Mutex::new(Bounded::new(CONFIGS)),
            sessions: Sessions::default(),
            idle: pool::Idle::default(),
            protocols: Mutex::new(Bounded::new(PROTOCOLS)),
            asking: Mutex::new(Bounded::new(HOSTS)),
            counts: Counts::default(),
            provider,
        });
        let routes = Routes::load(config, base, &common.provider, None)?;
        Ok(Self { routes, common })
    }

    /// The same under new settings. What is kept stays usable where its trust and client certificate are unchanged.
    pub fn renewed(&self, config: &Config, base: &Path) -> Result<Self, OriginError> {
        let common = self.common.clone();
        let routes = Routes::load(config, base, &common.provider, Some(&self.routes))?;
        Ok(Self { routes, common })
    }

    /// Whether the files still hold what was read from them.
    pub fn is_current(&self) -> bool {
        self.routes.files.are_unchanged()
    }

    /// What belongs to a workload's connections with a host: the first entry of the settings that matches both decides
    /// whom we trust and who we are.
    pub fn key(&self, workload: &Workload, name: &Name, port: u16) -> PoolKey {
        let route = self.routes.find(&workload.namespace, name);
        PoolKey::new(workload, name, port, route)
    }

    /// Whether any certificate will do for this host.
    pub fn is_insecure(&self, key: &PoolKey) -> bool {
        key.route().trust.mode == trust::Mode::Skip
    }

    /// Does the handshake for the host of `key`, offering exactly the protocols in `alpn`.
    pub async fn handshake(
        &self,
        tcp: TcpStream,
        key: &PoolKey,
        alpn: &[&[u8]],
        deadline: Instant,
    ) -> Result<OriginStream, OriginFailure> {
        let outcome = self.shake(tcp, key, alpn, deadline).await;
        let counts = &self.common.counts;
        match &outcome {
            Ok(stream) => {
                counts.handshake(stream.resumed);
                if self.is_insecure(key) {
                    counts.unverified.inc();
                }
                // What was chosen from one protocol, or none, says nothing about the origin.
                if alpn.len() > 1 {
                    self.remember(key, stream.alpn());
                }
            }
            Err(_) => {
                counts.failed.inc();
            }
        }
        outcome
    }

    async fn shake(
        &self,
        tcp: TcpStream,
        key: &PoolKey,
        alpn: &[&[u8]],
        deadline: Instant,
    ) -> Result<OriginStream, OriginFailure> {
        let made = Instant::now();
        let name = server_name(key.host())?;
        let ready = self.ready(key)?;
        let slot = Slot::new(ready.sessions);
        let can_answer = key.route().client.id.is_some();
        let result = handshake::run(
            ready.config,
            tcp,
            name.clone(),
            alpn,
            &slot,
            can_answer,
            deadline,
        )
        .await;
        let asked = slot.asked.load(Ordering::Relaxed);
        if asked && !can_answer {
            self.count_asking(key.host());
        }
        let io = result?;
        let verdict = slot.verdict.lock().take();
        let resumed = handshake::is_resumed(&io);
        let certificate = match verdict {
            Some(verdict) => verdict?,
            None => resumed_certificate(&io, key, &name)?,
        };
        Ok(OriginStream {
            io,
            certificate,
            made,
            resumed,
            asked,
        })
    }

    /// The configuration of a scope: made once, because sessions are resumed only under the same one.
    fn ready(&self, key: &PoolKey) -> Result<Ready, OriginFailure> {
        let scope = key.scope();
        if let Some(ready) = self.common.configs.lock().get(scope) {
            return Ok(ready.clone());
        }
        let sessions = self.common.sessions.scoped(scope.clone());
        let route = key.route();
        let mut config = ClientConfig::builder_with_provider(self.common.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| OriginFailure::new(OriginReason::TlsFailed, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(route.trust.clone())
            .with_client_cert_resolver(route.client.clone());
        config.resumption = Resumption::store(Arc::new(sessions.clone()));
        config.enable_early_data = false;
        let ready = Ready {
            config: Arc::new(config),
            sessions,
        };
        let mut configs = self.common.configs.lock();
        configs.insert(scope.clone(), ready.clone());
        Ok(ready)
    }

    /// An idle connection with HTTP/1 whose peer has neither closed nor sent anything, and where it leads.
    pub fn take(&self, key: &PoolKey) -> Option<(OriginStream, SocketAddr)> {
        let taken = self.common.idle.take(key)?;
        let name = server_name(key.host()).ok()?;
        let certificate = resumed_certificate(&taken.stream, key, &name).ok()?;
        self.common.counts.reused.inc();
        let stream = OriginStream {
            io: taken.stream,
            certificate,
            made: taken.made,
            resumed: false,
            asked: false,
        };
        Some((stream, taken.address))
    }

    /// Puts a connection by whose last exchange is complete and which may carry another.
    pub fn put(
        &self,
        key: PoolKey,
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        made: Instant,
    ) {
        self.common.idle.put(key, stream, address, made);
    }

    /// Closes idle connections that are old or that their peer closed. To be called every [`SWEEP`].
    pub fn sweep(&self) {
        self.common.idle.sweep();
    }

    /// How many connections are idle.
    pub fn idle(&self) -> usize {
        self.common.idle.len()
    }

    /// What the origin chose last where it had a choice: `Some(None)` if it chose nothing.
    pub fn alpn_of(&self, key: &PoolKey) -> Option<Option<Box<[u8]>>> {
        let mut protocols = self.common.protocols.lock();
        let known = protocols.get(key)?;
        if known.at.elapsed() < PROTOCOL_MEMORY {
            return Some(known.protocol.clone());
        }
        protocols.remove(key);
        None
    }

    fn remember(&self, key: &PoolKey, protocol: Option<&[u8]>) {
        let at = Instant::now();
        let mut protocols = self.common.protocols.lock();
        if let Some(known) = protocols.get(key) {
            known.at = at;
            if known.protocol.as_deref() != protocol {
                known.protocol = protocol.map(Into::into);
            }
            return;
        }
        let protocol = protocol.map(Into::into);
        protocols.insert(key.clone(), Remembered { protocol, at });
    }

    fn count_asking(&self, host: &Name) {
        self.common.counts.certificates_asked.inc();
        let mut asking = self.common.asking.lock();
        match asking.get(host) {
            Some(count) => *count += 1,
            None => {
                asking.insert(host.clone(), 1);
            }
        }
    }

    /// Hosts that asked for a client certificate where none is configured, and how often.
    pub fn asking(&self) -> Vec<(Name, u64)> {
        let asking = self.common.asking.lock();
        let mut hosts: Vec<_> = asking.iter().map(|(host, n)| (host.clone(), *n)).collect();
        hosts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.as_str().cmp(b.0.as_str())));
        hosts
    }

    /// How often `host` asked for a client certificate where none is configured.
    pub fn asked(&self, host: &Name) -> u64 {
        self.common.asking.lock().get(host).copied().unwrap_or(0)
    }

    /// Counters for the metrics.
    pub fn counts(&self) -> &Counts {
        &self.common.counts
    }
}

fn server_name(host: &Name) -> Result<ServerName<'static>, OriginFailure> {
    DnsName::try_from(host.as_str().to_owned())
        .map(ServerName::DnsName)
        .map_err(|_| {
            OriginFailure::new(
                OriginReason::TlsFailed,
                "no certificate can be for such a name",
            )
        })
}

/// The certificate of a connection that was not verified itself, because its session was.
fn resumed_certificate(
    stream: &TlsStream<TcpStream>,
    key: &PoolKey,
    name: &ServerName<'_>,
) -> Result<Arc<Certificate>, OriginFailure> {
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or_else(|| OriginFailure::new(OriginReason::TlsFailed, "it showed no certificate"))?;
    let trust = &key.route().trust;
    if let Some(known) = trust.facts(leaf, name) {
        return Ok(known);
    }
    let parsed = Parsed::read(leaf).ok_or_else(|| {
        OriginFailure::new(OriginReason::Invalid, "its certificate cannot be read")
    })?;
    let mut facts = parsed.facts(leaf);
    facts.staple = Staple::Resumed;
    if trust.mode == trust::Mode::Skip {
        facts.verification = Verification::Skipped;
    }
    Ok(Arc::new(facts))
}
