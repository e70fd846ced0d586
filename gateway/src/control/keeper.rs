//! What is held, put in force and stored, in one place. Everything here may wait for a disk or a compiler: it runs on a
//! thread of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use exitgate_policy::{Digest, ResourceName, Severity, Snapshot};
use exitgate_runtime::clock;

use super::held::{Fault, Held, NotTaken, Refusal, Update, Upsert};
use super::metrics::{Counts, gauge};
use super::store::{self, Store, StoreError};
use super::{PutError, Target, artifacts};
use crate::live::{ApplyError, Secrets};
use crate::server::StartError;

/// The file is marked as current at most this often.
const TOUCH: u64 = 60;

/// What is held, put in force and stored.
pub(super) struct Keeper {
    pub(super) held: Held,
    target: Arc<dyn Target>,
    store: Option<Store>,
    secrets: Secrets,
    keys: Vec<Vec<u8>>,
    signature: Vec<u8>,
    counts: Counts,
    max_age: Option<Duration>,
    /// Seconds since 1970.
    current_at: Option<u64>,
    touched: u64,
    /// The revision that is in force at the target.
    in_force: Option<String>,
}

/// What the controller is told about an update.
pub(super) struct Told {
    pub(super) revision: String,
    pub(super) refusals: Vec<Refusal>,
}

/// What of a snapshot stands in the way.
fn faults(error: PutError, snapshot_settings: &str) -> Vec<Fault> {
    let settings = |reason: String| {
        vec![Fault {
            name: Some(ResourceName::Settings(snapshot_settings.to_owned())),
            reason,
        }]
    };
    match error {
        PutError::Apply(ApplyError::Policy(problems))
        | PutError::Start(StartError::Apply(ApplyError::Policy(problems))) => problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| Fault {
                name: ResourceName::of_object(&problem.object),
                reason: format!("{}: {}", problem.path, problem.message),
            })
            .collect(),
        PutError::Apply(error) => settings(error.to_string()),
        PutError::Start(error) => settings(error.to_string()),
    }
}

fn put(
    target: &Arc<dyn Target>,
    secrets: &Secrets,
    in_force: &mut Option<String>,
    snapshot: Option<Snapshot>,
    revision: &str,
) -> Result<(), Vec<Fault>> {
    let Some(snapshot) = snapshot else {
        target.withdraw("the controller has no EgressGateway for this gateway");
        *in_force = None;
        return Ok(());
    };
    // What is in force already needs no compiling.
    if in_force.as_deref() == Some(revision) {
        return Ok(());
    }
    let gateway = snapshot.gateway.clone();
    target
        .put(snapshot, revision, secrets)
        .map_err(|error| faults(error, &gateway))?;
    *in_force = Some(revision.to_owned());
    Ok(())
}

impl Keeper {
    pub(super) fn new(
        target: Arc<dyn Target>,
        store: Option<Store>,
        counts: Counts,
        max_age: Option<Duration>,
    ) -> Self {
        Self {
            held: Held::default(),
            target,
            store,
            secrets: Secrets::default(),
            keys: Vec::new(),
            signature: Vec::new(),
            counts,
            max_age,
            current_at: None,
            touched: 0,
            in_force: None,
        }
    }

    pub(super) fn artifacts(&self) -> Option<std::path::PathBuf> {
        self.store.as_ref().map(Store::artifacts)
    }

    /// Puts in force what was stored. Where that cannot be, nothing is in force until the controller is reached.
    pub(super) fn load(&mut self) {
        if let Err(why) = self.try_load() {
            tracing::error!(error = %why, "the stored snapshot is not used: everything is denied until the controller is reached");
            self.held = Held::default();
            self.in_force = None;
            self.target
                .withdraw(&format!("the stored snapshot is not used: {why}"));
        }
    }

    fn try_load(&mut self) -> Result<(), String> {
        let Some(store) = &self.store else {
            self.target.withdraw("no controller has been reached yet");
            return Ok(());
        };
        let told = |error: StoreError| error.to_string();
        self.keys = store.load_keys().map_err(told)?;
        let Some(loaded) = store.load(&self.keys).map_err(told)? else {
            self.target.withdraw("no controller has been reached yet");
            return Ok(());
        };
        let age = clock::unix_seconds().saturating_sub(loaded.current_at);
        if self.max_age.is_some_and(|most| age > most.as_secs()) {
            return Err(format!(
                "it is {age} seconds old, and the most is {} seconds",
                self.max_age.unwrap_or_default().as_secs()
            ));
        }
        self.held = loaded.held;
        self.apply(loaded.update)
            .map_err(|error| error.to_string())?;
        self.signature = loaded.signature;
        self.current_at = Some(loaded.current_at);
        self.counts.current_at.set(gauge(loaded.current_at));
        self.counts.from_disk.set(1);
        tracing::info!(revision = ?self.held.revision(), age, "the stored snapshot is in force");
        Ok(())
    }

