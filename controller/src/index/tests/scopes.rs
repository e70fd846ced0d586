//! Who gets what.

use exitgate_policy::SecretValue;

use super::*;

fn fleet(name: &str) -> Scope {
    Scope::Fleet {
        gateway: name.to_owned(),
    }
}

fn sidecar(namespace: &str, name: &str) -> Scope {
    Scope::Sidecar {
        gateway: "nodes".to_owned(),
        uid: format!("uid-{namespace}-{name}"),
    }
}

fn set(kind: Kind, namespace: Option<&str>, name: &str) -> Event {
    object(&key(kind, namespace, name), 1, json!({"hosts": ["a.io"]}))
}

fn injecting(app: &str, credential: &str) -> Value {
    json!({
        "subject": {"podSelector": {"matchLabels": {"app": app}}},
        "rules": [{"name": "a", "action": "Allow", "to": {"hosts": ["a.io"]},
            "inject": {"credentialRef": {"name": credential}}}],
    })
}

fn credential(namespace: &str, name: &str) -> Event {
    object(
        &key(Kind::EgressCredential, Some(namespace), name),
        1,
        json!({"header": "Authorization", "hosts": ["a.io"],
            "valueFrom": {"secretRef": {"name": "s", "key": "k"}}}),
    )
}

fn world() -> Index {
    let mut index = index([
        nodes_fleet(),
        namespace("pay", &[("team", "pay")]),
        namespace("shop", &[]),
        namespace("idle", &[]),
        pod("pay", "a", "one"),
        pod("pay", "b", "two"),
        pod("shop", "c", "one"),
        object(&policy_key("pay", "for-a"), 1, injecting("a", "key-a")),
        object(&policy_key("pay", "for-b"), 1, injecting("b", "key-b")),
        object(
            &policy_key("shop", "sets"),
            1,
            json!({"rules": [
                {"name": "a", "action": "Allow", "to": {"hostSets": ["own"], "ports": [443]}},
                {"name": "b", "action": "Deny", "to": {"cidrs": ["198.19.0.0/16"]},
                 "not": {"to": {"cidrSets": ["cluster/shared"]}}}]}),
        ),
        object(&policy_key("idle", "nobody"), 1, allow("a.io")),
        credential("pay", "key-a"),
        credential("pay", "key-b"),
        credential("pay", "unused"),
        set(Kind::EgressDomainSet, Some("shop"), "own"),
        set(Kind::EgressDomainSet, Some("shop"), "unused"),
        set(Kind::ClusterEgressDomainSet, None, "shared"),
        set(Kind::ClusterEgressDomainSet, None, "unused"),
        object(
            &key(Kind::ClusterEgressPolicy, None, "guard"),
            1,
            json!({"tier": "Admin", "subject": {"namespaces": ["pay"]}, "rules": []}),
        ),
    ]);
    for name in ["key-a", "key-b", "unused"] {
        let value = SecretValue::parse(name.as_bytes().to_vec()).unwrap();
        index.secret("pay", name, Some(value));
    }
    index
}

fn made(index: &mut Index, scope: Scope) -> Arc<Manifest> {
    let mut manifests = index.subscribe(scope);
    now(index, &mut manifests)
}

fn secrets(manifest: &Manifest) -> Vec<&str> {
    let secrets = manifest.secrets.iter();
    secrets.map(|secret| secret.name.as_str()).collect()
}

#[test]
fn a_node_gets_what_its_workloads_need() {
    let mut index = world();
    let one = made(&mut index, on_node("one"));
    assert_eq!(
        names(&one),
        [
            "cluster-policy/guard",
            "credential/pay/key-a",
            "credential/pay/key-b",
            "policy/pay/for-a",
            "policy/pay/for-b",
            "policy/shop/sets",
            "set//shared",
            "set/shop/own",
            "settings/nodes",
            "standalone",
            "workload/pay/a",
            "workload/shop/c",
        ]
    );
    // Values only for workloads that are here.
    assert_eq!(secrets(&one), ["key-a"]);
    let two = made(&mut index, on_node("two"));
    assert!(two.part("policy/shop/sets").is_none());
    assert!(two.part("set//shared").is_none());
    assert_eq!(secrets(&two), ["key-b"]);
    assert_eq!(
        names(&made(&mut index, on_node("three"))),
        ["cluster-policy/guard", "settings/nodes", "standalone"]
    );
}

