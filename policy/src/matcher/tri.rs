//! Kleene's three values, as the set of values that may still come out.

use crate::reason::Reason;

/// A set of possible values: true, false, hidden. A settled one has a single member. Hidden carries its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tri(u8);

const T: u8 = 1;
const F: u8 = 2;
const H: u8 = 4;
const VALUES: u8 = T | F | H;
const SET: u8 = 8;
const ERROR: u8 = 16;
const ADDRESS: u8 = 32;
const CAUSES: u8 = SET | ERROR | ADDRESS;

impl Tri {
    pub(crate) const TRUE: Self = Self(T);
    pub(crate) const FALSE: Self = Self(F);
    /// May still become true or false.
    pub(crate) const OPEN: Self = Self(T | F);
    /// May still become anything.
    pub(crate) const ANY: Self = Self(T | F | H);
    /// Never seen: content of TLS that is not opened.
    pub(crate) const HIDDEN: Self = Self(H);
    /// Never known: a domain set that is not loaded.
    pub(crate) const SET_UNAVAILABLE: Self = Self(H | SET);
    /// Never known: an expression failed.
    pub(crate) const ERROR: Self = Self(H | ERROR);
    /// Never known: no address was found.
    pub(crate) const NO_ADDRESS: Self = Self(H | ADDRESS);

    pub(crate) fn may_be_true(self) -> bool {
        self.0 & T != 0
    }

    pub(crate) fn may_be_false(self) -> bool {
        self.0 & F != 0
    }

    pub(crate) fn may_be_hidden(self) -> bool {
        self.0 & H != 0
    }

    pub(crate) fn is_true(self) -> bool {
        self.0 & VALUES == T
    }

    pub(crate) fn is_false(self) -> bool {
        self.0 & VALUES == F
    }

    pub(crate) fn is_settled(self) -> bool {
        (self.0 & VALUES).is_power_of_two()
    }

    /// Why it is hidden.
    pub(crate) fn cause(self) -> Reason {
        if self.0 & SET != 0 {
            Reason::SetUnavailable
        } else if self.0 & ERROR != 0 {
            Reason::PolicyError
        } else if self.0 & ADDRESS != 0 {
            Reason::UnresolvedAddress
        } else {
            Reason::Uninspectable
        }
    }

    /// Values that either may have.
    pub(crate) fn either(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True only if both are; false if either is; else hidden.
    pub(crate) fn and(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        if b == T {
            return self;
        }
        let mut out = (a | b) & F | a & b & T;
        if (a & H != 0 && b & (H | T) != 0) || (b & H != 0 && a & (H | T) != 0) {
            out |= H | (a | b) & CAUSES;
        }
        Self(out)
    }

    /// False only if both are; true if either is; else hidden.
    pub(crate) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(crate) fn not(self) -> Self {
        let swapped = (u8::from(self.0 & F != 0) * T) | (u8::from(self.0 & T != 0) * F);
        Self(swapped | self.0 & (H | CAUSES))
    }

    /// True turned into hidden.
    pub(crate) fn veil(self) -> Self {
        if self.may_be_true() {
            Self(self.0 & !T | H)
        } else {
            self
        }
    }

    /// What a Pass or Next makes of the two treatments: where they differ, it is tried both ways.
    pub(crate) fn both_ways(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        let mut out = a & b & (T | F);
        if (a | b) & H != 0 || (a & T != 0 && b & F != 0) || (a & F != 0 && b & T != 0) {
            out |= H | (a | b) & CAUSES;
        }
        Self(out)
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: [Tri; 3] = [Tri::FALSE, Tri::HIDDEN, Tri::TRUE];

    fn members(set: Tri) -> impl Iterator<Item = (usize, Tri)> {
        SINGLE
            .into_iter()
            .enumerate()
            .filter(move |(_, one)| set.0 & one.0 != 0)
    }

    /// Every set against the definition: the minimum over all pairs of members, false < hidden < true.
    #[test]
    fn connectives() {
        for a in (1..8).map(Tri) {
            for b in (1..8).map(Tri) {
                let (mut and, mut or) = (0, 0);
                for (x, left) in members(a) {
                    for (y, right) in members(b) {
                        and |= if x < y { left } else { right }.0;
                        or |= if x > y { left } else { right }.0;
                    }
                }
                assert_eq!(a.and(b), Tri(and), "{a:?} and {b:?}");
                assert_eq!(a.or(b), Tri(or), "{a:?} or {b:?}");
            }
            assert_eq!(a.not().not(), a);
        }
    }

    #[test]
    fn causes_travel_with_hidden_only() {
        assert_eq!(
            Tri::SET_UNAVAILABLE.and(Tri::TRUE).cause(),
            Reason::SetUnavailable
        );
        assert_eq!(Tri::SET_UNAVAILABLE.and(Tri::FALSE), Tri::FALSE);
        assert_eq!(Tri::ERROR.not().cause(), Reason::PolicyError);
        assert_eq!(Tri::HIDDEN.and(Tri::OPEN).cause(), Reason::Uninspectable);
    }

    #[test]
    fn tried_both_ways() {
        assert_eq!(Tri::TRUE.both_ways(Tri::TRUE), Tri::TRUE);
        assert_eq!(Tri::FALSE.both_ways(Tri::FALSE), Tri::FALSE);
        assert_eq!(Tri::TRUE.both_ways(Tri::FALSE), Tri::HIDDEN);
        assert_eq!(Tri::HIDDEN.both_ways(Tri::HIDDEN), Tri::HIDDEN);
    }
}
