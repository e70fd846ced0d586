//! What an authority is made from.

use std::path::PathBuf;
use std::time::Duration;

/// Who holds which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// The authority of the files signs leaves.
    Development,
    /// The authority of the files signs a short-lived one for this gateway, which signs leaves.
    PerGateway,
    /// Each leaf is signed by whoever holds the authority. Without a controller that is the authority of the files.
    PerLeaf,
}

/// What bounds an issuing CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The names that policies may inspect; where these are unbounded or too many, leaves are signed one by one as in
    /// [`Custody::PerLeaf`].
    Auto,
    /// Everything but these subtrees of names.
    ExclusionsOnly(Vec<String>),
}

/// The names that policies may inspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// These names and everything below them.
    Bounded(Vec<String>),
    /// Any name.
    Unbounded,
}

/// An authority from files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who holds which key.
    pub custody: Custody,
    /// PEM: the authority's certificate, and those above it.
    pub certificates: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: more roots that clients are to trust, such as the enterprise root, or the next one during a rotation.
    pub trust: Vec<PathBuf>,
    /// What bounds an issuing CA.
    pub bounds: Bounds,
    /// How long an issuing CA is valid.
    pub lifetime: Duration,
}
