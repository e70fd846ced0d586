//! Documents in, one immutable set of compiled policies and all problems out.

mod conditions;
mod credential;
mod inspected;
mod lint;
mod policy;
mod problem;
mod set;
mod settings;
mod stand_in;
mod tls;
mod values;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use credential::Credential;
pub use inspected::{InspectedNames, Subtree};
pub(crate) use policy::CompiledPolicy;
pub use problem::{ObjectRef, Problem, Severity};
pub(crate) use settings::Settings;

use crate::{
    decide::View,
    matcher::CompiledSet,
    model,
    snapshot::{Snapshot, Workload},
};

/// How many views are kept. Beyond that all are dropped and made anew as they are asked for.
const MAX_VIEWS: usize = 4_096;

/// All compiled policies of one snapshot.
pub struct PolicySet {
    revision: String,
    /// In order of evaluation.
    policies: Vec<Arc<CompiledPolicy>>,
    /// Every `from` condition; rules refer to them by position.
    from: Vec<model::From>,
    settings: Arc<Settings>,
    needs_workload: bool,
    views: Mutex<HashMap<ViewKey, Arc<View>>>,
}

/// What makes two workloads share a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ViewKey {
    policies: Vec<u32>,
    from: Vec<bool>,
    audited: bool,
    workload: Option<Workload>,
}

/// What a compilation collects.
pub(crate) struct Compiler {
    problems: Vec<Problem>,
    sets: HashMap<(Option<String>, String), Arc<CompiledSet>>,
    credentials: HashMap<(String, String), Arc<Credential>>,
    from: Vec<model::From>,
    env: Arc<cel::Env>,
    needs_workload: bool,
    inspection_off: bool,
}

/// Compiles a snapshot. There is no set when any problem is an error.
pub fn compile(snapshot: &Snapshot) -> (Option<PolicySet>, Vec<Problem>) {
    let mut compiler = Compiler {
        problems: Vec::new(),
        sets: HashMap::new(),
        credentials: HashMap::new(),
        from: Vec::new(),
        env: Arc::new(cel::Env::stdlib()),
        needs_workload: false,
        inspection_off: snapshot.settings.tls.inspection == model::Inspection::Off,
    };
    let settings = compiler.settings(snapshot);
    compiler.sets(&snapshot.sets);
    compiler.credentials(&snapshot.credentials);
    let policies = compiler.policies(&snapshot.policies, &snapshot.stand_ins);
    compiler.across(snapshot, &policies);
    let mut problems = compiler.problems;
    problems
        .sort_by(|left, right| (&left.object, left.severity).cmp(&(&right.object, right.severity)));
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        return (None, problems);
    }
    let set = PolicySet {
        revision: snapshot.revision(),
        policies,
        from: compiler.from,
        settings: Arc::new(settings),
        needs_workload: compiler.needs_workload,
        views: Mutex::default(),
    };
    (Some(set), problems)
}

impl PolicySet {
    /// What decides for one workload. Workloads that the same policies select share a view.
    pub fn view(&self, workload: &Workload) -> Arc<View> {
        let selected = (0_u32..)
            .zip(&self.policies)
            .filter(|(_, policy)| policy.selector.selects(workload));
        let key = ViewKey {
            policies: selected.map(|(number, _)| number).collect(),
            from: self
                .from
                .iter()
                .map(|from| policy::from_matches(from, workload))
                .collect(),
            audited: self.settings.is_audited(workload),
            workload: self.needs_workload.then(|| workload.as_selected()),
        };
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get(&key) {
            return Arc::clone(view);
        }
        let policies: Vec<_> = key
            .policies
            .iter()
            .filter_map(|&number| self.policies.get(number as usize))
            .cloned()
            .collect();
        let view = Arc::new(View::new(
            &policies,
            key.from.clone(),
            Arc::clone(&self.settings),
            key.audited,
            key.workload.clone(),
        ));
        if views.len() >= MAX_VIEWS {
            views.clear();
        }
        views.insert(key, Arc::clone(&view));
        view
    }

    /// The snapshot's revision.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("revision", &self.revision)
            .field("policies", &self.policies.len())
            .finish_non_exhaustive()
    }
}

/// A place in a document, for problems.
#[derive(Clone, Debug)]
pub(crate) struct At {
    object: ObjectRef,
    path: String,
}

impl At {
    fn new(object: ObjectRef, path: &str) -> Self {
        Self {
            object,
            path: path.to_owned(),
        }
    }

    fn field(&self, name: &str) -> Self {
        Self {
            object: self.object.clone(),
            path: format!("{}.{name}", self.path),
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            object: self.object.clone(),
            path: format!("{}[{index}]", self.path),
        }
    }
}

impl Compiler {
    fn error(&mut self, at: &At, message: impl Into<String>) {
        self.report(Severity::Error, at, message.into());
    }

    fn warn(&mut self, at: &At, message: impl Into<String>) {
        self.report(Severity::Warning, at, message.into());
    }

    fn report(&mut self, severity: Severity, at: &At, message: String) {
        self.problems.push(Problem {
            severity,
            object: at.object.clone(),
            path: at.path.clone(),
            message,
        });
    }
}
