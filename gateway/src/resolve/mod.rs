//! Names to addresses.
//!
//! The gateway resolves for itself: explicit servers, no search domains, no reverse look-ups, one bounded cache. A and AAAA are
//! asked in parallel, each server question with its own port, id and spelling (0x20), so that an answer cannot be guessed.
//! Nothing is judged here: refused addresses are the policy's business, and every address of the answer is reported.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

mod cache;
mod exchange;
mod hosts;
mod message;
mod servers;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exitgate_policy::Name;
use thiserror::Error;
use tokio::time::Instant;

use cache::{Cache, Outcome};
use exchange::Exchange;
use hosts::Hosts;
use message::{Family, Kind};
use servers::system_servers;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// Servers in order of preference. None: those of the system's `resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Looked at first, and read again when it changes.
    pub hosts_file: Option<PathBuf>,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// For one resolution, all attempts included.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Names in the cache.
    pub max_entries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            hosts_file: None,
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_mins(5),
            timeout: Duration::from_secs(5),
            attempts: 3,
            max_entries: 16_384,
        }
    }
}

/// Where a name leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Never empty; IPv6 and IPv4 in turns, in the order of the answer within each.
    pub addresses: Vec<IpAddr>,
    /// The names that the asked name is an alias of, nearest first.
    pub chain: Vec<Name>,
    /// Until when it is used again.
    pub expires: Instant,
}

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum ResolveError {
    #[error("the name server's answer is malformed")]
    Malformed,
    #[error("the name has no address")]
    NoAddress,
    #[error("no name server is configured")]
    NoServers,
    #[error("the name does not exist")]
    NotFound,
    #[error("the name servers refuse to answer or fail")]
    ServFail,
    #[error("no name server answered in time")]
    Timeout,
    #[error("no name server can be reached")]
    Unreachable,
}

