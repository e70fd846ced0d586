//! Who signs leaves: the seam between a gateway that holds an authority and one that asks for each leaf.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use exitgate_policy::Name;
use rustls::pki_types::CertificateDer;

use super::LeafKey;
use super::certificate::{self, Issuer, Validity};
use super::check::CaProblem;
use super::constraints::Constraints;
use super::key::{CaKey, KeyKind};
use super::leaf_keys::RsaKeys;

/// A leaf that is to be signed.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// Its one name.
    pub name: Name,
    /// The kind of its key, which a chain should use throughout where that is possible.
    pub key: LeafKey,
    /// The DER of its public key.
    pub spki: Arc<[u8]>,
    /// What is asked for; a signer may shorten it and must not let it outlive the issuer.
    pub validity: Validity,
}

/// A signed leaf.
#[derive(Clone, Debug)]
pub struct SignedLeaf {
    /// The leaf.
    pub leaf: CertificateDer<'static>,
    /// The authorities above it, nearest first, without the root.
    pub issuers: Arc<[CertificateDer<'static>]>,
    /// What was granted.
    pub validity: Validity,
}

/// Why a leaf was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The authority's time is over.
    #[error("the certificate authority has expired")]
    Expired,
    /// The signer answers, and refuses.
    #[error("the signer refuses: {0}")]
    Refused(String),
    /// The signer cannot be asked.
    #[error("the signer cannot be reached: {0}")]
    Unreachable(String),
}

/// What [`Signer::sign`] returns.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<SignedLeaf, SignError>> + Send + 'a>>;

/// Signs leaves, here or elsewhere. It is asked once per name at a time, within a deadline, and after a failure not again
/// for some seconds.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Signs one leaf.
    fn sign(&self, request: LeafRequest) -> Signing<'_>;
}

/// An authority in this process.
#[derive(Debug)]
pub(super) struct Ca {
    pub(super) subject: Vec<u8>,
    pub(super) key_id: Vec<u8>,
    pub(super) key: CaKey,
    pub(super) validity: Validity,
    /// What is sent after a leaf, nearest first, without the root.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
}

impl Ca {
    fn issuer(&self) -> Issuer<'_> {
        Issuer {
            subject: &self.subject,
            key_id: &self.key_id,
            key: &self.key,
        }
    }

    pub(super) fn leaf(&self, request: &LeafRequest) -> Result<SignedLeaf, SignError> {
        let validity = within(request.validity, self.validity).ok_or(SignError::Expired)?;
        let leaf = certificate::leaf(&request.name, &request.spki, validity, &self.issuer())
            .map_err(|error| SignError::Refused(error.to_string()))?;
        Ok(SignedLeaf {
            leaf,
            issuers: Arc::clone(&self.chain),
            validity,
        })
    }

    /// Issues an authority below this one.
    pub(super) fn issue(
        &self,
        key: CaKey,
        constraints: &Constraints,
        wanted: Validity,
    ) -> Result<Self, CaProblem> {
        let rejected = |text: &dyn fmt::Display| CaProblem::Rejected(text.to_string());
        let validity =
            within(wanted, self.validity).ok_or_else(|| rejected(&SignError::Expired))?;
        let issued = certificate::issuing(&key, constraints, validity, &self.issuer())
            .map_err(|error| rejected(&error))?;
        let chain = std::iter::once(issued.certificate)
            .chain(self.chain.iter().cloned())
            .collect();
        Ok(Self {
            subject: issued.subject,
            key_id: issued.key_id,
            key,
            validity,
            chain,
        })
    }
}

/// Nothing outlives its issuer or is older than it.
fn within(wanted: Validity, issuer: Validity) -> Option<Validity> {
    let validity = Validity {
        not_before: wanted.not_before.max(issuer.not_before),
        not_after: wanted.not_after.min(issuer.not_after),
    };
    (validity.not_before < validity.not_after).then_some(validity)
}

/// The authority of the files signs every leaf: custody `Development`, and `PerLeaf` where no controller is asked.
#[derive(Debug)]
pub(super) struct DirectSigner {
    pub(super) ca: Arc<Ca>,
}

impl Signer for DirectSigner {
    fn sign(&self, request: LeafRequest) -> Signing<'_> {
        Box::pin(std::future::ready(self.ca.leaf(&request)))
    }
}

/// An authority of this gateway alone signs leaves: custody `PerGateway`.
#[derive(Debug)]
pub(super) struct IssuingSigner {
    pub(super) parent: Arc<Ca>,
    pub(super) ca: Ca,
    pub(super) constraints: Constraints,
    /// The same authority with an RSA key, so that a client without ECDSA finds no ECDSA signature in the chain; made at its
    /// first use, and only under an RSA parent, because under another there is one in any case.
    pub(super) rsa: OnceLock<Option<Ca>>,
    pub(super) rsa_keys: Arc<RsaKeys>,
}

impl IssuingSigner {
    fn rsa(&self) -> Option<&Ca> {
        self.rsa
            .get_or_init(|| {
                if self.parent.key.kind() != KeyKind::Rsa {
                    return None;
                }
                let key = self.rsa_keys.issuing()?;
                match self.parent.issue(key, &self.constraints, self.ca.validity) {
                    Ok(ca) => Some(ca),
                    Err(error) => {
                        tracing::warn!(%error, "no issuing CA with an RSA key");
                        None
                    }
                }
            })
            .as_ref()
    }
}

impl Signer for IssuingSigner {
    fn sign(&self, request: LeafRequest) -> Signing<'_> {
        let ca = match request.key {
            LeafKey::Ecdsa => &self.ca,
            LeafKey::Rsa => self.rsa().unwrap_or(&self.ca),
        };
        Box::pin(std::future::ready(ca.leaf(&request)))
    }
}
