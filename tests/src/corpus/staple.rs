//! Stapled certificate status (OCSP responses), true and false.

use aws_lc_rs::digest;
use rcgen::{KeyPair, SigningKey};
use rustls::pki_types::CertificateDer;

use super::der::{BITS, OCTETS, OID, SEQUENCE, TIME, tlv};
use super::issue::{Ca, Issued};

/// What a response says.
#[derive(Clone, Copy)]
pub enum Says {
    Good,
    Revoked,
    Unknown,
}

/// A response in the making.
pub struct Staple<'a> {
    issuer: &'a Ca,
    about: &'a [u8],
    says: Says,
    this_update: &'static str,
    next_update: Option<&'static str>,
    signer: &'a KeyPair,
    delegate: Option<CertificateDer<'static>>,
    digest: &'static digest::Algorithm,
}

const LONG_AGO: &str = "20200101000000Z";
const PAST: &str = "20200108000000Z";
const FAR_AWAY: &str = "21190101000000Z";
const FARTHER_AWAY: &str = "21190108000000Z";

impl<'a> Staple<'a> {
    /// About `leaf`, from its issuer, in force.
    pub fn new(issuer: &'a Ca, leaf: &'a Issued, says: Says) -> Self {
        Self {
            issuer,
            about: &leaf.serial,
            says,
            this_update: LONG_AGO,
            next_update: Some(FARTHER_AWAY),
            signer: issuer.key(),
            delegate: None,
            digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// Its time is over.
    pub fn outdated(mut self) -> Self {
        self.next_update = Some(PAST);
        self
    }

    /// Its time has not come.
    pub fn from_the_future(mut self) -> Self {
        self.this_update = FAR_AWAY;
        self
    }

    /// Signed by a delegate, whose certificate comes along.
    pub fn by(mut self, delegate: &'a Issued) -> Self {
        self.signer = &delegate.key;
        self.delegate = Some(delegate.certificate.clone());
        self
    }

    /// Signed with a key that nothing certifies, in the issuer's name.
    pub fn forged(mut self, key: &'a KeyPair) -> Self {
        self.signer = key;
        self
    }

    /// Names the certificate's issuer by SHA-256.
    pub fn with_sha256(mut self) -> Self {
        self.digest = &digest::SHA256;
        self
    }

    pub fn build(self) -> Vec<u8> {
        let hash = |data: &[u8]| tlv(OCTETS, &[digest::digest(self.digest, data).as_ref()]);
        let algorithm: &[u8] = if self.digest == &digest::SHA256 {
            &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]
        } else {
            &[0x2b, 0x0e, 3, 2, 0x1a]
        };
        let algorithm = tlv(SEQUENCE, &[&tlv(OID, &[algorithm]), &[5, 0]]);
        let name = hash(&self.issuer.subject());
        let key = hash(self.issuer.key().public_key_raw());
        let id = tlv(SEQUENCE, &[&algorithm, &name, &key, &tlv(2, &[self.about])]);
        let status = match self.says {
            Says::Good => tlv(0x80, &[]),
            Says::Revoked => tlv(0xa1, &[&tlv(TIME, &[LONG_AGO.as_bytes()])]),
            Says::Unknown => tlv(0x82, &[]),
        };
        let this_update = tlv(TIME, &[self.this_update.as_bytes()]);
        let next_update = self
            .next_update
            .map(|time| tlv(0xa0, &[&tlv(TIME, &[time.as_bytes()])]))
            .unwrap_or_default();
        let single = tlv(SEQUENCE, &[&id, &status, &this_update, &next_update]);
        let responder = match &self.delegate {
            // By key, as most do.
            Some(_) => {
                let hash = digest::digest(
                    &digest::SHA1_FOR_LEGACY_USE_ONLY,
                    self.signer.public_key_raw(),
                );
                tlv(0xa2, &[&tlv(OCTETS, &[hash.as_ref()])])
            }
            None => tlv(0xa1, &[&self.issuer.subject()]),
        };
        let produced = tlv(TIME, &[self.this_update.as_bytes()]);
        let responses = tlv(SEQUENCE, &[&single]);
        let data = tlv(SEQUENCE, &[&responder, &produced, &responses]);
        let signature = self.signer.sign(&data).unwrap();
        // ecdsa-with-SHA256.
        let algorithm = tlv(OID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let algorithm = tlv(SEQUENCE, &[&algorithm]);
        let signature = tlv(BITS, &[&[0], &signature]);
        let certificates = self
            .delegate
            .map(|certificate| tlv(0xa0, &[&tlv(SEQUENCE, &[&certificate])]))
            .unwrap_or_default();
        let basic = tlv(SEQUENCE, &[&data, &algorithm, &signature, &certificates]);
        let kind = tlv(OID, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]]);
        let bytes = tlv(SEQUENCE, &[&kind, &tlv(OCTETS, &[&basic])]);
        tlv(SEQUENCE, &[&[0x0a, 1, 0], &tlv(0xa0, &[&bytes])])
    }
}
