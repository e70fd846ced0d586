//! The definitions, held against a real API server: it takes them, and its answers read like those of `exitgate check`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::time::Instant;

use exitgate_controller::api::Kind;
use exitgate_tests::kube::{self as cluster, Cluster};
use kube::Client;
use serde_json::{Value, json};

/// Creates an object as a client would; with `dry_run` it is judged and not kept.
async fn create(client: &Client, object: &Value, query: &str) -> Result<Value, String> {
    let kind = Kind::parse(object["kind"].as_str().unwrap()).unwrap();
    let plural = cluster::plural(kind.as_str());
    let scope = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("namespaces/{namespace}/"),
        None => String::new(),
    };
    let path = format!("/apis/exitgate.dev/v1alpha1/{scope}{plural}?{query}");
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object).unwrap())
        .unwrap();
    client
        .request::<Value>(request)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) => status.message,
            other => panic!("{other}"),
        })
}

fn policy(rule: &Value) -> Value {
    spec("EgressPolicy", &json!({ "rules": [rule] }))
}

fn guardrail(rule: &Value) -> Value {
    spec(
        "ClusterEgressPolicy",
        &json!({ "tier": "Admin", "rules": [rule] }),
    )
}

fn spec(kind: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "exitgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "row"}, "spec": spec
    });
    if Kind::parse(kind).unwrap().is_namespaced() {
        object["metadata"]["namespace"] = json!("default");
    }
    object
}

async fn installed() -> Option<&'static Cluster> {
    let cluster = cluster::cluster().await?;
    cluster
        .install(exitgate_controller::crd::definitions().unwrap())
        .await;
    Some(cluster)
}

