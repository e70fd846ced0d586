//! Certificate requests. Of a request only the key counts: what the certificate says is decided here.

use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};

/// A request with a P-256 key has some hundred bytes.
const MAX_REQUEST: usize = 16 << 10;

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the certificate request has {0} bytes; at most {MAX_REQUEST} are read")]
    TooLong(usize),
    #[error("the certificate request cannot be read: {0}; send PKCS#10, DER")]
    Unreadable(String),
    /// Whoever asks does not have the key.
    #[error("the signature of the certificate request is not that of its key")]
    Signature,
    #[error("the key of the certificate request must be of the curve P-256 or P-384")]
    Key,
}

/// The key of a request whose signature shows that the caller has it.
#[derive(Clone, Debug)]
pub struct RequestedKey(rcgen::PublicKey);

impl RequestedKey {
    /// Reads a PKCS#10 request.
    pub fn parse(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::TooLong(der.len()));
        }
        let request = CertificateSigningRequestParams::from_der(&der.into()).map_err(|error| {
            if error == rcgen::Error::InvalidCertificationRequestSignature {
                RequestError::Signature
            } else {
                RequestError::Unreadable(error.to_string())
            }
        })?;
        let key = request.public_key;
        let known = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ];
        if !known.contains(&key.algorithm()) {
            return Err(RequestError::Key);
        }
        // The algorithm is that of the signature; the key itself has to be of the curve that goes with it.
        let length = key.der_bytes().len();
        let expected = if key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
            65
        } else {
            97
        };
        if length != expected {
            return Err(RequestError::Key);
        }
        Ok(Self(key))
    }

    pub(super) fn key(&self) -> &rcgen::PublicKey {
        &self.0
    }
}