    fn apply(&mut self, update: Update) -> Result<(), NotTaken> {
        let Self {
            held,
            target,
            secrets,
            in_force,
            ..
        } = self;
        held.apply(update, |snapshot, revision| {
            put(target, secrets, in_force, snapshot, revision)
        })
    }

    /// Takes an update and stores what came of it.
    pub(super) fn update(&mut self, update: Update, signature: &[u8]) -> Result<Told, NotTaken> {
        if let Err(error) = self.apply(update) {
            self.counts.update(match error {
                NotTaken::Stale(_) => "stale",
                NotTaken::OutOfStep(_) => "out-of-step",
                NotTaken::Unusable(_) => "unusable",
            });
            return Err(error);
        }
        signature.clone_into(&mut self.signature);
        let told = self.told();
        self.counts.update(if told.refusals.is_empty() {
            "applied"
        } else {
            "applied-in-part"
        });
        self.counts.refused.set(gauge(told.refusals.len() as u64));
        self.save();
        self.current();
        Ok(told)
    }

    /// Takes the bytes of a resource whose update could not wait for them. None: it is no longer wanted.
    pub(super) fn late(&mut self, upsert: Upsert) -> Option<Result<Told, NotTaken>> {
        if !self.held.is_synced() || !self.held.wants(&upsert.name, &upsert.digest) {
            return None;
        }
        let update = Update {
            position: self.held.position().cloned().unwrap_or_default(),
            revision: self.held.wanted_revision(),
            upserts: vec![upsert],
            removals: Vec::new(),
            complete: false,
        };
        let signature = self.signature.clone();
        Some(self.update(update, &signature))
    }

    /// What is in force, and what of it is not as it was sent.
    pub(super) fn told(&self) -> Told {
        Told {
            revision: self.held.revision().unwrap_or_default().to_owned(),
            refusals: self.held.refusals(),
        }
    }

    fn save(&mut self) {
        let Some(store) = &self.store else {
            return;
        };
        let (revision, position) = (self.held.wanted_revision(), self.held.position());
        let signed = position.is_some_and(|position| {
            store::verifies(&self.keys, &revision, position, &self.signature)
        });
        if !signed {
            tracing::warn!("no key of the enrolment verifies the manifest: it is not stored");
            return self.counts.store(false);
        }
        let saved = store.save(&self.held, &self.signature);
        self.counts.store(saved.is_ok());
        if let Err(error) = saved {
            tracing::error!(%error, "the snapshot cannot be stored");
            return;
        }
        let used: HashSet<Digest> = self
            .held
            .parts()
            .flat_map(|(_, wanted, used, _)| [Some(wanted), used.map(|used| used.digest)])
            .flatten()
            .collect();
        artifacts::sweep(&store.artifacts(), &used);
    }

    /// Secrets live here and in what is in force, nowhere else.
    pub(super) fn secrets(&mut self, secrets: Secrets) {
        if self.secrets == secrets {
            return;
        }
        self.secrets = secrets;
        let (Some(snapshot), revision) = self.held.in_use() else {
            return;
        };
        if self.in_force.is_none() {
            return;
        }
        if let Err(error) = self.target.put(snapshot, &revision, &self.secrets) {
            tracing::error!(%error, "new secrets cannot be put in force");
        }
    }

    /// The keys of an enrolment.
    pub(super) fn enrolled(&mut self, keys: &[Vec<u8>]) {
        if self.keys == keys {
            return;
        }
        keys.clone_into(&mut self.keys);
        if let Some(store) = &self.store
            && let Err(error) = store.save_keys(keys)
        {
            tracing::error!(%error, "the keys of the manifest cannot be stored");
        }
    }

    /// The controller's revision. Where it is ours, what is in force is current.
    pub(super) fn heartbeat(&mut self, revision: &str) {
        if self.held.is_synced() && self.held.wanted_revision() == revision {
            self.current();
        }
    }

    fn current(&mut self) {
        let now = clock::unix_seconds();
        self.current_at = Some(now);
        self.counts.current_at.set(gauge(now));
        self.counts.from_disk.set(0);
        if now.saturating_sub(self.touched) < TOUCH {
            return;
        }
        self.touched = now;
        if let Some(store) = &self.store
            && let Err(error) = store.touch(now)
        {
            tracing::debug!(%error, "the stored snapshot cannot be marked");
        }
    }

    /// When what is in force is too old, if that can be.
    pub(super) fn too_old_in(&self) -> Option<Duration> {
        self.in_force.as_ref()?;
        let age = clock::unix_seconds().saturating_sub(self.current_at?);
        Some(self.max_age?.saturating_sub(Duration::from_secs(age)))
    }

    /// Nothing is in force until the controller has spoken again.
    pub(super) fn expire(&mut self) {
        if self.too_old_in().is_none_or(|left| !left.is_zero()) {
            return;
        }
        tracing::error!(
            "the snapshot is too old: everything is denied until the controller is reached"
        );
        self.in_force = None;
        self.target
            .withdraw("the snapshot is older than the longest time without a controller");
    }
}
