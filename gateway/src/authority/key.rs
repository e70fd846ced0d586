//! Keys that sign certificates.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData, RsaKeySize, SignatureAlgorithm, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::check::CaProblem;

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// P-256 where we make it; any curve or Ed25519 where it was given.
    Ecdsa,
    /// RSA, 2048 bits for leaves and 3072 for authorities where we make it.
    Rsa,
}

/// A private key of a certificate authority. Shows itself nowhere.
pub(super) struct CaKey {
    pair: KeyPair,
    /// The DER of its signature algorithm, as certificates name it.
    algorithm: &'static [u8],
    kind: KeyKind,
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaKey").finish_non_exhaustive()
    }
}

impl CaKey {
    fn from_pair(pair: KeyPair) -> Result<Self, CaProblem> {
        let (algorithm, kind) =
            signature_algorithm(pair.algorithm()).ok_or(CaProblem::UnsupportedKey)?;
        Ok(Self {
            pair,
            algorithm,
            kind,
        })
    }

    /// Reads the first private key of a PEM text, in any of the three forms that are in use.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, CaProblem> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
            let text = String::from_utf8_lossy(pem);
            if text.contains("ENCRYPTED") {
                CaProblem::EncryptedKey
            } else {
                CaProblem::NoKey(error.to_string())
            }
        })?;
        Self::from_pair(KeyPair::try_from(&der).map_err(|_| CaProblem::UnsupportedKey)?)
    }

    /// Reads a key of ours.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, CaProblem> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der));
        Self::from_pair(KeyPair::try_from(&der).map_err(|_| CaProblem::UnsupportedKey)?)
    }

    /// A new P-256 key.
    pub(super) fn generate_ecdsa() -> Result<Self, CaProblem> {
        Self::from_pair(KeyPair::generate().map_err(|_| CaProblem::UnsupportedKey)?)
    }

    /// A new RSA key. Takes a good part of a second.
    pub(super) fn generate_rsa(size: RsaKeySize) -> Result<Self, CaProblem> {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
            .map_err(|_| CaProblem::UnsupportedKey)?;
        Self::from_pair(pair)
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn algorithm(&self) -> &'static [u8] {
        self.algorithm
    }

    /// The content of the public key's bit string.
    pub(super) fn public_bits(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    /// The DER of the `SubjectPublicKeyInfo`.
    pub(super) fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
    }
}

fn signature_algorithm(of: &SignatureAlgorithm) -> Option<(&'static [u8], KeyKind)> {
    const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
    const ECDSA_SHA512: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04";
    const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
    const RSA_SHA256: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
    [
        (&rcgen::PKCS_ECDSA_P256_SHA256, ECDSA_SHA256, KeyKind::Ecdsa),
        (&rcgen::PKCS_ECDSA_P384_SHA384, ECDSA_SHA384, KeyKind::Ecdsa),
        (&rcgen::PKCS_ECDSA_P521_SHA512, ECDSA_SHA512, KeyKind::Ecdsa),
        (&rcgen::PKCS_ED25519, ED25519, KeyKind::Ecdsa),
        (&rcgen::PKCS_RSA_SHA256, RSA_SHA256, KeyKind::Rsa),
    ]
    .into_iter()
    .find(|(algorithm, _, _)| *algorithm == of)
    .map(|(_, der, kind)| (der, kind))
}
