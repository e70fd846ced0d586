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
    /// A connection limit was reached.
    Limit,
    /// The name exists but has no address.
    NoAddress,
    /// No policy was ever loaded, or records cannot be written.
    NotReady,
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
            Self::ClientGone => "client-gone",
            Self::DialFailed => "dial-failed",
            Self::DialTimeout => "dial-timeout",
            Self::Draining => "draining",
            Self::HeadTooLarge => "head-too-large",
            Self::HelloTimeout => "hello-timeout",
            Self::IdentityConflict => "identity-conflict",
            Self::IdentityUnknown => "identity-unknown",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::NoAddress => "no-address",
            Self::NotReady => "not-ready",
            Self::ParentFailed => "parent-failed",
            Self::Policy(reason) => reason.code(),
            Self::PolicyChanged => "policy-changed",
            Self::ProtocolNotAllowed => "protocol-not-allowed",
            Self::ProxyAuthRequired => "proxy-auth-required",
            Self::ResolveFailed => "resolve-failed",
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
            Self::HelloTimeout | Self::TotalTime | Self::ClientGone => 408,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::BadResponse
            | Self::DialFailed
            | Self::NoAddress
            | Self::ParentFailed
            | Self::ResolveFailed
            | Self::UpstreamReset => 502,
            Self::Draining | Self::Limit | Self::NotReady => 503,
            Self::DialTimeout | Self::Idle => 504,
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
            Self::ClientGone => "The client went away",
            Self::DialFailed => "The destination could not be reached",
            Self::DialTimeout => "The destination did not answer in time",
            Self::Draining => "The gateway is shutting down",
            Self::HeadTooLarge => "The header section is too large",
            Self::HelloTimeout => "The request or ClientHello did not come in time",
            Self::IdentityConflict => "The connection names more than one workload",
            Self::IdentityUnknown => "The gateway does not know which workload this is",
            Self::Idle => "The connection was idle for too long",
            Self::Limit => "A connection limit was reached",
            Self::NoAddress => "The name has no address",
            Self::NotReady => "The gateway is not ready",
            Self::ParentFailed => "The parent proxy refused or failed",
            Self::Policy(PolicyReason::Allowed) => "Allowed",
            Self::Policy(_) => "Refused by egress policy",
            Self::PolicyChanged => "The policy no longer allows this connection",
            Self::ProtocolNotAllowed => "This protocol is not allowed here",
            Self::ProxyAuthRequired => "Proxy credentials are missing or wrong",
            Self::ResolveFailed => "The name could not be resolved",
            Self::TlsVersion => "TLS 1.2 or later is required",
            Self::TotalTime => "The connection lived too long",
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
            | Self::Draining
            | Self::HeadTooLarge
            | Self::HelloTimeout
            | Self::IdentityConflict
            | Self::IdentityUnknown
            | Self::Limit
            | Self::NotReady
            | Self::Policy(_)
            | Self::PolicyChanged
            | Self::ProtocolNotAllowed
            | Self::ProxyAuthRequired
            | Self::TlsVersion
            | Self::UriTooLong => true,
            Self::BadResponse
            | Self::ClientGone
            | Self::DialFailed
            | Self::DialTimeout
            | Self::Idle
            | Self::NoAddress
            | Self::ParentFailed
            | Self::ResolveFailed
            | Self::TotalTime
            | Self::UpstreamReset => false,
        }
    }
}
