#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{Attr, Entry, Evidence, Name, NameSet, Protocol, Reason, Verdict, Workload, compile};

fn policy(name: &str, spec: serde_json::Value) -> PolicyResource {
    PolicyResource::Namespaced {
        namespace: "pay".to_owned(),
        name: name.to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

fn cluster(name: &str, spec: serde_json::Value) -> PolicyResource {
    PolicyResource::Cluster {
        name: name.to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

fn workload() -> Workload {
    Workload {
        namespace: "pay".to_owned(),
        name: "billing".to_owned(),
        addresses: vec!["198.18.0.7".parse().unwrap()],
        ..Workload::default()
    }
}

fn snapshot(policies: Vec<PolicyResource>) -> Snapshot {
    Snapshot {
        gateway: "default".to_owned(),
        policies,
        workloads: vec![workload()],
        ..Snapshot::default()
    }
}

#[test]
fn names_and_digests_are_read_strictly() {
    for text in [
        "settings/default",
        "standalone",
        "cluster-policy/guard",
        "policy/pay/billing",
        "set//far",
        "set/pay/near",
        "credential/pay/key",
        "workload/pay/billing-7d9",
    ] {
        let name: ResourceName = text.parse().unwrap();
        assert_eq!(name.to_string(), text);
    }
    for text in [
        "",
        "standalone/",
        "settings/",
        "settings/a/b",
        "policy/pay",
        "policy//billing",
        "policy/pay/a/b",
        "set/",
        "set//",
        "workload/pay/a b",
        "policy/pay/a\nb",
        "other/a",
    ] {
        let error = text.parse::<ResourceName>().unwrap_err();
        assert!(error.to_string().contains("policy/NS/N"), "{text}");
    }
    let digest = Digest::of(b"x");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
    assert!("+f".repeat(32).parse::<Digest>().is_err());
    assert!(Digest::from_slice(&[0; 31]).is_err());
}

#[test]
fn a_compiled_set_is_its_ranges_and_its_names() {
    let names = Arc::new(NameSet::from_lines(b"a.test\n*.b.test\n").unwrap());
    let mut given = snapshot(Vec::new());
    given.sets = vec![
        SetResource {
            namespace: None,
            name: "feed".to_owned(),
            content: SetContent::Artifact {
                names: Arc::clone(&names),
                cidrs: vec!["192.0.2.0/24".to_owned()],
            },
        },
        SetResource {
            namespace: Some("pay".to_owned()),
            name: "lost".to_owned(),
            content: SetContent::Unavailable,
        },
    ];
    let resources = given.resources();
    let set = resources.iter().find(|r| r.is_compiled_set()).unwrap();
    assert_eq!(set.name.to_string(), "set//feed");
    assert_eq!(set.digest, Digest::of(&set.body));
    let (again, refused) = snapshot_of(&resources);
    assert!(refused.is_empty());
    assert_eq!(again.revision(), given.revision());
    let SetContent::Artifact { names: read, cidrs } = &again.sets[0].content else {
        panic!("a compiled set stays compiled");
    };
    assert_eq!((read.digest(), cidrs.len()), (names.digest(), 1));

    let mut cut = set.clone();
    cut.body = set.body[..set.body.len() - 1].into();
    assert!(matches!(cut.read(), Err(ResourceError::Digest { .. })));
    cut.digest = Digest::of(&cut.body);
    assert!(matches!(cut.read(), Err(ResourceError::Names(_))));
}

#[test]
fn one_bad_resource_is_refused_alone() {
    let given = snapshot(vec![
        policy("good", json!({})),
        policy("bad", json!({"mode": "Audit"})),
    ]);
    let mut resources = given.resources();
    for resource in &mut resources {
        if resource.name == ResourceName::Policy("pay".to_owned(), "bad".to_owned()) {
            let stand_in = resource.stand_in.take();
            *resource = Resource::new(resource.name.clone(), *br#"{"novelty":1}"#);
            resource.stand_in = stand_in;
        }
    }
    let other = Resource::new("workload/pay/x".parse().unwrap(), json(&workload()));
    resources.push(other);
    let unknown = json!({"namespace": "pay", "name": "y", "novelty": 1});
    resources.push(Resource::new(
        "workload/pay/y".parse().unwrap(),
        json(&unknown),
    ));
    resources.push(Resource::new(
        "settings/second".parse().unwrap(),
        json(&json!({})),
    ));
    let (read, refused) = snapshot_of(&resources);
    let told: Vec<String> = refused
        .iter()
        .map(|(name, error)| format!("{name}: {error}"))
        .collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told[0].starts_with("policy/pay/bad: cannot be read: unknown field `novelty`"));
    assert_eq!(
        told[1],
        "workload/pay/x: its content is workload/pay/billing"
    );
    assert_eq!((read.policies.len(), read.workloads.len()), (1, 1));
    assert!(read.stand_ins.is_empty(), "it would only have audited");
}

fn judged(given: &Snapshot) -> (Verdict, Reason) {
    let (set, problems) = compile(given);
    let set = set.unwrap_or_else(|| panic!("{problems:?}"));
    let name = Name::parse(b"a.test").unwrap();
    let evidence = Evidence {
        entry: Entry::Connect,
        port: 443,
        source: None,
        name: Attr::Known(&name),
        literal: None,
        address: Attr::Known("93.184.216.34".parse().unwrap()),
        protocol: Attr::Known(Protocol::Tcp),
        hello: Attr::Absent,
        request: Attr::Absent,
        response: Attr::Absent,
        inspected: false,
    };
    let decision = set.view(&workload()).decide(&evidence, 0);
    (decision.verdict, decision.reason)
}

fn without(given: &Snapshot, name: &str) -> Snapshot {
    let mut resources = given.resources();
    for resource in &mut resources {
        if resource.name.to_string() == name {
            resource.needs.push(Feature("novelty".to_owned()));
        }
    }
    let (read, refused) = snapshot_of(&resources);
    assert_eq!(refused.len(), 1, "{name}");
    read
}

#[test]
fn what_stands_in_denies() {
    let allow =
        json!([{"name": "a", "action": "Allow", "to": {"hosts": ["a.test"], "protocol": "TCP"}}]);
    let deny = json!([{"name": "d", "action": "Deny", "to": {"hosts": ["b.test"]}}]);
    let given = snapshot(vec![
        policy("allows", json!({"rules": allow})),
        policy("denies", json!({"rules": deny})),
        cluster(
            "low",
            json!({"tier": "Admin", "priority": 9, "subject": {"namespaces": ["pay"]}}),
        ),
        cluster(
            "elsewhere",
            json!({"tier": "Admin", "priority": 8, "subject": {"namespaces": ["x"]}}),
        ),
    ]);
    let unsupported = (Verdict::Deny, Reason::PolicyUnsupported);
    assert_eq!(judged(&given), (Verdict::Allow, Reason::Allowed));
    assert_eq!(judged(&without(&given, "policy/pay/allows")), unsupported);
    assert_eq!(judged(&without(&given, "policy/pay/denies")), unsupported);
    assert_eq!(judged(&without(&given, "cluster-policy/low")), unsupported);
    let allowed = (Verdict::Allow, Reason::Allowed);
    assert_eq!(
        judged(&without(&given, "cluster-policy/elsewhere")),
        allowed
    );
    assert_ne!(
        without(&given, "policy/pay/allows").revision(),
        given.revision()
    );

    // A policy of Allows that is lost takes nothing from what others allow.
    let mut two = given.clone();
    two.policies.push(policy("further", json!({})));
    assert_eq!(judged(&without(&two, "policy/pay/further")), allowed);
}

#[test]
fn a_stand_in_that_cannot_be_read_is_the_widest() {
    let name: ResourceName = "policy/pay/p".parse().unwrap();
    let widest = StandIn::widest(&name);
    assert_eq!(StandIn::read(&name, b"{}"), widest);
    let other = StandIn::of(&policy("q", json!({"mode": "Audit"})));
    assert_eq!(StandIn::read(&name, &other.to_bytes()), widest);
    assert_eq!(
        StandIn::read(&other.name(), &other.to_bytes()),
        Some(other.clone())
    );
    let set: ResourceName = "set//far".parse().unwrap();
    assert_eq!(StandIn::read(&set, b"{}"), None);
}
