//! Updates and answers.

use exitgate_policy::SecretValue;
use exitgate_proto::control as proto;
use exitgate_proto::control::controller_message::Message;
use exitgate_proto::control::gateway_message::Message as Said;

use super::kit::{World, names};
use crate::api::Kind;
use crate::index::tests::{allow, key, namespace, object, pod, policy_key};
use crate::index::{Event, ObjectKey};
use crate::serve::Programmed;

fn events() -> Vec<Event> {
    vec![
        namespace("pay", &[]),
        pod("pay", "a", "one"),
        pod("pay", "b", "two"),
        object(&policy_key("pay", "billing"), 1, allow("a.io")),
    ]
}

fn programmed(world: &World, key: &ObjectKey) -> Programmed {
    let (digest, selected) = {
        let index = world.index.lock();
        (index.digest(key).unwrap(), index.selected(key))
    };
    let name = format!("policy/pay/{}", key.name);
    let now = exitgate_runtime::clock::unix_seconds();
    world
        .controller
        .acks()
        .programmed(&name, digest, &selected, |_| true, now)
}

#[tokio::test(start_paused = true)]
async fn a_gateway_gets_everything_once_and_then_what_changes() {
    let world = World::new(events());
    let billing = policy_key("pay", "billing");
    let caller = world.node("one").await;
    let mut gateway = world.follow(&caller).await;
    let first = gateway.take().await;
    assert!(first.complete);
    assert_eq!(
        names(&first),
        [
            "policy/pay/billing",
            "settings/nodes",
            "standalone",
            "workload/pay/a"
        ]
    );
    let position = first.position.clone().unwrap();
    assert_eq!(position.sources["EgressPolicy"], 11);
    let text = exitgate_proto::signed_text(&first.revision, &position);
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, &caller.answer.manifest_keys[0])
        .verify(&text, &first.signature)
        .unwrap();

    world.event(object(&billing, 2, allow("b.io")));
    let second = gateway.take().await;
    assert!(!second.complete);
    assert_eq!(names(&second), ["policy/pay/billing"]);
    assert!(second.removals.is_empty());

    world.event(pod("pay", "c", "one"));
    world.event(Event::Delete(billing.clone()));
    let third = gateway.take().await;
    assert_eq!(names(&third), ["workload/pay/c"]);
    assert_eq!(third.removals, ["policy/pay/billing"]);
}

#[tokio::test(start_paused = true)]
async fn a_hello_names_what_need_not_be_sent() {
    let world = World::new(events());
    let caller = world.node("one").await;
    let mut gateway = world.follow(&caller).await;
    let first = gateway.take().await;
    drop(gateway);
    let mut held: Vec<proto::ResourceVersion> = first
        .upserts
        .iter()
        .map(|resource| proto::ResourceVersion {
            name: resource.name.clone(),
            digest: resource.digest.clone(),
        })
        .collect();
    held[0].digest = vec![0; 32].into();
    held.push(proto::ResourceVersion {
        name: "policy/pay/old".to_owned(),
        digest: vec![7; 32].into(),
    });
    let hello = proto::Hello {
        instance: "second".to_owned(),
        held,
        ..proto::Hello::default()
    };
    let mut gateway = world.follow_with(&caller, hello).await.unwrap();
    let update = gateway.update().await;
    assert!(update.complete);
    assert_eq!(names(&update), ["policy/pay/billing"]);
    assert_eq!(update.removals, ["policy/pay/old"]);
    assert_eq!(update.revision, first.revision);
}

