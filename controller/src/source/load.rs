//! All documents of a source together: one snapshot and every problem.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exitgate_policy::{
    CredentialResource, NameSet, PolicyResource, PolicySet, Problem, SecretValue, SetContent,
    SetResource, Severity, Snapshot, Workload,
};

use super::document::{self, Position};
use super::files::{self, LoadError};
use super::object::{self, Object, Schemas, Spec};
use super::report::Diagnostic;
use super::{credential, feed, settings, strict};
use crate::api::Kind;

/// How a source is read.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The last good load of the same source: a list that cannot be read now keeps the content that it had.
    pub previous: Option<&'a Loaded>,
    /// For policies that are not in force yet: a list that cannot be read is an error instead of a set that is not
    /// available, and so is a Deny by such a set.
    pub strict: bool,
}

/// What a source holds.
#[derive(Debug)]
pub struct Loaded {
    /// Everything valid in it. Use it only where no diagnostic is an error.
    pub snapshot: Snapshot,
    pub diagnostics: Vec<Diagnostic>,
    /// How many document files were read.
    pub files: usize,
    /// The values of the credentials that have one, by namespace and name. They are part of nothing that is shown, stored
    /// or hashed: a changed value leaves the revision as it is.
    pub secrets: BTreeMap<(String, String), SecretValue>,
    /// Files that the documents name and whose content was taken over.
    pub named_files: Vec<PathBuf>,
    objects: Vec<Object>,
    feeds: HashMap<String, Arc<NameSet>>,
    strict: bool,
}

/// Reads the documents of `paths`, each a file or a directory.
pub fn load(paths: &[PathBuf], options: &Options<'_>) -> Result<Loaded, LoadError> {
    let files = files::find(paths)?;
    let schemas = Schemas::new();
    let mut loaded = Loaded {
        snapshot: Snapshot {
            standalone: true,
            ..Snapshot::default()
        },
        diagnostics: Vec::new(),
        files: files.len(),
        secrets: BTreeMap::new(),
        named_files: Vec::new(),
        objects: Vec::new(),
        feeds: HashMap::new(),
        strict: options.strict,
    };
    for file in files {
        loaded.read_file(&file, &schemas);
    }
    loaded.refuse_duplicates();
    loaded.assemble(options);
    Ok(loaded)
}

