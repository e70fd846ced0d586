//! The keys of leaves: one P-256 key per day, and an RSA key for clients that cannot do ECDSA.
//!
//! A leaf's key is never an authority's. Sharing one among the leaves of a day costs nothing in secrecy, since whoever has one
//! has the process, and saves making a key per name.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;

use super::LeafKey;
use super::key::CaKey;

const DAY: u64 = 86_400;

/// A leaf's key, as rustls uses it and as certificates show it.
#[derive(Clone, Debug)]
pub(super) struct LeafPair {
    pub(super) spki: Arc<[u8]>,
    pub(super) key: Arc<dyn SigningKey>,
}

impl LeafPair {
    fn of(pair: &KeyPair) -> Option<Self> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialized_der()));
        Some(Self {
            spki: pair.subject_public_key_info().into(),
            key: any_supported_type(&der).ok()?,
        })
    }
}

/// Whether an issuing authority needs an RSA key too.
#[derive(Clone, Copy, Debug)]
pub(super) enum RsaAuthorities {
    /// It would not help: those above it have none.
    None,
    /// It does.
    Issuing,
}

/// The RSA keys of this process: they take a good part of a second to make, so they are made once and ahead of need.
#[derive(Debug, Default)]
pub(super) struct RsaKeys {
    leaf: OnceLock<Option<LeafPair>>,
    /// The issuing authority's key.
    issuing: OnceLock<Option<KeyPair>>,
}

impl RsaKeys {
    fn leaf(&self) -> Option<&LeafPair> {
        self.leaf.get_or_init(|| LeafPair::of(&rsa()?)).as_ref()
    }

    fn has(&self, authorities: RsaAuthorities) -> bool {
        let issuing = match authorities {
            RsaAuthorities::None => true,
            RsaAuthorities::Issuing => self.issuing.get().is_some(),
        };
        issuing && self.leaf.get().is_some()
    }

    /// Makes what is not there yet.
    fn make(&self, authorities: RsaAuthorities) {
        self.leaf();
        match authorities {
            RsaAuthorities::None => {}
            RsaAuthorities::Issuing => {
                self.issuing();
            }
        }
    }

    /// The key of an issuing authority, the same one each time.
    pub(super) fn issuing(&self) -> Option<CaKey> {
        let pair = self.issuing.get_or_init(rsa).as_ref()?;
        CaKey::from_pkcs8(pair.serialized_der()).ok()
    }
}

fn rsa() -> Option<KeyPair> {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).ok()
}

/// All keys of leaves.
#[derive(Debug, Default)]
pub(super) struct LeafKeys {
    today: Mutex<Option<(u64, LeafPair)>>,
    rsa: Arc<RsaKeys>,
}

impl LeafKeys {
    pub(super) fn rsa_keys(&self) -> Arc<RsaKeys> {
        Arc::clone(&self.rsa)
    }

    /// Starts to make the RSA keys, on a thread of its own that ends with it.
    pub(super) fn prepare(&self, authorities: RsaAuthorities) {
        if self.rsa.has(authorities) {
            return;
        }
        let rsa = self.rsa_keys();
        let started = std::thread::Builder::new()
            .name("rsa-keys".to_owned())
            .spawn(move || rsa.make(authorities));
        if let Err(error) = started {
            tracing::warn!(%error, "RSA keys are not made ahead of need");
        }
    }

    /// The key of a new leaf.
    pub(super) async fn pair(
        &self,
        kind: LeafKey,
        now: u64,
        authorities: RsaAuthorities,
    ) -> Option<LeafPair> {
        match kind {
            LeafKey::Ecdsa => self.ecdsa(now),
            LeafKey::Rsa => {
                if !self.rsa.has(authorities) {
                    let rsa = self.rsa_keys();
                    tokio::task::spawn_blocking(move || rsa.make(authorities))
                        .await
                        .ok()?;
                }
                self.rsa.leaf().cloned()
            }
        }
    }

    fn ecdsa(&self, now: u64) -> Option<LeafPair> {
        let day = now / DAY;
        let mut today = self.today.lock();
        if let Some((of, pair)) = &*today
            && *of == day
        {
            return Some(pair.clone());
        }
        let pair = LeafPair::of(&KeyPair::generate().ok()?)?;
        *today = Some((day, pair.clone()));
        Some(pair)
    }
}
