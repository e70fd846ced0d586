//! What the controller learns from a real API server: objects, poison among them, and who shows a token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;

use exitgate_controller::api::Kind;
use exitgate_controller::kube::{
    Event, Object, TokenError, TokenReviewer, Watched, client_of, watch,
};
use exitgate_tests::deadline::within;
use exitgate_tests::kube::{self as cluster, Cluster};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

async fn installed() -> Option<&'static Cluster> {
    let cluster = cluster::cluster().await?;
    cluster
        .install(exitgate_controller::crd::definitions().unwrap())
        .await;
    Some(cluster)
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Value {
    let kind = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    client
        .request(request)
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// A namespace with the service account that a controller would make in it.
async fn namespace(client: &Client, name: &str) {
    let labels = json!({"team": name});
    send(
        client,
        "POST",
        "/api/v1/namespaces",
        &json!({"metadata": {"name": name, "labels": labels}}),
    )
    .await;
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
    send(
        client,
        "POST",
        &path,
        &json!({"metadata": {"name": "default"}}),
    )
    .await;
}

async fn pod(client: &Client, namespace: &str, name: &str, node: &str) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let made = send(client, "POST", &path, &json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "automountServiceAccountToken": false, "containers": [{"name": "a", "image": "none"}]}
    })).await;
    let addresses = json!({"status": {"phase": "Running", "podIP": "198.18.64.7", "podIPs": [{"ip": "198.18.64.7"}]}});
    send(
        client,
        "PATCH",
        &format!("{path}/{name}/status"),
        &addresses,
    )
    .await;
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

const POLICIES: &str = "/apis/exitgate.dev/v1alpha1/namespaces/watched/egresspolicies";

fn policy(name: &str, to: &Value) -> Value {
    json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy", "metadata": {"name": name},
        "spec": {"rules": [{"name": "a", "action": "Allow", "to": to}]}})
}

#[tokio::test]
async fn objects_become_events_and_poison_stays_alone() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = client_of(cluster.config().await).unwrap();
    namespace(&client, "watched").await;
    let node =
        json!({"metadata": {"name": "watched-node"}, "spec": {"podCIDRs": ["198.18.64.0/24"]}});
    send(&client, "POST", "/api/v1/nodes", &node).await;
    pod(&client, "watched", "worker", "watched-node").await;
    send(
        &client,
        "POST",
        POLICIES,
        &policy("good", &json!({"hosts": ["a.io"]})),
    )
    .await;
    send(&client, "POST", POLICIES, &policy("poison", &json!(null))).await;

    let (sender, mut events) = mpsc::channel(1_024);
    let watching = client.clone();
    let task = tokio::spawn(async move {
        let mut sink = move |event: Event| sender.try_send(event).unwrap();
        watch(watching, &mut sink).await;
    });
    let mut synced = BTreeSet::new();
    let (mut good, mut poison, mut worker, mut space, mut machine) =
        (false, false, false, false, false);
    while synced.len() < 9 {
        match within("an event", events.recv()).await.unwrap() {
            Event::Synced(watched) => {
                assert!(synced.insert(watched));
            }
            Event::Apply(object) => match object {
                Object::Document(document) if document.key.name == "good" => {
                    assert!(document.version > 0 && !document.uid.is_empty());
                    good = true;
                }
                Object::Pod(pod) if pod.name == "worker" => {
                    assert_eq!(pod.node.as_deref(), Some("watched-node"));
                    assert_eq!(
                        pod.addresses,
                        ["198.18.64.7".parse::<std::net::IpAddr>().unwrap()]
                    );
                    assert_eq!(pod.labels["app"], "worker");
                    worker = true;
                }
                Object::Namespace(found) if found.name == "watched" => {
                    assert_eq!(found.labels["team"], "watched");
                    space = true;
                }
                Object::Node(node) if node.name == "watched-node" => {
                    assert_eq!(node.pod_ranges, ["198.18.64.0/24"]);
                    machine = true;
                }
                _ => {}
            },
            Event::Invalid(invalid) => {
                assert_eq!(invalid.key.name, "poison");
                assert_eq!(
                    invalid.findings[0].to_string(),
                    "spec.rules[0].to: has no value; write one or remove the field"
                );
                poison = true;
            }
            Event::Reset(_) | Event::Delete(_) => {}
        }
    }
    assert!(good && poison && worker && space && machine);
    // The poisoned object goes like any other, and what comes after it is seen.
    send(&client, "DELETE", &format!("{POLICIES}/poison"), &json!({})).await;
    send(
        &client,
        "POST",
        POLICIES,
        &policy("later", &json!({"hosts": ["b.io"]})),
    )
    .await;
    let (mut gone, mut later) = (false, false);
    while !(gone && later) {
        match within("the changes", events.recv()).await.unwrap() {
            Event::Delete(key) => {
                assert_eq!(
                    (key.watched, key.name.as_str()),
                    (Watched::Document(Kind::EgressPolicy), "poison")
                );
                gone = true;
            }
            Event::Apply(object) => later |= object.key().name == "later",
            other => panic!("{other:?}"),
        }
    }
    task.abort();
}

#[tokio::test]
async fn a_token_names_its_pod_and_only_ours_counts() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    namespace(&client, "gateways").await;
    send(
        &client,
        "POST",
        "/api/v1/nodes",
        &json!({"metadata": {"name": "token-node"}}),
    )
    .await;
    let uid = pod(&client, "gateways", "gateway-1", "token-node").await;
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "gateway-1", "uid": uid});
    let token = async |audience: &str, bound: &Value| {
        let mut spec = json!({"audiences": [audience], "expirationSeconds": 600});
        if !bound.is_null() {
            spec["boundObjectRef"] = bound.clone();
        }
        let path = "/api/v1/namespaces/gateways/serviceaccounts/default/token";
        let answer = send(&client, "POST", path, &json!({"spec": spec})).await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    };
    let reviewer = TokenReviewer::new(client.clone());
    let ours = token("exitgate", &bound).await;
    let caller = reviewer.verify(&ours).await.unwrap();
    assert_eq!(caller.namespace, "gateways");
    assert_eq!(caller.service_account, "default");
    assert_eq!(
        (caller.pod.as_str(), caller.pod_uid.as_str()),
        ("gateway-1", uid.as_str())
    );
    assert_eq!(caller.node, "token-node");
    assert!(caller.credential.is_some());

    let foreign = token("https://kubernetes.default.svc", &bound).await;
    let refused = reviewer.verify(&foreign).await.unwrap_err();
    assert!(
        matches!(
            refused,
            TokenError::NotAuthenticated(_) | TokenError::OtherAudience
        ),
        "{refused}"
    );
    let unbound = token("exitgate", &Value::Null).await;
    let refused = reviewer.verify(&unbound).await.unwrap_err();
    assert!(matches!(refused, TokenError::Unbound("pod")), "{refused}");
    let refused = reviewer.verify("nonsense").await.unwrap_err();
    assert!(
        matches!(refused, TokenError::NotAuthenticated(_)),
        "{refused}"
    );
    let refused = reviewer.verify(&"x".repeat(20_000)).await.unwrap_err();
    assert!(matches!(refused, TokenError::TooLong(20_000)), "{refused}");

    // A pod that has ended is nobody, however long its token lives.
    let path = "/api/v1/namespaces/gateways/pods/gateway-1";
    send(
        &client,
        "PATCH",
        &format!("{path}/status"),
        &json!({"status": {"phase": "Succeeded"}}),
    )
    .await;
    let refused = reviewer.verify(&ours).await.unwrap_err();
    assert!(matches!(refused, TokenError::PodGone { .. }), "{refused}");
}
