//! The certificate authority of interception: from files, a short-lived one of this gateway, or one elsewhere that signs
//! leaf by leaf; and the leaves that clients see.
//!
//! - `load`, `check`, `known`: an authority from files, and what must be true of it.
//! - `key`, `der`, `certificate`, `constraints`: what certificates are made of.
//! - `signer`: the seam between holding an authority and asking one.
//! - `leaf_keys`, `cache`, `limiter`: leaves at the rate of connections.
//! - `make`: new roots, requests and imports, for the command line.

mod cache;
mod certificate;
mod check;
mod constraints;
mod der;
mod key;
mod known;
mod leaf_keys;
mod limiter;
mod load;
mod make;
mod pem;
mod settings;
mod signer;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exitgate_policy::Name;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use cache::{Cache, Key, Minted, Outcome};
pub use certificate::Validity;
pub use check::CaProblem;
pub use key::KeyKind;
use leaf_keys::LeafKeys;
use limiter::{Limiter, Rate};
pub use make::{Imported, NewCa, create_request, create_root, import};
pub(crate) use pem::certificate as certificate_pem;
pub use settings::{Bounds, Custody, Names, Settings};
pub use signer::{LeafRequest, SignError, SignedLeaf, Signer, Signing};
use state::{Plan, State};

/// Entries of the leaf cache.
const ENTRIES: usize = 10_000;
/// Leaves minted per second, in all. A new one takes some 30 µs, so this is less than a tenth of one core.
const RATE: Rate = Rate {
    per_second: 2_000,
    burst: 4_000,
};
/// Leaves minted per second for names of one domain.
const DOMAIN_RATE: Rate = Rate {
    per_second: 1_000,
    burst: 2_000,
};
/// The longest that a client waits for its turn to get a new leaf.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a leaf is valid, the backdating included.
const LEAF_LIFE: u64 = 24 * 3_600;
/// How far a certificate's beginning lies back: clocks of clients are slow at times.
const BACKDATING: u64 = 3_600;
/// How long a failure to sign is kept.
const FAILURE_LIFE: u64 = 5;
/// How long a signer may take.
const SIGN_DEADLINE: Duration = Duration::from_secs(5);

/// The kind of key that a leaf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeafKey {
    /// P-256.
    Ecdsa,
    /// RSA 2048, for a hello that offers no ECDSA signature scheme.
    Rsa,
}

/// Why there is no leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The authority's time is over.
    #[error("the certificate authority has expired")]
    Expired,
    /// The authority's certificate, or the settings, exclude the name.
    #[error("the certificate authority may not sign for this name")]
    NotPermitted,
    /// The authority does not cover the name yet.
    #[error("the certificate authority does not cover this name yet")]
    Pending,
    /// More new names than may be signed for per second.
    #[error("too many new names at a time")]
    RateLimited,
    /// The signer refuses or cannot be reached.
    #[error("the signer of leaf certificates is not available")]
    Unavailable,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What the files hold cannot be an authority.
    #[error("spec.tls.authority: {path}: {problem}")]
    Ca {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: CaProblem,
    },
    /// A file cannot be read.
    #[error("spec.tls.authority.{field}: {path}: {reason}; `exitgate ca init` makes a pair")]
    File {
        /// The setting.
        field: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A value of the settings.
    #[error("spec.tls.authority.{field}: {reason}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Which authority it is. Another one, or the same one issued anew, has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityId([u8; 16]);

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&certificate::hex(&self.0, self.0.len()))
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityId({self})")
    }
}

impl AuthorityId {
    fn of(certificate: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(id)
    }

    /// The bytes, for whatever is bound to the authority.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What an authority has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthorityStats {
    /// Leaves that were minted.
    pub minted: u64,
    /// Leaves that were there already.
    pub cached: u64,
    /// Refusals because of the rate.
    pub limited: u64,
    /// Failures of the signer.
    pub failed: u64,
    /// Leaves that made room for others.
    pub evicted: u64,
    /// Leaves that are kept.
    pub entries: u64,
    /// How often the authority was issued anew or exchanged.
    pub changes: u64,
}

/// What the authority in force is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// Which one.
    pub id: AuthorityId,
    /// What the settings ask for.
    pub custody: Custody,
    /// How leaves are signed in fact: names that no certificate can list make `PerGateway` `PerLeaf`.
    pub effective: Custody,
    /// The subtrees that the issuing CA may sign for; none where it is not bounded by them.
    pub permitted: Option<Vec<String>>,
    /// Its last second, since 1970.
    pub not_after: u64,
}