#[tokio::test]
async fn good_objects_are_taken_and_bad_ones_refused_in_our_words() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let allow = |more: Value| {
        let mut rule = json!({"name": "r", "action": "Allow"});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        rule
    };
    let good = [
        policy(&allow(
            json!({"to": {"hosts": ["api.pay.example", "*.eu.pay.example"], "ports": [443, "8000-8999", " 1 - 2".trim()]},
            "http": {"methods": ["GET"], "paths": ["/v2/**"], "headers": {"x-a": {"present": false}}},
            "response": {"status": ["2xx", 404, "500-599"], "contentTypes": ["application/json"]},
            "tls": {"mode": "Auto", "minVersion": "1.2", "sni": "absent"}, "inject": {"credentialRef": {"name": "k"}},
            "expiresAt": "2027-01-31T00:00:00Z", "reason": "PAY-412", "when": "request.method == 'GET'",
            "not": {"to": {"cidrs": ["203.0.113.0/24"]}}}),
        )),
        policy(&allow(
            json!({"to": {"hosts": ["db.example"], "protocol": "TCP"}}),
        )),
        spec("EgressPolicy", &json!({})),
        spec(
            "EgressPolicy",
            &json!({"mode": "Audit", "replaces": "other", "subject": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        guardrail(&json!({"name": "p", "action": "Pass", "from": {"namespaces": ["a"]}})),
        spec(
            "EgressCredential",
            &json!({"header": "Authorization", "hosts": ["a.io"], "valueFrom": {"secretRef": {"name": "a", "key": "b"}}}),
        ),
        spec("EgressDomainSet", &json!({"hosts": ["a.io"]})),
        spec("ClusterEgressDomainSet", &json!({"feed": {"file": "a"}})),
        spec(
            "EgressGateway",
            &json!({"listeners": {"proxy": ["0.0.0.0:3128"]}, "dns": {"minTtlSeconds": 1},
            "timeouts": {"idle": "1h30m"}, "records": [{"type": "Stdout"}]}),
        ),
    ];
    for object in &good {
        if let Err(message) = create(&client, object, "dryRun=All&fieldValidation=Strict").await {
            panic!("{object:#}\nis refused: {message}");
        }
    }
    let twice = json!({"rules": [allow(json!({})), allow(json!({}))]});
    let bad: Vec<(Value, &[&str])> = vec![
        (
            policy(&json!({"name": "r"})),
            &["spec.rules[0].action", "Required value"],
        ),
        (
            policy(&json!({"name": "", "action": "Allow"})),
            &["spec.rules[0].name"],
        ),
        (
            policy(&json!({"name": "r", "action": "Permit"})),
            &["spec.rules[0].action", "Unsupported value: \"Permit\""],
        ),
        (
            spec("EgressPolicy", &twice),
            &["spec.rules[1]: Duplicate value", "\"name\":\"r\""],
        ),
        (
            policy(&json!({"name": "r", "action": "Pass"})),
            &[
                "spec.rules[0].action",
                "Pass exists only in a ClusterEgressPolicy; write Allow, Deny or Alert",
            ],
        ),
        (
            policy(&allow(json!({"from": {"namespaces": ["a"]}}))),
            &[
                "spec.rules[0].from",
                "only cluster policies have from; an EgressPolicy selects its workloads through spec.subject",
            ],
        ),
        (
            policy(&allow(json!({"to": {}}))),
            &["spec.rules[0].to", "is empty, which means anywhere"],
        ),
        (
            policy(&allow(json!({"not": {}}))),
            &["spec.rules[0].not", "an empty not wraps what always holds"],
        ),
        (
            policy(&allow(json!({"to": {"hosts": [".x.io"]}}))),
            &[
                "spec.rules[0].to.hosts[0]",
                "\".x.io\" is not a host pattern: write \"x.io\" for that name only, or \"*.x.io\" for every name below it",
            ],
        ),
        (
            policy(&allow(json!({"to": {"hosts": ["**.x.io"]}}))),
            &["write \"x.io\" for that name only, or \"*.x.io\" for every name below it"],
        ),
        (
            policy(&allow(json!({"to": {"ports": [70000]}}))),
            &[
                "spec.rules[0].to.ports[0]",
                "\"70000\" is not a port; write a number from 1 to 65535 or a range such as \"1-65535\"",
            ],
        ),
        (
            policy(&allow(json!({"to": {"ports": ["http"]}}))),
            &[
                "\"http\" is not a port; write a number from 1 to 65535 or a range such as \"1-65535\"",
            ],
        ),
        (
            policy(&allow(json!({"to": {"protocol": "UDP"}}))),
            &[
                "spec.rules[0].to.protocol",
                "UDP is not supported in v1alpha1; write HTTP, TLS or TCP",
            ],
        ),
        (
            policy(&allow(json!({"response": {"status": ["2x"]}}))),
            &[
                "\"2x\" is not a status; write a number from 100 to 999, a class such as 2xx or a range such as \"100-999\"",
            ],
        ),
        (
            policy(&allow(json!({"http": {"headers": {"a": {}}}}))),
            &["say how the header must look: exact, prefix, glob or present"],
        ),
        (
            policy(&allow(
                json!({"http": {"contentLength": {"min": 2, "max": 1}}}),
            )),
            &[
                "no length is at least min and at most max, which is smaller; this rule could never match",
            ],
        ),
        (
            policy(&allow(
                json!({"to": {"protocol": "TCP"}, "http": {"methods": ["GET"]}}),
            )),
            &[
                "spec.rules[0].http",
                "the rule has protocol: TCP, where no HTTP is seen, so it could never match",
            ],
        ),
        (
            policy(&allow(
                json!({"to": {"protocol": "HTTP"}, "tls": {"alpn": ["h2"]}}),
            )),
            &[
                "spec.rules[0].tls",
                "which is cleartext, so it could never match; write protocol: TLS",
            ],
        ),
        (
            policy(&allow(
                json!({"tls": {"mode": "Passthrough"}, "response": {"status": [200]}}),
            )),
            &[
                "spec.rules[0].tls.mode",
                "Passthrough never looks inside, so it cannot stand beside http, response, inject",
            ],
        ),
        (
            policy(&allow(
                json!({"tls": {"mode": "Passthrough"}, "inject": {"credentialRef": {"name": "k"}}}),
            )),
            &["Passthrough never looks inside"],
        ),
        (
            policy(&json!({"name": "r", "action": "Deny", "tls": {"mode": "Inspect"}})),
            &["a mode acts on Allow, Pass and Next (Inspect also on Alert); leave it out here"],
        ),
        (
            policy(
                &json!({"name": "r", "action": "Deny", "inject": {"credentialRef": {"name": "k"}}}),
            ),
            &["only an Allow injects a credential"],
        ),
        (
            policy(&allow(json!({"expiresAt": "tomorrow"}))),
            &["\"tomorrow\" is not a point in time; write for example 2027-01-31T00:00:00Z"],
        ),
        (
            policy(&allow(json!({"too": {"hosts": ["a.io"]}}))),
            &["unknown field \"spec.rules[0].too\""],
        ),
        (
            policy(&allow(json!({"to": {"host": ["a.io"]}}))),
            &["unknown field \"spec.rules[0].to.host\""],
        ),
        (
            spec("EgressPolicy", &json!({"replaces": "other"})),
            &[
                "spec.replaces",
                "only a policy in mode Audit replaces another one; set mode: Audit",
            ],
        ),
        (
            spec("ClusterEgressPolicy", &json!({"rules": []})),
            &["spec.tier", "Required value"],
        ),
        (
            spec(
                "ClusterEgressPolicy",
                &json!({"tier": "Admin", "priority": 2000}),
            ),
            &["spec.priority"],
        ),
        (
            spec(
                "ClusterEgressPolicy",
                &json!({"tier": "Baseline", "rules": [{"name": "r", "action": "Pass"}]}),
            ),
            &[
                "Pass exists only in tier Admin, there is nothing to skip to; write Allow, Deny, Alert or Next",
            ],
        ),
        (
            guardrail(
                &json!({"name": "r", "action": "Allow", "inject": {"credentialRef": {"name": "k"}}}),
            ),
            &["a credential belongs to a namespace; only an EgressPolicy injects one"],
        ),
        (
            guardrail(
                &json!({"name": "r", "action": "Allow", "from": {"ecs": {"services": ["a"]}}}),
            ),
            &["nothing that this source knows is an Amazon ECS task"],
        ),
        (
            spec(
                "EgressCredential",
                &json!({"header": "A", "hosts": [], "valueFrom": {"secretRef": {"name": "a", "key": "b"}}}),
            ),
            &[
                "spec.hosts",
                "is empty: name the hosts that may receive the secret",
            ],
        ),
        (
            spec(
                "EgressCredential",
                &json!({"header": "A", "hosts": ["a.io"], "valueFrom": {"file": "/etc/shadow"}}),
            ),
            &["in Kubernetes write secretRef with name and key"],
        ),
        (
            spec("EgressDomainSet", &json!({"hosts": ["**.a.io"]})),
            &["spec.hosts[0]", "is not a host pattern"],
        ),
        (
            spec("EgressGateway", &json!({"tls": {"inspection": "On"}})),
            &["spec.tls.authority", "is required where inspection is On"],
        ),
        (
            spec("EgressGateway", &json!({"timeouts": {"idle": "soon"}})),
            &["spec.timeouts.idle"],
        ),
        (
            json!({"apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressGateway", "metadata": {"name": "row"}}),
            &["spec: Required value"],
        ),
    ];
    let mut wrong = Vec::new();
    for (object, expected) in &bad {
        match create(&client, object, "dryRun=All&fieldValidation=Strict").await {
            Ok(_) => wrong.push(format!("taken: {object}")),
            Err(message) => {
                for part in expected.iter().filter(|part| !message.contains(**part)) {
                    wrong.push(format!(
                        "{object}\n  is refused without {part:?}: {message}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A client that does not ask for strictness has its unknown fields cut away. What was narrowed by nothing but such a
/// field would then mean everything, and is refused for that.
#[tokio::test]
async fn a_misspelt_condition_does_not_become_no_condition() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let mut open = Vec::new();
    for field in [
        json!({"to": {"host": ["a.io"]}}),
        json!({"http": {"path": ["/"]}}),
        json!({"response": {"code": [200]}}),
    ] {
        let mut rule = json!({"name": "r", "action": "Allow"});
        rule.as_object_mut()
            .unwrap()
            .extend(field.as_object().unwrap().clone());
        if create(&client, &policy(&rule), "dryRun=All").await.is_ok() {
            open.push(field);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    // The server's own checks cannot see a null; it must at least not drop it, so that the controller can refuse it.
    let rule = json!({"name": "r", "action": "Allow", "to": null});
    let kept = create(&client, &policy(&rule), "dryRun=All").await.unwrap();
    assert!(
        kept["spec"]["rules"][0]
            .as_object()
            .unwrap()
            .contains_key("to"),
        "{kept}"
    );
}

#[tokio::test]
async fn a_policy_of_a_thousand_rules_with_twenty_hosts_each_is_taken() {
    let Some(cluster) = installed().await else {
        return;
    };
    let client = cluster.client().await;
    let rules: Vec<Value> = (0..1_000)
        .map(|rule| {
            let hosts: Vec<String> = (0..20).map(|host| format!("host-{host}.r{rule}.example")).collect();
            json!({"name": format!("rule-{rule}"), "action": "Allow", "to": {"hosts": hosts, "ports": [443, "8000-8999"]},
                "http": {"methods": ["GET", "POST"], "headers": {"x-team": {"exact": ["pay"]}}}})
        })
        .collect();
    let mut object = spec("EgressPolicy", &json!({ "rules": rules }));
    object["metadata"]["name"] = json!("large");
    let size = object.to_string().len();
    let began = Instant::now();
    let answer = create(&client, &object, "fieldValidation=Strict")
        .await
        .unwrap();
    eprintln!("{size} bytes taken in {} ms", began.elapsed().as_millis());
    assert_eq!(answer["spec"]["rules"].as_array().unwrap().len(), 1_000);
}

#[tokio::test]
async fn kubectl_explains_and_shows() {
    let Some(cluster) = installed().await else {
        return;
    };
    let (done, text) = cluster
        .kubectl(&["explain", "egresspolicy.spec.rules.to.hosts"], "")
        .await;
    assert!(
        done && text.contains("Host patterns: `x.io` is that name only"),
        "{text}"
    );
    let document = "apiVersion: exitgate.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: shown}\nspec:\n  mode: Audit\n  rules:\n  - {name: a, action: Allow, to: {hosts: [a.io]}}\n";
    let (done, text) = cluster
        .kubectl(&["apply", "--server-side", "-f", "-"], document)
        .await;
    assert!(done, "{text}");
    let status = json!({"status": {"observedGeneration": 1, "conditions": [
        {"type": "Accepted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Accepted", "message": ""},
        {"type": "Programmed", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Waiting", "message": ""}]}});
    let patch = [
        "patch",
        "egp",
        "shown",
        "--subresource",
        "status",
        "--type",
        "merge",
        "-p",
        &status.to_string(),
    ];
    let (done, text) = cluster.kubectl(&patch, "").await;
    assert!(done, "{text}");
    let (done, text) = cluster.kubectl(&["get", "egp", "shown"], "").await;
    assert!(done, "{text}");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["NAME", "MODE", "ACCEPTED", "PROGRAMMED", "ENFORCING", "AGE"]
    );
    assert_eq!(rows[1][..4], ["shown", "Audit", "True", "False"]);
    let (done, text) = cluster
        .kubectl(&["get", "exitgate", "-A", "-o", "name"], "")
        .await;
    assert!(
        done && text.contains("egresspolicy.exitgate.dev/shown"),
        "{text}"
    );
}
