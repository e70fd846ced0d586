//! Where TLS is opened, by what authority, and whom the gateway trusts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::DurationText;

/// Longest life of an issuing CA.
pub const MAX_AUTHORITY_LIFETIME: Duration = Duration::from_hours(24);

/// Where TLS is opened, by what authority, and whom the gateway trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Off: TLS is never opened, and conditions on what is inside it are hidden. On: it is opened where the verdict
    /// depends on what is inside, or a rule asks for it.
    pub inspection: Inspection,
    /// Host patterns whose TLS is never opened, whatever a policy says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
    /// The certificate authority that clients trust. Required where inspection is On.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<TlsAuthority>,
    /// Whom the gateway trusts, and as whom it appears, towards some hosts. The first entry that matches counts; without
    /// one a host's certificate must lead to the system's roots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<TlsUpstream>,
    /// The system's roots, PEM. Absent: the platform's own bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_roots_file: Option<String>,
}

/// Whether TLS is opened at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Inspection {
    /// TLS is never opened.
    #[default]
    Off,
    /// TLS is opened where the verdict depends on what is inside, or a rule asks for it.
    On,
}

/// The certificate authority that clients trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsAuthority {
    /// Who signs the certificates that clients see: PerGateway (the default) a CA of the gateway's own, made at its start
    /// and kept in memory; PerLeaf the signer, one certificate at a time; Development the CA of certFile itself.
    #[serde(default)]
    pub custody: Custody,
    /// The certificate of the root, or of the subordinate that the enterprise's CA signed, PEM. The chain up to the
    /// enterprise's root may follow, without that root.
    pub cert_file: String,
    /// The private key of the first certificate in certFile, PEM.
    pub key_file: String,
    /// More roots for the bundle that clients get, PEM: the enterprise's root above a subordinate, the next root before a
    /// rotation, the former one after it. None of them signs anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_files: Vec<String>,
    /// Which names the gateway's own CA is limited to: Auto (the default) those that rules can need to look into;
    /// ExclusionsOnly all but the excluded.
    #[serde(default)]
    pub constraints: NameConstraints,
    /// Domains that the gateway's own CA can never sign for, with everything below them. For ExclusionsOnly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// How long the gateway's own CA lives, at most (and unless set) 24h. It is replaced in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<DurationText>,
}

impl TlsAuthority {
    /// How long the gateway's own CA lives.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
            .map_or(MAX_AUTHORITY_LIFETIME, |text| text.0)
            .min(MAX_AUTHORITY_LIFETIME)
    }
}

/// Who signs the certificates that clients see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Custody {
    /// The CA of certFile itself. For development.
    Development,
    /// A CA of the gateway's own, signed by that of certFile, whose key never leaves the gateway's memory.
    #[default]
    PerGateway,
    /// The signer signs each certificate; the gateway holds no key of a CA.
    PerLeaf,
}

/// Which names the gateway's own CA is limited to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NameConstraints {
    /// The names that rules can need to look into.
    #[default]
    Auto,
    /// All names but the excluded.
    ExclusionsOnly,
}

/// Whom the gateway trusts, and as whom it appears, towards some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsUpstream {
    /// The entry's name, unique in the list.
    pub name: String,
    /// Host patterns that the entry is for.
    pub hosts: Vec<String>,
    /// Only for workloads of these namespaces. Absent: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Roots that are trusted for these hosts beside the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The certificate that the gateway shows where one of these hosts asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<UpstreamCertificate>,
    /// Takes any certificate. Whoever sits between can then read and change everything; for experiments only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// A certificate with its private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamCertificate {
    /// The certificate chain, PEM.
    pub cert_file: String,
    /// The private key, PEM.
    pub key_file: String,
}
