//! A naive interpreter of the policy language: it walks the documents for every question, enumerates what may still
//! happen, and shares nothing with the compiler but the documents, the evidence and the names of the reasons.
#![allow(
    dead_code,
    reason = "not every test that includes this interpreter uses all of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

pub mod net;
mod rule;
pub mod text;
mod tiers;
mod truth;

use exitgate_policy::{EnforcementMode, Evidence, Reason, ShadowKind, Snapshot, Verdict, Workload};

pub use tiers::{Leaf, World};

/// What the interpreter says.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub verdict: Verdict,
    /// Everything that may become of the flow, as far as it is known.
    pub leaves: Vec<Leaf>,
    /// Alerts that are reached and match for certain, and those that may.
    pub alerts: Vec<(String, String)>,
    pub possible_alerts: Vec<(String, String)>,
    /// The shadow kinds that the page permits here; empty: none.
    pub shadow: Vec<Option<ShadowKind>>,
    pub enforced: bool,
}

pub fn judge(
    snapshot: &Snapshot,
    workload: &Workload,
    evidence: &Evidence<'_>,
    now: u64,
) -> Judgement {
    let live = World {
        snapshot,
        workload,
        evidence,
        now,
        audit_acts: false,
        reveal: false,
    }
    .outcome();
    let verdict = live.verdict();
    let shadow_world = World {
        snapshot,
        workload,
        evidence,
        now,
        audit_acts: true,
        reveal: false,
    };
    let shadow = shadow_world.outcome().verdict();
    let revealed = World {
        reveal: true,
        ..shadow_world
    }
    .outcome()
    .verdict();
    let mut kinds = Vec::new();
    if verdict == Verdict::Undecided {
        kinds.push(None);
    } else if shadow == Verdict::Undecided {
        // A live verdict may be settled while the shadow still waits for what is then never seen.
        kinds.extend([None, Some(ShadowKind::WouldNeedContent)]);
    } else {
        kinds.push(match (verdict, shadow) {
            (Verdict::Allow, Verdict::Deny) => Some(ShadowKind::WouldDeny),
            (Verdict::Deny, Verdict::Allow) => Some(ShadowKind::WouldAllow),
            _ => None,
        });
        if revealed == Verdict::Undecided {
            kinds.push(Some(ShadowKind::WouldNeedContent));
        }
    }
    let enforcement = &snapshot.settings.enforcement;
    let audited = enforcement.mode == EnforcementMode::Audit
        && enforcement
            .namespace_selector
            .as_ref()
            .is_none_or(|selector| rule::selects(selector, &workload.namespace_labels));
    let never = live.leaves.iter().any(|leaf| leaf.never);
    Judgement {
        verdict,
        alerts: live.alerts,
        possible_alerts: live.possible_alerts,
        leaves: live.leaves.into_iter().collect(),
        shadow: kinds,
        enforced: !audited || never,
    }
}

impl Judgement {
    /// Whether the interpreter can end in this reason.
    pub fn permits(&self, reason: Reason) -> bool {
        self.leaves
            .iter()
            .any(|leaf| leaf.reasons.contains(&reason))
    }
}
