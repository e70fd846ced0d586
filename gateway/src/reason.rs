//! Every reason that a record or a refusal can carry: policy's, and those of transport and limits.
//! Each maps exhaustively to a code, an HTTP status and a title.

use exitgate_policy::reason::Reason as PolicyReason;

/// Why traffic was refused, failed or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Request target and Host header name different hosts.
    AuthorityMismatch,
    /// TLS first bytes that are no valid ClientHello.
    BadHello,
    /// A message that does not follow its protocol.
    BadRequest,
    /// The origin's answer does not follow its protocol.
    BadResponse,
    /// A destination that cannot be read as one.
    BadTarget,
    /// The issuing CA does not cover the name yet.
    CaPending,
    /// The client does not accept the certificate that the gateway shows.
    CertificateRejected,
    /// The client went away.
    ClientGone,
    /// The destination refused or could not be reached.
    DialFailed,
    /// The destination did not answer in time.
    DialTimeout,
    /// The gateway is shutting down.
    Draining,
    /// The head of a message is over the limit.
    HeadTooLarge,
    /// The ClientHello or request head did not come in time.
    HelloTimeout,
    /// The parts of a connection name different workloads.
    IdentityConflict,
    /// Nothing says which workload this is.
    IdentityUnknown,
    /// No byte moved for the idle time.
    Idle,
    /// No certificate can be made for the name now.
    LeafUnavailable,
    /// A connection limit was reached.
    Limit,
    /// The name exists but has no address.
    NoAddress,
    /// No policy was ever loaded, or records cannot be written.
    NotReady,
    /// TLS with the origin, which failed or was not acceptable.
    Origin(OriginReason),
    /// The parent proxy refused or failed.
    ParentFailed,
    /// A verdict of the policy.
    Policy(PolicyReason),
    /// The policy no longer allows an open connection.
    PolicyChanged,
    /// The bytes are of a protocol that the rule does not allow.
    ProtocolNotAllowed,
    /// Proxy credentials are missing or wrong.
    ProxyAuthRequired,
    /// The name could not be resolved.
    ResolveFailed,
    /// No name server answered in time.
    ResolveTimeout,
    /// Only TLS versions below 1.2 are offered.
    TlsVersion,
    /// The connection's total time was used up.
    TotalTime,
    /// The destination broke the connection off.
    UpstreamReset,
    /// The request target is over the limit.
    UriTooLong,
}

