//! Signatures for intercepted connections.

use std::sync::Arc;

use exitgate_proto::control as proto;
use exitgate_proto::control::signing_client::SigningClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use tonic::Code;

use super::kit::{Caller, World, request};
use crate::api::Kind;
use crate::index::Event;
use crate::index::tests::{allow, key, namespace, object, pod, policy_key};
use crate::serve::Limits;
use crate::trust::InterceptionRoot;

fn interception() -> Arc<InterceptionRoot> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key).unwrap();
    let (root, key) = (root.pem(), key.serialize_pem());
    Arc::new(InterceptionRoot::from_pem(root.as_bytes(), key.as_bytes()).unwrap())
}

fn inspecting(host: &str) -> Event {
    let rule = serde_json::json!({"name": "a", "action": "Allow", "to": {"hosts": [host]},
        "http": {"methods": ["GET"]}});
    object(
        &policy_key("pay", "billing"),
        1,
        serde_json::json!({ "rules": [rule] }),
    )
}

fn world(signs: bool) -> World {
    let settings = serde_json::json!({"scope": "Node", "tls": {"inspection": "On",
        "authority": {"certFile": "c", "keyFile": "k"}}});
    let events = vec![
        object(&key(Kind::EgressGateway, None, "nodes"), 2, settings),
        namespace("pay", &[]),
        namespace("shop", &[]),
        pod("pay", "a", "one"),
        pod("shop", "c", "two"),
        inspecting("*.a.io"),
        object(&policy_key("shop", "plain"), 1, allow("b.io")),
    ];
    let interception = signs.then(interception);
    World::with(
        events,
        Limits::default(),
        interception.map(|root| root as Arc<_>),
    )
}

async fn authority(
    world: &World,
    caller: &Caller,
) -> Result<proto::IssueAuthorityResponse, tonic::Status> {
    let csr = request(&KeyPair::generate().unwrap()).into();
    let mut client = SigningClient::new(world.channel(Some(caller)).await);
    let answer = client
        .issue_authority(proto::IssueAuthorityRequest { csr })
        .await?;
    Ok(answer.into_inner())
}

async fn leaf(
    world: &World,
    caller: &Caller,
    name: &str,
) -> Result<proto::SignLeafResponse, tonic::Status> {
    let csr = request(&KeyPair::generate().unwrap()).into();
    let mut client = SigningClient::new(world.channel(Some(caller)).await);
    let name = name.to_owned();
    let answer = client
        .sign_leaf(proto::SignLeafRequest { name, csr })
        .await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn node_gateways_get_an_authority_for_the_names_of_their_rules() {
    let world = world(true);
    let one = world.node("one").await;
    let answer = authority(&world, &one).await.unwrap();
    assert_eq!(answer.names, ["a.io"]);
    assert_eq!(answer.chain.len(), 1);
    let two = world.node("two").await;
    let nothing = authority(&world, &two).await.unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition, "{nothing:?}");
    let sidecar = world
        .enrol("sidecar pay a one", proto::Role::Sidecar, "")
        .await
        .unwrap();
    let refused = authority(&world, &sidecar).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    world.event(inspecting("*.b.io"));
    let mut gateway = world.follow(&one).await;
    gateway.take().await;
    assert_eq!(authority(&world, &one).await.unwrap().names, ["b.io"]);
}

#[tokio::test]
async fn leaves_are_signed_for_names_that_a_rule_can_need() {
    let world = world(true);
    let sidecar = world
        .enrol("sidecar pay a one", proto::Role::Sidecar, "")
        .await
        .unwrap();
    assert_eq!(
        leaf(&world, &sidecar, "x.a.io").await.unwrap().chain.len(),
        1
    );
    for (name, code) in [
        ("b.io", Code::PermissionDenied),
        ("no name", Code::InvalidArgument),
        ("198.19.0.1", Code::InvalidArgument),
    ] {
        let refused = leaf(&world, &sidecar, name).await.unwrap_err();
        assert_eq!(refused.code(), code, "{name}");
    }
}

#[tokio::test]
async fn without_an_authority_nothing_is_signed() {
    let world = world(false);
    let one = world.node("one").await;
    for refused in [
        authority(&world, &one).await.map(|_| ()).unwrap_err(),
        leaf(&world, &one, "x.a.io").await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
}
