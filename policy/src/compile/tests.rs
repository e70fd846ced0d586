#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::snapshot::PolicyResource;

fn namespaced(rules: Value) -> Snapshot {
    let spec = serde_json::from_value(json!({"rules": rules})).unwrap();
    let policy = PolicyResource::Namespaced {
        namespace: "pay".to_owned(),
        name: "p".to_owned(),
        spec,
    };
    Snapshot {
        policies: vec![policy],
        ..Snapshot::default()
    }
}

fn cluster(tier: &str, rules: Value) -> Snapshot {
    let spec = serde_json::from_value(json!({"tier": tier, "rules": rules})).unwrap();
    Snapshot {
        policies: vec![PolicyResource::Cluster {
            name: "c".to_owned(),
            spec,
        }],
        ..Snapshot::default()
    }
}

/// All problems, one per line.
fn problems(snapshot: &Snapshot) -> String {
    let (set, problems) = compile(snapshot);
    assert_eq!(
        set.is_none(),
        problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    );
    problems.iter().fold(String::new(), |mut text, problem| {
        writeln!(text, "{problem}").unwrap();
        text
    })
}

#[test]
fn errors_in_rules() {
    for (rule, path, message) in [
        (
            json!({"to": {"hosts": [".x.io"]}}),
            "to.hosts[0]",
            "\"*.x.io\" for every name below it",
        ),
        (
            json!({"to": {"hosts": ["ok.test", "**.x.io"]}}),
            "to.hosts[1]",
            "write \"x.io\" for that name only",
        ),
        (
            json!({"to": {"hosts": ["*.github.io"]}}),
            "to.hosts[0]",
            "allowBroad: true",
        ),
        (
            json!({"to": {"cidrs": ["10.1.0.0/8"]}}),
            "to.cidrs[0]",
            "write 10.0.0.0/8",
        ),
        (
            json!({"to": {"ports": [0]}}),
            "to.ports[0]",
            "a number from 1 to 65535",
        ),
        (
            json!({"to": {"ports": [70000]}}),
            "to.ports[0]",
            "a number from 1 to 65535",
        ),
        (
            json!({"to": {"ports": ["90-80"]}}),
            "to.ports[0]",
            "write \"80-90\"",
        ),
        (
            json!({"to": {"ports": ["http"]}}),
            "to.ports[0]",
            "\"http\" is not a port",
        ),
        (
            json!({"to": {"protocol": "UDP"}}),
            "to.protocol",
            "UDP is not supported",
        ),
        (
            json!({"to": {"protocol": "TCP"}, "http": {"methods": ["GET"]}}),
            "http",
            "could never match",
        ),
        (
            json!({"to": {"protocol": "TCP"}, "response": {"status": [200]}}),
            "response",
            "could never match",
        ),
        (
            json!({"to": {"protocol": "HTTP"}, "tls": {"alpn": ["h2"]}}),
            "tls",
            "could never match",
        ),
        (
            json!({"http": {"methods": ["get"]}}),
            "http.methods[0]",
            "write \"GET\"",
        ),
        (
            json!({"http": {"methods": ["CONNECT"]}}),
            "http.methods[0]",
            "use to instead",
        ),
        (
            json!({"http": {"paths": ["v2"]}}),
            "http.paths[0]",
            "begins with a slash",
        ),
        (
            json!({"http": {"paths": ["/a/**/b"]}}),
            "http.paths[0]",
            "only stand at the end",
        ),
        (
            json!({"http": {"contentTypes": ["json"]}}),
            "http.contentTypes[0]",
            "application/json",
        ),
        (
            json!({"http": {"headers": {"x y": {"present": true}}}}),
            "http.headers.x y",
            "not a header name",
        ),
        (
            json!({"http": {"headers": {"x-a": {}}}}),
            "http.headers.x-a",
            "exact, prefix, glob or present",
        ),
        (
            json!({"http": {"headers": {"x-a": {"exact": ["1"], "present": false}}}}),
            "http.headers.x-a",
            "could never match",
        ),
        (
            json!({"http": {"contentLength": {"min": 2, "max": 1}}}),
            "http.contentLength",
            "could never match",
        ),
        (
            json!({"response": {"status": ["2x"]}}),
            "response.status[0]",
            "a class such as 2xx",
        ),
        (json!({"not": {}}), "not", "could never match"),
        (
            json!({"to": {"hosts": ["x.io"]}, "not": {"to": {"hosts": ["x.io"]}}}),
            "not",
            "could never match",
        ),
        (
            json!({"tls": {"mode": "Passthrough"}, "http": {"methods": ["GET"]}}),
            "tls.mode",
            "Passthrough never looks inside",
        ),
        (
            json!({"when": "frob()"}),
            "when",
            "the function \"frob\" is not available",
        ),
        (
            json!({"expiresAt": "tomorrow"}),
            "expiresAt",
            "2027-01-31T00:00:00Z",
        ),
        (
            json!({"action": "Pass"}),
            "action",
            "only in a ClusterEgressPolicy",
        ),
        (
            json!({"action": "Next"}),
            "action",
            "only in a ClusterEgressPolicy",
        ),
        (
            json!({"action": "Deny", "tls": {"mode": "Inspect"}}),
            "tls.mode",
            "a mode acts on",
        ),
        (
            json!({"action": "Deny", "to": {"protocol": "TCP"}, "tls": {"alpn": ["h2"]}}),
            "tls",
            "write protocol: TLS",
        ),
        (
            json!({"action": "Deny", "inject": {"credentialRef": {"name": "k"}}}),
            "inject",
            "only an Allow",
        ),
        (
            json!({"from": {"namespaces": ["a"]}}),
            "from",
            "only cluster policies",
        ),
    ] {
        let mut full = json!({"name": "r", "action": "Allow"});
        full.as_object_mut()
            .unwrap()
            .extend(rule.as_object().unwrap().clone());
        let text = problems(&namespaced(json!([full])));
        let wanted = format!("error: EgressPolicy pay/p: spec.rules[0].{path}: ");
        let found = text
            .lines()
            .any(|line| line.starts_with(&wanted) && line.contains(message));
        assert!(found, "{rule}\nwanted {wanted}…{message}\ngot {text}");
    }
}

