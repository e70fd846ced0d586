//! What the controller tells a real API server: judgements before objects are stored, statuses, the Lease.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use exitgate_controller::api::Kind;
use exitgate_controller::crd::status::{ConditionStatus, ObjectStatus};
use exitgate_controller::kube::{
    Judge, Lease, LeaseError, ObjectKey, Report, Statement, Statuses, Watched, Webhook, hold, pack,
    unpack, write_statuses,
};
use exitgate_policy::Snapshot;
use exitgate_tests::deadline::{within, within_for};
use exitgate_tests::kube::{self as cluster, Cluster};
use exitgate_tests::pki::Authority;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

async fn installed() -> Option<&'static Cluster> {
    let cluster = cluster::cluster().await?;
    cluster
        .install(exitgate_controller::crd::definitions().unwrap())
        .await;
    Some(cluster)
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Value, String> {
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
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => panic!("{method} {path}: {other}"),
    })
}

const POLICIES: &str = "/apis/exitgate.dev/v1alpha1/namespaces/default/egresspolicies";

fn policy(name: &str, rule: &Value) -> Value {
    json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": name, "labels": {"judged": "yes"}}, "spec": {"rules": [rule]}})
}

#[tokio::test]
async fn the_webhook_refuses_in_the_words_of_check() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let authority = Authority::new();
    let tls = authority.server_config(&["127.0.0.1"], &["http/1.1"]);
    let webhook = Webhook::new(Judge::new(|| Arc::new(Snapshot::default())), tls);
    let stop = Arc::new(Notify::new());
    let until = Arc::clone(&stop);
    let task = tokio::spawn(webhook.serve(listener, async move { until.notified().await }));
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority.pem());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "exitgate"},
        "webhooks": [{
            "name": "judge.exitgate.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 5,
            "clientConfig": {"url": format!("https://{address}/"), "caBundle": bundle},
            "objectSelector": {"matchLabels": {"judged": "yes"}},
            "rules": [{"apiGroups": ["exitgate.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]}]
        }]
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    send(&client, "POST", path, &configuration).await.unwrap();
    let dry = format!("{POLICIES}?dryRun=All");
    let bad = policy(
        "bad",
        &json!({"name": "a", "action": "Allow", "to": {"hosts": ["*.co.uk"]}}),
    );
    // The server takes a moment to learn of the configuration, and announces nothing.
    let refused = within("the webhook to be asked", async {
        loop {
            if let Err(message) = send(&client, "POST", &dry, &bad).await {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(refused.starts_with("admission webhook \"judge.exitgate.dev\" denied the request: spec.rules[0].to.hosts[0]: \"*.co.uk\" covers the public suffix co.uk"), "{refused}");
    let null = policy("null", &json!({"name": "a", "action": "Allow", "to": null}));
    let refused = send(&client, "POST", &dry, &null).await.unwrap_err();
    assert!(
        refused.contains("spec.rules[0].to: has no value; write one or remove the field"),
        "{refused}"
    );
    let deny = policy(
        "deny",
        &json!({"name": "a", "action": "Deny", "to": {"hostSets": ["gone"]}}),
    );
    let refused = send(&client, "POST", &dry, &deny).await.unwrap_err();
    assert!(
        refused
            .contains("a Deny or a not needs the set \"gone\", which is not there or not loaded"),
        "{refused}"
    );
    let good = policy(
        "good",
        &json!({"name": "a", "action": "Allow", "to": {"hosts": ["a.io"]}}),
    );
    send(&client, "POST", POLICIES, &good).await.unwrap();
    send(&client, "DELETE", &format!("{POLICIES}/good"), &json!({}))
        .await
        .unwrap();
    // Others may call it too, and learn nothing but that.
    send(&client, "DELETE", &format!("{path}/exitgate"), &json!({}))
        .await
        .unwrap();
    stop.notify_one();
    within("the webhook to end", task).await.unwrap();
}

/// Holds the statuses as the controller does.
struct Shared {
    all: Mutex<Statuses>,
    changed: Notify,
}

#[tokio::test]
async fn statuses_are_written_to_the_object_that_was_meant() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let rule = json!({"name": "a", "action": "Allow"});
    let mut object = policy("reported", &rule);
    object["metadata"].as_object_mut().unwrap().remove("labels");
    let made = send(&client, "POST", POLICIES, &object).await.unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
    let key = ObjectKey {
        watched: Watched::Document(Kind::EgressPolicy),
        namespace: Some("default".into()),
        name: "reported".into(),
    };
    let shared = Arc::new(Shared {
        all: Mutex::new(Statuses::new()),
        changed: Notify::new(),
    });
    let (writing, writer) = (Arc::clone(&shared), client.clone());
    let task = tokio::spawn(async move {
        let access = |call: &mut dyn FnMut(&mut Statuses)| call(&mut writing.all.lock().unwrap());
        Box::pin(write_statuses(writer, access, || {
            writing.changed.notified()
        }))
        .await;
    });
    let report = |accepted: bool| Report {
        generation: 1,
        statements: vec![Statement {
            kind: "Accepted",
            status: if accepted {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: "Accepted".into(),
            message: String::new(),
        }],
        accepted: accepted.then(|| pack(1, &made["spec"]).unwrap()),
        ..Report::default()
    };
    let tell = |report: &Report| {
        let mut all = shared.all.lock().unwrap();
        all.report(
            &key,
            report,
            tokio::time::Instant::now(),
            "2026-11-21T00:00:00Z",
        );
        drop(all);
        shared.changed.notify_one();
    };
    let path = format!("{POLICIES}/reported");
    let stored = async |until: &dyn Fn(&ObjectStatus) -> bool| {
        within("the status", async {
            loop {
                let object = send(&client, "GET", &path, &json!({})).await.unwrap();
                let status: ObjectStatus =
                    serde_json::from_value(object["status"].clone()).unwrap_or_default();
                if until(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    };
    shared
        .all
        .lock()
        .unwrap()
        .observe(&key, &uid, &ObjectStatus::default());
    tell(&report(true));
    let status = stored(&|status| !status.conditions.is_empty()).await;
    assert_eq!(
        unpack(status.accepted.as_ref().unwrap()).unwrap(),
        made["spec"]
    );
    assert_eq!(status.observed_generation, Some(1));
    // What is gone from a report is gone from the status.
    tell(&report(false));
    stored(&|status| status.accepted.is_none()).await;
    // A report on an object that was replaced in the meantime reaches nobody.
    send(&client, "DELETE", &path, &json!({})).await.unwrap();
    send(&client, "POST", POLICIES, &object).await.unwrap();
    tell(&report(true));
    let probe = policy("probe", &rule);
    let mut probe = probe;
    probe["metadata"].as_object_mut().unwrap().remove("labels");
    let other = send(&client, "POST", POLICIES, &probe).await.unwrap();
    let probe = ObjectKey {
        name: "probe".into(),
        ..key.clone()
    };
    {
        let mut all = shared.all.lock().unwrap();
        all.observe(
            &probe,
            other["metadata"]["uid"].as_str().unwrap(),
            &ObjectStatus::default(),
        );
        all.report(
            &probe,
            &report(true),
            tokio::time::Instant::now(),
            "2026-11-21T00:00:00Z",
        );
    }
    shared.changed.notify_one();
    // Written in order: when the later one is there, the earlier one was tried.
    within("the probe's status", async {
        loop {
            let object = send(&client, "GET", &format!("{POLICIES}/probe"), &json!({}))
                .await
                .unwrap();
            if object["status"]["conditions"].is_array() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let object = send(&client, "GET", &path, &json!({})).await.unwrap();
    assert!(object["status"].is_null(), "{object}");
    task.abort();
}

#[tokio::test]
async fn one_holds_the_lease_and_ends_when_it_is_taken() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let lease = |identity: &str| Lease {
        namespace: "default".into(),
        name: "exitgate-controller".into(),
        identity: identity.into(),
    };
    let (first_held, mut first) = watch::channel(false);
    let (second_held, second) = watch::channel(false);
    let one = lease("one");
    let (of_one, of_two) = (client.clone(), client.clone());
    let holder =
        tokio::spawn(
            async move { hold(of_one, &one, &first_held, || 1_795_000_000_000_000).await },
        );
    within("the Lease", first.wait_for(|held| *held))
        .await
        .unwrap();
    let two = lease("two");
    let waiting =
        tokio::spawn(
            async move { hold(of_two, &two, &second_held, || 1_795_000_000_000_000).await },
        );
    // Someone writes another holder into it: the first one's next renewal tells, and it ends.
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/exitgate-controller";
    let taken = json!({"spec": {"holderIdentity": "three"}});
    send(&client, "PATCH", path, &taken).await.unwrap();
    let lost = within_for(Duration::from_secs(15), "the holder to end", holder)
        .await
        .unwrap();
    assert!(
        matches!(&lost, LeaseError::Taken(by) if by == "three"),
        "{lost}"
    );
    assert!(!*first.borrow() && !*second.borrow());
    // Nobody renews for `three`: after its time the one that waits takes over.
    let mut second = second;
    within_for(
        Duration::from_secs(40),
        "the second to take over",
        second.wait_for(|held| *held),
    )
    .await
    .unwrap();
    let object = send(&client, "GET", path, &json!({})).await.unwrap();
    assert_eq!(object["spec"]["holderIdentity"], "two");
    waiting.abort();
}
