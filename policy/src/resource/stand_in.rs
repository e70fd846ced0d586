//! What takes the place of a policy that a gateway cannot use.

use serde::{Deserialize, Serialize};

use super::ResourceName;
use crate::{
    model::{Action, ClusterSubject, Mode, PolicyTier, Rule, Subject, TlsMode},
    snapshot::PolicyResource,
};

/// What takes the place of a policy that a gateway cannot use and of which it has no earlier version. It denies with
/// [`Reason::PolicyUnsupported`](crate::Reason::PolicyUnsupported). One in mode Audit changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum StandIn {
    /// For a ClusterEgressPolicy: denies its subject, at the policy's own place in its tier.
    Cluster {
        /// The name of the policy.
        name: String,
        /// Whether the policy acts.
        #[serde(default)]
        mode: Mode,
        /// Its tier.
        tier: PolicyTier,
        /// Its position in the tier.
        priority: i64,
        /// Whom it selects.
        #[serde(default)]
        subject: ClusterSubject,
    },
    /// For an EgressPolicy: isolates its subject, so that only what other policies allow goes through.
    Namespaced {
        /// The namespace of the policy.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether the policy acts.
        #[serde(default)]
        mode: Mode,
        /// Whom it selects.
        #[serde(default)]
        subject: Subject,
        /// Whether the policy has a rule that can keep what other policies allow from going through, such as a Deny. What
        /// it would keep is not known, and everything is denied to its subject, whatever other policies allow.
        #[serde(default)]
        restricts: bool,
    },
}

/// Whether a rule can keep what other rules allow from going through: by a Deny, by having TLS opened, by a credential.
fn restricts(rule: &Rule) -> bool {
    rule.action == Action::Deny
        || rule.inject.is_some()
        || rule
            .tls
            .as_ref()
            .is_some_and(|tls| tls.mode == TlsMode::Inspect)
}

impl StandIn {
    /// What stands in for this policy.
    pub fn of(policy: &PolicyResource) -> Self {
        match policy {
            PolicyResource::Cluster { name, spec } => Self::Cluster {
                name: name.clone(),
                mode: spec.mode,
                tier: spec.tier,
                priority: spec.priority,
                subject: spec.subject.clone(),
            },
            PolicyResource::Namespaced {
                namespace,
                name,
                spec,
            } => Self::Namespaced {
                namespace: namespace.clone(),
                name: name.clone(),
                mode: spec.mode,
                subject: spec.subject.clone(),
                restricts: spec.rules.iter().any(restricts),
            },
        }
    }

    /// Where nothing is known but the name: everything that a policy of that name could select is denied everything.
    /// None for what is no policy.
    pub fn widest(name: &ResourceName) -> Option<Self> {
        match name {
            ResourceName::ClusterPolicy(name) => Some(Self::Cluster {
                name: name.clone(),
                mode: Mode::Enforce,
                tier: PolicyTier::Admin,
                priority: 0,
                subject: ClusterSubject::default(),
            }),
            ResourceName::Policy(namespace, name) => Some(Self::Namespaced {
                namespace: namespace.clone(),
                name: name.clone(),
                mode: Mode::Enforce,
                subject: Subject::default(),
                restricts: true,
            }),
            ResourceName::Settings(_)
            | ResourceName::Standalone
            | ResourceName::Set(..)
            | ResourceName::Credential(..)
            | ResourceName::Workload(..) => None,
        }
    }

    /// The policy that it stands in for.
    pub fn name(&self) -> ResourceName {
        match self {
            Self::Cluster { name, .. } => ResourceName::ClusterPolicy(name.clone()),
            Self::Namespaced {
                namespace, name, ..
            } => ResourceName::Policy(namespace.clone(), name.clone()),
        }
    }

    /// Whether the policy acts.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Cluster { mode, .. } | Self::Namespaced { mode, .. } => *mode,
        }
    }

    /// The JSON that travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps with text keys only, which JSON can always hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave for the policy `name`. What cannot be read, or is for another policy,
    /// becomes the widest.
    pub fn read(name: &ResourceName, bytes: &[u8]) -> Option<Self> {
        let widest = Self::widest(name)?;
        Some(
            serde_json::from_slice::<Self>(bytes)
                .ok()
                .filter(|stand_in| stand_in.name() == *name)
                .unwrap_or(widest),
        )
    }
}