#[test]
fn errors_in_policies() {
    let pass = json!([{"name": "r", "action": "Pass"}]);
    assert!(
        problems(&cluster("Baseline", pass))
            .contains("spec.rules[0].action: Pass exists only in tier Admin")
    );
    let inject =
        json!([{"name": "r", "action": "Allow", "inject": {"credentialRef": {"name": "k"}}}]);
    assert!(problems(&cluster("Admin", inject)).contains("a credential belongs to a namespace"));
    let twice = json!([{"name": "r", "action": "Allow"}, {"name": "r", "action": "Deny"}]);
    assert!(
        problems(&namespaced(twice))
            .contains("spec.rules[1].name: the name \"r\" is already used by rules[0]")
    );
    let many =
        json!([{"name": "", "action": "Allow", "to": {"hosts": [".a", "b c"], "ports": ["x"]}}]);
    assert_eq!(
        problems(&namespaced(many))
            .lines()
            .filter(|line| line.starts_with("error"))
            .count(),
        4
    );
    let mut doubled = namespaced(json!([]));
    doubled.policies.push(doubled.policies[0].clone());
    assert!(problems(&doubled).contains("another document defines the same policy"));
    let mut settings = Snapshot::default();
    settings.settings.ranges.pods = vec!["10.0.0.1/8".to_owned()];
    settings.settings.tls.exempt = vec![".x.io".to_owned()];
    let text = problems(&settings);
    assert!(
        text.contains("spec.ranges.pods[0]") && text.contains("spec.tls.exempt[0]"),
        "{text}"
    );
}

