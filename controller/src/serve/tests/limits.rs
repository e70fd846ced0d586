//! What peers may take.

use std::time::Duration;

use exitgate_proto::control as proto;
use exitgate_proto::control::gateway_message::Message as Said;
use futures_util::stream;
use tonic::{Code, Request};

use super::kit::World;
use crate::index::Event;
use crate::index::tests::{allow, namespace, object, pod, policy_key};
use crate::serve::Limits;

fn events() -> Vec<Event> {
    vec![
        namespace("pay", &[]),
        pod("pay", "a", "one"),
        pod("pay", "b", "two"),
        object(&policy_key("pay", "billing"), 1, allow("a.io")),
        object(&policy_key("pay", "other"), 1, allow("b.io")),
    ]
}

fn hello(instance: &str) -> proto::Hello {
    proto::Hello {
        instance: instance.to_owned(),
        ..proto::Hello::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_comes_first_and_soon() {
    let world = World::new(events());
    let caller = world.node("one").await;
    let mut client = world.control(&caller).await;
    let silent = Request::new(stream::pending());
    assert_eq!(
        client.follow(silent).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    let beat = proto::GatewayMessage {
        message: Some(Said::Heartbeat(proto::Heartbeat::default())),
    };
    let other = Request::new(stream::iter([beat]));
    assert_eq!(
        client.follow(other).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let version = |name: &str, digest: usize| proto::ResourceVersion {
        name: name.to_owned(),
        digest: vec![1; digest].into(),
    };
    for (says, bad) in [
        ("instance", hello("")),
        ("instance", hello(&"x".repeat(300))),
        (
            "held",
            proto::Hello {
                held: vec![version("a", 31)],
                ..hello("x")
            },
        ),
        (
            "held",
            proto::Hello {
                held: vec![version(&"a".repeat(700), 32)],
                ..hello("x")
            },
        ),
        (
            "position",
            proto::Hello {
                position: Some(proto::Position {
                    epoch: 0,
                    sources: (0..100).map(|n| (n.to_string(), 1)).collect(),
                }),
                ..hello("x")
            },
        ),
    ] {
        let refused = world
            .follow_with(&caller, bad)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_have_a_size() {
    let limits = Limits {
        message: 10_000,
        ..Limits::default()
    };
    let world = World::with(events(), limits, None);
    let caller = world.node("one").await;
    let large = hello(&"x".repeat(20_000));
    let refused = world
        .follow_with(&caller, large)
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    let token = "x".repeat(200_000);
    let refused = world.enrol(&token, proto::Role::Node, "nodes").await;
    assert_eq!(refused.map(|_| ()).unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test(start_paused = true)]
async fn silence_and_missing_answers_end_a_stream() {
    let limits = Limits {
        applying: Duration::from_secs(40),
        ..Limits::default()
    };
    let world = World::with(events(), limits, None);
    let caller = world.node("one").await;
    let mut silent = world.follow(&caller).await;
    silent.take().await;
    let end = silent.end().await;
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert!(end.message().contains("nothing was heard"), "{end:?}");
    let mut deaf = world.follow(&caller).await;
    deaf.update().await;
    let end = deaf.end().await;
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert!(end.message().contains("not answered"), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_ends_a_stream() {
    let world = World::new(events());
    let caller = world.node("one").await;
    for bad in [
        Said::Hello(hello("again")),
        Said::Ack(proto::Ack {
            nonce: 77,
            ..proto::Ack::default()
        }),
        Said::Ack(proto::Ack::default()),
    ] {
        let mut gateway = world.follow(&caller).await;
        gateway.take().await;
        gateway.say(bad).await;
        assert_eq!(gateway.end().await.code(), Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_has_few_streams_and_gets_its_places_back() {
    let world = World::new(events());
    let (one, two) = (world.node("one").await, world.node("two").await);
    let mut streams = Vec::new();
    for number in 0..4 {
        let hello = hello(&number.to_string());
        streams.push(world.follow_with(&one, hello).await.unwrap());
    }
    let fifth = world
        .follow_with(&one, hello("5"))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(fifth.code(), Code::ResourceExhausted);
    // Others are not concerned.
    world.follow(&two).await.take().await;
    let acks = world.controller.acks();
    let mut changed = acks.changed();
    streams.pop();
    let gone = || {
        let rows = acks.rows();
        rows.iter().any(|row| row.instance == "3" && !row.connected)
    };
    changed.wait_for(|_| gone()).await.unwrap();
    tokio::task::yield_now().await;
    world.follow_with(&one, hello("5")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_reads_nothing_is_let_go() {
    let limits = Limits {
        // No answer is awaited, and no word.
        applying: Duration::from_hours(2),
        silence: Duration::from_hours(1),
        body: usize::MAX,
        ..Limits::default()
    };
    // Larger than what a connection holds between its ends.
    let reason = "x".repeat(200_000);
    let rules = serde_json::json!({"rules": [{"name": "a", "action": "Allow", "reason": reason, "to": {"hosts": ["a.io"]}}]});
    let mut all = events();
    all.extend(
        (0..10).map(|number| object(&policy_key("pay", &format!("p{number}")), 1, rules.clone())),
    );
    let world = World::with(all, limits, None);
    let caller = world.node("one").await;
    let gateway = world.follow(&caller).await;
    let acks = world.controller.acks();
    let mut changed = acks.changed();
    changed
        .wait_for(|_| acks.rows().iter().all(|row| !row.connected))
        .await
        .unwrap();
    drop(gateway);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_are_fetched_from_any_offset_by_those_they_are_for() {
    let limits = Limits {
        body: 1_000,
        ..Limits::default()
    };
    let mut all = events();
    all.push(namespace("shop", &[]));
    all.push(pod("shop", "c", "two"));
    let reason = "x".repeat(200_000);
    all.push(object(
        &policy_key("shop", "large"),
        1,
        serde_json::json!({"rules": [{"name": "a", "action": "Allow", "reason": reason, "to": {"hosts": ["a.io"]}}]}),
    ));
    let world = World::with(all, limits, None);
    let (one, two) = (world.node("one").await, world.node("two").await);
    let update = world.follow(&two).await.take().await;
    let large = update
        .upserts
        .iter()
        .find(|resource| resource.name == "policy/shop/large")
        .unwrap();
    assert!(large.body.is_empty());
    let size = usize::try_from(large.artifact_bytes).unwrap();
    assert!(size > 200_000);
    assert!(!large.stand_in.is_empty());
    let request = |offset: usize| proto::FetchArtifactRequest {
        digest: large.digest.clone(),
        offset: offset as u64,
    };
    let mut client = world.control(&two).await;
    for offset in [0, 100_000, size] {
        let mut chunks = client
            .fetch_artifact(request(offset))
            .await
            .unwrap()
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            assert!(chunk.data.len() <= 64 << 10);
            bytes.extend_from_slice(&chunk.data);
        }
        assert_eq!(bytes.len(), size - offset);
        if offset == 0 {
            let digest = exitgate_policy::Digest::of(&bytes);
            assert_eq!(digest.0.to_vec(), large.digest.to_vec());
        }
    }
    let beyond = client.fetch_artifact(request(size + 1)).await.unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange);
    // It is for the other node.
    let mut client = world.control(&one).await;
    let other = client.fetch_artifact(request(0)).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    let nothing = proto::FetchArtifactRequest::default();
    let nothing = client.fetch_artifact(nothing).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn beyond_its_room_an_update_names_what_is_to_be_fetched() {
    let limits = Limits {
        bodies: 300,
        ..Limits::default()
    };
    let world = World::with(events(), limits, None);
    let caller = world.node("one").await;
    let update = world.follow(&caller).await.take().await;
    let inline: usize = update.upserts.iter().map(|one| one.body.len()).sum();
    assert!(inline <= 300);
    assert!(update.upserts.iter().any(|one| one.artifact_bytes > 0));
    for one in &update.upserts {
        assert_ne!(one.body.is_empty(), one.artifact_bytes == 0, "{}", one.name);
    }
}