/// The certificate authority of a gateway. Clones are the same authority.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

struct Inner {
    clock: Clock,
    keys: LeafKeys,
    cache: Cache,
    limiter: Limiter,
    state: RwLock<Arc<State>>,
    /// What states are made from; locked by whoever makes one.
    plan: Mutex<Plan>,
    minted: AtomicU64,
    cached: AtomicU64,
    limited: AtomicU64,
    failed: AtomicU64,
    changes: AtomicU64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Authority {
    fn build(mut plan: Plan, clock: Clock) -> Result<Self, AuthorityError> {
        let keys = LeafKeys::default();
        let state = plan.first(&keys, clock())?;
        keys.prepare(state.rsa_authorities());
        Ok(Self {
            inner: Arc::new(Inner {
                clock,
                keys,
                cache: Cache::new(ENTRIES),
                limiter: Limiter::new(RATE, DOMAIN_RATE, PATIENCE),
                state: RwLock::new(Arc::new(state)),
                plan: Mutex::new(plan),
                minted: AtomicU64::new(0),
                cached: AtomicU64::new(0),
                limited: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                changes: AtomicU64::new(0),
            }),
        })
    }

    /// A leaf for one name, from the cache or newly signed. The caller has made sure that a rule lets this name be inspected.
    pub async fn leaf(&self, name: &Name, key: LeafKey) -> Result<Arc<CertifiedKey>, LeafError> {
        let inner = &*self.inner;
        let now = (inner.clock)();
        let state = self.current(now);
        state.permits(name, now)?;
        let cache_key = Key {
            authority: state.number,
            name: name.clone(),
            kind: key,
        };
        let admit = || inner.limiter.admit(name);
        let Some((flight, new)) = inner.cache.entry(&cache_key, now, admit) else {
            inner.limited.fetch_add(1, Ordering::Relaxed);
            return Err(LeafError::RateLimited);
        };
        if new.is_none() {
            inner.cached.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = match flight.get() {
            Some(outcome) => outcome,
            None => {
                flight
                    .get_or_init(|| inner.mint(&state, name, key, new.unwrap_or_default()))
                    .await
            }
        };
        match &outcome.result {
            Ok(minted) => Ok(minted.certified()),
            Err(error) => Err(error.clone()),
        }
    }

    /// Takes note of the names that policies may inspect from now on. The authority is issued anew only if it does not cover
    /// them all.
    pub fn update(&self, names: Names) {
        let inner = &*self.inner;
        let now = (inner.clock)();
        let mut plan = inner.plan.lock();
        plan.names = names;
        let state = Arc::clone(&inner.state.read());
        if plan.suffices(&state) {
            return;
        }
        match plan.next(&inner.keys, now) {
            Ok(next) => {
                self.switch(next);
            }
            // Names that are not covered stay refused; the rest goes on.
            Err(error) => {
                tracing::error!(%error, "the issuing CA cannot be issued for new names");
                state.postpone(now);
            }
        }
    }

    /// Exchanges the authority for the one of these settings. What was published before stays so for some time, and open
    /// connections are not touched. On an error everything stays as it was.
    pub fn reload(&self, settings: &Settings, names: Names) -> Result<(), AuthorityError> {
        let inner = &*self.inner;
        let now = (inner.clock)();
        let mut plan = Plan::read(settings, names, now)?;
        let mut current = inner.plan.lock();
        plan.succeed(&current, now);
        let state = plan.first(&inner.keys, now)?;
        *current = plan;
        inner.keys.prepare(state.rsa_authorities());
        self.switch(state);
        Ok(())
    }

    /// Reads and checks the authority of these settings.
    pub fn load(settings: &Settings, names: Names) -> Result<Self, AuthorityError> {
        Self::load_at(
            settings,
            names,
            Box::new(exitgate_runtime::clock::unix_seconds),
        )
    }

    fn load_at(settings: &Settings, names: Names, clock: Clock) -> Result<Self, AuthorityError> {
        let plan = Plan::read(settings, names, clock())?;
        Self::build(plan, clock)
    }

    /// An authority elsewhere that signs leaf by leaf. `roots` is what clients are to trust.
    pub fn elsewhere(
        signer: Arc<dyn Signer>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        let plan = Plan::elsewhere(signer, roots);
        Self::build(plan, Box::new(exitgate_runtime::clock::unix_seconds))
    }

    /// Which authority signs now.
    pub fn id(&self) -> AuthorityId {
        self.inner.state.read().id
    }

    /// The roots that clients must trust, PEM: also those that are on their way in or out.
    pub fn bundle_pem(&self) -> String {
        let now = (self.inner.clock)();
        let plan = self.inner.plan.lock();
        plan.published(now).map(pem::certificate).collect()
    }

    /// What the authority in force is.
    pub fn status(&self) -> AuthorityStatus {
        let custody = self.inner.plan.lock().custody;
        let state = self.inner.state.read();
        let issuing = state.issuing();
        let effective = match custody {
            Custody::PerGateway if issuing.is_none() => Custody::PerLeaf,
            Custody::Development | Custody::PerGateway | Custody::PerLeaf => custody,
        };
        AuthorityStatus {
            id: state.id,
            custody,
            effective,
            permitted: issuing
                .and_then(constraints::Constraints::permitted)
                .map(|subtrees| subtrees.map(ToOwned::to_owned).collect()),
            not_after: state.ends(),
        }
    }

    /// What the authority has done so far.
    pub fn stats(&self) -> AuthorityStats {
        let inner = &*self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AuthorityStats {
            minted: read(&inner.minted),
            cached: read(&inner.cached),
            limited: read(&inner.limited),
            failed: read(&inner.failed),
            evicted: inner.cache.evictions(),
            entries: inner.cache.len() as u64,
            changes: read(&inner.changes),
        }
    }

    /// The state in force; where it is time, a new one is made first.
    fn current(&self, now: u64) -> Arc<State> {
        let state = Arc::clone(&self.inner.state.read());
        if !state.is_due(now) {
            return state;
        }
        // One caller renews; the others go on with what is still good.
        let Some(mut plan) = self.inner.plan.try_lock() else {
            return state;
        };
        let again = Arc::clone(&self.inner.state.read());
        if !again.is_due(now) {
            return again;
        }
        match plan.next(&self.inner.keys, now) {
            Ok(next) => self.switch(next),
            Err(error) => {
                tracing::error!(%error, "the issuing CA cannot be renewed");
                again.postpone(now);
                again
            }
        }
    }

    fn switch(&self, next: State) -> Arc<State> {
        let next = Arc::new(next);
        *self.inner.state.write() = Arc::clone(&next);
        self.inner.cache.flush();
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
        next
    }
}

impl Inner {
    async fn mint(&self, state: &State, name: &Name, key: LeafKey, wait: Duration) -> Outcome {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let now = (self.clock)();
        match self.sign(state, name, key, now).await {
            Ok((minted, not_after)) => {
                self.minted.fetch_add(1, Ordering::Relaxed);
                Outcome {
                    result: Ok(minted),
                    // At most half of the leaf's life, so that no client gets one that is about to end.
                    use_until: now + not_after.saturating_sub(now) / 2,
                }
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Outcome {
                    result: Err(error),
                    use_until: now + FAILURE_LIFE,
                }
            }
        }
    }

    async fn sign(
        &self,
        state: &State,
        name: &Name,
        key: LeafKey,
        now: u64,
    ) -> Result<(Minted, u64), LeafError> {
        let signer = state.signer.as_ref().ok_or(LeafError::Pending)?;
        let pair = self
            .keys
            .pair(key, now, state.rsa_authorities())
            .await
            .ok_or(LeafError::Unavailable)?;
        let not_before = now.saturating_sub(BACKDATING);
        let request = LeafRequest {
            name: name.clone(),
            key,
            spki: Arc::clone(&pair.spki),
            validity: Validity {
                not_before,
                not_after: not_before + LEAF_LIFE,
            },
        };
        let signed = match tokio::time::timeout(SIGN_DEADLINE, signer.sign(request)).await {
            Ok(Ok(signed)) => signed,
            Ok(Err(SignError::Expired)) => return Err(LeafError::Expired),
            Ok(Err(error @ (SignError::Refused(_) | SignError::Unreachable(_)))) => {
                tracing::warn!(%name, %error, "no leaf certificate");
                return Err(LeafError::Unavailable);
            }
            Err(_) => {
                tracing::warn!(%name, "no leaf certificate: the signer does not answer");
                return Err(LeafError::Unavailable);
            }
        };
        if signed.validity.not_after <= now {
            return Err(LeafError::Expired);
        }
        let minted = Minted {
            leaf: signed.leaf,
            issuers: signed.issuers,
            key: pair.key,
        };
        Ok((minted, signed.validity.not_after))
    }
}
