//! What is issued with the keyring: the certificate that controllers serve with, those of gateways, signatures of manifests.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use exitgate_proto::control::Position;
use parking_lot::RwLock;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;

use super::identity::Identity;
use super::keyring::{Keyring, KeyringError};
use super::request::RequestedKey;
use super::{BACKDATING, DAY, HOUR, date};

/// A serving certificate lives 90 days and is replaced after 60.
const SERVING_LIFETIME: u64 = 90 * DAY;
const SERVING_RENEWAL: u64 = 60 * DAY;
/// A gateway's certificate.
const CLIENT_LIFETIME: u64 = 24 * HOUR;

/// Why nothing is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the manifest cannot be signed")]
    Sign,
}

/// What a controller serves with.
pub struct Serving {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The roots that gateways' certificates lead to.
    pub roots: Vec<CertificateDer<'static>>,
    issuer: CertificateDer<'static>,
    made: u64,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("made", &self.made)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// A certificate for a gateway.
#[derive(Debug)]
pub struct Issued {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// When to renew it, in seconds since 1970.
    pub renew_at: u64,
    /// Its last second.
    pub not_after: u64,
}

struct Opened {
    issuer_certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    signing: EcdsaKeyPair,
    roots: Vec<CertificateDer<'static>>,
    manifest_keys: Vec<Vec<u8>>,
}

impl Opened {
    fn new(keyring: &Keyring, now: u64) -> Result<Self, IssueError> {
        let (issuer_certificate, key) = keyring.issuing(now)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&issuer_certificate, key)?,
            issuer_certificate,
            signing: keyring.signing(now)?,
            roots: keyring.roots()?,
            manifest_keys: keyring.manifest_keys()?,
        })
    }
}

/// Issues with a keyring.
pub struct Trust {
    opened: RwLock<Opened>,
    serving: watch::Sender<Arc<Serving>>,
    /// The names and addresses that gateways reach this controller by.
    names: Vec<String>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Issues with a keyring that has been [tended](Keyring::tend). `names` are what gateways reach this controller by.
    pub fn new(keyring: &Keyring, names: Vec<String>, now: u64) -> Result<Self, IssueError> {
        let opened = Opened::new(keyring, now)?;
        let serving = serving(&opened, &names, now)?;
        Ok(Self {
            opened: RwLock::new(opened),
            serving: watch::Sender::new(Arc::new(serving)),
            names,
        })
    }

    /// Takes a changed keyring, and whatever has come due since. To be called when the keyring changes, and each hour.
    pub fn refresh(&self, keyring: &Keyring, now: u64) -> Result<(), IssueError> {
        let opened = Opened::new(keyring, now)?;
        let stays = {
            let current = self.serving.borrow();
            current.made + SERVING_RENEWAL > now
                && current.issuer == opened.issuer_certificate
                && current.roots == opened.roots
        };
        if !stays {
            let serving = serving(&opened, &self.names, now)?;
            self.serving.send_replace(Arc::new(serving));
        }
        *self.opened.write() = opened;
        Ok(())
    }

    /// What to serve with, now and from then on.
    pub fn serving(&self) -> watch::Receiver<Arc<Serving>> {
        self.serving.subscribe()
    }

    /// The roots of the channel, DER.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.opened.read().roots.clone()
    }

    /// The keys that manifests may be signed with.
    pub fn manifest_keys(&self) -> Vec<Vec<u8>> {
        self.opened.read().manifest_keys.clone()
    }

    /// A certificate for a gateway. Of the request only the key counts.
    pub fn issue(
        &self,
        identity: &Identity,
        key: &RequestedKey,
        now: u64,
    ) -> Result<Issued, IssueError> {
        let mut params = plain(now, CLIENT_LIFETIME);
        let uri = identity.to_string().try_into()?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let opened = self.opened.read();
        let certificate = params.signed_by(key.key(), &opened.issuer)?;
        Ok(Issued {
            chain: vec![certificate.der().clone()],
            renew_at: now + CLIENT_LIFETIME * 7 / 10,
            not_after: now + CLIENT_LIFETIME,
        })
    }

    /// The signature of a manifest: ECDSA with P-256 and SHA-256, ASN.1.
    pub fn sign_manifest(
        &self,
        revision: &str,
        position: &Position,
    ) -> Result<Vec<u8>, IssueError> {
        let text = exitgate_proto::signed_text(revision, position);
        let opened = self.opened.read();
        let signature = opened
            .signing
            .sign(&SystemRandom::new(), &text)
            .map_err(|_| IssueError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// A certificate of the end of a chain, without any name.
fn plain(now: u64, lifetime: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(now.saturating_sub(BACKDATING));
    params.not_after = date(now + lifetime);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn serving(opened: &Opened, names: &[String], now: u64) -> Result<Serving, IssueError> {
    let key = KeyPair::generate()?;
    let named = CertificateParams::new(names.to_vec())?;
    let mut params = plain(now, SERVING_LIFETIME);
    params.subject_alt_names = named.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &opened.issuer)?;
    Ok(Serving {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        roots: opened.roots.clone(),
        issuer: opened.issuer_certificate.clone(),
        made: now,
    })
}
