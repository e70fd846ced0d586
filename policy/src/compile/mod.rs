//! Documents in, one immutable set of compiled policies and all problems out.

mod problem;

use std::sync::Arc;

pub use problem::{ObjectRef, Problem, Severity};

use crate::{
    decide::View,
    snapshot::{Snapshot, Workload},
};

/// All compiled policies of one snapshot.
#[derive(Debug)]
pub struct PolicySet {
    revision: String,
}

/// Compiles a snapshot. There is no set when any problem is an error.
pub fn compile(snapshot: &Snapshot) -> (Option<PolicySet>, Vec<Problem>) {
    (
        Some(PolicySet {
            revision: snapshot.revision(),
        }),
        Vec::new(),
    )
}

impl PolicySet {
    /// What decides for one workload. Workloads that the same policies select share a view.
    pub fn view(&self, _workload: &Workload) -> Arc<View> {
        Arc::new(View::default())
    }

    /// The snapshot's revision.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}
