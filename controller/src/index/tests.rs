#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod scopes;
mod world;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::event::{Document, Invalid, Namespace, Node, Pod};
use super::*;
use crate::source::{ObjectReader, Spec};

pub(crate) fn key(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectKey {
    ObjectKey {
        watched: Watched::Document(kind),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

pub(crate) fn policy_key(namespace: &str, name: &str) -> ObjectKey {
    key(Kind::EgressPolicy, Some(namespace), name)
}

/// What a source makes of an object: an Apply, or an Invalid where the reader refuses it.
pub(crate) fn object(key: &ObjectKey, generation: i64, spec: Value) -> Event {
    let Watched::Document(kind) = key.watched else {
        panic!("no document");
    };
    let mut metadata = json!({"name": key.name});
    if let Some(namespace) = &key.namespace {
        metadata["namespace"] = json!(namespace);
    }
    let whole = json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": kind.as_str(),
        "metadata": metadata, "spec": spec});
    let (uid, version) = ("one".to_owned(), 10 + u64::try_from(generation).unwrap());
    match ObjectReader::new().read(&whole) {
        Ok(read) => Event::Apply(Object::Document(Box::new(Document {
            key: key.clone(),
            uid,
            generation,
            version,
            spec: read.spec,
            written: spec,
            status: crate::crd::status::ObjectStatus::default(),
            accepted: None,
            deleting: false,
        }))),
        Err(findings) => Event::Invalid(Box::new(Invalid {
            key: key.clone(),
            uid,
            generation,
            version,
            findings,
            written: spec,
            status: crate::crd::status::ObjectStatus::default(),
            accepted: None,
        })),
    }
}

pub(crate) fn allow(host: &str) -> Value {
    json!({"rules": [{"name": "a", "action": "Allow", "to": {"hosts": [host]}}]})
}

pub(crate) fn namespace(name: &str, labels: &[(&str, &str)]) -> Event {
    Event::Apply(Object::Namespace(Namespace {
        name: name.to_owned(),
        labels: map(labels),
    }))
}

pub(crate) fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = labels.iter();
    owned
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn pod_of(namespace: &str, name: &str, node: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{namespace}-{name}"),
        labels: map(&[("app", name)]),
        service_account: "default".to_owned(),
        node: Some(node.to_owned()),
        addresses: vec!["198.18.64.5".parse().unwrap()],
        host_network: false,
        ended: false,
    }
}

pub(crate) fn pod(namespace: &str, name: &str, node: &str) -> Event {
    Event::Apply(Object::Pod(pod_of(namespace, name, node)))
}

pub(crate) fn node(name: &str) -> Event {
    Event::Apply(Object::Node(Node {
        name: name.to_owned(),
        uid: name.to_owned(),
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        pod_ranges: Vec::new(),
    }))
}

pub(crate) fn nodes_fleet() -> Event {
    object(
        &key(Kind::EgressGateway, None, "nodes"),
        1,
        json!({"scope": "Node"}),
    )
}

/// An index that has listed everything, which was these events.
pub(crate) fn index(events: impl IntoIterator<Item = Event>) -> Index {
    let mut index = Index::new(Origin::Cluster);
    let events: Vec<Event> = events.into_iter().collect();
    for watched in Origin::Cluster.kinds() {
        index.event(Event::Reset(watched));
    }
    for event in events {
        index.event(event);
    }
    for watched in Origin::Cluster.kinds() {
        index.event(Event::Synced(watched));
    }
    index
}

pub(crate) fn on_node(name: &str) -> Scope {
    Scope::Node {
        gateway: "nodes".to_owned(),
        node: name.to_owned(),
    }
}

pub(crate) fn now(index: &mut Index, manifests: &mut Manifests) -> Arc<Manifest> {
    index.publish();
    manifests.borrow_and_update().clone().unwrap()
}

pub(crate) fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.resources.iter().map(|part| part.name()).collect()
}

/// The policy as a gateway would read it.
pub(crate) fn rules(manifest: &Manifest, name: &str) -> usize {
    let part = manifest.part(name).unwrap();
    let spec: exitgate_policy::EgressPolicySpec =
        serde_json::from_slice(&part.resource.body).unwrap();
    spec.rules.len()
}

