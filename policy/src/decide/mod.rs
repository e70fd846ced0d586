//! The one decision function.

mod consistency;
mod engine;
mod explain;
mod opening;
mod outcome;
mod types;
mod view;

#[cfg(test)]
mod tests;

pub use types::{
    Assurance, Candidate, Decision, Explanation, Outcome, Phase, RuleRef, SelectedPolicy, Shadow,
    ShadowKind, Tier, TlsAction, Verdict,
};
pub use view::View;