impl Reason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::AuthorityMismatch => "authority-mismatch",
            Self::BadHello => "bad-hello",
            Self::BadRequest => "bad-request",
            Self::BadResponse => "bad-response",
            Self::BadTarget => "bad-target",
            Self::CaPending => "ca-pending",
            Self::CertificateRejected => "certificate-rejected",
            Self::ClientGone => "client-gone",
            Self::DialFailed => "dial-failed",
            Self::DialTimeout => "dial-timeout",
            Self::Draining => "draining",
            Self::HeadTooLarge => "head-too-large",
            Self::HelloTimeout => "hello-timeout",
            Self::IdentityConflict => "identity-conflict",
            Self::IdentityUnknown => "identity-unknown",
            Self::Idle => "idle",
            Self::LeafUnavailable => "leaf-unavailable",
            Self::Limit => "limit",
            Self::NoAddress => "no-address",
            Self::NotReady => "not-ready",
            Self::Origin(reason) => reason.code(),
            Self::ParentFailed => "parent-failed",
            Self::Policy(reason) => reason.code(),
            Self::PolicyChanged => "policy-changed",
            Self::ProtocolNotAllowed => "protocol-not-allowed",
            Self::ProxyAuthRequired => "proxy-auth-required",
            Self::ResolveFailed => "resolve-failed",
            Self::ResolveTimeout => "resolve-timeout",
            Self::TlsVersion => "tls-version",
            Self::TotalTime => "total-time",
            Self::UpstreamReset => "upstream-reset",
            Self::UriTooLong => "uri-too-long",
        }
    }

    /// The HTTP status of a refusal for this reason.
    pub fn status(self) -> u16 {
        match self {
            Self::AuthorityMismatch
            | Self::BadHello
            | Self::BadRequest
            | Self::BadTarget
            | Self::TlsVersion => 400,
            Self::IdentityConflict
            | Self::IdentityUnknown
            | Self::Policy(_)
            | Self::PolicyChanged
            | Self::ProtocolNotAllowed => 403,
            Self::ProxyAuthRequired => 407,
            Self::CertificateRejected | Self::ClientGone | Self::HelloTimeout => 408,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::BadResponse
            | Self::DialFailed
            | Self::NoAddress
            | Self::Origin(_)
            | Self::ParentFailed
            | Self::ResolveFailed
            | Self::UpstreamReset => 502,
            Self::CaPending
            | Self::Draining
            | Self::LeafUnavailable
            | Self::Limit
            | Self::NotReady => 503,
            Self::DialTimeout | Self::Idle | Self::ResolveTimeout | Self::TotalTime => 504,
        }
    }

    /// A short sentence for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::AuthorityMismatch => {
                "The request target and the Host header name different hosts"
            }
            Self::BadHello => "The first TLS bytes are not a valid ClientHello",
            Self::BadRequest => "The request does not follow its protocol",
            Self::BadResponse => "The origin's answer does not follow its protocol",
            Self::BadTarget => "The destination cannot be read as a host name or address",
            Self::CaPending => "The gateway's CA does not cover this name yet",
            Self::CertificateRejected => "The client does not accept the gateway's certificate",
            Self::ClientGone => "The client went away",
            Self::DialFailed => "The destination could not be reached",
            Self::DialTimeout => "The destination did not answer in time",
            Self::Draining => "The gateway is shutting down",
            Self::HeadTooLarge => "The header section is too large",
            Self::HelloTimeout => "The request or ClientHello did not come in time",
            Self::IdentityConflict => "The connection names more than one workload",
            Self::IdentityUnknown => "The gateway does not know which workload this is",
            Self::Idle => "The connection was idle for too long",
            Self::LeafUnavailable => "No certificate can be made for this name now",
            Self::Limit => "A connection limit was reached",
            Self::NoAddress => "The name has no address",
            Self::NotReady => "The gateway is not ready",
            Self::Origin(reason) => reason.title(),
            Self::ParentFailed => "The parent proxy refused or failed",
            Self::Policy(PolicyReason::Allowed) => "Allowed",
            Self::Policy(_) => "Refused by egress policy",
            Self::PolicyChanged => "The policy no longer allows this connection",
            Self::ProtocolNotAllowed => "This protocol is not allowed here",
            Self::ProxyAuthRequired => "Proxy credentials are missing or wrong",
            Self::ResolveFailed => "The name could not be resolved",
            Self::ResolveTimeout => "No name server answered in time",
            Self::TlsVersion => "TLS 1.2 or later is required",
            Self::TotalTime => "The connection or request took too long",
            Self::UpstreamReset => "The destination broke the connection off",
            Self::UriTooLong => "The request target is too long",
        }
    }

    /// Whether this is a refusal by Exitgate rather than a failure of the network or of a peer.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::AuthorityMismatch
            | Self::BadHello
            | Self::BadRequest
            | Self::BadTarget
            | Self::CaPending
            | Self::Draining
            | Self::HeadTooLarge
            | Self::HelloTimeout
            | Self::IdentityConflict
            | Self::IdentityUnknown
            | Self::LeafUnavailable
            | Self::Limit
            | Self::NotReady
            | Self::Policy(_)
            | Self::PolicyChanged
            | Self::ProtocolNotAllowed
            | Self::ProxyAuthRequired
            | Self::TlsVersion
            | Self::UriTooLong => true,
            Self::BadResponse
            | Self::CertificateRejected
            | Self::ClientGone
            | Self::DialFailed
            | Self::DialTimeout
            | Self::Idle
            | Self::NoAddress
            | Self::Origin(_)
            | Self::ParentFailed
            | Self::ResolveFailed
            | Self::ResolveTimeout
            | Self::TotalTime
            | Self::UpstreamReset => false,
        }
    }
}