#[test]
fn nothing_is_published_before_everything_is_listed() {
    let mut index = Index::new(Origin::Cluster);
    let mut manifests = index.subscribe(on_node("one"));
    index.event(nodes_fleet());
    for watched in Origin::Cluster.kinds() {
        assert_eq!(index.publish(), 0);
        index.event(Event::Synced(watched));
    }
    assert!(manifests.borrow_and_update().is_none());
    assert_eq!(index.publish(), 1);
    assert_eq!(
        names(&now(&mut index, &mut manifests)),
        ["settings/nodes", "standalone"]
    );
}

#[test]
fn objects_come_change_and_go() {
    let billing = policy_key("pay", "billing");
    let mut index = index([
        nodes_fleet(),
        namespace("pay", &[]),
        pod("pay", "a", "one"),
        object(&billing, 1, allow("a.io")),
    ]);
    let mut manifests = index.subscribe(on_node("one"));
    let first = now(&mut index, &mut manifests);
    assert_eq!(
        names(&first),
        [
            "policy/pay/billing",
            "settings/nodes",
            "standalone",
            "workload/pay/a"
        ]
    );
    assert_eq!(first.position.sources["EgressPolicy"], 11);
    let (snapshot, refused) =
        exitgate_policy::snapshot_of(first.resources.iter().map(|part| &part.resource));
    assert!(refused.is_empty());
    assert_eq!(snapshot.revision(), *first.revision);

    index.event(object(&billing, 2, allow("b.io")));
    index.publish();
    assert!(manifests.has_changed().unwrap());
    let second = now(&mut index, &mut manifests);
    assert_ne!(first.revision, second.revision);
    assert_eq!(
        index.digest(&billing),
        Some(second.part("policy/pay/billing").unwrap().resource.digest)
    );
    // What stays the same is the same.
    assert!(Arc::ptr_eq(
        first.part("workload/pay/a").unwrap(),
        second.part("workload/pay/a").unwrap()
    ));

    index.event(object(&billing, 3, allow("b.io")));
    index.publish();
    assert!(!manifests.has_changed().unwrap(), "nothing new in it");

    index.event(Event::Delete(billing.clone()));
    let third = now(&mut index, &mut manifests);
    assert_eq!(
        names(&third),
        ["settings/nodes", "standalone", "workload/pay/a"]
    );
    assert!(index.report(&billing).is_none());
    assert!(index.take_reported().contains(&billing));
    assert!(index.take_reported().is_empty());
}

#[test]
fn what_a_new_list_does_not_name_is_gone() {
    let (kept, gone) = (policy_key("pay", "kept"), policy_key("pay", "gone"));
    let mut index = index([
        nodes_fleet(),
        namespace("pay", &[]),
        pod("pay", "a", "one"),
        object(&kept, 1, allow("a.io")),
        object(&gone, 1, allow("b.io")),
    ]);
    let mut manifests = index.subscribe(on_node("one"));
    let before = now(&mut index, &mut manifests);
    let kind = Watched::Document(Kind::EgressPolicy);
    index.event(Event::Reset(kind));
    index.event(object(&kept, 1, allow("a.io")));
    // A list that is interrupted begins anew.
    assert_eq!(now(&mut index, &mut manifests).revision, before.revision);
    index.event(Event::Reset(kind));
    index.event(object(&kept, 1, allow("a.io")));
    index.event(Event::Synced(kind));
    let after = now(&mut index, &mut manifests);
    assert!(after.part("policy/pay/kept").is_some());
    assert!(after.part("policy/pay/gone").is_none());
    index.event(Event::Reset(Watched::Pod));
    index.event(Event::Synced(Watched::Pod));
    assert_eq!(
        names(&now(&mut index, &mut manifests)),
        ["settings/nodes", "standalone"]
    );
}

#[test]
fn a_poisoned_object_keeps_its_accepted_form_until_it_is_deleted() {
    let (poisoned, other) = (policy_key("pay", "poisoned"), policy_key("pay", "other"));
    let mut index = index([
        nodes_fleet(),
        namespace("pay", &[]),
        pod("pay", "a", "one"),
        object(&poisoned, 1, allow("a.io")),
        object(&other, 1, allow("b.io")),
    ]);
    let mut manifests = index.subscribe(on_node("one"));
    let before = now(&mut index, &mut manifests);
    // One that cannot be read, one that the compiler refuses.
    for (generation, bad) in [(2, json!({"rules": 17})), (3, allow("*.*.io"))] {
        index.event(object(&poisoned, generation, bad));
        assert_eq!(now(&mut index, &mut manifests).revision, before.revision);
        let report = index.report(&poisoned).unwrap();
        assert_eq!(report.effect, Effect::Kept { generation: 1 });
        assert_eq!(report.generation, generation);
        assert!(report.errors[0].path.starts_with("spec.rules"));
        // Others are not concerned.
        index.event(object(&other, generation, allow("c.io")));
        assert_ne!(now(&mut index, &mut manifests).revision, before.revision);
        index.event(object(&other, generation, allow("b.io")));
    }
    index.event(Event::Delete(poisoned.clone()));
    let after = now(&mut index, &mut manifests);
    assert!(after.part("policy/pay/poisoned").is_none());
    assert!(after.part("policy/pay/other").is_some());
}

