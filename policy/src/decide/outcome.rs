//! What may still come out of an evaluation.

use super::types::Tier;
use crate::reason::Reason;

/// What makes an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Win {
    /// The number of the rule in its view; none for defaults and for the floor.
    pub(super) rule: Option<u32>,
    pub(super) reason: Reason,
    pub(super) tier: Tier,
}

/// How good an outcome is for the flow; what each kind of Allow asks of the names that the flow shows is less and less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deny,
    /// All names must be the same, and there must be a server name.
    Allow,
    /// `sni: Absent`: there need be no server name.
    AllowWithoutSni,
    /// `protocol: TCP`: whatever the bytes are.
    AllowRaw,
}

const KINDS: [Kind; 4] = [
    Kind::Deny,
    Kind::Allow,
    Kind::AllowWithoutSni,
    Kind::AllowRaw,
];

/// The set of outcomes that are still possible, each with what makes it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes([Option<Win>; 4]);

impl Outcomes {
    pub(super) fn only(kind: Kind, win: Win) -> Self {
        let mut out = Self::default();
        out.add(kind, win);
        out
    }

    /// Makes an outcome possible; what made it possible before stays.
    pub(super) fn add(&mut self, kind: Kind, win: Win) {
        if let Some(slot) = self.0.get_mut(kind as usize) {
            slot.get_or_insert(win);
        }
    }

    /// Makes an outcome possible, for this cause whatever it was before.
    pub(super) fn set(&mut self, kind: Kind, win: Win) {
        if let Some(slot) = self.0.get_mut(kind as usize) {
            *slot = Some(win);
        }
    }

    pub(super) fn get(&self, kind: Kind) -> Option<Win> {
        self.0.get(kind as usize).copied().flatten()
    }

    pub(super) fn remove(&mut self, kind: Kind) -> Option<Win> {
        self.0.get_mut(kind as usize).and_then(Option::take)
    }

    /// Either of two evaluations. The later one's causes stay: they are what comes out if nothing that is open matches.
    pub(super) fn or(mut self, later: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(later.0) {
            *mine = theirs.or(*mine);
        }
        self
    }

    /// The worse of two evaluations, whichever come out.
    pub(super) fn worse(self, other: Self) -> Self {
        let mut out = Self::default();
        for left in KINDS {
            for right in KINDS {
                if let (Some(one), Some(two)) = (self.get(left), other.get(right)) {
                    out.add(left.min(right), if left <= right { one } else { two });
                }
            }
        }
        out
    }

    pub(super) fn may_deny(&self) -> bool {
        self.get(Kind::Deny).is_some()
    }

    pub(super) fn may_allow(&self) -> bool {
        self.allowed().is_some()
    }

    /// What allows, the least demanding kind first.
    pub(super) fn allowed(&self) -> Option<Win> {
        self.get(Kind::AllowRaw)
            .or(self.get(Kind::AllowWithoutSni))
            .or(self.get(Kind::Allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn win(rule: u32) -> Win {
        Win {
            rule: Some(rule),
            reason: Reason::Allowed,
            tier: Tier::Admin,
        }
    }

    #[test]
    fn the_worse_of_two() {
        let allow = Outcomes::only(Kind::Allow, win(1));
        let raw = Outcomes::only(Kind::AllowRaw, win(2));
        let deny = Outcomes::only(Kind::Deny, win(3));
        assert_eq!(allow.worse(raw).get(Kind::Allow), Some(win(1)));
        assert_eq!(raw.worse(allow).get(Kind::AllowRaw), None);
        assert_eq!(raw.worse(deny).get(Kind::Deny), Some(win(3)));
        assert!(!raw.worse(deny).may_allow());
        let open = raw.or(deny);
        let worse = open.worse(allow);
        assert!(
            worse.may_deny()
                && worse.get(Kind::Allow).is_some()
                && worse.get(Kind::AllowRaw).is_none()
        );
    }
}
