//! Pods, namespaces, feeds, and that the order of events makes no difference.

use exitgate_policy::NameSetBuilder;

use super::*;

fn addresses(manifest: &Manifest, name: &str) -> usize {
    let part = manifest.part(name).unwrap();
    let workload: exitgate_policy::Workload = serde_json::from_slice(&part.resource.body).unwrap();
    workload.addresses.len()
}

#[test]
fn pods_are_workloads_while_they_run() {
    let mut index = index([nodes_fleet(), namespace("pay", &[]), pod("pay", "a", "one")]);
    let mut manifests = index.subscribe(on_node("one"));
    assert_eq!(
        addresses(&now(&mut index, &mut manifests), "workload/pay/a"),
        1
    );
    let change = |index: &mut Index, work: fn(&mut Pod)| {
        let mut pod = pod_of("pay", "a", "one");
        work(&mut pod);
        index.event(Event::Apply(Object::Pod(pod)));
    };
    change(&mut index, |pod| pod.host_network = true);
    assert_eq!(
        addresses(&now(&mut index, &mut manifests), "workload/pay/a"),
        0
    );
    assert!(index.pod("uid-pay-a").is_some());
    change(&mut index, |pod| pod.ended = true);
    assert!(
        now(&mut index, &mut manifests)
            .part("workload/pay/a")
            .is_none()
    );
    assert!(index.pod("uid-pay-a").is_none());
    // The same name, another pod, on another node.
    change(&mut index, |pod| {
        pod.uid = "new".to_owned();
        pod.node = Some("two".to_owned());
    });
    assert!(
        now(&mut index, &mut manifests)
            .part("workload/pay/a")
            .is_none()
    );
    let mut two = index.subscribe(on_node("two"));
    assert!(now(&mut index, &mut two).part("workload/pay/a").is_some());
    assert!(index.pod("uid-pay-a").is_none());
    assert!(index.pod("new").is_some());
    index.event(Event::Delete(Object::Pod(pod_of("pay", "a", "two")).key()));
    assert!(now(&mut index, &mut two).part("workload/pay/a").is_none());
}

#[test]
fn a_pod_waits_for_its_namespace_and_has_its_labels() {
    let mut index = index([nodes_fleet(), pod("pay", "a", "one")]);
    let mut manifests = index.subscribe(on_node("one"));
    assert!(
        now(&mut index, &mut manifests)
            .part("workload/pay/a")
            .is_none()
    );
    index.event(namespace("pay", &[("team", "x")]));
    let first = now(&mut index, &mut manifests);
    index.event(namespace("pay", &[("team", "y")]));
    let second = now(&mut index, &mut manifests);
    assert_ne!(
        first.part("workload/pay/a").unwrap().line(),
        second.part("workload/pay/a").unwrap().line()
    );
    index.event(Event::Delete(ObjectKey {
        watched: Watched::Namespace,
        namespace: None,
        name: "pay".to_owned(),
    }));
    assert!(
        now(&mut index, &mut manifests)
            .part("workload/pay/a")
            .is_none()
    );
}

#[test]
fn the_order_of_events_makes_no_difference() {
    let events = || {
        let mut events = vec![
            nodes_fleet(),
            namespace("a", &[("x", "1")]),
            namespace("a-b", &[]),
            node("one"),
            object(&policy_key("a", "good"), 2, allow("a.io")),
            object(&policy_key("a-b", "bad"), 1, json!({"rules": 17})),
            object(
                &key(Kind::EgressDomainSet, Some("a"), "s"),
                1,
                json!({"hosts": ["x.io"]}),
            ),
            object(
                &key(Kind::ClusterEgressPolicy, None, "c"),
                1,
                json!({"tier": "Baseline", "rules": [{"name": "a", "action": "Deny"}]}),
            ),
        ];
        for name in ["x", "y", "z"] {
            events.push(pod("a", name, "one"));
            events.push(pod("a-b", name, "one"));
        }
        events
    };
    let revision = |events: Vec<Event>| {
        let mut index = index(events);
        let mut manifests = index.subscribe(on_node("one"));
        now(&mut index, &mut manifests).revision.to_string()
    };
    let expected = revision(events());
    for turn in 0..events().len() {
        let mut turned = events();
        turned.rotate_left(turn);
        assert_eq!(revision(turned.clone()), expected);
        turned.reverse();
        assert_eq!(revision(turned), expected);
    }
    // Through a history: other content first, something that came and went.
    let mut history = vec![
        object(&policy_key("a", "good"), 1, allow("old.io")),
        object(&policy_key("a", "gone"), 1, allow("old.io")),
        pod("a", "gone", "one"),
    ];
    history.extend(events());
    history.push(Event::Delete(policy_key("a", "gone")));
    history.push(Event::Delete(Object::Pod(pod_of("a", "gone", "one")).key()));
    assert_eq!(revision(history), expected);
}

#[test]
fn a_set_with_a_feed_is_unavailable_until_the_feed_is_read() {
    let cluster = key(Kind::ClusterEgressPolicy, None, "c");
    let mut index = index([
        nodes_fleet(),
        object(
            &key(Kind::ClusterEgressDomainSet, None, "list"),
            1,
            json!({"feed": {"file": "list.txt"}}),
        ),
        object(
            &cluster,
            1,
            json!({"tier": "Admin", "rules": [
                {"name": "a", "action": "Deny", "to": {"hostSets": ["list"]}}]}),
        ),
    ]);
    let mut manifests = index.subscribe(on_node("one"));
    let part = |manifest: &Manifest| Arc::clone(manifest.part("set//list").unwrap());
    let before = part(&now(&mut index, &mut manifests));
    assert!(!before.resource.is_compiled_set());
    let mut names = NameSetBuilder::with_capacity(10);
    names.add(b"a.io").unwrap();
    index.feed("list", Some(Arc::new(names.finish().unwrap())));
    let after = part(&now(&mut index, &mut manifests));
    assert!(after.resource.is_compiled_set());
    index.event(Event::Delete(key(
        Kind::ClusterEgressDomainSet,
        None,
        "list",
    )));
    assert!(now(&mut index, &mut manifests).part("set//list").is_none());
    assert_eq!(index.unresolved(&cluster), ["ClusterEgressDomainSet list"]);
}

#[test]
fn positions_only_rise_under_one_epoch() {
    let mut index = index([nodes_fleet()]);
    let mut manifests = index.subscribe(on_node("one"));
    index.reached("EgressPolicy", 40);
    index.reached("EgressPolicy", 30);
    assert_eq!(index.position().sources["EgressPolicy"], 40);
    let before = now(&mut index, &mut manifests);
    index.set_epoch(2);
    index.publish();
    assert!(manifests.has_changed().unwrap());
    let after = now(&mut index, &mut manifests);
    assert_eq!(after.position.epoch, 2);
    let mut ahead = (*after.position).clone();
    ahead.sources.insert("EgressPolicy".to_owned(), 41);
    assert_eq!(after.position.behind(&ahead), ["EgressPolicy"]);
    assert!(before.position.behind(&ahead).is_empty());
}
