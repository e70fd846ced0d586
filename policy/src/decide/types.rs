//! What a decision says.

use std::{fmt, sync::Arc};

use crate::{
    model::{Action, Mode},
    reason::Reason,
};

/// Whether a flow may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may, whatever else becomes known.
    Allow,
    /// It may not, whatever else becomes known.
    Deny,
    /// More must be known.
    Undecided,
}

/// What happens to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsAction {
    /// It is opened.
    Inspect,
    /// It is relayed untouched.
    Relay,
    /// Not known yet.
    Undecided,
}

/// The step of the evidence at which a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Workload, entry, requested name or address, port and time.
    PreDns,
    /// Also addresses, handshake and request head.
    PreRequest,
    /// Also the response head.
    PostResponse,
}

impl Phase {
    /// The phase as records show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreDns => "preDns",
            Self::PreRequest => "preRequest",
            Self::PostResponse => "postResponse",
        }
    }
}

/// Where a rule stands in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Cluster policies before the namespaces'.
    Admin,
    /// Cluster policies after the namespaces'.
    Baseline,
    /// The fleet's default action.
    Default,
    /// What is closed by code.
    Floor,
    /// The policies of the workload's namespace.
    Namespace,
}

impl Tier {
    /// The tier as records show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
            Self::Default => "Default",
            Self::Floor => "Floor",
            Self::Namespace => "Namespace",
        }
    }
}

/// A rule, as records name it. Cloning it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleRef {
    /// Its tier.
    pub tier: Tier,
    /// The kind of its policy.
    pub kind: &'static str,
    /// The namespace of its policy.
    pub namespace: Option<Arc<str>>,
    /// The name of its policy.
    pub policy: Arc<str>,
    /// Its own name.
    pub rule: Arc<str>,
    /// Its action.
    pub action: Action,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(
                f,
                "{} {namespace}/{} rule {}",
                self.kind, self.policy, self.rule
            ),
            None => write!(f, "{} {} rule {}", self.kind, self.policy, self.rule),
        }
    }
}

/// How an Audit policy would have changed a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShadowKind {
    /// It would have been let through.
    WouldAllow,
    /// It would have been refused.
    WouldDeny,
    /// That depends on bytes that were not seen.
    WouldNeedContent,
}

impl ShadowKind {
    /// The kind as records show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WouldAllow => "would_allow",
            Self::WouldDeny => "would_deny",
            Self::WouldNeedContent => "would_need_content",
        }
    }
}

/// The difference that Audit policies, or a fleet that only audits, would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Which difference.
    pub kind: ShadowKind,
    /// The rule that makes it; none where it is the absence of one.
    pub rule: Option<RuleRef>,
    /// The reason of the shadow's own decision.
    pub reason: Reason,
}

/// How much a decision vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Assurance {
    /// Only an address was judged.
    AddressOnly,
    /// The name was resolved and dialled by the gateway; content was not seen.
    NameResolved,
    /// Content was seen.
    Inspected,
}

impl Assurance {
    /// The assurance as records show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddressOnly => "AddressOnly",
            Self::NameResolved => "NameResolved",
            Self::Inspected => "Inspected",
        }
    }
}

/// What is decided, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whether the flow may go on.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Option<RuleRef>,
    /// The latest step whose evidence was there.
    pub phase: Phase,
    /// What happens to TLS.
    pub tls: TlsAction,
    /// false: the fleet only audits here, and lets a Deny through.
    pub enforced: bool,
    /// Alert rules that match for certain on what is known.
    pub alerts: Vec<RuleRef>,
    /// What Audit policies would have changed.
    pub shadow: Option<Shadow>,
    /// How much the decision vouches for.
    pub assurance: Assurance,
    /// The verdict is settled, but an Alert or Audit rule still wants the response head.
    pub watch_response: bool,
    /// The credentials to add, for a request that is seen; one per header.
    pub inject: Vec<Injection>,
    /// A response body of undeclared length must be cut after this many bytes.
    pub body_limit: Option<u64>,
}

impl Decision {
    /// Whether the flow goes on: allowed, or denied where the fleet only audits. The part of the floor that nothing opens
    /// always holds.
    pub fn lets_through(&self) -> bool {
        match self.verdict {
            Verdict::Allow => true,
            Verdict::Deny => !self.enforced,
            Verdict::Undecided => false,
        }
    }
}

/// A credential that is added to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Injection {
    /// The namespace of the EgressCredential.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The header that is set or replaced, in lower case.
    pub header: Arc<str>,
}

/// A policy that selects a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedPolicy {
    /// Its tier.
    pub tier: Tier,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it acts.
    pub mode: Mode,
    /// How many rules it has.
    pub rules: usize,
}

/// How a rule fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Past its `expiresAt`.
    Expired,
    /// All its conditions hold.
    Matched,
    /// A condition does not hold.
    NotMatched,
    /// Some conditions are not known.
    Unknown,
}

/// One rule in an explanation.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The rule.
    pub rule: RuleRef,
    /// Whether its policy acts.
    pub mode: Mode,
    /// How it fared.
    pub outcome: Outcome,
    /// Whether it made the decision.
    pub won: bool,
    /// What did not hold, is not known, or came first.
    pub why: String,
}

/// A decision with every rule that could matter.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The rules, in order of evaluation.
    pub candidates: Vec<Candidate>,
}
