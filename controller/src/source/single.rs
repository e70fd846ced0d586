//! One object as a cluster holds it, read by the same reader as a document of a directory and judged in the same words.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use exitgate_policy::{
    CredentialResource, ObjectRef, PolicyResource, SetContent, SetResource, Severity, Snapshot,
};
use serde_json::Value;

use super::document::Node;
use super::object::{self, Schemas, Spec};
use super::{settings, strict};
use crate::api::Kind;

/// A problem of one object: shown as `spec.rules[0].to.hosts[0]: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The field path inside the object; empty for a problem of the whole.
    pub path: String,
    pub message: String,
}

impl Finding {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// An object whose content is of its type. Whether it means something is the compiler's to say.
#[derive(Clone, Debug)]
pub struct ReadObject {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
    pub spec: Spec,
}

/// Reads objects strictly: an unknown field, a value of another type, a field without a value are errors.
pub struct ObjectReader(Schemas);

impl Default for ObjectReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectReader {
    pub fn new() -> Self {
        Self(Schemas::new())
    }

    /// The object, or everything that is wrong with it.
    pub fn read(&self, object: &Value) -> Result<ReadObject, Vec<Finding>> {
        let mut problems = Vec::new();
        let nowhere: Arc<Path> = Arc::from(Path::new(""));
        let node = Node::from_json(object);
        let read = object::read(node, &nowhere, &self.0, &mut problems)
            .into_iter()
            .next();
        let findings: Vec<Finding> = problems
            .into_iter()
            .map(|problem| Finding {
                severity: problem.severity,
                path: problem.path,
                message: problem.message,
            })
            .collect();
        let whole = read.and_then(|object| {
            Some(ReadObject {
                kind: object.kind,
                namespace: object.namespace,
                name: object.name,
                spec: object.spec?,
            })
        });
        match whole {
            Some(object) if !findings.iter().any(Finding::is_error) => Ok(object),
            Some(_) | None => Err(findings),
        }
    }

    /// Everything that `exitgate check` would say about the object, were it put among what is there: a Deny by a set
    /// without content is an error, as is whatever can never match.
    pub fn judge(&self, object: &Value, among: &Snapshot) -> Vec<Finding> {
        let object = match self.read(object) {
            Ok(object) => object,
            Err(findings) => return findings,
        };
        let reference = ObjectRef {
            kind: object.kind.as_str(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let mut found = Vec::new();
        let snapshot = place(object, among, &mut found);
        let refused = strict::problems(&snapshot);
        let (_, mut problems) = exitgate_policy::compile(&snapshot);
        problems.retain(|problem| {
            !refused
                .iter()
                .any(|error| error.object == problem.object && error.path == problem.path)
        });
        problems.extend(refused);
        problems.retain(|problem| problem.object == reference);
        found.extend(problems.into_iter().map(|problem| Finding {
            severity: problem.severity,
            path: problem.path,
            message: problem.message,
        }));
        found.sort_by(|left, right| left.path.cmp(&right.path));
        found.dedup();
        found
    }
}

/// The object, and of what is there as much as it can refer to.
fn place(object: ReadObject, among: &Snapshot, found: &mut Vec<Finding>) -> Snapshot {
    let ReadObject {
        namespace, name, ..
    } = object;
    let mut snapshot = Snapshot {
        gateway: among.gateway.clone(),
        settings: among.settings.clone(),
        sets: among.sets.clone(),
        credentials: among.credentials.clone(),
        ..Snapshot::default()
    };
    let mut set = |namespace: Option<String>, content| {
        snapshot
            .sets
            .retain(|other| other.name != name || other.namespace != namespace);
        snapshot.sets.push(SetResource {
            namespace,
            name: name.clone(),
            content,
        });
    };
    match object.spec {
        Spec::ClusterPolicy(spec) => snapshot
            .policies
            .push(PolicyResource::Cluster { name, spec }),
        Spec::Policy(spec) => snapshot.policies.push(PolicyResource::Namespaced {
            namespace: namespace.unwrap_or_default(),
            name,
            spec,
        }),
        Spec::Credential(spec) => {
            let namespace = namespace.unwrap_or_default();
            snapshot
                .credentials
                .retain(|other| other.name != name || other.namespace != namespace);
            snapshot.credentials.push(CredentialResource {
                namespace,
                name,
                header: spec.header,
                prefix: spec.prefix,
                hosts: spec.hosts,
            });
        }
        Spec::Set(spec) => set(
            namespace,
            SetContent::Inline {
                hosts: spec.hosts,
                cidrs: spec.cidrs,
                allow_broad: spec.allow_broad,
            },
        ),
        Spec::ClusterSet(spec) => set(
            None,
            SetContent::Inline {
                hosts: spec.hosts,
                cidrs: spec.cidrs,
                allow_broad: spec.allow_broad,
            },
        ),
        Spec::Gateway(spec) => {
            found.extend(
                settings::check(&spec)
                    .into_iter()
                    .map(|(severity, path, message)| Finding {
                        severity,
                        path,
                        message,
                    }),
            );
            snapshot.gateway = name;
            snapshot.settings = *spec;
        }
    }
    snapshot
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn policy(rules: &Value) -> Value {
        json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy",
            "metadata": {"name": "a", "namespace": "pay", "uid": "u", "managedFields": []},
            "spec": {"rules": rules}, "status": {"observedGeneration": 1}})
    }

    fn said(object: &Value) -> Vec<String> {
        let findings = ObjectReader::new().judge(object, &Snapshot::default());
        findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_object_is_judged_in_the_words_of_check() {
        let good = policy(&json!([{"name": "a", "action": "Allow", "to": {"hosts": ["a.io"]}}]));
        assert!(said(&good).is_empty());
        assert_eq!(ObjectReader::new().read(&good).unwrap().name, "a");
        assert_eq!(
            said(&policy(
                &json!([{"name": "a", "action": "Allow", "to": {"host": ["a.io"]}}])
            )),
            ["spec.rules[0].to.host: unknown field; did you mean \"hosts\"?"]
        );
        assert_eq!(
            said(&policy(
                &json!([{"name": "a", "action": "Allow", "to": null}])
            )),
            ["spec.rules[0].to: has no value; write one or remove the field"]
        );
        let both = policy(&json!([
            {"name": "a", "action": "Allow", "to": {"hosts": ["*.co.uk"], "ports": ["x"]}},
            {"name": "d", "action": "Deny", "to": {"hostSets": ["gone"]}}]));
        let said = said(&both);
        assert_eq!(said.len(), 3, "{said:#?}");
        assert!(
            said[0].starts_with("spec.rules[0].to.hosts[0]: \"*.co.uk\" covers the public suffix")
        );
        assert!(said[1].starts_with("spec.rules[0].to.ports[0]: \"x\" is not a port"));
        assert!(said[2].contains("needs the set \"gone\""));
    }

    #[test]
    fn a_set_that_is_there_counts() {
        let deny = policy(&json!([{"name": "d", "action": "Deny", "to": {"hostSets": ["known"]}}]));
        let among = Snapshot {
            sets: vec![SetResource {
                namespace: Some("pay".into()),
                name: "known".into(),
                content: SetContent::Inline {
                    hosts: vec!["a.io".into()],
                    cidrs: Vec::new(),
                    allow_broad: false,
                },
            }],
            ..Snapshot::default()
        };
        assert_eq!(ObjectReader::new().judge(&deny, &among), []);
    }
}
