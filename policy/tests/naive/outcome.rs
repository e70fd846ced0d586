//! What may become of a flow.

use std::collections::BTreeSet;

use exitgate_policy::{Reason, Verdict};

/// Policy and rule.
pub type Key = (String, String);

/// One end of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    pub allow: bool,
    /// Let through, but its TLS has to be opened first.
    pub opens: bool,
    /// The reasons that fit; several where the page leaves the choice.
    pub reasons: Vec<Reason>,
    pub rule: Option<Key>,
    /// The part of the floor that nothing opens.
    pub never: bool,
}

/// What may become of a flow.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub leaves: BTreeSet<Leaf>,
    pub alerts: Vec<Key>,
    pub possible_alerts: Vec<Key>,
}

impl Outcome {
    pub fn of(leaf: Leaf) -> Self {
        Self {
            leaves: BTreeSet::from([leaf]),
            ..Self::default()
        }
    }

    pub fn deny(reasons: &[Reason], rule: Option<Key>) -> Self {
        Self::of(Leaf {
            allow: false,
            opens: false,
            reasons: reasons.to_vec(),
            rule,
            never: false,
        })
    }

    pub fn allow(rule: Option<Key>, opens: bool) -> Self {
        Self::of(Leaf {
            allow: true,
            opens,
            reasons: vec![Reason::Allowed],
            rule,
            never: false,
        })
    }

    pub fn may_allow(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.allow)
    }

    pub fn may_deny(&self) -> bool {
        self.leaves.iter().any(|leaf| !leaf.allow)
    }

    pub fn verdict(&self) -> Verdict {
        let opens = self.leaves.iter().any(|leaf| leaf.opens);
        match (self.may_allow(), self.may_deny()) {
            (true, false) if !opens => Verdict::Allow,
            (false, true) => Verdict::Deny,
            _ => Verdict::Undecided,
        }
    }

    /// Either may happen.
    pub fn either(mut self, other: Self) -> Self {
        self.leaves.extend(other.leaves);
        self.alerts.retain(|alert| other.alerts.contains(alert));
        self.possible_alerts.extend(other.possible_alerts);
        self
    }

    /// Both are tried, and one denial denies. What is tried is reached.
    pub fn both(self, other: Self) -> Self {
        let may_allow = self.may_allow() && other.may_allow();
        let mut alerts = self.alerts.clone();
        alerts.extend(other.alerts.clone());
        let mut joined = self.either(other);
        joined.leaves.retain(|leaf| !leaf.allow || may_allow);
        // A denial may name what was tried as its reason.
        joined.leaves = joined
            .leaves
            .into_iter()
            .map(|mut leaf| {
                if !leaf.allow {
                    leaf.reasons
                        .extend([Reason::Uninspectable, Reason::SetUnavailable]);
                }
                leaf
            })
            .collect();
        joined.alerts = alerts;
        joined
    }

    /// Where a hidden Allow could have been the answer, a denial may say so.
    pub fn lenient(mut self) -> Self {
        self.leaves = self
            .leaves
            .into_iter()
            .map(|mut leaf| {
                if !leaf.allow && leaf.rule.is_none() {
                    leaf.reasons
                        .extend([Reason::Uninspectable, Reason::SetUnavailable]);
                }
                leaf
            })
            .collect();
        self
    }
}