#[test]
fn warnings() {
    let host = |name: &str, action: &str, host: &str| json!({"name": name, "action": action, "to": {"hosts": [host]}});
    for (snapshot, path, message) in [
        (
            namespaced(json!([{"name": "r", "action": "Allow", "to": {"hostSets": ["no"]}}])),
            "rules[0].to.hostSets[0]",
            "there is no EgressDomainSet",
        ),
        (
            namespaced(
                json!([{"name": "r", "action": "Allow", "to": {"hostSets": ["cluster/no"]}}]),
            ),
            "rules[0].to.hostSets[0]",
            "there is no ClusterEgressDomainSet",
        ),
        (
            namespaced(json!([{"name": "r", "action": "Allow", "http": {"methods": ["GET"]}}])),
            "rules[0]",
            "tls.inspection is Off",
        ),
        (
            namespaced(json!([
                host("a", "Allow", "*.x.io"),
                host("b", "Allow", "a.x.io")
            ])),
            "rules[1]",
            "says nothing new: \"a\"",
        ),
        (
            namespaced(json!([
                host("a", "Deny", "*.x.io"),
                host("b", "Allow", "a.x.io")
            ])),
            "rules[1]",
            "never allows anything: the Deny \"a\"",
        ),
        (
            cluster(
                "Admin",
                json!([host("a", "Deny", "*.x.io"), host("b", "Deny", "a.x.io")]),
            ),
            "rules[1]",
            "never reached: \"a\"",
        ),
        (
            cluster(
                "Admin",
                json!([{"name": "a", "action": "Deny"}, host("b", "Allow", "a.x.io")]),
            ),
            "rules[1]",
            "never reached: \"a\"",
        ),
        (
            namespaced(
                json!([{"name": "r", "action": "Allow", "to": {"hosts": ["x.io", "X.io"]}}]),
            ),
            "rules[0].to.hosts[1]",
            "is there twice",
        ),
    ] {
        let text = problems(&snapshot);
        let wanted = format!(": spec.{path}: ");
        let found = text.lines().any(|line| {
            line.starts_with("warning") && line.contains(&wanted) && line.contains(message)
        });
        assert!(found, "wanted {wanted}…{message}\ngot {text}");
        assert!(compile(&snapshot).0.is_some());
    }
    for quiet in [
        namespaced(json!([
            host("a", "Allow", "x.io"),
            host("b", "Allow", "*.x.io")
        ])),
        namespaced(json!([
            host("a", "Allow", "*.x.io"),
            host("b", "Deny", "a.x.io")
        ])),
        cluster(
            "Admin",
            json!([host("a", "Alert", "x.io"), host("b", "Deny", "x.io")]),
        ),
        cluster(
            "Admin",
            json!([host("a", "Allow", "a.x.io"), host("b", "Deny", "*.x.io"), {"name": "c", "action": "Deny"}]),
        ),
        namespaced(
            json!([{"name": "r", "action": "Allow", "to": {"hosts": ["x.io"], "protocol": "HTTP"}, "http": {"methods": ["GET"]}}]),
        ),
    ] {
        assert_eq!(problems(&quiet), "");
    }
}

#[test]
fn warnings_between_documents() {
    let mut snapshot = cluster("Admin", json!([]));
    let mut other = snapshot.policies[0].clone();
    if let PolicyResource::Cluster { name, .. } = &mut other {
        "d".clone_into(name);
    }
    snapshot.policies.push(other);
    assert!(problems(&snapshot).contains("c has the same priority 500"));
    let spec = serde_json::from_value(json!({"mode": "Audit", "replaces": "gone"})).unwrap();
    let audit = PolicyResource::Namespaced {
        namespace: "pay".to_owned(),
        name: "a".to_owned(),
        spec,
    };
    let workload = Workload {
        namespace: "pay".to_owned(),
        name: "w".to_owned(),
        ..Workload::default()
    };
    let text = problems(&Snapshot {
        policies: vec![audit],
        workloads: vec![workload],
        ..Snapshot::default()
    });
    assert!(
        text.contains("there is no EgressPolicy \"gone\" to replace"),
        "{text}"
    );
    assert!(
        text.contains("workload pay/w is selected by policies in mode Audit only"),
        "{text}"
    );
}

#[test]
fn settings_of_tls() {
    let problems_of = |tls: Value| {
        let mut snapshot = Snapshot::default();
        snapshot.settings.tls = serde_json::from_value(tls).unwrap();
        problems(&snapshot)
    };
    let text = problems_of(json!({"inspection": "On"}));
    assert!(
        text.contains("spec.tls.authority: is required") && text.contains("exitgate ca init"),
        "{text}"
    );
    let authority = json!({"certFile": "c", "keyFile": "k"});
    assert_eq!(
        problems_of(json!({"inspection": "On", "authority": authority})),
        ""
    );
    let text = problems_of(json!({
        "authority": {"certFile": "c", "keyFile": "k", "lifetime": "25h", "excluded": ["*.x.io"]},
        "upstreams": [
            {"name": "a", "hosts": ["a.io"], "caFile": "c"},
            {"name": "a", "hosts": ["a.io:443"], "caFile": "c"},
            {"name": "b", "hosts": [], "insecureSkipVerify": true},
            {"name": "c", "hosts": ["*.com"]},
        ],
    }));
    for expected in [
        "error: EgressGateway : spec.tls.authority.lifetime: 90000s",
        "error: EgressGateway : spec.tls.authority.excluded: has a meaning only",
        "error: EgressGateway : spec.tls.authority.excluded[0]: \"*.x.io\" is not a domain",
        "error: EgressGateway : spec.tls.upstreams[1].name",
        "error: EgressGateway : spec.tls.upstreams[1].hosts[0]",
        "error: EgressGateway : spec.tls.upstreams[2].hosts: is empty",
        "warning: EgressGateway : spec.tls.upstreams[2].insecureSkipVerify",
        "warning: EgressGateway : spec.tls.upstreams[3]: the entry changes nothing",
    ] {
        assert!(text.contains(expected), "{expected} missing from {text}");
    }
    assert_eq!(text.lines().count(), 8, "{text}");
}

