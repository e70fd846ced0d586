//! The documents of `exitgate.dev/v1alpha1` as people write them. Nothing here is checked beyond its shape: the
//! compiler does that, so that every problem comes with its field path.

mod conditions;
mod gateway;
mod policy;
mod scalar;
mod set;

pub use conditions::{
    Conditions, From, HeaderMatch, Http, LengthRange, Presence, Response, Sni, TlsConditions,
    TlsFloor, To, ToProtocol,
};
pub use gateway::{
    ClientCertificate, DefaultAction, Dns, EgressGatewaySpec, Enforcement, EnforcementMode,
    ExemptTls, Inspection, Limits, Listeners, Overflow, Parent, ProxyTls, ProxyUser, Ranges,
    RecordClass, RecordSink, RecordVerdict, Scope, SinkType, SourceMatch, Timeouts,
    WorkloadMapping,
};
pub use policy::{
    Action, ClusterEgressPolicySpec, ClusterSubject, CredentialRef, EgressPolicySpec, Inject, Mode,
    PolicyTier, Rule, RuleTls, Subject, TlsMode,
};
pub use scalar::{DurationText, IntOrText, LabelOperator, LabelRequirement, LabelSelector};
pub use set::{ClusterDomainSetSpec, DomainSetSpec, Feed};
