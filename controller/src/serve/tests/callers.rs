//! Who may be what, and gets what.

use exitgate_proto::control as proto;
use exitgate_proto::control::Role;
use rcgen::KeyPair;
use tonic::{Code, Request};

use super::kit::{Caller, World, names, pool_fleet, request, trust};
use crate::index::tests::{allow, namespace, object, pod, pod_of, policy_key};
use crate::index::{Event, Object};
use crate::trust::{Identity, RequestedKey};

fn events() -> Vec<Event> {
    vec![
        pool_fleet(),
        namespace("pay", &[]),
        namespace("shop", &[("team", "pool")]),
        pod("pay", "a", "one"),
        pod("pay", "b", "two"),
        pod("shop", "c", "one"),
        object(&policy_key("pay", "billing"), 1, allow("a.io")),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_token_decides_what_its_caller_may_be() {
    let world = World::new(events());
    let ours = "node+pool exitgate g one";
    let app = "sidecar pay a one";
    for (token, role, gateway, code, says) in [
        (
            ours,
            Role::Unspecified,
            "nodes",
            Code::InvalidArgument,
            "role is required",
        ),
        (
            "no",
            Role::Node,
            "nodes",
            Code::Unauthenticated,
            "not a token",
        ),
        (
            "nobody knows",
            Role::Node,
            "nodes",
            Code::Unavailable,
            "could say",
        ),
        (
            app,
            Role::Node,
            "nodes",
            Code::PermissionDenied,
            "may not be a node gateway",
        ),
        (
            app,
            Role::Pool,
            "a-pool",
            Code::PermissionDenied,
            "may not be a pool gateway",
        ),
        (
            ours,
            Role::Sidecar,
            "nodes",
            Code::PermissionDenied,
            "may not be a sidecar",
        ),
        (
            ours,
            Role::Node,
            "a-pool",
            Code::FailedPrecondition,
            "has scope Fleet",
        ),
        (
            ours,
            Role::Pool,
            "nodes",
            Code::FailedPrecondition,
            "has scope Node",
        ),
        (
            ours,
            Role::Node,
            "none",
            Code::FailedPrecondition,
            "no EgressGateway \"none\"",
        ),
        (
            app,
            Role::Sidecar,
            "a-pool",
            Code::PermissionDenied,
            "does not belong to",
        ),
        (
            "sidecar pay gone one",
            Role::Sidecar,
            "nodes",
            Code::Unavailable,
            "not known yet",
        ),
        (
            "node exitgate g a/b",
            Role::Node,
            "nodes",
            Code::InvalidArgument,
            "part of an identity",
        ),
    ] {
        let refused = world
            .enrol(token, role, gateway)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.code(), code, "{token} {refused:?}");
        assert!(refused.message().contains(says), "{token} {refused:?}");
    }
    for (token, role, gateway, identity) in [
        (ours, Role::Node, "", "exitgate/node/one/gateway/nodes"),
        (ours, Role::Pool, "", "exitgate/pool/g/gateway/a-pool"),
        (
            app,
            Role::Sidecar,
            "",
            "pay/sidecar/uid-pay-a/gateway/nodes",
        ),
        (
            "sidecar shop c one",
            Role::Sidecar,
            "",
            "shop/sidecar/uid-shop-c/gateway/a-pool",
        ),
    ] {
        let caller = world.enrol(token, role, gateway).await.unwrap();
        assert_eq!(
            caller.answer.identity,
            format!("spiffe://exitgate/ns/{identity}")
        );
        assert_eq!(caller.answer.roots.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_follows_without_a_certificate_of_ours() {
    let world = World::new(events());
    let mut client = proto::control_client::ControlClient::new(world.channel(None).await);
    let request = Request::new(futures_util::stream::pending());
    assert_eq!(
        client.follow(request).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let fetch = proto::FetchArtifactRequest::default();
    assert_eq!(
        client.fetch_artifact(fetch).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let renew = proto::RenewRequest::default();
    assert_eq!(
        client.renew(renew).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    // One that another controller gave out for the same identity.
    let key = KeyPair::generate().unwrap();
    let requested = RequestedKey::parse(&super::kit::request(&key)).unwrap();
    let identity = Identity::parse("spiffe://exitgate/ns/exitgate/node/one/gateway/nodes").unwrap();
    let issued = trust()
        .issue(
            &identity,
            &requested,
            exitgate_runtime::clock::unix_seconds(),
        )
        .unwrap();
    let forged = Caller::new(
        proto::EnrolResponse {
            chain: issued.chain.iter().map(|der| der.to_vec().into()).collect(),
            ..proto::EnrolResponse::default()
        },
        &key,
    );
    let channel = world.try_channel(Some(&forged), &world.trust.roots()).await;
    if let Ok(channel) = channel {
        let mut client = proto::control_client::ControlClient::new(channel);
        assert!(client.renew(proto::RenewRequest::default()).await.is_err());
    }
    assert!(world.controller.acks().rows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_own_share() {
    let world = World::new(events());
    let caller = world.node("two").await;
    let update = world.follow(&caller).await.take().await;
    assert_eq!(
        names(&update),
        [
            "policy/pay/billing",
            "settings/nodes",
            "standalone",
            "workload/pay/b"
        ]
    );
    let pool = "node+pool exitgate g one";
    let caller = world.enrol(pool, Role::Pool, "a-pool").await.unwrap();
    let update = world.follow(&caller).await.take().await;
    assert_eq!(
        names(&update),
        ["settings/a-pool", "standalone", "workload/shop/c"]
    );
    let sidecar = world
        .enrol("sidecar pay a one", Role::Sidecar, "")
        .await
        .unwrap();
    let mut stream = world.follow(&sidecar).await;
    let update = stream.take().await;
    assert_eq!(
        names(&update),
        [
            "policy/pay/billing",
            "settings/nodes",
            "standalone",
            "workload/pay/a"
        ]
    );
    // With its pod goes the sidecar, and it does not come back.
    world.event(Event::Delete(Object::Pod(pod_of("pay", "a", "one")).key()));
    assert_eq!(stream.end().await.code(), Code::PermissionDenied);
    let hello = proto::Hello {
        instance: "again".to_owned(),
        ..proto::Hello::default()
    };
    let again = world
        .follow_with(&sidecar, hello)
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_with_a_token_that_proves_the_same() {
    let world = World::new(events());
    let caller = world.node("one").await;
    let mut client = world.control(&caller).await;
    let key = KeyPair::generate().unwrap();
    let mut renew = async |token: &str, csr: Vec<u8>| {
        let request = proto::RenewRequest {
            csr: csr.into(),
            token: token.to_owned(),
        };
        client.renew(request).await.map(tonic::Response::into_inner)
    };
    let renewed = renew("node exitgate other one", request(&key))
        .await
        .unwrap();
    assert_eq!(renewed.identity, caller.answer.identity);
    world.follow(&Caller::new(renewed, &key)).await.take().await;
    for (token, code) in [
        ("node exitgate g two", Code::PermissionDenied),
        ("pool exitgate g one", Code::PermissionDenied),
        ("", Code::Unauthenticated),
    ] {
        assert_eq!(
            renew(token, request(&key)).await.unwrap_err().code(),
            code,
            "{token}"
        );
    }
    let bad = renew("node exitgate g one", b"bad".to_vec())
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}