/// What was wrong with TLS to an origin. The request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginReason {
    /// It speaks none of the protocols that were offered.
    Alpn,
    /// A CA certificate where a server's belongs.
    CaAsLeaf,
    /// It wants a client certificate and none is configured for it.
    ClientCertificateRequired,
    /// A certificate has expired.
    Expired,
    /// The issuer's certificate was not sent.
    IncompleteChain,
    /// A certificate that cannot be read or used for another reason.
    Invalid,
    /// An issuer may not certify these names.
    NameConstraints,
    /// A certificate is not valid yet.
    NotYetValid,
    /// The certificate is not for TLS servers.
    Purpose,
    /// A valid stapled status says that it is revoked.
    Revoked,
    /// The certificate is its own issuer.
    SelfSigned,
    /// The certificate demands a stapled status that did not come.
    StapleMissing,
    /// The handshake failed otherwise.
    TlsFailed,
    /// TLS below 1.2.
    TlsVersion,
    /// No trusted root leads to it.
    UnknownIssuer,
    /// RSA below 2048 bits, or another weak key.
    WeakKey,
    /// A signature over MD5 or SHA-1.
    WeakSignature,
    /// The certificate is for other names.
    WrongName,
}

impl OriginReason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Alpn => "upstream-alpn",
            Self::CaAsLeaf => "upstream-certificate-ca-as-leaf",
            Self::ClientCertificateRequired => "client-certificate-required",
            Self::Expired => "upstream-certificate-expired",
            Self::IncompleteChain => "upstream-certificate-incomplete-chain",
            Self::Invalid => "upstream-certificate-invalid",
            Self::NameConstraints => "upstream-certificate-name-constraints",
            Self::NotYetValid => "upstream-certificate-not-yet-valid",
            Self::Purpose => "upstream-certificate-purpose",
            Self::Revoked => "upstream-certificate-revoked",
            Self::SelfSigned => "upstream-certificate-self-signed",
            Self::StapleMissing => "upstream-certificate-staple-missing",
            Self::TlsFailed => "upstream-tls-failed",
            Self::TlsVersion => "upstream-tls-version",
            Self::UnknownIssuer => "upstream-certificate-unknown-issuer",
            Self::WeakKey => "upstream-certificate-weak-key",
            Self::WeakSignature => "upstream-certificate-weak-signature",
            Self::WrongName => "upstream-certificate-wrong-name",
        }
    }

    /// A short sentence for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Alpn => {
                "The origin speaks none of the application protocols that the client offers"
            }
            Self::CaAsLeaf => "The origin shows a CA certificate as its own",
            Self::ClientCertificateRequired => {
                "The origin asks for a client certificate and none is configured"
            }
            Self::Expired => "The origin's certificate has expired",
            Self::IncompleteChain => "The origin does not send the certificate that issued its own",
            Self::Invalid => "The origin's certificate is not valid",
            Self::NameConstraints => {
                "The origin's certificate is for names that its issuer must not certify"
            }
            Self::NotYetValid => "The origin's certificate is not valid yet",
            Self::Purpose => "The origin's certificate is not meant for servers",
            Self::Revoked => "The origin's certificate is revoked",
            Self::SelfSigned => "The origin's certificate is signed by itself",
            Self::StapleMissing => {
                "The origin's certificate demands a stapled status and none that is valid came"
            }
            Self::TlsFailed => "TLS with the origin failed",
            Self::TlsVersion => "The origin does not speak TLS 1.2 or later",
            Self::UnknownIssuer => "The issuer of the origin's certificate is not trusted",
            Self::WeakKey => "A key in the origin's certificates is too weak",
            Self::WeakSignature => {
                "A signature in the origin's certificates is made with a broken digest"
            }
            Self::WrongName => "The origin's certificate is for other names",
        }
    }
}

impl From<OriginReason> for Reason {
    fn from(reason: OriginReason) -> Self {
        Self::Origin(reason)
    }
}
