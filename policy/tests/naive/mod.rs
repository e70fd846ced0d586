//! A naive interpreter of the policy language: it walks the documents for every question, enumerates what may still
//! happen, and shares nothing with the compiler but the documents, the evidence and the names of the reasons.
#![allow(
    dead_code,
    reason = "not every test that includes this interpreter uses all of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

mod floor;
mod inject;
mod names;
pub mod net;
mod outcome;
mod rule;
mod selected;
pub mod text;
mod tiers;
mod truth;

use exitgate_policy::{
    Attr, EnforcementMode, Evidence, Inspection, Protocol, Reason, ShadowKind, Snapshot, TlsAction,
    Verdict, Workload,
};

use outcome::{Key, Leaf, Outcome};
use rule::{Inside, closed_tls};
use tiers::World;

/// What the interpreter says.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub verdict: Verdict,
    pub tls: TlsAction,
    /// Everything that may become of the flow, as far as it is known.
    pub leaves: Vec<Leaf>,
    /// Alerts that are reached and match for certain, and those that may.
    pub alerts: Vec<Key>,
    pub possible_alerts: Vec<Key>,
    /// The shadow kinds that the page permits here; empty: none.
    pub shadow: Vec<Option<ShadowKind>>,
    /// Credentials that the request gets, with their headers.
    pub inject: Vec<(String, String)>,
    pub enforced: bool,
}

/// The verdict, whether or not TLS has to be opened for it.
fn bare(outcome: &Outcome) -> Verdict {
    match (outcome.may_allow(), outcome.may_deny()) {
        (true, false) => Verdict::Allow,
        (false, true) => Verdict::Deny,
        _ => Verdict::Undecided,
    }
}

pub fn judge(
    snapshot: &Snapshot,
    workload: &Workload,
    evidence: &Evidence<'_>,
    now: u64,
) -> Judgement {
    let enforcement = &snapshot.settings.enforcement;
    let audited = enforcement.mode == EnforcementMode::Audit
        && enforcement
            .namespace_selector
            .as_ref()
            .is_none_or(|selector| rule::selects(selector, &workload.namespace_labels));
    let exempt = |name: &str| {
        let patterns = &snapshot.settings.tls.exempt;
        patterns
            .iter()
            .any(|pattern| text::host_matches(pattern, name))
    };
    let closed = snapshot.settings.tls.inspection == Inspection::Off
        || audited
        || matches!(evidence.request, Attr::Hidden);
    let inside = match evidence.name {
        _ if closed => Inside::Sealed,
        Attr::Known(name) if exempt(name.as_str()) => Inside::Sealed,
        Attr::Known(_) => Inside::Open,
        Attr::Pending => Inside::Unclear,
        Attr::Absent | Attr::Hidden => Inside::Sealed,
    };
    let mut world = World {
        snapshot,
        workload,
        evidence,
        now,
        audit_acts: false,
        audited,
        inside,
        reveal: false,
    };
    let mut live = world.outcome();
    let openable = closed_tls(evidence) && inside == Inside::Open;
    let only_inside_missing = !evidence.hello.is_pending() && !evidence.address.is_pending();
    let tls = match (evidence.protocol, live.verdict()) {
        (Attr::Pending, _) => TlsAction::Undecided,
        (Attr::Known(Protocol::Tls), _) if evidence.inspected => TlsAction::Inspect,
        (Attr::Known(Protocol::Tls), Verdict::Undecided) if openable && only_inside_missing => {
            TlsAction::Inspect
        }
        (Attr::Known(Protocol::Tls), Verdict::Undecided) if inside != Inside::Sealed => {
            TlsAction::Undecided
        }
        (Attr::Known(Protocol::Tls), Verdict::Allow) if openable => {
            // Nothing asks for what is inside: it is never seen.
            world.inside = Inside::Sealed;
            live = world.outcome();
            TlsAction::Relay
        }
        _ => TlsAction::Relay,
    };
    let verdict = live.verdict();
    let never = live.leaves.iter().any(|leaf| leaf.never);
    Judgement {
        verdict,
        tls,
        alerts: live.alerts,
        possible_alerts: live.possible_alerts,
        leaves: live.leaves.into_iter().collect(),
        shadow: shadows(world, verdict, openable),
        inject: if verdict == Verdict::Allow {
            world.injections()
        } else {
            Vec::new()
        },
        enforced: !audited || never,
    }
}

/// The shadow kinds that the page permits.
fn shadows(live: World<'_>, verdict: Verdict, openable: bool) -> Vec<Option<ShadowKind>> {
    if verdict == Verdict::Undecided {
        return vec![None];
    }
    let world = World {
        audit_acts: true,
        ..live
    };
    let mut kinds = Vec::new();
    let shadow = if openable {
        // In earnest TLS would have been opened where they ask for it.
        let open = World {
            inside: Inside::Open,
            ..world
        }
        .outcome();
        if open.verdict() == Verdict::Allow {
            let sealed = World {
                inside: Inside::Sealed,
                ..world
            };
            bare(&sealed.outcome())
        } else {
            bare(&open)
        }
    } else {
        let revealed = World {
            reveal: true,
            ..world
        };
        if bare(&revealed.outcome()) == Verdict::Undecided {
            kinds.push(Some(ShadowKind::WouldNeedContent));
        }
        bare(&world.outcome())
    };
    if shadow == Verdict::Undecided {
        // A live verdict may be settled while the shadow still waits for what is then never seen.
        return vec![None, Some(ShadowKind::WouldNeedContent)];
    }
    kinds.push(match (verdict, shadow) {
        (Verdict::Allow, Verdict::Deny) => Some(ShadowKind::WouldDeny),
        (Verdict::Deny, Verdict::Allow) => Some(ShadowKind::WouldAllow),
        _ => None,
    });
    kinds
}

impl Judgement {
    /// Whether the interpreter can end in this reason.
    pub fn permits(&self, reason: Reason) -> bool {
        self.leaves
            .iter()
            .any(|leaf| leaf.reasons.contains(&reason))
    }
}
