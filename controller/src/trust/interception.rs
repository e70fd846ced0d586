//! The authority that clients of intercepted connections trust: issuing certificates for gateways, or leaves one by one.

use std::collections::BTreeSet;
use std::fmt;

use exitgate_policy::{EgressGatewaySpec, InspectedNames, Name, NameConstraints};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::request::RequestedKey;
use super::{BACKDATING, HOUR, MINUTE, date};

/// An issuing authority, and a leaf, live at most this long.
const LIFETIME: u64 = 24 * HOUR;
/// What has less left to live issues nothing any more.
const LAST_MINUTES: u64 = 10 * MINUTE;
/// RFC 5280's bound of a common name.
const MAX_COMMON_NAME: usize = 64;

/// Why the authority cannot be used, or does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterceptionError {
    #[error("the certificate of the interception authority cannot be read: {0}")]
    Certificate(String),
    #[error("the private key of the interception authority cannot be read: {0}")]
    Key(String),
    #[error("the first certificate is not the one of the private key")]
    Mismatch,
    #[error("the certificate may not sign certificates; have it issued as a CA, with keyCertSign")]
    NotACa,
    /// What verifiers compare byte for byte would come out differently.
    #[error(
        "the subject of the certificate is written in a way that cannot be repeated in what it signs; have it issued with a plain name"
    )]
    Subject,
    #[error(
        "the certificate of the interception authority ends at {0} (seconds since 1970); replace it"
    )]
    Ended(u64),
    #[error(
        "the path length of the certificate leaves no room for an authority below it; use custody PerLeaf, or have it issued with path length 1"
    )]
    PathLength,
    /// The gateway should ask for leaves.
    #[error(
        "rules can need to look into any name, so that no authority can be limited to them; use custody PerLeaf, or constraints: ExclusionsOnly"
    )]
    Unbounded,
    #[error("no rule can need to look into any name")]
    Nothing,
    #[error("it cannot be signed: {0}")]
    Sign(String),
}

/// Which names an issuing authority is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// `None`: all that are not excluded.
    permitted: Option<BTreeSet<String>>,
    excluded: BTreeSet<String>,
}

impl NameLimits {
    /// By the settings of a fleet, and the names that its rules can need to look into.
    pub fn new(
        settings: &EgressGatewaySpec,
        names: &InspectedNames,
    ) -> Result<Self, InterceptionError> {
        let authority = settings.tls.authority.as_ref();
        let excluded = authority
            .into_iter()
            .flat_map(|authority| &authority.excluded)
            .map(|name| name.trim_start_matches("*.").to_owned())
            .collect();
        if authority.is_some_and(|one| one.constraints == NameConstraints::ExclusionsOnly) {
            return Ok(Self {
                permitted: None,
                excluded,
            });
        }
        match names {
            InspectedNames::Unbounded => Err(InterceptionError::Unbounded),
            InspectedNames::Bounded(names) if names.is_empty() => Err(InterceptionError::Nothing),
            InspectedNames::Bounded(names) => Ok(Self {
                permitted: Some(names.iter().map(|one| one.name().to_string()).collect()),
                excluded,
            }),
        }
    }

    /// The names that are covered with all below them; none where only exclusions hold.
    pub fn permitted(&self) -> Vec<String> {
        self.permitted.iter().flatten().cloned().collect()
    }

    fn constraints(&self) -> rcgen::NameConstraints {
        let names = |set: &BTreeSet<String>| -> Vec<GeneralSubtree> {
            set.iter().cloned().map(GeneralSubtree::DnsName).collect()
        };
        let mut excluded = names(&self.excluded);
        // Without these, most clients accept a certificate for an address from an authority that is limited to names.
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
        rcgen::NameConstraints {
            permitted_subtrees: self.permitted.as_ref().map(names).unwrap_or_default(),
            excluded_subtrees: excluded,
        }
    }
}

/// An authority for one gateway, or a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The new certificate first, then those above it, without a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The last second of the new one.
    pub not_after: u64,
}

/// Signs for gateways.
pub trait Interception: Send + Sync {
    /// An issuing authority, whose key stays with the gateway.
    fn authority(
        &self,
        key: &RequestedKey,
        limits: &NameLimits,
        now: u64,
    ) -> Result<Authority, InterceptionError>;

    /// A certificate for exactly one name.
    fn leaf(
        &self,
        key: &RequestedKey,
        name: &Name,
        now: u64,
    ) -> Result<Authority, InterceptionError>;
}