#[test]
fn credentials_and_references_to_them() {
    let credential = |name: &str, header: &str, prefix: &str, hosts: &[&str]| {
        crate::snapshot::CredentialResource {
            namespace: "pay".to_owned(),
            name: name.to_owned(),
            header: header.to_owned(),
            prefix: Some(prefix.to_owned()),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        }
    };
    let mut snapshot = namespaced(json!([
        {"name": "here", "action": "Allow", "to": {"hosts": ["a.x.io"]}, "inject": {"credentialRef": {"name": "k"}}},
        {"name": "there", "action": "Allow", "to": {"hosts": ["y.io"]}, "inject": {"credentialRef": {"name": "k"}}},
        {"name": "gone", "action": "Allow", "to": {"hosts": ["a.io"]}, "inject": {"credentialRef": {"name": "gone"}}},
    ]));
    snapshot.settings.tls.inspection = crate::model::Inspection::On;
    snapshot.settings.tls.authority =
        serde_json::from_value(json!({"certFile": "c", "keyFile": "k"})).unwrap();
    snapshot
        .credentials
        .push(credential("k", "Authorization", "Bearer ", &["*.x.io"]));
    let text = problems(&snapshot);
    assert!(
        text.contains(
            "rules[1].inject.credentialRef.name: EgressCredential pay/k does not list y.io"
        ),
        "{text}"
    );
    assert!(
        text.contains("rules[2].inject.credentialRef.name: there is no EgressCredential pay/gone"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
    let before = snapshot.revision();
    snapshot.credentials[0].hosts.push("y.io".to_owned());
    assert_ne!(before, snapshot.revision());
    for (bad, expected) in [
        (
            credential("b", "a b", "", &["x.io"]),
            "spec.header: \"a b\" is not the name",
        ),
        (
            credential("b", "Content-Length", "", &["x.io"]),
            "spec.header: Content-Length belongs",
        ),
        (
            credential("b", "X-Key", "a\r\n", &["x.io"]),
            "spec.prefix: a prefix has",
        ),
        (credential("b", "X-Key", "", &[]), "spec.hosts: is empty"),
        (
            credential("b", "X-Key", "", &["*.com"]),
            "spec.hosts[0]: \"*.com\" covers",
        ),
        (
            credential("k", "X-Key", "", &["x.io"]),
            "metadata.name: another document",
        ),
    ] {
        let mut snapshot = snapshot.clone();
        snapshot.credentials.push(bad);
        let text = problems(&snapshot);
        assert!(text.contains(expected), "{expected} missing from {text}");
    }
}

#[test]
fn a_rule_that_has_everything_opened() {
    let with = |rule: Value, on: bool| {
        let mut snapshot = namespaced(json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["a.io"]}}, rule
        ]));
        if on {
            snapshot.settings.tls.inspection = crate::model::Inspection::On;
            snapshot.settings.tls.authority =
                serde_json::from_value(json!({"certFile": "c", "keyFile": "k"})).unwrap();
        }
        problems(&snapshot).contains("every TLS connection")
    };
    let deny = json!({"name": "r", "action": "Deny", "http": {"methods": ["POST"]}});
    assert!(with(deny.clone(), true));
    assert!(!with(deny, false));
    let alert = json!({"name": "r", "action": "Alert", "http": {"methods": ["POST"]}});
    assert!(!with(alert, true));
    let alert = json!({"name": "r", "action": "Alert", "tls": {"mode": "Inspect"}});
    assert!(with(alert, true));
    let named = json!({"name": "r", "action": "Deny", "to": {"hosts": ["a.io"]}, "http": {"methods": ["POST"]}});
    assert!(!with(named, true));
    let clear = json!({"name": "r", "action": "Deny", "to": {"protocol": "HTTP"}, "http": {"methods": ["POST"]}});
    assert!(!with(clear, true));
}

#[test]
fn selectors_without_a_meaning() {
    let ecs = json!([{"name": "r", "action": "Deny", "from": {"ecs": {"clusters": ["prod"]}}}]);
    assert!(problems(&cluster("Admin", ecs)).contains(
        "error: ClusterEgressPolicy c: spec.rules[0].from.ecs: nothing that this source knows"
    ));
    let raw = json!([{"name": "r", "action": "Allow", "to": {"hosts": ["a.io"]},
                      "not": {"to": {"protocol": "TCP", "ports": [80]}}}]);
    assert!(problems(&namespaced(raw)).contains("spec.rules[0].not.to.protocol: beside an Allow"));
    let raw = json!([{"name": "r", "action": "Deny", "not": {"to": {"protocol": "TCP"}}}]);
    assert_eq!(problems(&namespaced(raw)), "");
}
