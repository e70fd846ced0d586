//! An object's spec as a resource, and what the compiler says about it by itself.

use std::sync::Arc;

use exitgate_policy::resource::Content;
use exitgate_policy::{
    CredentialResource, EgressPolicySpec, Mode, NameSet, PolicyResource, SetContent, SetResource,
    Snapshot, Subject,
};
use serde_json::Value;

use super::event::{ObjectKey, Watched};
use crate::api::Kind;
use crate::source::{Finding, Spec, check_settings};

/// What a resource is made of. `feed` is what the feed of a cluster set holds.
pub(super) fn content(key: &ObjectKey, spec: &Spec, feed: Option<&Arc<NameSet>>) -> Content {
    let name = key.name.clone();
    let namespace = || key.namespace.clone().unwrap_or_default();
    let set = |namespace, content| {
        Content::Set(SetResource {
            namespace,
            name: key.name.clone(),
            content,
        })
    };
    match spec {
        Spec::ClusterPolicy(spec) => Content::Policy(PolicyResource::Cluster {
            name,
            spec: spec.clone(),
        }),
        Spec::Policy(spec) => Content::Policy(PolicyResource::Namespaced {
            namespace: namespace(),
            name,
            spec: spec.clone(),
        }),
        Spec::Credential(spec) => Content::Credential(CredentialResource {
            namespace: namespace(),
            name,
            header: spec.header.clone(),
            prefix: spec.prefix.clone(),
            hosts: spec.hosts.clone(),
        }),
        Spec::Gateway(spec) => Content::Settings(name, spec.clone()),
        Spec::Set(spec) => set(
            Some(namespace()),
            SetContent::Inline {
                hosts: spec.hosts.clone(),
                cidrs: spec.cidrs.clone(),
                allow_broad: spec.allow_broad,
            },
        ),
        Spec::ClusterSet(spec) => set(
            None,
            match (&spec.feed, feed) {
                (None, _) => SetContent::Inline {
                    hosts: spec.hosts.clone(),
                    cidrs: spec.cidrs.clone(),
                    allow_broad: spec.allow_broad,
                },
                (Some(_), Some(names)) => SetContent::Artifact {
                    names: Arc::clone(names),
                    cidrs: spec.cidrs.clone(),
                },
                (Some(_), None) => SetContent::Unavailable,
            },
        ),
    }
}

/// What is wrong with an object, whatever else there is. References are another matter: they may come to resolve.
pub(super) fn errors(key: &ObjectKey, spec: &Spec) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut snapshot = Snapshot::default();
    // The feed of a set is judged where it is read; here only what the document says itself.
    let content = match spec {
        Spec::ClusterSet(spec) => {
            let own = exitgate_policy::ClusterDomainSetSpec {
                feed: None,
                ..spec.clone()
            };
            content(key, &Spec::ClusterSet(own), None)
        }
        Spec::Gateway(settings) => {
            found.extend(check_settings(settings));
            content(key, spec, None)
        }
        Spec::ClusterPolicy(_) | Spec::Credential(_) | Spec::Policy(_) | Spec::Set(_) => {
            content(key, spec, None)
        }
    };
    // An empty snapshot has room for anything.
    snapshot.add(content).ok();
    let (_, problems) = exitgate_policy::compile(&snapshot);
    found.extend(problems.into_iter().map(|problem| Finding {
        severity: problem.severity,
        path: problem.path,
        message: problem.message,
    }));
    found.retain(Finding::is_error);
    found
}

/// What counts of an object that was never accepted: an EgressPolicy that acts isolates the subject that it names, and
/// allows nothing. Everything else is as if it were not there.
pub(super) fn fallback(key: &ObjectKey, written: &Value) -> Option<Content> {
    match key.watched {
        Watched::Document(Kind::EgressPolicy) => {}
        // The set exists, and nobody knows what is in it.
        Watched::Document(Kind::ClusterEgressDomainSet | Kind::EgressDomainSet) => {
            return Some(Content::Set(SetResource {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                content: SetContent::Unavailable,
            }));
        }
        Watched::Document(
            Kind::ClusterEgressPolicy | Kind::EgressCredential | Kind::EgressGateway,
        )
        | Watched::Namespace
        | Watched::Node
        | Watched::Pod => return None,
    }
    if written.get("mode").and_then(Value::as_str) == Some("Audit") {
        return None;
    }
    let isolating = |subject| {
        Spec::Policy(EgressPolicySpec {
            mode: Mode::Enforce,
            subject,
            ..EgressPolicySpec::default()
        })
    };
    let spec = written
        .get("subject")
        .and_then(|subject| serde_json::from_value(subject.clone()).ok())
        .or_else(|| written.get("subject").is_none().then(Subject::default))
        .map(isolating)
        .filter(|spec| errors(key, spec).is_empty())
        // A subject that cannot be read could be anyone of the namespace.
        .unwrap_or_else(|| isolating(Subject::default()));
    Some(content(key, &spec, None))
}