#[test]
fn a_sidecar_gets_what_selects_its_pod_and_nothing_else() {
    let mut index = world();
    let a = made(&mut index, sidecar("pay", "a"));
    assert_eq!(
        names(&a),
        [
            "cluster-policy/guard",
            "credential/pay/key-a",
            "policy/pay/for-a",
            "settings/nodes",
            "standalone",
            "workload/pay/a",
        ]
    );
    assert_eq!(secrets(&a), ["key-a"]);
    let c = made(&mut index, sidecar("shop", "c"));
    assert!(c.part("cluster-policy/guard").is_none());
    assert_eq!(secrets(&c), [""; 0]);
}

#[test]
fn a_fleet_gets_every_selected_workload_and_the_first_fleet_that_selects_has_it() {
    let mut index = world();
    let all = made(&mut index, fleet("nodes"));
    for name in ["workload/pay/a", "workload/pay/b", "workload/shop/c"] {
        assert!(all.part(name).is_some(), "{name}");
    }
    assert!(all.part("policy/idle/nobody").is_none());
    index.event(object(
        &key(Kind::EgressGateway, None, "a-pool"),
        1,
        json!({"namespaceSelector": {"matchLabels": {"team": "pay"}}}),
    ));
    let pool = made(&mut index, fleet("a-pool"));
    assert!(pool.part("workload/pay/a").is_some());
    assert!(pool.part("workload/shop/c").is_none());
    let nodes = made(&mut index, fleet("nodes"));
    assert!(nodes.part("workload/pay/a").is_none());
    assert!(nodes.part("workload/shop/c").is_some());
    assert_eq!(index.pod("uid-pay-a").unwrap().gateway.unwrap(), "a-pool");
    // Without its settings a fleet has nobody.
    index.event(Event::Delete(key(Kind::EgressGateway, None, "a-pool")));
    assert_eq!(
        names(&made(&mut index, fleet("a-pool"))),
        ["cluster-policy/guard", "standalone"]
    );
}

#[test]
fn only_those_whom_a_change_concerns_are_worked_for() {
    let mut index = world();
    let mut scopes: Vec<Manifests> = [on_node("one"), on_node("two"), sidecar("pay", "b")]
        .map(|scope| index.subscribe(scope))
        .into();
    assert_eq!(index.publish(), 3);
    assert_eq!(index.publish(), 0);
    index.event(object(&policy_key("shop", "more"), 1, allow("b.io")));
    assert_eq!(index.publish(), 1);
    index.event(object(&policy_key("idle", "more"), 1, allow("b.io")));
    assert_eq!(index.publish(), 0);
    index.event(pod("pay", "new", "two"));
    assert_eq!(index.publish(), 1);
    index.event(object(&policy_key("pay", "for-b"), 2, allow("b.io")));
    assert_eq!(index.publish(), 3);
    scopes.remove(0);
    index.event(nodes_fleet());
    index.event(object(
        &key(Kind::EgressGateway, None, "nodes"),
        2,
        json!({"scope": "Node", "defaultAction": "Allow"}),
    ));
    assert_eq!(index.publish(), 2, "nobody listens for the first any more");
}

#[test]
fn a_changed_secret_is_told_under_the_same_revision() {
    let mut index = world();
    let mut manifests = index.subscribe(on_node("one"));
    let before = now(&mut index, &mut manifests);
    let value = SecretValue::parse(b"new".to_vec()).unwrap();
    index.secret("pay", "key-a", Some(value));
    index.publish();
    assert!(manifests.has_changed().unwrap());
    let after = now(&mut index, &mut manifests);
    assert_eq!(before.revision, after.revision);
    assert_eq!(after.secrets[0].value.expose(), b"new");
    index.secret("pay", "key-a", None);
    assert_eq!(secrets(&now(&mut index, &mut manifests)), [""; 0]);
}

#[test]
fn statuses_know_what_leads_nowhere_and_who_uses_what() {
    let mut index = world();
    let sets = policy_key("shop", "sets");
    assert_eq!(index.unresolved(&sets), [""; 0]);
    let shared = key(Kind::ClusterEgressDomainSet, None, "shared");
    assert_eq!(index.users(&shared), std::slice::from_ref(&sets));
    index.event(Event::Delete(shared));
    index.event(Event::Delete(key(
        Kind::EgressDomainSet,
        Some("shop"),
        "own",
    )));
    assert_eq!(
        index.unresolved(&sets),
        ["ClusterEgressDomainSet shared", "EgressDomainSet shop/own"]
    );
    let guard = key(Kind::ClusterEgressPolicy, None, "guard");
    let selected = index.selected(&guard);
    assert_eq!(selected.workloads, 2);
    assert_eq!(selected.nodes.len(), 2);
    assert_eq!(index.context().sets.len(), 2);
    assert_eq!(index.context().credentials.len(), 3);
}
