//! Decisions with every rule that could matter.

use super::{
    types::{Candidate, Explanation, Outcome},
    view::{Lane, View},
};
use crate::{
    evidence::Evidence,
    index::Ids,
    matcher::{Context, Matcher, Side, Tri},
    model::{Action, Mode},
};

/// In a view of up to this many rules all are explained, else the candidates.
const FEW: u32 = 500;

impl View {
    /// Decides, and says for every rule that could matter why it won, lost or did not match.
    pub fn explain(&self, evidence: &Evidence<'_>, now_unix: u64) -> Explanation {
        let decision = self.decide(evidence, now_unix);
        let context = self.settle(evidence, now_unix).context;
        let mut ids = Ids::new();
        if self.rule_count() <= FEW {
            ids.extend(0..self.rule_count());
        } else {
            self.candidates(&context, &mut ids);
        }
        let mut candidates = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((policy, rule)) = self.rule(id) else {
                continue;
            };
            let mode = if self.takes_part(policy, Lane::Live) {
                Mode::Enforce
            } else {
                Mode::Audit
            };
            let side = if matches!(rule.action, Action::Alert | Action::Deny) {
                Side::DENY
            } else {
                Side::ALLOW
            };
            let won = mode == Mode::Enforce && decision.rule.as_ref() == Some(&rule.reference);
            let (outcome, why) = if rule.expired(now_unix) {
                (Outcome::Expired, "it has expired".to_owned())
            } else {
                let value = rule.matcher.matches(&context, side);
                if value.is_true() {
                    let why = match (won, mode) {
                        (true, _) => "it decided",
                        (false, Mode::Audit) => "its policy is in mode Audit",
                        (false, Mode::Enforce) if rule.action == Action::Alert => "it is recorded",
                        (false, Mode::Enforce) => "another rule or tier decided",
                    };
                    (Outcome::Matched, why.to_owned())
                } else if value.is_false() {
                    (
                        Outcome::NotMatched,
                        fields(
                            &rule.matcher,
                            &context,
                            side,
                            Tri::is_false,
                            "does not hold",
                        ),
                    )
                } else {
                    let unknown = |value: Tri| !value.is_true() && !value.is_false();
                    (
                        Outcome::Unknown,
                        fields(&rule.matcher, &context, side, unknown, "is not known"),
                    )
                }
            };
            candidates.push(Candidate {
                rule: rule.reference.clone(),
                mode,
                outcome,
                won,
                why,
            });
        }
        Explanation {
            decision,
            candidates,
        }
    }
}

/// The fields of a rule whose value is of this kind.
fn fields(
    matcher: &Matcher,
    context: &Context<'_>,
    side: Side,
    wanted: impl Fn(Tri) -> bool,
    what: &str,
) -> String {
    let found: Vec<&str> = matcher
        .each(context, side)
        .into_iter()
        .filter(|(_, value)| wanted(*value))
        .map(|(field, _)| field)
        .collect();
    if found.is_empty() {
        format!("a condition {what}")
    } else {
        format!("{} {what}", found.join(", "))
    }
}
