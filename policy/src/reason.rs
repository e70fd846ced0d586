//! Why a decision is what it is.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $code:literal,)*) => {
        /// Why a decision is what it is: a closed list, shown to clients and in records.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code in records and headers.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

reasons! {
    /// A rule or the fleet's default lets it through.
    Allowed => "allowed",
    /// A cluster, node or Service range that nothing opens for this flow.
    ClusterInternal => "cluster-internal",
    /// No policy decides, and the fleet's default is Deny.
    DefaultDeny => "default-deny",
    /// An IPv6 address that carries an IPv4 address which is closed.
    EmbeddedIpv4 => "embedded-ipv4",
    /// A credential that has to be added does not exist.
    CredentialUnavailable => "credential-unavailable",
    /// Two different credentials would have to be added in one header.
    InjectConflict => "inject-conflict",
    /// A credential would have to be added where that is not possible.
    InjectImpossible => "inject-impossible",
    /// A link-local address.
    LinkLocal => "link-local",
    /// A loopback address or a name for it.
    Loopback => "loopback",
    /// A cloud metadata address.
    Metadata => "metadata",
    /// A multicast address.
    Multicast => "multicast",
    /// The names that the flow shows are not the same.
    NameMismatch => "name-mismatch",
    /// Policies select the workload and no rule of theirs allows this.
    NoRule => "no-rule",
    /// A non-public range that nothing opens for this flow.
    NonPublic => "non-public",
    /// An expression could not be evaluated.
    PolicyError => "policy-error",
    /// A policy needs what this gateway does not have, and everything is denied in its place.
    PolicyUnsupported => "policy-unsupported",
    /// A shown port is not the connection's.
    PortMismatch => "port-mismatch",
    /// A Deny rule matches.
    RuleDenied => "rule-denied",
    /// The gateway's own listener.
    SelfAddress => "self",
    /// A domain set is not loaded.
    SetUnavailable => "set-unavailable",
    /// A TLS handshake without a server name.
    SniMissing => "sni-missing",
    /// The verdict depends on what cannot be seen.
    Uninspectable => "uninspectable",
    /// The verdict depends on an address that was not found.
    UnresolvedAddress => "unresolved-address",
    /// The unspecified address.
    Unspecified => "unspecified",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
