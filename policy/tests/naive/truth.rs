//! Kleene's logic. What is not known yet is the set of what it may become; matchers are not correlated.

use std::ops::Not;

/// What a matcher or a whole rule may turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth(u8);

const NO: u8 = 1;
const YES: u8 = 2;
const CONTENT: u8 = 4;
const SET: u8 = 8;
const SPLIT: u8 = 16;
const HIDDEN: u8 = CONTENT | SET | SPLIT;
const EACH: [u8; 5] = [NO, YES, CONTENT, SET, SPLIT];

impl Truth {
    pub const NO: Self = Self(NO);
    pub const YES: Self = Self(YES);
    /// Known, absent or hidden one day.
    pub const PENDING: Self = Self(NO | YES | CONTENT);
    /// Inside TLS that is not opened, or otherwise never seen.
    pub const CONTENT: Self = Self(CONTENT);
    /// A domain set that is not loaded.
    pub const SET: Self = Self(SET);

    pub fn of(value: bool) -> Self {
        if value { Self::YES } else { Self::NO }
    }

    pub fn may_hold(self) -> bool {
        self.0 & YES != 0
    }

    pub fn may_fail(self) -> bool {
        self.0 & NO != 0
    }

    pub fn may_stay_hidden(self) -> bool {
        self.0 & HIDDEN != 0
    }

    pub fn may_lack_a_set(self) -> bool {
        self.0 & SET != 0
    }

    /// Content that stays hidden as if it might still be seen.
    pub fn revealed(self) -> Self {
        if self.0 & CONTENT == 0 {
            self
        } else {
            Self(self.0 | NO | YES)
        }
    }

    /// What stays hidden counts as false.
    pub fn or_false(self) -> Self {
        if self.may_stay_hidden() {
            Self(self.0 & !HIDDEN | NO)
        } else {
            self
        }
    }

    fn combine(self, other: Self, one: impl Fn(u8, u8) -> u8) -> Self {
        let mut all = 0;
        for left in EACH {
            for right in EACH {
                if self.0 & left != 0 && other.0 & right != 0 {
                    all |= one(left, right);
                }
            }
        }
        Self(all)
    }

    pub fn and(self, other: Self) -> Self {
        self.combine(other, |left, right| match (left, right) {
            (NO, _) | (_, NO) => NO,
            (YES, right) => right,
            (left, YES) => left,
            (left, right) => left | right,
        })
    }

    pub fn or(self, other: Self) -> Self {
        !((!self).and(!other))
    }

    pub fn all(values: impl IntoIterator<Item = Self>) -> Self {
        values.into_iter().fold(Self::YES, Self::and)
    }

    pub fn any(values: impl IntoIterator<Item = Self>) -> Self {
        values.into_iter().fold(Self::NO, Self::or)
    }

    /// The value of a rule that is read both as an Allow and as a Deny.
    pub fn both_treatments(as_allow: Self, as_deny: Self) -> Self {
        as_allow.combine(as_deny, |allow, deny| match (allow, deny) {
            (NO, NO) => NO,
            (YES, YES) => YES,
            (NO | YES, NO | YES) => SPLIT,
            (NO | YES, hidden) | (hidden, NO | YES) => hidden,
            (one, two) => one | two,
        })
    }
}

impl Not for Truth {
    type Output = Self;
    fn not(self) -> Self {
        let mut other = self.0 & HIDDEN;
        if self.0 & NO != 0 {
            other |= YES;
        }
        if self.0 & YES != 0 {
            other |= NO;
        }
        Self(other)
    }
}
