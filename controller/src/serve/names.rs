//! The names that the gateways of a scope can need to look into.

use std::collections::HashMap;
use std::sync::Arc;

use exitgate_policy::{InspectedNames, Snapshot};
use parking_lot::Mutex;
use tonic::Status;

use crate::index::Manifest;

const MAX_KEPT: usize = 256;

/// What a manifest says about names, by its revision.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, Arc<Known>>>);

#[derive(Debug)]
pub(super) struct Known {
    pub(super) names: InspectedNames,
    pub(super) snapshot: Snapshot,
}

impl Names {
    /// Compiles the manifest, unless that was done before.
    pub(super) async fn of(&self, manifest: Arc<Manifest>) -> Result<Arc<Known>, Status> {
        let revision = manifest.revision.to_string();
        if let Some(known) = self.0.lock().get(&revision) {
            return Ok(Arc::clone(known));
        }
        let made = tokio::task::spawn_blocking(move || known(&manifest)).await;
        let known = Arc::new(made.map_err(|_| Status::internal("the policies cannot be read"))??);
        let mut kept = self.0.lock();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(revision, Arc::clone(&known));
        Ok(known)
    }
}

fn known(manifest: &Manifest) -> Result<Known, Status> {
    let resources = manifest.resources.iter().map(|part| &part.resource);
    let (mut snapshot, _) = exitgate_policy::snapshot_of(resources);
    // Nothing of what follows depends on them.
    snapshot.workloads.clear();
    let (set, problems) = exitgate_policy::compile(&snapshot);
    let set = set.ok_or_else(|| {
        let first = problems.first().map(ToString::to_string);
        Status::internal(first.unwrap_or_default())
    })?;
    let names = set.inspected_names();
    snapshot.policies.clear();
    snapshot.sets.clear();
    Ok(Known { names, snapshot })
}
