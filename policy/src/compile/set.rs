//! Domain sets and the references to them.

use std::sync::Arc;

use super::{At, Compiler, ObjectRef};
use crate::{
    address::CidrSet,
    index::NameSetBuilder,
    matcher::CompiledSet,
    snapshot::{SetContent, SetResource},
};

impl Compiler {
    pub(super) fn sets(&mut self, sets: &[SetResource]) {
        for resource in sets {
            let kind = if resource.namespace.is_some() {
                "EgressDomainSet"
            } else {
                "ClusterEgressDomainSet"
            };
            let object = ObjectRef {
                kind,
                namespace: resource.namespace.clone(),
                name: resource.name.clone(),
            };
            let at = At::new(object, "spec");
            let id = self.sets.len();
            let set = match &resource.content {
                SetContent::Artifact { names, cidrs } => {
                    let nets = self.cidrs(&at.field("cidrs"), cidrs);
                    CompiledSet {
                        id,
                        names: Some(Arc::clone(names)),
                        cidrs: Some(CidrSet::new(nets.iter().copied())),
                        nets,
                    }
                }
                SetContent::Inline {
                    hosts,
                    cidrs,
                    allow_broad,
                } => {
                    let patterns = self.hosts(&at.field("hosts"), hosts, *allow_broad);
                    let nets = self.cidrs(&at.field("cidrs"), cidrs);
                    let mut builder = NameSetBuilder::with_capacity(patterns.len() * 20);
                    for pattern in &patterns {
                        builder.add_name(pattern.name(), pattern.is_below());
                    }
                    let names = match builder.finish() {
                        Ok(names) => Some(Arc::new(names)),
                        Err(error) => {
                            self.error(&at.field("hosts"), error.to_string());
                            None
                        }
                    };
                    CompiledSet {
                        id,
                        names,
                        cidrs: Some(CidrSet::new(nets.iter().copied())),
                        nets,
                    }
                }
                SetContent::Unavailable => CompiledSet {
                    id,
                    names: None,
                    cidrs: None,
                    nets: Vec::new(),
                },
            };
            let key = (resource.namespace.clone(), resource.name.clone());
            if self.sets.insert(key, Arc::new(set)).is_some() {
                self.error(
                    &At {
                        path: "metadata.name".to_owned(),
                        ..at
                    },
                    "another document defines the same set",
                );
            }
        }
    }

    /// Sets by the names that a rule gives. One that does not exist counts as not loaded.
    pub(super) fn set_refs(
        &mut self,
        at: &At,
        namespace: Option<&str>,
        names: &[String],
    ) -> Vec<Arc<CompiledSet>> {
        if !self.list_fits(at, names) {
            return Vec::new();
        }
        let mut found = Vec::with_capacity(names.len());
        for (index, text) in names.iter().enumerate() {
            let (scope, name) = match text.strip_prefix("cluster/") {
                Some(name) => (None, name),
                None => (namespace.map(str::to_owned), text.as_str()),
            };
            let kind = if scope.is_some() {
                "EgressDomainSet of this namespace"
            } else {
                "ClusterEgressDomainSet"
            };
            let key = (scope, name.to_owned());
            if let Some(set) = self.sets.get(&key).cloned() {
                if set.names.is_none() {
                    self.warn(
                        &at.item(index),
                        format!("the set \"{text}\" is not loaded: it is unknown what it contains"),
                    );
                }
                found.push(set);
            } else {
                let hint = if key.0.is_some() {
                    format!("; a cluster set is \"cluster/{name}\"")
                } else {
                    String::new()
                };
                self.warn(
                        &at.item(index),
                        format!("there is no {kind} named \"{name}\"{hint}; until there is, an Allow does not match and a Deny does"),
                    );
                let id = self.sets.len();
                let missing = Arc::new(CompiledSet {
                    id,
                    names: None,
                    cidrs: None,
                    nets: Vec::new(),
                });
                self.sets.insert(key, Arc::clone(&missing));
                found.push(missing);
            }
        }
        found
    }
}
