//! A directory as a source of objects: the same events as a cluster's.

use exitgate_policy::{
    ClusterDomainSetSpec, CredentialSource, CredentialSpec, DomainSetSpec, EgressGatewaySpec, Feed,
    ObjectRef, PolicyResource, SetContent, SetResource,
};
use serde_json::Value;

use super::load::Loaded;
use super::object::{Object as Read, Spec};
use super::single::Finding;
use crate::api::Kind;
use crate::crd::status::ObjectStatus;
use crate::index::event::{Document, Event, Invalid, Object, ObjectKey, Watched};
use crate::index::{Index, Sink};

/// The source of positions of a directory.
pub const DIRECTORY: &str = "directory";

impl Loaded {
    /// Tells an index everything that the directory holds, as a list that begins anew. `load` counts the loads: it must be
    /// higher each time, also after a restart where gateways keep what they were told.
    pub fn tell(&self, index: &mut Index, load: u64) {
        for kind in Kind::ALL {
            index.event(Event::Reset(Watched::Document(kind)));
        }
        for set in &self.snapshot.sets {
            if let (None, SetContent::Artifact { names, .. }) = (&set.namespace, &set.content) {
                index.feed(&set.name, Some(std::sync::Arc::clone(names)));
            }
        }
        self.objects_to(index, i64::try_from(load).unwrap_or(i64::MAX));
        let gone: Vec<_> = index
            .secret_names()
            .filter(|name| !self.secrets.contains_key(name))
            .collect();
        for (namespace, name) in gone {
            index.secret(&namespace, &name, None);
        }
        for ((namespace, name), value) in &self.secrets {
            index.secret(namespace, name, Some(value.clone()));
        }
        index.reached(DIRECTORY, load);
        for kind in Kind::ALL {
            index.event(Event::Synced(Watched::Document(kind)));
        }
    }

    fn objects_to(&self, sink: &mut impl Sink, generation: i64) {
        let invalid: Vec<&Read> = self
            .read_objects()
            .iter()
            .filter(|one| !one.valid)
            .collect();
        for object in &invalid {
            sink.event(self.invalid(object, generation));
        }
        let mut document = |kind: Kind, namespace: Option<String>, name: &str, spec: Spec| {
            let key = ObjectKey {
                watched: Watched::Document(kind),
                namespace,
                name: name.to_owned(),
            };
            // What a set without a valid document is, is for the index to say.
            if invalid
                .iter()
                .any(|object| object.is(&reference(&key, kind)))
            {
                return;
            }
            sink.event(Event::Apply(Object::Document(Box::new(Document {
                key,
                uid: String::new(),
                generation,
                version: 0,
                spec,
                written: Value::Null,
                status: ObjectStatus::default(),
                accepted: None,
                deleting: false,
            }))));
        };
        let snapshot = &self.snapshot;
        for policy in &snapshot.policies {
            match policy {
                PolicyResource::Cluster { name, spec } => {
                    let spec = Spec::ClusterPolicy(spec.clone());
                    document(Kind::ClusterEgressPolicy, None, name, spec);
                }
                PolicyResource::Namespaced {
                    namespace,
                    name,
                    spec,
                } => {
                    let spec = Spec::Policy(spec.clone());
                    document(Kind::EgressPolicy, Some(namespace.clone()), name, spec);
                }
            }
        }
        for set in &snapshot.sets {
            let (kind, spec) = set_spec(set);
            document(kind, set.namespace.clone(), &set.name, spec);
        }
        for credential in &snapshot.credentials {
            let spec = Spec::Credential(CredentialSpec {
                header: credential.header.clone(),
                prefix: credential.prefix.clone(),
                hosts: credential.hosts.clone(),
                value_from: CredentialSource::default(),
            });
            let namespace = Some(credential.namespace.clone());
            document(Kind::EgressCredential, namespace, &credential.name, spec);
        }
        // A directory without an EgressGateway has one all the same, with the defaults. One that is not valid is told as
        // such, and keeps what it was.
        let own = self
            .read_objects()
            .iter()
            .any(|object| object.kind == Kind::EgressGateway && !object.valid);
        if !own {
            let spec: EgressGatewaySpec = snapshot.settings.clone();
            let spec = Spec::Gateway(Box::new(spec));
            document(Kind::EgressGateway, None, &snapshot.gateway, spec);
        }
    }

