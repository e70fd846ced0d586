//! What a certificate of the control channel says.

use std::fmt;

use exitgate_proto::control as proto;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::index::Scope;

const TRUST_DOMAIN: &str = "spiffe://exitgate/";
/// Longest part of an identity; names in a cluster have at most 253 characters.
const MAX_PART: usize = 253;

/// What a gateway is. It decides what the gateway gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Serves the workloads of its node.
    Node,
    /// Serves every workload that its EgressGateway selects.
    Pool,
    /// Serves its own pod.
    Sidecar,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pool => "pool",
            Self::Sidecar => "sidecar",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Node, Self::Pool, Self::Sidecar]
            .into_iter()
            .find(|role| role.as_str() == text)
    }

    /// The role that a caller asks for.
    pub fn of_message(role: proto::Role) -> Option<Self> {
        match role {
            proto::Role::Unspecified => None,
            proto::Role::Node => Some(Self::Node),
            proto::Role::Pool => Some(Self::Pool),
            proto::Role::Sidecar => Some(Self::Sidecar),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a certificate of the control channel says: `spiffe://exitgate/ns/NAMESPACE/ROLE/SUBJECT/gateway/GATEWAY`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The namespace of the gateway's own pod.
    pub namespace: String,
    pub role: Role,
    /// The node of a node gateway, the pod of a pool gateway, the UID of a sidecar's pod.
    pub subject: String,
    /// The EgressGateway.
    pub gateway: String,
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the certificate cannot be read")]
    Certificate,
    #[error(
        "the certificate must have exactly one identity, spiffe://exitgate/ns/NAMESPACE/ROLE/SUBJECT/gateway/GATEWAY"
    )]
    Uri,
    #[error("{0:?} cannot be part of an identity")]
    Part(String),
}

impl Identity {
    /// An identity of these parts, if each can be one.
    pub fn new(
        namespace: &str,
        role: Role,
        subject: &str,
        gateway: &str,
    ) -> Result<Self, IdentityError> {
        for part in [namespace, subject, gateway] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let fits = !part.is_empty()
                && part.len() <= MAX_PART
                && part.bytes().all(plain)
                && !part.bytes().all(|byte| byte == b'.');
            if !fits {
                let shown = part.chars().take(MAX_PART).collect();
                return Err(IdentityError::Part(shown));
            }
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            role,
            subject: subject.to_owned(),
            gateway: gateway.to_owned(),
        })
    }

    /// Reads a SPIFFE id of ours.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        let path = uri.strip_prefix(TRUST_DOMAIN).ok_or(IdentityError::Uri)?;
        let parts: Vec<&str> = path.split('/').collect();
        let ["ns", namespace, role, subject, "gateway", gateway] = parts.as_slice() else {
            return Err(IdentityError::Uri);
        };
        let role = Role::parse(role).ok_or(IdentityError::Uri)?;
        Self::new(namespace, role, subject, gateway)
    }

    /// The identity in a certificate that was verified.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        let mut found = None;
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension()
            else {
                continue;
            };
            for name in &names.general_names {
                let GeneralName::URI(uri) = name else {
                    return Err(IdentityError::Uri);
                };
                if found.replace(Self::parse(uri)?).is_some() {
                    return Err(IdentityError::Uri);
                }
            }
        }
        found.ok_or(IdentityError::Uri)
    }

    /// Whose workloads it serves.
    pub fn scope(&self) -> Scope {
        let gateway = self.gateway.clone();
        match self.role {
            Role::Node => Scope::Node {
                gateway,
                node: self.subject.clone(),
            },
            Role::Pool => Scope::Fleet { gateway },
            Role::Sidecar => Scope::Sidecar {
                gateway,
                uid: self.subject.clone(),
            },
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            role,
            subject,
            gateway,
        } = self;
        write!(
            f,
            "{TRUST_DOMAIN}ns/{namespace}/{role}/{subject}/gateway/{gateway}"
        )
    }
}

/// Until when a certificate is valid, in seconds since 1970.
pub(crate) fn not_after(der: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}