impl Loaded {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Whether no document was found.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.diagnostics.is_empty()
    }

    /// Compiles what is valid, so that one run shows the compiler's problems beside the readers'. The set is absent when
    /// anything at all is an error.
    pub fn compile(&mut self) -> Option<PolicySet> {
        let (set, mut problems) = exitgate_policy::compile(&self.snapshot);
        if self.strict {
            let refused = strict::problems(&self.snapshot);
            // The same place is not complained about twice.
            problems.retain(|problem| {
                !refused
                    .iter()
                    .any(|error| error.object == problem.object && error.path == problem.path)
            });
            problems.extend(refused);
        }
        let located: Vec<Diagnostic> = problems
            .into_iter()
            .map(|problem| self.locate(problem))
            .collect();
        self.diagnostics.extend(located);
        self.sort();
        set.filter(|_| !self.has_errors())
    }

    /// A compiler's problem with the place in the text that it is about.
    pub fn locate(&self, problem: Problem) -> Diagnostic {
        match self
            .objects
            .iter()
            .find(|object| object.is(&problem.object))
        {
            Some(object) => object.problem(problem.severity, &problem.path, problem.message),
            None => Diagnostic {
                severity: problem.severity,
                file: None,
                position: None,
                path: format!("{}: {}", problem.object, problem.path),
                object: Some(problem.object),
                message: problem.message,
            },
        }
    }

    fn read_file(&mut self, file: &Path, schemas: &Schemas) {
        let file: Arc<Path> = Arc::from(file);
        let text = match files::read_document(&file) {
            Ok(text) => text,
            Err(message) => return self.file_error(&file, None, message),
        };
        let (documents, error) = document::parse(&text);
        for node in documents {
            let objects = object::read(node, &file, schemas, &mut self.diagnostics);
            self.objects.extend(objects);
        }
        if let Some(error) = error {
            self.file_error(&file, Some(error.position), error.message);
        }
    }

    fn file_error(&mut self, file: &Path, position: Option<Position>, message: String) {
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            file: Some(file.to_path_buf()),
            position,
            object: None,
            path: String::new(),
            message,
        });
    }

    fn refuse_duplicates(&mut self) {
        let mut first: HashMap<(Kind, Option<String>, String), String> = HashMap::new();
        let mut gateway: Option<String> = None;
        let mut kept = Vec::with_capacity(self.objects.len());
        for object in std::mem::take(&mut self.objects) {
            let place = format!("{}:{}", object.file.display(), object.node.position.line);
            let key = (object.kind, object.namespace.clone(), object.name.clone());
            if let Some(other) = first.get(&key) {
                let message = format!("{} is already defined at {other}", object.reference());
                self.diagnostics
                    .push(object.problem(Severity::Error, "metadata.name", message));
                continue;
            }
            if object.kind == Kind::EgressGateway
                && let Some(other) = gateway.replace(place.clone())
            {
                let message = format!(
                    "a directory describes one gateway, and an EgressGateway is already at {other}"
                );
                self.diagnostics
                    .push(object.problem(Severity::Error, "kind", message));
                gateway = Some(other);
                continue;
            }
            first.insert(key, place);
            kept.push(object);
        }
        self.objects = kept;
    }

    fn assemble(&mut self, options: &Options<'_>) {
        "default".clone_into(&mut self.snapshot.gateway);
        for index in 0..self.objects.len() {
            self.assemble_one(index, options);
        }
        self.snapshot.workloads = self.workloads();
        self.sort();
    }

    fn assemble_one(&mut self, index: usize, options: &Options<'_>) {
        let Some(object) = self.objects.get_mut(index) else {
            return;
        };
        let spec = object.spec.take();
        let (name, namespace) = (object.name.clone(), object.namespace.clone());
        match spec {
            Some(Spec::ClusterPolicy(spec)) => self
                .snapshot
                .policies
                .push(PolicyResource::Cluster { name, spec }),
            Some(Spec::Policy(spec)) => {
                let namespace = namespace.unwrap_or_default();
                self.snapshot.policies.push(PolicyResource::Namespaced {
                    namespace,
                    name,
                    spec,
                });
            }
            Some(Spec::Credential(spec)) => {
                let namespace = namespace.unwrap_or_default();
                let found = credential::read(&spec.value_from, &object.folder());
                if let Some((severity, path, message)) = found.problem {
                    let problem = object.problem(severity, &path, message);
                    self.diagnostics.push(problem);
                }
                self.named_files.extend(found.file);
                if let Some(value) = found.value {
                    self.secrets
                        .insert((namespace.clone(), name.clone()), value);
                }
                self.snapshot.credentials.push(CredentialResource {
                    namespace,
                    name,
                    header: spec.header,
                    prefix: spec.prefix,
                    hosts: spec.hosts,
                });
            }
            Some(Spec::Set(spec)) => {
                let content = SetContent::Inline {
                    hosts: spec.hosts,
                    cidrs: spec.cidrs,
                    allow_broad: spec.allow_broad,
                };
                self.snapshot.sets.push(SetResource {
                    namespace,
                    name,
                    content,
                });
            }
            Some(Spec::ClusterSet(spec)) => {
                let content = match &spec.feed {
                    None => SetContent::Inline {
                        hosts: spec.hosts,
                        cidrs: spec.cidrs,
                        allow_broad: spec.allow_broad,
                    },
                    Some(feed) => match self.feed(index, &feed.file, &spec.hosts, options) {
                        Some(names) => SetContent::Artifact {
                            names,
                            cidrs: spec.cidrs,
                        },
                        None => SetContent::Unavailable,
                    },
                };
                self.snapshot.sets.push(SetResource {
                    namespace: None,
                    name,
                    content,
                });
            }
            Some(Spec::Gateway(mut spec)) => {
                let folder =
                    std::path::absolute(object.folder()).unwrap_or_else(|_| object.folder());
                for (severity, path, message) in settings::prepare(&mut spec, &folder) {
                    let problem = object.problem(severity, &path, message);
                    self.diagnostics.push(problem);
                }
                self.named_files.extend(settings::tls_files(&spec));
                self.snapshot.gateway = name;
                self.snapshot.settings = *spec;
            }
            // The set exists: without it every reference would be a second complaint about the same thing.
            None if matches!(
                object.kind,
                Kind::ClusterEgressDomainSet | Kind::EgressDomainSet
            ) =>
            {
                self.snapshot.sets.push(SetResource {
                    namespace,
                    name,
                    content: SetContent::Unavailable,
                });
            }
            None => {}
        }
    }

    fn feed(
        &mut self,
        index: usize,
        file: &str,
        hosts: &[String],
        options: &Options<'_>,
    ) -> Option<Arc<NameSet>> {
        let object = self.objects.get(index)?;
        let path = object.folder().join(file);
        self.named_files.push(path.clone());
        match feed::read(&path, hosts) {
            Ok(feed) => {
                self.diagnostics.extend(feed.problems);
                self.feeds
                    .insert(object.name.clone(), Arc::clone(&feed.names));
                Some(feed.names)
            }
            Err(message) => {
                let kept = options
                    .previous
                    .and_then(|previous| previous.feeds.get(&object.name))
                    .cloned();
                let severity = if options.strict {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let effect = match (&kept, options.strict) {
                    (_, true) => "",
                    (Some(_), false) => "; the set keeps its last content",
                    (None, false) => "; rules that need the set cannot allow until it can be read",
                };
                let problem = object.problem(
                    severity,
                    "spec.feed.file",
                    format!("{}: {message}{effect}", path.display()),
                );
                self.diagnostics.push(problem);
                if let Some(names) = &kept {
                    self.feeds.insert(object.name.clone(), Arc::clone(names));
                }
                kept
            }
        }
    }

    /// The workloads that the settings name; `default/local` where they name none.
    fn workloads(&mut self) -> Vec<Workload> {
        let mut workloads: Vec<Workload> = Vec::new();
        for (index, mapping) in self.snapshot.settings.workloads.iter().enumerate() {
            let workload = Workload {
                namespace: mapping.namespace.clone(),
                name: mapping.name.clone(),
                labels: mapping.labels.clone(),
                service_account: mapping.service_account.clone(),
                namespace_labels: mapping.namespace_labels.clone(),
                ..Workload::default()
            };
            let same = workloads
                .iter()
                .find(|known| known.namespace == workload.namespace && known.name == workload.name);
            match same {
                None => workloads.push(workload),
                Some(known) if *known == workload => {}
                Some(_) => {
                    let message = format!(
                        "{}/{} is named above with other labels or another service account",
                        workload.namespace, workload.name
                    );
                    let gateway = self
                        .objects
                        .iter()
                        .find(|object| object.kind == Kind::EgressGateway);
                    if let Some(object) = gateway {
                        let path = format!("spec.workloads[{index}].name");
                        self.diagnostics
                            .push(object.problem(Severity::Error, &path, message));
                    }
                }
            }
        }
        if workloads.is_empty() {
            workloads.push(Workload {
                namespace: "default".into(),
                name: "local".into(),
                ..Workload::default()
            });
        }
        workloads
    }

    fn sort(&mut self) {
        self.diagnostics.sort_by(|left, right| {
            let key = |diagnostic: &Diagnostic| {
                (
                    diagnostic.file.clone(),
                    diagnostic
                        .position
                        .map(|position| (position.line, position.column)),
                )
            };
            key(left)
                .cmp(&key(right))
                .then_with(|| left.path.cmp(&right.path))
        });
        self.diagnostics
            .dedup_by(|left, right| left.to_string() == right.to_string());
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