#[test]
fn an_object_made_anew_has_no_earlier_form() {
    let billing = policy_key("pay", "billing");
    let mut index = index([namespace("pay", &[]), object(&billing, 1, allow("a.io"))]);
    let Event::Invalid(mut invalid) = object(&billing, 1, json!({"rules": 17})) else {
        panic!("read");
    };
    invalid.uid = "another".to_owned();
    index.event(Event::Invalid(invalid));
    assert_eq!(index.report(&billing).unwrap().effect, Effect::Isolates);
}

#[test]
fn a_form_kept_in_the_status_counts_if_it_is_good() {
    let billing = policy_key("pay", "billing");
    let accepted = |host: &str| {
        let Event::Apply(Object::Document(document)) = object(&billing, 4, allow(host)) else {
            panic!("refused");
        };
        Some(event::AcceptedSpec {
            generation: 4,
            digest: String::new(),
            spec: document.spec,
        })
    };
    for (host, effect) in [
        ("a.io", Effect::Kept { generation: 4 }),
        ("*.*.io", Effect::Isolates),
    ] {
        let Event::Invalid(mut invalid) = object(&billing, 5, json!({"rules": 17})) else {
            panic!("read");
        };
        invalid.accepted = accepted(host);
        let mut index = index([namespace("pay", &[]), Event::Invalid(invalid)]);
        assert_eq!(index.report(&billing).unwrap().effect, effect);
        index.event(object(&billing, 6, allow("b.io")));
        assert_eq!(index.report(&billing).unwrap().effect, Effect::Accepted);
    }
}

#[test]
fn one_that_was_never_accepted_isolates_or_is_nothing() {
    let subject = json!({"podSelector": {"matchLabels": {"app": "a"}}});
    for (bad, effect, selected) in [
        (
            json!({"subject": subject, "rules": 17}),
            Effect::Isolates,
            1,
        ),
        (
            json!({"subject": {"podSelectr": {}}, "rules": []}),
            Effect::Isolates,
            2,
        ),
        (json!(17), Effect::Isolates, 2),
        (json!({"mode": "Audit", "rules": 17}), Effect::Nothing, 0),
        (
            json!({"mode": "Adit", "subject": subject, "rules": 17}),
            Effect::Isolates,
            1,
        ),
    ] {
        let name = policy_key("pay", "bad");
        let mut index = index([
            nodes_fleet(),
            namespace("pay", &[]),
            pod("pay", "a", "one"),
            pod("pay", "b", "one"),
            object(&name, 1, bad.clone()),
        ]);
        let mut manifests = index.subscribe(on_node("one"));
        let manifest = now(&mut index, &mut manifests);
        assert_eq!(index.report(&name).unwrap().effect, effect, "{bad}");
        assert_eq!(index.selected(&name).workloads, selected, "{bad}");
        if effect == Effect::Isolates {
            assert_eq!(rules(&manifest, "policy/pay/bad"), 0);
        } else {
            assert!(manifest.part("policy/pay/bad").is_none());
        }
        index.event(Event::Delete(name));
        assert!(
            now(&mut index, &mut manifests)
                .part("policy/pay/bad")
                .is_none()
        );
    }
    let cluster = key(Kind::ClusterEgressPolicy, None, "bad");
    let mut index = index([
        nodes_fleet(),
        object(&cluster, 1, json!({"tier": "Admin", "rules": 17})),
    ]);
    let mut manifests = index.subscribe(on_node("one"));
    assert_eq!(
        names(&now(&mut index, &mut manifests)),
        ["settings/nodes", "standalone"]
    );
    assert_eq!(index.report(&cluster).unwrap().effect, Effect::Nothing);
}

#[test]
fn a_spec_is_what_its_kind_says() {
    let Event::Apply(Object::Document(document)) = nodes_fleet() else {
        panic!("refused");
    };
    assert!(matches!(document.spec, Spec::Gateway(_)));
}
