//! The one decision function.

mod types;

pub use types::{
    Assurance, Candidate, Decision, Explanation, Outcome, Phase, RuleRef, SelectedPolicy, Shadow,
    ShadowKind, Tier, TlsAction, Verdict,
};

use crate::{evidence::Evidence, reason::Reason};

/// What decides for the workloads that the same policies select.
#[derive(Debug, Default)]
pub struct View {
    selected: Vec<SelectedPolicy>,
}

impl View {
    /// Decides on what is known so far. `now_unix` is the time in seconds since 1970.
    pub fn decide(&self, _evidence: &Evidence<'_>, _now_unix: u64) -> Decision {
        Decision {
            verdict: Verdict::Deny,
            reason: Reason::DefaultDeny,
            rule: None,
            phase: Phase::PreDns,
            tls: TlsAction::Undecided,
            enforced: true,
            alerts: Vec::new(),
            shadow: None,
            assurance: Assurance::NameResolved,
            watch_response: false,
        }
    }

    /// Decides, and says for every rule that could matter why it won, lost or did not match.
    pub fn explain(&self, evidence: &Evidence<'_>, now_unix: u64) -> Explanation {
        Explanation {
            decision: self.decide(evidence, now_unix),
            candidates: Vec::new(),
        }
    }

    /// When the next rule of this view expires.
    pub fn next_expiry(&self, _now_unix: u64) -> Option<u64> {
        None
    }

    /// The policies that select the workload, in order of evaluation.
    pub fn selected_policies(&self) -> &[SelectedPolicy] {
        &self.selected
    }
}