/// Why a resolver cannot be set up.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read the hosts file {}: {source}", path.display())]
    HostsFile {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What the resolver did so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Look-ups answered from memory.
    pub hits: u64,
    /// Look-ups for which servers were asked.
    pub misses: u64,
    /// Look-ups of these that failed.
    pub failures: u64,
    /// Questions repeated to another server, or to the same one again.
    pub retries: u64,
    /// Questions repeated over TCP.
    pub tcp_fallbacks: u64,
    /// Cached names dropped before their time for lack of room.
    pub evictions: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
    tcp_fallbacks: AtomicU64,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long a failure is believed: a name that does not exist, and a server that fails (RFC 9520).
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// How long the other family may take once one has addresses.
const FAMILY_GRACE: Duration = Duration::from_millis(300);

/// Resolves names. Shared by reference; safe to drop a look-up at any point.
#[derive(Debug)]
pub struct Resolver {
    hosts: Option<Hosts>,
    cache: Cache,
    exchange: Exchange,
    min_ttl: Duration,
    max_ttl: Duration,
    counters: Arc<Counters>,
}

impl Resolver {
    /// Fails only if the hosts file cannot be read. Where no server is known either, every name that is not in that file is
    /// an error.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let hosts = config.hosts_file.map(Hosts::open).transpose()?;
        let counters = Arc::new(Counters::default());
        let servers = if config.servers.is_empty() {
            system_servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
        } else {
            config.servers
        };
        Ok(Self {
            hosts,
            cache: Cache::new(config.max_entries),
            exchange: Exchange::new(
                servers,
                config.timeout,
                config.attempts,
                Arc::clone(&counters),
            ),
            min_ttl: config.min_ttl.min(config.max_ttl),
            max_ttl: config.max_ttl,
            counters,
        })
    }

    pub fn servers(&self) -> &[SocketAddr] {
        self.exchange.servers()
    }

    /// All addresses of a name. The name is absolute: nothing is appended to it.
    pub async fn lookup(&self, name: &Name) -> Result<Arc<Answer>, ResolveError> {
        // RFC 6761: no server is asked for these, and none may say otherwise.
        if name.is_localhost() {
            return Ok(self.fixed(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]));
        }
        if let Some(addresses) = self.hosts.as_ref().and_then(|hosts| hosts.find(name)) {
            return Ok(self.fixed(interleave(addresses)));
        }
        let flight = self.cache.entry(name);
        if let Some(outcome) = flight.outcome() {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
            return outcome;
        }
        flight.run(|| self.ask(name)).await
    }

    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: read(&self.counters.hits),
            misses: read(&self.counters.misses),
            failures: read(&self.counters.failures),
            retries: read(&self.counters.retries),
            tcp_fallbacks: read(&self.counters.tcp_fallbacks),
            evictions: self.cache.evictions(),
        }
    }

    fn fixed(&self, addresses: Vec<IpAddr>) -> Arc<Answer> {
        Arc::new(Answer {
            addresses,
            chain: Vec::new(),
            expires: Instant::now() + self.min_ttl,
        })
    }

    /// Asks servers for both families.
    async fn ask(&self, name: &Name) -> (Outcome, Instant) {
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let v4 = self.exchange.ask(name, Kind::A);
        let v6 = self.exchange.ask(name, Kind::Aaaa);
        let (v4, v6) = both(v4, v6).await;
        let now = Instant::now();
        let outcome = self.combine(v4, v6, now);
        let expires = match &outcome {
            Ok(answer) => answer.expires,
            Err(ResolveError::NotFound | ResolveError::NoAddress) => {
                now + NEGATIVE_TTL.min(self.max_ttl)
            }
            Err(
                ResolveError::Malformed
                | ResolveError::NoServers
                | ResolveError::ServFail
                | ResolveError::Timeout
                | ResolveError::Unreachable,
            ) => now + FAILURE_TTL.min(self.max_ttl),
        };
        if outcome.is_err() {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        (outcome, expires)
    }

    fn combine(&self, v4: FamilyResult, v6: FamilyResult, now: Instant) -> Outcome {
        let mut addresses = Vec::new();
        let mut chain = Vec::<Name>::new();
        let mut ttl = self.max_ttl;
        for family in [&v4, &v6] {
            match family {
                Some(Ok(Family::Addresses(found))) => {
                    addresses.extend_from_slice(&found.addresses);
                    for alias in &found.chain {
                        if !chain.contains(alias) {
                            chain.push(alias.clone());
                        }
                    }
                    ttl = ttl.min(Duration::from_secs(found.ttl.into()));
                }
                Some(Ok(Family::NoData | Family::NoName)) => {}
                // Half an answer is used, but not for long.
                Some(Err(_)) | None => ttl = ttl.min(NEGATIVE_TTL),
            }
        }
        if !addresses.is_empty() {
            let expires = now + ttl.max(self.min_ttl);
            return Ok(Arc::new(Answer {
                addresses: interleave(addresses),
                chain,
                expires,
            }));
        }
        match (v4, v6) {
            (Some(Ok(Family::NoName)), _) | (_, Some(Ok(Family::NoName))) => {
                Err(ResolveError::NotFound)
            }
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            _ => Err(ResolveError::NoAddress),
        }
    }
}

/// One family's result; `None` when the other one was there and this one took too long.
type FamilyResult = Option<Result<Family, ResolveError>>;

/// Waits for both, but only a moment for the second when the first has addresses.
async fn both(
    v4: impl Future<Output = Result<Family, ResolveError>>,
    v6: impl Future<Output = Result<Family, ResolveError>>,
) -> (FamilyResult, FamilyResult) {
    let (mut v4, mut v6) = (std::pin::pin!(v4), std::pin::pin!(v6));
    let has_addresses =
        |result: &Result<Family, ResolveError>| matches!(result, Ok(Family::Addresses(_)));
    tokio::select! {
        first = &mut v4 => {
            let second = if has_addresses(&first) {
                tokio::time::timeout(FAMILY_GRACE, v6).await.ok()
            } else {
                Some(v6.await)
            };
            (Some(first), second)
        }
        first = &mut v6 => {
            let second = if has_addresses(&first) {
                tokio::time::timeout(FAMILY_GRACE, v4).await.ok()
            } else {
                Some(v4.await)
            };
            (second, Some(first))
        }
    }
}

/// IPv6 and IPv4 in turns (RFC 8305, 4), without duplicates.
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let total = addresses.len();
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for address in addresses {
        let family = if address.is_ipv6() { &mut v6 } else { &mut v4 };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let mut merged = Vec::with_capacity(total);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let (six, four) = (v6.next(), v4.next());
        if six.is_none() && four.is_none() {
            return merged;
        }
        merged.extend(six);
        merged.extend(four);
    }
}
