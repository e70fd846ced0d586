//! Which certificates of origins are accepted: the verifier of one set of roots.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::bounded::Bounded;
use super::certificate::{Certificate, Fingerprint, Parsed, Staple, Verification, sha256};
use super::failure::OriginFailure;
use super::ocsp::{self, Issuer, Status};
use super::{chain, refusal, slot};
use crate::reason::OriginReason;

/// Verified certificates that are remembered.
const REMEMBERED: usize = 4096;
/// How long.
const MEMORY: Duration = Duration::from_mins(10);

/// Whether certificates count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `insecureSkipVerify`: any certificate will do. What is wrong with it is noted.
    Skip,
    /// As always.
    Verify,
}

/// One set of roots, and what it says about certificates.
pub(super) struct Trust {
    /// Equal only where roots and mode are.
    pub(super) id: [u8; 32],
    pub(super) mode: Mode,
    anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    remembered: Mutex<Bounded<Known, Remembered>>,
}

/// Which certificate is remembered. What was verified is its path, which is the same for every name that it is for; what
/// is wrong with it may be the name, so that one that will do all the same is remembered for a name.
type Known = (Fingerprint, Option<ServerName<'static>>);

/// A certificate that was verified a short while ago.
struct Remembered {
    /// Digest over what else came with it.
    company: [u8; 32],
    until: u64,
    facts: Arc<Certificate>,
}

/// A certificate that was accepted.
pub(super) struct Accepted {
    facts: Certificate,
    /// Second since 1970 from which on it has to be looked at again.
    until: u64,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("mode", &self.mode)
            .field("roots", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

impl Trust {
    pub(super) fn new(
        anchors: Vec<TrustAnchor<'static>>,
        mode: Mode,
        provider: &CryptoProvider,
    ) -> Self {
        let mut parts: Vec<[u8; 32]> = anchors
            .iter()
            .map(|anchor| {
                let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
                let (subject, key) = (&*anchor.subject, &*anchor.subject_public_key_info);
                sha256(&[
                    &sha256(&[subject]),
                    &sha256(&[key]),
                    &sha256(&[constraints]),
                ])
            })
            .collect();
        parts.sort_unstable();
        let mut parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
        parts.push(match mode {
            Mode::Skip => b"skip",
            Mode::Verify => b"verify",
        });
        Self {
            id: sha256(&parts),
            mode,
            anchors,
            algorithms: provider.signature_verification_algorithms,
            remembered: Mutex::new(Bounded::new(REMEMBERED)),
        }
    }

    fn known(&self, leaf: &[u8], name: &ServerName<'_>) -> Known {
        let name = match self.mode {
            Mode::Skip => Some(name.to_owned()),
            Mode::Verify => None,
        };
        (Fingerprint::of(leaf), name)
    }

    /// What was found out about a certificate when it was verified.
    pub(super) fn facts(&self, leaf: &[u8], name: &ServerName<'_>) -> Option<Arc<Certificate>> {
        let key = self.known(leaf, name);
        let mut remembered = self.remembered.lock();
        remembered.get(&key).map(|found| found.facts.clone())
    }

    /// Verifies, or remembers having done so.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<(Arc<Certificate>, u64), OriginFailure> {
        let key = self.known(leaf, name);
        let digests: Vec<[u8; 32]> = chain
            .iter()
            .map(|certificate| sha256(&[certificate]))
            .collect();
        let digest_of_staple = sha256(&[staple]);
        let mut parts: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
        parts.push(&digest_of_staple);
        let company = sha256(&parts);
        let found = self.remembered.lock().get(&key).and_then(|known| {
            let holds = known.company == company && known.until > now.as_secs();
            holds.then(|| (known.facts.clone(), known.until))
        });
        if let Some(found) = found
            && (self.mode == Mode::Skip || is_for(leaf, name))
        {
            return Ok(found);
        }
        let Accepted { facts, until } =
            match (self.mode, self.verify(leaf, chain, name, staple, now)) {
                (Mode::Verify, verdict) => verdict?,
                (Mode::Skip, verdict) => skipped(leaf, verdict, now),
            };
        let facts = Arc::new(facts);
        let entry = Remembered {
            company,
            until: until.min(now.as_secs() + MEMORY.as_secs()),
            facts: facts.clone(),
        };
        self.remembered.lock().insert(key, entry);
        Ok((facts, until))
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<Accepted, OriginFailure> {
        let parsed = Parsed::read(leaf).ok_or_else(|| {
            OriginFailure::new(OriginReason::Invalid, "its certificate cannot be read")
        })?;
        if chain.len() > chain::MOST {
            return Err(OriginFailure::new(
                OriginReason::Invalid,
                format!(
                    "{} certificates beside its own, {} are the most",
                    chain.len(),
                    chain::MOST
                ),
            ));
        }
        if !chain::is_simple(&parsed, chain) {
            return Err(OriginFailure::new(
                OriginReason::Invalid,
                "the certificates form too many chains",
            ));
        }
        let refused = |error| refusal::of(&error, &parsed, chain, &self.anchors);
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        let path = certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                chain,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(refused)?;
        certificate
            .verify_is_valid_for_subject_name(name)
            .map_err(refused)?;
        let mut until = parsed.not_after();
        let path_until = check_keys(&parsed, &path)?;
        let (staple, staple_until) = self.staple(&parsed, &path, staple, now)?;
        until = [path_until, staple_until]
            .into_iter()
            .flatten()
            .fold(until, i64::min);
        let mut facts = parsed.facts(leaf);
        facts.staple = staple;
        Ok(Accepted {
            facts,
            until: u64::try_from(until).unwrap_or(0),
        })
    }

    /// Whether the handshake is signed by the certificate's key.
    fn signed(
        &self,
        check: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.mode {
            // Anyone may answer for such a host: whose key signs this says nothing.
            Mode::Skip => Ok(HandshakeSignatureValid::assertion()),
            Mode::Verify => check(&self.algorithms),
        }
    }

    /// The stapled status, and until when it holds.
    fn staple(
        &self,
        leaf: &Parsed<'_>,
        path: &VerifiedPath<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<(Staple, Option<i64>), OriginFailure> {
        let found = if staple.is_empty() {
            (Staple::None, None)
        } else {
            let issuer = match path.intermediate_certificates().next() {
                Some(certificate) => Issuer::Certificate(certificate.der()),
                None => Issuer::Anchor(path.anchor()),
            };
            match ocsp::read(staple, leaf, &issuer, self.algorithms.all, now) {
                Ok((Status::Revoked(at), _)) => {
                    return Err(OriginFailure::new(
                        OriginReason::Revoked,
                        format!("revoked on {}, says its stapled status", refusal::date(at)),
                    ));
                }
                Ok((Status::Good, until)) => (Staple::Good, Some(until)),
                Ok((Status::Unknown, until)) => (Staple::Unknown, Some(until)),
                Err(why) => (Staple::Invalid(why), None),
            }
        };
        if leaf.must_staple() && found.0 != Staple::Good {
            let came = match found.0 {
                Staple::Invalid(why) => format!("one came that is not valid: {why}"),
                Staple::Unknown => "the one that came does not know the certificate".to_owned(),
                Staple::Good | Staple::None | Staple::Resumed => "none came".to_owned(),
            };
            return Err(OriginFailure::new(
                OriginReason::StapleMissing,
                format!("the certificate demands a stapled status; {came}"),
            ));
        }
        Ok(found)
    }
}

fn is_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    EndEntityCert::try_from(leaf)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}

/// Accepts a certificate whatever it is.
fn skipped(
    leaf: &CertificateDer<'_>,
    verdict: Result<Accepted, OriginFailure>,
    now: UnixTime,
) -> Accepted {
    match verdict {
        Ok(mut accepted) => {
            accepted.facts.verification = Verification::Skipped;
            accepted
        }
        Err(failure) => {
            let mut facts = match Parsed::read(leaf) {
                Some(parsed) => parsed.facts(leaf),
                None => Certificate {
                    issuer: String::new(),
                    names: 0,
                    not_after: 0,
                    fingerprint: Fingerprint::of(leaf),
                    staple: Staple::None,
                    verification: Verification::Skipped,
                },
            };
            facts.verification = Verification::Ignored(failure.origin_reason());
            Accepted {
                facts,
                until: now.as_secs() + MEMORY.as_secs(),
            }
        }
    }
}

/// What path building does not look at: keys that are too weak, and issuers that must not issue.
fn check_keys(leaf: &Parsed<'_>, path: &VerifiedPath<'_>) -> Result<Option<i64>, OriginFailure> {
    if let Some(weakness) = leaf.weakness() {
        return Err(OriginFailure::new(OriginReason::WeakKey, weakness));
    }
    let mut until = None;
    for issuer in path.intermediate_certificates() {
        let der = issuer.der();
        let parsed = Parsed::read(&der).ok_or_else(|| {
            OriginFailure::new(
                OriginReason::Invalid,
                "an issuer's certificate cannot be read",
            )
        })?;
        if let Some(weakness) = parsed.weakness() {
            return Err(OriginFailure::new(
                OriginReason::WeakKey,
                format!("{weakness}, of the issuer {}", parsed.subject()),
            ));
        }
        if parsed.must_not_issue() {
            return Err(OriginFailure::new(
                OriginReason::Invalid,
                format!("{} is not meant to issue certificates", parsed.subject()),
            ));
        }
        let not_after = parsed.not_after();
        until = Some(until.map_or(not_after, |until: i64| until.min(not_after)));
    }
    Ok(until)
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge(leaf, chain, name, staple, now);
        let answer = match &verdict {
            Ok((_, until)) => {
                slot::with(|slot| slot.sessions.verified(name, *until));
                Ok(ServerCertVerified::assertion())
            }
            Err(failure) => Err(Error::InvalidCertificate(alert(failure))),
        };
        slot::with(|slot| *slot.verdict.lock() = Some(verdict.map(|(facts, _)| facts)));
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|all| verify_tls12_signature(message, certificate, signed, all))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|all| verify_tls13_signature(message, certificate, signed, all))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The error whose alert says most to the origin's operator.
fn alert(failure: &OriginFailure) -> CertificateError {
    match failure.origin_reason() {
        OriginReason::Expired => CertificateError::Expired,
        OriginReason::NotYetValid => CertificateError::NotValidYet,
        OriginReason::Revoked => CertificateError::Revoked,
        OriginReason::IncompleteChain | OriginReason::SelfSigned | OriginReason::UnknownIssuer => {
            CertificateError::UnknownIssuer
        }
        OriginReason::StapleMissing => CertificateError::InvalidOcspResponse,
        OriginReason::WrongName => CertificateError::NotValidForName,
        OriginReason::Purpose => CertificateError::InvalidPurpose,
        OriginReason::Alpn
        | OriginReason::CaAsLeaf
        | OriginReason::ClientCertificateRequired
        | OriginReason::Invalid
        | OriginReason::NameConstraints
        | OriginReason::TlsFailed
        | OriginReason::TlsVersion
        | OriginReason::WeakKey
        | OriginReason::WeakSignature => CertificateError::BadEncoding,
    }
}