    fn invalid(&self, object: &Read, generation: i64) -> Event {
        let reference = object.reference();
        let findings = self
            .diagnostics
            .iter()
            .filter(|one| one.is_error() && one.object.as_ref() == Some(&reference));
        let mut findings: Vec<Finding> = findings
            .map(|one| Finding {
                severity: one.severity,
                path: one.path.clone(),
                message: one.message.clone(),
            })
            .collect();
        if findings.is_empty() {
            findings.push(Finding {
                severity: exitgate_policy::Severity::Error,
                path: "spec".to_owned(),
                message: "is required".to_owned(),
            });
        }
        let written = object.node.get("spec").map(super::document::Node::to_json);
        Event::Invalid(Box::new(Invalid {
            key: ObjectKey {
                watched: Watched::Document(object.kind),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            },
            uid: String::new(),
            generation,
            version: 0,
            findings,
            written: written.unwrap_or_default(),
            status: ObjectStatus::default(),
            accepted: None,
        }))
    }
}

fn reference(key: &ObjectKey, kind: Kind) -> ObjectRef {
    ObjectRef {
        kind: kind.as_str(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

fn set_spec(set: &SetResource) -> (Kind, Spec) {
    let (hosts, cidrs, allow_broad, feed) = match &set.content {
        SetContent::Inline {
            hosts,
            cidrs,
            allow_broad,
        } => (hosts.clone(), cidrs.clone(), *allow_broad, false),
        // The patterns of the document are part of the compiled list.
        SetContent::Artifact { cidrs, .. } => (Vec::new(), cidrs.clone(), false, true),
        SetContent::Unavailable => (Vec::new(), Vec::new(), false, true),
    };
    if set.namespace.is_some() {
        let spec = DomainSetSpec {
            hosts,
            cidrs,
            allow_broad,
        };
        return (Kind::EgressDomainSet, Spec::Set(spec));
    }
    let feed = feed.then(|| Feed {
        file: set.name.clone(),
    });
    let spec = ClusterDomainSetSpec {
        hosts,
        cidrs,
        allow_broad,
        feed,
    };
    (Kind::ClusterEgressDomainSet, Spec::ClusterSet(spec))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::index::{Effect, Origin, Scope};
    use crate::source::testing::Folder;
    use crate::source::{Options, load};

    const GOOD: &str = "apiVersion: exitgate.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: a}\nspec:\n  rules:\n  \
        - {name: a, action: Allow, to: {hosts: [a.io], hostSets: [cluster/list]}, inject: {credentialRef: {name: k}}}\n---\n\
        apiVersion: exitgate.dev/v1alpha1\nkind: ClusterEgressDomainSet\nmetadata: {name: list}\n\
        spec: {hosts: [c.io], feed: {file: list.txt}}\n---\n\
        apiVersion: exitgate.dev/v1alpha1\nkind: EgressDomainSet\nmetadata: {name: own}\nspec: {cidrs: [198.19.0.0/16]}\n---\n\
        apiVersion: exitgate.dev/v1alpha1\nkind: EgressCredential\nmetadata: {name: k}\n\
        spec: {header: Authorization, hosts: [a.io], valueFrom: {file: key}}\n";

    fn key() -> ObjectKey {
        ObjectKey {
            watched: Watched::Document(Kind::EgressPolicy),
            namespace: Some("default".to_owned()),
            name: "a".to_owned(),
        }
    }

    #[test]
    fn a_directory_through_the_index_is_the_same_snapshot() {
        let folder = Folder::new(&[("a.yaml", GOOD), ("list.txt", "b.io\n"), ("key", "s3cret")]);
        let paths = [folder.path().to_owned()];
        let loaded = load(&paths, &Options::default()).unwrap();
        assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
        let mut index = Index::new(Origin::Directory);
        let mut manifests = index.subscribe(Scope::Fleet {
            gateway: loaded.snapshot.gateway.clone(),
        });
        loaded.tell(&mut index, 7);
        index.publish();
        let manifest = manifests.borrow_and_update().clone().unwrap();
        assert_eq!(*manifest.revision, loaded.snapshot.revision());
        assert_eq!(
            manifest.position.sources,
            [("directory".to_owned(), 7)].into()
        );
        assert_eq!(manifest.secrets[0].value.expose(), b"s3cret");

        // A file that is spoilt keeps what it said; one that is removed does not.
        std::fs::write(folder.path().join("a.yaml"), GOOD.replace("Allow", "Alow")).unwrap();
        load(&paths, &Options::default())
            .unwrap()
            .tell(&mut index, 8);
        index.publish();
        let report = index.report(&key()).unwrap();
        assert_eq!(report.effect, Effect::Kept { generation: 7 });
        let kept = manifests.borrow_and_update().clone().unwrap();
        assert_eq!(kept.revision, manifest.revision);
        std::fs::remove_file(folder.path().join("a.yaml")).unwrap();
        load(&paths, &Options::default())
            .unwrap()
            .tell(&mut index, 9);
        index.publish();
        let empty = manifests.borrow_and_update().clone().unwrap();
        let names: Vec<&str> = empty.resources.iter().map(|part| part.name()).collect();
        assert_eq!(
            names,
            ["settings/default", "standalone", "workload/default/local"]
        );
        assert!(empty.secrets.is_empty());
    }
}