#[tokio::test(start_paused = true)]
async fn one_update_is_in_flight_and_the_latest_wins() {
    let world = World::new(events());
    let billing = policy_key("pay", "billing");
    let caller = world.node("one").await;
    let mut gateway = world.follow(&caller).await;
    let first = gateway.update().await;
    gateway.apply(&first);
    for (generation, host) in [(2, "b.io"), (3, "c.io"), (4, "d.io")] {
        world.event(object(&billing, generation, allow(host)));
        // Heartbeats go on, and nothing else comes before the answer.
        let Message::Heartbeat(beat) = gateway.message().await.unwrap() else {
            panic!("an update before the answer");
        };
        assert_ne!(beat.revision, first.revision);
    }
    gateway.ack(first.nonce, &first.revision, &[]).await;
    let next = gateway.take().await;
    assert_eq!(names(&next), ["policy/pay/billing"]);
    let body = String::from_utf8(next.upserts[0].body.to_vec()).unwrap();
    assert!(body.contains("d.io"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn answers_are_counted_for_the_policies_they_are_about() {
    let world = World::new(events());
    let billing = policy_key("pay", "billing");
    let now = programmed(&world, &billing);
    assert_eq!((now.applied, now.expected), (0, 2));
    assert_eq!(now.waiting[0].gateway, "nodes/one");
    assert_eq!(now.waiting[0].reason, "no gateway has been seen");
    let acks = world.controller.acks();
    let mut changed = acks.changed();
    let (one, two) = (world.node("one").await, world.node("two").await);
    let (mut first, mut second) = (world.follow(&one).await, world.follow(&two).await);
    first.take().await;
    let update = second.update().await;
    second
        .ack(update.nonce, "another", &["policy/pay/billing"])
        .await;
    changed
        .wait_for(|_| acks.rows().iter().all(|row| row.applied.is_some()))
        .await
        .unwrap();
    let now = programmed(&world, &billing);
    assert_eq!((now.applied, now.expected), (1, 2));
    assert_eq!(now.waiting[0].gateway, "nodes/two");
    assert_eq!(now.waiting[0].reason, "too new");
    // What was refused is not sent again before it changes.
    world.event(pod("pay", "d", "two"));
    assert_eq!(names(&second.update().await), ["workload/pay/d"]);
    second.ack(2, "another", &[]).await;
    changed
        .wait_for(|_| programmed(&world, &billing).applied == 2)
        .await
        .unwrap();
    // A gateway that has gone is remembered for a while.
    drop(first);
    changed
        .wait_for(|_| acks.rows().iter().any(|row| !row.connected))
        .await
        .unwrap();
    assert_eq!(acks.rows().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn rules_that_decided_are_remembered_for_policies_that_were_sent() {
    let world = World::new(events());
    let caller = world.node("one").await;
    let mut gateway = world.follow(&caller).await;
    gateway.take().await;
    let seen = |policy: &str, last| proto::RuleMatch {
        policy: policy.to_owned(),
        rule: "a".to_owned(),
        last,
        count: 2,
        assurance: "NameResolved".to_owned(),
    };
    let matches = vec![seen("policy/pay/billing", 9), seen("policy/pay/other", 9)];
    gateway.say(Said::Report(proto::Report { matches })).await;
    // A second one at once is too early.
    let matches = vec![seen("policy/pay/billing", 10)];
    gateway.say(Said::Report(proto::Report { matches })).await;
    world.event(object(&policy_key("pay", "more"), 1, allow("b.io")));
    gateway.take().await;
    let acks = world.controller.acks();
    let mut changed = acks.changed();
    changed
        .wait_for(|_| acks.rows()[0].applies("policy/pay/more").is_some())
        .await
        .unwrap();
    let rules = acks.rules("policy/pay/billing");
    assert_eq!((rules["a"].last, rules["a"].count), (9, 2));
    assert!(acks.rules("policy/pay/other").is_empty());
}

fn secrets(message: Message) -> Vec<String> {
    let Message::Secrets(secrets) = message else {
        panic!("no secrets");
    };
    let secrets = secrets.secrets.into_iter();
    secrets
        .map(|one| format!("{} {}", one.name, String::from_utf8_lossy(&one.value)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn secrets_go_where_a_workload_needs_them_and_before_its_policy() {
    let mut all = events();
    all.push(object(
        &policy_key("pay", "inject"),
        1,
        serde_json::json!({
            "subject": {"podSelector": {"matchLabels": {"app": "a"}}},
            "rules": [{"name": "a", "action": "Allow", "to": {"hosts": ["a.io"]},
                "inject": {"credentialRef": {"name": "k"}}}]}),
    ));
    all.push(object(
        &key(Kind::EgressCredential, Some("pay"), "k"),
        1,
        serde_json::json!({"header": "Authorization", "hosts": ["a.io"],
            "valueFrom": {"secretRef": {"name": "s", "key": "k"}}}),
    ));
    let world = World::new(all);
    let set = |text: &str| {
        let value = SecretValue::parse(text.as_bytes().to_vec()).unwrap();
        world
            .index
            .change(|index| index.secret("pay", "k", Some(value)));
    };
    set("s3cret");
    let (one, two) = (world.node("one").await, world.node("two").await);
    let mut first = world.follow(&one).await;
    assert_eq!(secrets(first.message().await.unwrap()), ["k s3cret"]);
    let update = first.take().await;
    assert!(!format!("{update:?}").contains("s3cret"));
    let mut second = world.follow(&two).await;
    assert_eq!(secrets(second.message().await.unwrap()), [""; 0]);
    second.take().await;
    set("two");
    assert_eq!(secrets(first.message().await.unwrap()), ["k two"]);
}

#[tokio::test(start_paused = true)]
async fn a_draining_controller_sends_gateways_elsewhere_and_ends() {
    let world = World::new(events());
    let caller = world.node("one").await;
    let mut gateway = world.follow(&caller).await;
    gateway.take().await;
    world.controller.drain();
    let reason = loop {
        if let Message::GoAway(go) = gateway.message().await.unwrap() {
            break go.reason;
        }
    };
    assert!(reason.contains("another"), "{reason}");
    drop(gateway);
    world.server.await.unwrap().unwrap();
}
