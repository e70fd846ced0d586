//! What a source says: synchronous events about single objects.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use crate::api::Kind;
use crate::crd::status::ObjectStatus;
use crate::source::{Finding, Spec};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    Document(Kind),
    Namespace,
    Node,
    Pod,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document(kind) => kind.as_str(),
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
        })
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub watched: Watched,
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.watched, self.name),
            None => write!(f, "{} {}", self.watched, self.name),
        }
    }
}

/// One change.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is there in this form.
    Apply(Object),
    /// The object is gone. Applies whatever its content was.
    Delete(ObjectKey),
    /// The object is there, and its content is not of its type.
    Invalid(Box<Invalid>),
    /// What follows, up to [`Event::Synced`] of the same kind, is everything that there is of the kind: what is not named
    /// until then is gone. Until then everything known stays as it is.
    Reset(Watched),
    /// Everything that there is of the kind has been named.
    Synced(Watched),
}

/// An object as far as the controller needs it.
#[derive(Clone, Debug)]
pub enum Object {
    Document(Box<Document>),
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
}

impl Object {
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Document(document) => document.key.clone(),
            Self::Namespace(namespace) => ObjectKey {
                watched: Watched::Namespace,
                namespace: None,
                name: namespace.name.clone(),
            },
            Self::Node(node) => ObjectKey {
                watched: Watched::Node,
                namespace: None,
                name: node.name.clone(),
            },
            Self::Pod(pod) => ObjectKey {
                watched: Watched::Pod,
                namespace: Some(pod.namespace.clone()),
                name: pod.name.clone(),
            },
        }
    }
}

/// An object of one of our kinds.
#[derive(Clone, Debug)]
pub struct Document {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    /// The version of the store that the object was written at.
    pub version: u64,
    pub spec: Spec,
    /// The same content as it was written, for the form that is kept in the status.
    pub written: Value,
    /// The status as it is stored.
    pub status: ObjectStatus,
    /// The form that was accepted last; it counts where this one is refused.
    pub accepted: Option<AcceptedSpec>,
    /// Someone asked for its removal, and a finalizer keeps it.
    pub deleting: bool,
}

/// The form of an object that was accepted last.
#[derive(Clone, Debug)]
pub struct AcceptedSpec {
    pub generation: i64,
    pub digest: String,
    pub spec: Spec,
}

/// An object whose content is not of its type.
#[derive(Clone, Debug)]
pub struct Invalid {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    pub version: u64,
    pub findings: Vec<Finding>,
    /// What can be read of it: an Enforce policy that was never accepted still isolates the subject that it names.
    pub written: Value,
    pub status: ObjectStatus,
    pub accepted: Option<AcceptedSpec>,
}

/// A namespace and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// A node and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    /// The ranges that its pods get addresses from.
    pub pod_ranges: Vec<String>,
}

/// A pod as far as policy selects by it and gateways recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    /// Absent before it is scheduled.
    pub node: Option<String>,
    /// Its own addresses; none where it uses those of its node.
    pub addresses: Vec<IpAddr>,
    pub host_network: bool,
    /// It ended, and will not run again.
    pub ended: bool,
}

/// Takes events, in order, without waiting.
pub trait Sink: Send {
    fn event(&mut self, event: Event);
}

impl<F: FnMut(Event) + Send> Sink for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}