/// A root, or a subordinate of an enterprise's, with its key.
pub struct InterceptionRoot {
    issuer: Issuer<'static, KeyPair>,
    /// From the certificate of the key upwards, without a root.
    above: Vec<CertificateDer<'static>>,
    not_after: u64,
    may_issue: bool,
}

impl fmt::Debug for InterceptionRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptionRoot")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl InterceptionRoot {
    /// Reads the certificate of the key, those above it if there are any, and the key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, InterceptionError> {
        let unreadable = |error: String| InterceptionError::Certificate(error);
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(error.to_string()))?;
        let own = chain
            .first()
            .ok_or_else(|| unreadable("there is none".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| InterceptionError::Key(error.to_string()))?;
        let key =
            KeyPair::try_from(&key).map_err(|error| InterceptionError::Key(error.to_string()))?;
        let (_, read) =
            X509Certificate::from_der(own).map_err(|error| unreadable(error.to_string()))?;
        if *read.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(InterceptionError::Mismatch);
        }
        let basic = read.basic_constraints().ok().flatten();
        let may_sign = read
            .key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.key_cert_sign());
        let basic = basic
            .filter(|basic| basic.value.ca && may_sign)
            .ok_or(InterceptionError::NotACa)?;
        let may_issue = basic
            .value
            .path_len_constraint
            .is_none_or(|length| length > 0);
        let not_after = u64::try_from(read.validity().not_after.timestamp()).unwrap_or(0);
        let subject = read.subject().as_raw().to_vec();
        let is_root = |der: &CertificateDer<'_>| {
            X509Certificate::from_der(der)
                .is_ok_and(|(_, one)| one.subject().as_raw() == one.issuer().as_raw())
        };
        let above = chain.iter().filter(|der| !is_root(der)).cloned().collect();
        let issuer =
            Issuer::from_ca_cert_der(own, key).map_err(|error| unreadable(error.to_string()))?;
        let root = Self {
            issuer,
            above,
            not_after,
            may_issue,
        };
        root.probe(&subject)?;
        Ok(root)
    }

    /// Signs something once, and looks whether it names its issuer as verifiers will look for it.
    fn probe(&self, subject: &[u8]) -> Result<(), InterceptionError> {
        let key = KeyPair::generate().map_err(|error| sign(&error))?;
        let made = CertificateParams::default()
            .signed_by(&key, &self.issuer)
            .map_err(|error| sign(&error))?;
        let (_, made) = X509Certificate::from_der(made.der())
            .map_err(|error| InterceptionError::Sign(error.to_string()))?;
        if made.issuer().as_raw() == subject {
            Ok(())
        } else {
            Err(InterceptionError::Subject)
        }
    }

    fn params(&self, now: u64) -> Result<(CertificateParams, u64), InterceptionError> {
        if self.not_after < now + LAST_MINUTES {
            return Err(InterceptionError::Ended(self.not_after));
        }
        let not_after = self.not_after.min(now + LIFETIME);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date(now.saturating_sub(BACKDATING));
        params.not_after = date(not_after);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok((params, not_after))
    }

    fn signed(
        &self,
        params: &CertificateParams,
        key: &RequestedKey,
        not_after: u64,
    ) -> Result<Authority, InterceptionError> {
        let made = params
            .signed_by(key.key(), &self.issuer)
            .map_err(|error| sign(&error))?;
        let mut chain = vec![made.der().clone()];
        chain.extend(self.above.iter().cloned());
        Ok(Authority { chain, not_after })
    }
}

fn sign(error: &rcgen::Error) -> InterceptionError {
    InterceptionError::Sign(error.to_string())
}

impl Interception for InterceptionRoot {
    fn authority(
        &self,
        key: &RequestedKey,
        limits: &NameLimits,
        now: u64,
    ) -> Result<Authority, InterceptionError> {
        if !self.may_issue {
            return Err(InterceptionError::PathLength);
        }
        let (mut params, not_after) = self.params(now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(limits.constraints());
        // Clients remember authorities by name: two with one name and different keys would confuse them.
        let id = params.key_identifier(key.key());
        let id: String = id
            .iter()
            .take(8)
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Exitgate issuing CA {id}"));
        self.signed(&params, key, not_after)
    }

    fn leaf(
        &self,
        key: &RequestedKey,
        name: &Name,
        now: u64,
    ) -> Result<Authority, InterceptionError> {
        let (mut params, not_after) = self.params(now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let text = name.as_str();
        if text.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, text);
        }
        let san = text
            .to_owned()
            .try_into()
            .map_err(|error: rcgen::Error| sign(&error))?;
        params.subject_alt_names = vec![SanType::DnsName(san)];
        self.signed(&params, key, not_after)
    }
}
