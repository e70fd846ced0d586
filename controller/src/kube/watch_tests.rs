#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use futures_util::stream;

use super::super::accepted::pack;
use super::*;

const POLICIES: Watched = Watched::Document(Kind::EgressPolicy);

fn object(spec: &Value, status: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "a", "namespace": "pay", "uid": "u", "generation": 3, "resourceVersion": "17"},
        "spec": spec, "status": status
    }))
    .unwrap()
}

#[test]
fn a_malformed_object_is_invalid_and_keeps_what_was_accepted() {
    let reader = ObjectReader::new();
    let good = json!({"rules": [{"name": "a", "action": "Allow"}]});
    let status = json!({"accepted": pack(2, &good).unwrap()});
    let bad = json!({"rules": [{"name": "a", "action": "Allow", "to": null}]});
    let Some(Event::Invalid(invalid)) = document(POLICIES, object(&bad, &status), &reader) else {
        panic!("taken");
    };
    assert_eq!(invalid.key.to_string(), "EgressPolicy pay/a");
    assert_eq!((invalid.generation, invalid.version), (3, 17));
    assert_eq!(
        invalid.findings[0].to_string(),
        "spec.rules[0].to: has no value; write one or remove the field"
    );
    assert_eq!(invalid.accepted.unwrap().generation, 2);
    let Some(Event::Apply(applied)) = document(POLICIES, object(&good, &json!(null)), &reader)
    else {
        panic!("refused");
    };
    let Object::Document(document) = applied else {
        panic!("another object");
    };
    assert_eq!(document.written, good);
    assert!(document.accepted.is_none());
}

#[test]
fn a_damaged_accepted_form_counts_as_none() {
    let mut form = pack(2, &json!({"rules": []})).unwrap();
    form.digest = "0".repeat(64);
    let status = json!({"accepted": form});
    let event = document(POLICIES, object(&json!({}), &status), &ObjectReader::new());
    let Some(Event::Apply(applied)) = event else {
        panic!("refused");
    };
    assert!(matches!(applied, Object::Document(document) if document.accepted.is_none()));
}

#[tokio::test]
async fn a_list_that_begins_anew_resets_its_kind_and_deletes_need_no_content() {
    let broken = object(&json!(17), &json!(null));
    let told_by_server = vec![
        Ok(watcher::Event::Init),
        Ok(watcher::Event::InitApply(broken.clone())),
        Ok(watcher::Event::InitDone),
        Err(watcher::Error::NoResourceVersion),
        Ok(watcher::Event::Init),
        Ok(watcher::Event::InitDone),
        Ok(watcher::Event::Delete(broken)),
    ];
    let reader = ObjectReader::new();
    let events = told(
        POLICIES,
        stream::iter(told_by_server),
        move |object| document(POLICIES, object, &reader),
        |object: &DynamicObject| key_of(POLICIES, &object.metadata),
    );
    let said: Vec<String> = events
        .map(|event| match event {
            Ok(Event::Reset(_)) => "reset".to_owned(),
            Ok(Event::Synced(_)) => "synced".to_owned(),
            Ok(Event::Invalid(invalid)) => format!("invalid {}", invalid.key),
            Ok(Event::Delete(key)) => format!("delete {key}"),
            Ok(Event::Apply(_)) => "apply".to_owned(),
            Err(_) => "interrupted".to_owned(),
        })
        .collect()
        .await;
    assert_eq!(
        said,
        [
            "reset",
            "invalid EgressPolicy pay/a",
            "synced",
            "interrupted",
            "reset",
            "synced",
            "delete EgressPolicy pay/a"
        ]
    );
}

#[test]
fn a_pod_on_the_network_of_its_node_has_no_address_of_its_own() {
    let metadata: ObjectMeta =
        serde_json::from_value(json!({"name": "a", "namespace": "n", "uid": "u"})).unwrap();
    let status: PodStatus =
        serde_json::from_value(json!({"phase": "Running", "podIPs": [{"ip": "198.18.64.5"}]}))
            .unwrap();
    for (spec, addresses) in [
        (json!({"nodeName": "one"}), 1),
        (json!({"hostNetwork": true}), 0),
    ] {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let Some(Event::Apply(object)) = pod(metadata.clone(), spec, &status) else {
            panic!("no event");
        };
        let Object::Pod(pod) = object else {
            panic!("another object")
        };
        assert_eq!(pod.addresses.len(), addresses);
        assert_eq!(pod.service_account, "default");
    }
}
