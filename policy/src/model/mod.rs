//! The documents of `exitgate.dev/v1alpha1` as people write them. Nothing here is checked beyond its shape: the
//! compiler does that, so that every problem comes with its field path.

mod conditions;
mod credential;
mod gateway;
mod policy;
mod scalar;
mod set;
mod tls;

pub use conditions::{
    Conditions, EcsSelector, From, HeaderMatch, Http, LengthRange, Presence, Response, Sni,
    TlsConditions, TlsFloor, To, ToProtocol,
};
pub use credential::{CredentialSource, CredentialSpec, SecretKeyRef};
pub use gateway::{
    ClientCertificate, DefaultAction, Dns, EgressGatewaySpec, Enforcement, EnforcementMode,
    IdentitySettings, Limits, Listeners, Overflow, Parent, ProxyTls, ProxyUser, Ranges,
    RecordClass, RecordSink, RecordVerdict, Scope, SinkType, SourceAddresses, SourceMatch,
    Timeouts, WorkloadMapping,
};
pub use policy::{
    Action, ClusterEgressPolicySpec, ClusterSubject, CredentialRef, EgressPolicySpec, Inject, Mode,
    PolicyTier, Rule, RuleTls, Subject, TlsMode,
};
pub use scalar::{DurationText, IntOrText, LabelOperator, LabelRequirement, LabelSelector};
pub use set::{ClusterDomainSetSpec, DomainSetSpec, Feed};
pub use tls::{
    Custody, Inspection, MAX_AUTHORITY_LIFETIME, NameConstraints, TlsAuthority, TlsSettings,
    TlsUpstream, UpstreamCertificate,
};
