//! The one decision function.

mod consistency;
mod engine;
mod explain;
mod inject;
mod opening;
mod outcome;
mod tiers;
mod types;
mod view;

#[cfg(test)]
mod tests;

pub use types::{
    Assurance, Candidate, Decision, Explanation, Injection, Outcome, Phase, RuleRef,
    SelectedPolicy, Shadow, ShadowKind, Tier, TlsAction, Verdict,
};
pub use view::View;
