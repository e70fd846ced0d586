//! What all controllers of an installation share: roots and keys, each published before it is used.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{BACKDATING, DAY, date};

/// A root lives two years; the next one is made when a third of that is left.
const ROOT_LIFETIME: u64 = 730 * DAY;
const ROOT_RENEWAL: u64 = 243 * DAY;
/// A key that manifests are signed with is replaced after a year. Stored snapshots outlive it by as much.
const KEY_LIFETIME: u64 = 365 * DAY;
/// What is new is published so long before it is used.
const OVERLAP: u64 = 7 * DAY;
/// More of a kind is nothing that we made.
const MAX_EACH: usize = 8;

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the stored keyring cannot be read: {0}")]
    Unreadable(String),
    #[error("no key can be made: {0}")]
    Generate(String),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredRoot {
    made: u64,
    /// DER, base64.
    certificate: String,
    /// PKCS#8, base64.
    key: Zeroizing<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredKey {
    made: u64,
    /// PKCS#8, base64.
    key: Zeroizing<String>,
}

/// Roots of the control channel and keys that manifests are signed with. Stored in one Secret, or in one file of the
/// controller's state folder.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyring {
    roots: Vec<StoredRoot>,
    manifest_keys: Vec<StoredKey>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("roots", &self.roots.len())
            .field("manifest_keys", &self.manifest_keys.len())
            .finish()
    }
}

impl Keyring {
    /// Reads what [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyringError> {
        let ring: Self = serde_json::from_slice(bytes)
            .map_err(|error| KeyringError::Unreadable(error.to_string()))?;
        if ring.roots.len() > MAX_EACH || ring.manifest_keys.len() > MAX_EACH {
            let message = format!("it has more than {MAX_EACH} of a kind");
            return Err(KeyringError::Unreadable(message));
        }
        // All of it is read now, so that nothing fails later.
        for root in &ring.roots {
            root.open()?;
        }
        for key in &ring.manifest_keys {
            key.open()?;
        }
        Ok(ring)
    }

    /// The bytes to be stored, where nobody but controllers reads them.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Texts and numbers only, which JSON can always hold.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Makes what is missing or coming to its end, and forgets what is over. Says whether anything changed: then it has to
    /// be stored, by the one controller that may, before it is used.
    pub fn tend(&mut self, now: u64) -> Result<bool, KeyringError> {
        let before = (self.roots.len(), self.manifest_keys.len());
        self.roots.retain(|root| root.made + ROOT_LIFETIME > now);
        self.manifest_keys
            .retain(|key| key.made + 2 * KEY_LIFETIME > now);
        let mut changed = before != (self.roots.len(), self.manifest_keys.len());
        let newest = self.roots.iter().map(|root| root.made).max();
        if newest.is_none_or(|made| made + ROOT_LIFETIME < now + ROOT_RENEWAL) {
            self.roots.push(StoredRoot::make(now)?);
            changed = true;
        }
        let newest = self.manifest_keys.iter().map(|key| key.made).max();
        if newest.is_none_or(|made| made + KEY_LIFETIME < now + OVERLAP) {
            self.manifest_keys.push(StoredKey::make(now)?);
            changed = true;
        }
        Ok(changed)
    }

    /// The roots to be trusted, DER, those that do not issue yet among them.
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, KeyringError> {
        self.roots.iter().map(|root| Ok(root.open()?.0)).collect()
    }

    /// The roots as the bundle that gateways are started with, PEM.
    pub fn roots_pem(&self) -> Result<String, KeyringError> {
        let mut text = String::new();
        for root in self.roots()? {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            let encoded = STANDARD.encode(&root);
            for line in encoded.as_bytes().chunks(64) {
                text.push_str(&String::from_utf8_lossy(line));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        Ok(text)
    }

    /// The root that issues now: the newest that has been published long enough, else the oldest.
    pub(super) fn issuing(
        &self,
        now: u64,
    ) -> Result<(CertificateDer<'static>, KeyPair), KeyringError> {
        let used = used(&self.roots, |root| root.made, now);
        used.ok_or_else(|| KeyringError::Unreadable("it has no root".to_owned()))?
            .open()
    }

    /// The key that signs now.
    pub(super) fn signing(&self, now: u64) -> Result<EcdsaKeyPair, KeyringError> {
        let used = used(&self.manifest_keys, |key| key.made, now);
        used.ok_or_else(|| KeyringError::Unreadable("it has no key".to_owned()))?
            .open()
    }

    /// The keys that manifests may be signed with: P-256, uncompressed points.
    pub fn manifest_keys(&self) -> Result<Vec<Vec<u8>>, KeyringError> {
        self.manifest_keys
            .iter()
            .map(|key| Ok(key.open()?.public_key().as_ref().to_vec()))
            .collect()
    }
}

fn used<T>(all: &[T], made: impl Fn(&T) -> u64, now: u64) -> Option<&T> {
    let published = all.iter().filter(|one| made(one) + OVERLAP <= now);
    published
        .max_by_key(|one| made(one))
        .or_else(|| all.iter().min_by_key(|one| made(one)))
}

impl StoredRoot {
    fn make(now: u64) -> Result<Self, KeyringError> {
        let failed = |error: rcgen::Error| KeyringError::Generate(error.to_string());
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.not_before = date(now.saturating_sub(BACKDATING));
        params.not_after = date(now + ROOT_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        // Verifiers look for issuers by name: two roots must not share one.
        let unique = params.key_identifier(&key);
        let unique: String = unique
            .iter()
            .take(4)
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        let name = format!("Exitgate control channel {unique}");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            made: now,
            certificate: STANDARD.encode(certificate.der()),
            key: Zeroizing::new(STANDARD.encode(key.serialized_der())),
        })
    }

    fn open(&self) -> Result<(CertificateDer<'static>, KeyPair), KeyringError> {
        let key = decode(&self.key)?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.as_slice()))
            .map_err(|error| KeyringError::Unreadable(error.to_string()))?;
        let certificate = decode(&self.certificate)?;
        Ok((CertificateDer::from(certificate.to_vec()), key))
    }
}

impl StoredKey {
    fn make(now: u64) -> Result<Self, KeyringError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|error| KeyringError::Generate(error.to_string()))?;
        Ok(Self {
            made: now,
            key: Zeroizing::new(STANDARD.encode(key.as_ref())),
        })
    }

    fn open(&self) -> Result<EcdsaKeyPair, KeyringError> {
        let key = decode(&self.key)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key)
            .map_err(|error| KeyringError::Unreadable(error.to_string()))
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    STANDARD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|error| KeyringError::Unreadable(error.to_string()))
}
