//! What is in force now: one policy revision with everything that hangs on it, replaced as a whole.

mod credentials;
mod interception;
mod settings;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exitgate_policy::compile::{Problem, Severity, compile};
use exitgate_policy::model::Dns;
use exitgate_policy::snapshot::{Snapshot, Workload};
use exitgate_policy::{PolicySet, View};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::identity::{Identities, IdentityError, Member};
use crate::limits::Share;
use crate::resolve::Resolver;
pub(crate) use credentials::Credentials;
pub use credentials::Secrets;
pub use interception::{Interception, InterceptionError};
pub use settings::{Settings, SettingsError};

/// One revision in force.
pub struct Live {
    /// Its revision, a SHA-256 in hex.
    pub revision: Arc<str>,
    /// The compiled policies.
    pub policy: PolicySet,
    /// Deadlines, limits and resolution.
    pub settings: Settings,
    /// Who is who.
    pub identities: Identities,
    /// Resolves names.
    pub resolver: Arc<Resolver>,
    /// Opens TLS, where the fleet does that.
    pub interception: Option<Arc<Interception>>,
    /// Values that are put into requests.
    pub(crate) credentials: Credentials,
    /// The documents, for the admin port.
    pub snapshot: Snapshot,
}

/// Why a snapshot was not taken. The previous one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The policies do not compile.
    #[error("the policy has errors")]
    Policy(Vec<Problem>),
    /// The gateway's settings cannot be used.
    #[error("EgressGateway: {0}")]
    Settings(#[from] SettingsError),
    /// TLS cannot be opened as asked.
    #[error("EgressGateway: {0}")]
    Interception(#[from] InterceptionError),
    /// A workload mapping cannot be used.
    #[error("EgressGateway: {0}")]
    Identity(#[from] IdentityError),
    /// No resolver can be made of the settings.
    #[error("EgressGateway: spec.dns: {0}")]
    Resolver(String),
}

/// Holds the revision in force and tells everybody about the next one.
pub struct State {
    current: watch::Sender<Option<Arc<Live>>>,
    shares: Mutex<HashMap<(String, String), Arc<Share>>>,
    base: PathBuf,
}

impl State {
    /// Nothing in force yet: everything is refused. Relative file names are looked up in `base`.
    pub fn new(base: &Path) -> Self {
        Self {
            current: watch::Sender::new(None),
            shares: Mutex::default(),
            base: base.to_owned(),
        }
    }

    /// The revision in force, and word of every later one.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Live>>> {
        self.current.subscribe()
    }

    /// The revision in force.
    pub fn current(&self) -> Option<Arc<Live>> {
        self.current.borrow().clone()
    }

    /// Nothing is in force any more: everything is refused.
    pub fn withdraw(&self) {
        self.current.send_replace(None);
    }

    /// Puts a snapshot in force, whole or not at all. Warnings are returned.
    pub fn apply(
        &self,
        snapshot: Snapshot,
        secrets: &Secrets,
    ) -> Result<(Arc<Live>, Vec<Problem>), ApplyError> {
        self.apply_as(snapshot, None, secrets)
    }

    /// The same under a revision that whoever made the snapshot knows.
    pub fn apply_as(
        &self,
        snapshot: Snapshot,
        revision: Option<&str>,
        secrets: &Secrets,
    ) -> Result<(Arc<Live>, Vec<Problem>), ApplyError> {
        let (policy, problems) = compile(&snapshot);
        let Some(policy) =
            policy.filter(|_| problems.iter().all(|p| p.severity != Severity::Error))
        else {
            return Err(ApplyError::Policy(problems));
        };
        let settings = Settings::read(&snapshot.settings)?;
        let identities = Identities::build(&snapshot, &self.base, |w| self.member(&policy, w))?;
        let previous = self.current();
        let interception = Interception::build(
            &snapshot.settings.tls,
            &policy,
            &self.base,
            previous.as_ref().and_then(|p| p.interception.as_ref()),
        )?;
        let resolver = match previous.filter(|p| p.snapshot.settings.dns == snapshot.settings.dns) {
            Some(previous) => previous.resolver.clone(),
            None => self.resolver(&snapshot.settings.dns)?,
        };
        let live = Arc::new(Live {
            revision: revision.unwrap_or(policy.revision()).into(),
            policy,
            settings,
            identities,
            resolver,
            interception,
            credentials: Credentials::build(&snapshot.credentials, secrets),
            snapshot,
        });
        self.current.send_replace(Some(live.clone()));
        Ok((live, problems))
    }

    fn member(&self, policy: &PolicySet, workload: Workload) -> Arc<Member> {
        let key = (workload.namespace.clone(), workload.name.clone());
        let share = self.shares.lock().entry(key).or_default().clone();
        let view: Arc<View> = policy.view(&workload);
        Arc::new(Member {
            workload: Arc::new(workload),
            view,
            share,
        })
    }

    fn resolver(&self, dns: &Dns) -> Result<Arc<Resolver>, ApplyError> {
        settings::resolver(dns, &self.base)
            .map(Arc::new)
            .map_err(ApplyError::Resolver)
    }
}
