//! The policy language of Exitgate: documents, compiler and decision.
//!
//! Pure: no input or output, no clock, no threads of its own. The caller brings a [`Snapshot`] of documents, compiles
//! it once into a [`PolicySet`], takes the [`View`] of a workload and asks it for a [`Decision`] on the [`Evidence`]
//! gathered so far. Anything that is unknown, missing or wrong denies.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice))]

pub mod address;
pub mod compile;
pub mod decide;
pub mod evidence;
mod floor;
pub mod index;
mod matcher;
pub mod model;
pub mod name;
pub mod path;
pub mod pattern;
pub mod reason;
pub mod resource;
pub mod secret;
pub mod snapshot;
pub mod time;

pub use compile::{InspectedNames, ObjectRef, PolicySet, Problem, Severity, Subtree, compile};
pub use decide::{
    Assurance, Candidate, Decision, Explanation, Injection, Outcome, Phase, RuleRef,
    SelectedPolicy, Shadow, ShadowKind, Tier, TlsAction, Verdict, View,
};
pub use evidence::{
    Attr, Entry, Evidence, Headers, Hello, Protocol, RequestHead, ResponseHead, TlsVersion,
};
pub use index::{NameSet, NameSetBuilder, NameSetError};
pub use model::*;
pub use name::{Authority, Host, Name, NameError};
pub use path::{PathError, RequestPath};
pub use pattern::{HostPattern, PatternError};
pub use reason::Reason;
pub use resource::{Digest, Feature, Resource, ResourceError, ResourceName, StandIn, snapshot_of};
pub use secret::{SecretError, SecretValue};
pub use snapshot::{
    CredentialResource, PolicyResource, SetContent, SetResource, Snapshot, Workload,
};
