use serde_json::json;

use super::fixture::*;
use crate::*;

fn tls(host: &str) -> Flow {
    connect(host).at("1.2.3.4").tls(Some(host))
}

fn shadow(flow: &Flow, view: &View) -> Option<(ShadowKind, Option<String>)> {
    flow.decide(view)
        .shadow
        .map(|shadow| (shadow.kind, shadow.rule.map(|rule| rule.rule.to_string())))
}

#[test]
fn audit_changes_nothing_and_says_what_it_would() {
    let live = policy(
        "live",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test", "also.test"]}}]),
    );
    let trial = audit(
        "trial",
        json!([
            {"name": "new", "action": "Allow", "to": {"hosts": ["new.test"]}},
            {"name": "no", "action": "Deny", "to": {"hosts": ["also.test"]}},
        ]),
    );
    let view = view([live, trial]);
    for (host, says, expected) in [
        ("ok.test", "allow", None),
        (
            "also.test",
            "allow",
            Some((ShadowKind::WouldDeny, Some("no".to_owned()))),
        ),
        (
            "new.test",
            "deny no-rule",
            Some((ShadowKind::WouldAllow, Some("new".to_owned()))),
        ),
        ("bad.test", "deny no-rule", None),
    ] {
        assert_eq!(tls(host).says(&view), says, "{host}");
        assert_eq!(shadow(&tls(host), &view), expected, "{host}");
    }
}

#[test]
fn audit_never_isolates_and_may_replace() {
    let trial = |replaces: Option<&str>| {
        namespaced(
            "trial",
            json!({"mode": "Audit", "replaces": replaces, "rules": [{"name": "less", "action": "Allow", "to": {"hosts": ["ok.test"]}}]}),
        )
    };
    let mut open = snapshot([trial(None)]);
    open.settings.default_action = DefaultAction::Allow;
    let open = compiled(&open).view(&workload());
    assert_eq!(tls("any.test").says(&open), "allow");
    assert_eq!(
        shadow(&tls("any.test"), &open),
        Some((ShadowKind::WouldDeny, None))
    );
    let live = policy(
        "live",
        json!([{"name": "more", "action": "Allow", "to": {"hosts": ["ok.test", "also.test"]}}]),
    );
    assert_eq!(
        shadow(&tls("also.test"), &view([live.clone(), trial(None)])),
        None
    );
    assert_eq!(
        shadow(&tls("also.test"), &view([live, trial(Some("live"))])),
        Some((ShadowKind::WouldDeny, None))
    );
}

#[test]
fn audit_that_needs_content() {
    let live = policy(
        "live",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}}]),
    );
    let trial = audit(
        "trial",
        json!([{"name": "no", "action": "Deny", "http": {"methods": ["POST"]}}]),
    );
    let view = view([live, trial]);
    assert_eq!(tls("ok.test").says(&view), "allow");
    assert_eq!(
        shadow(&tls("ok.test"), &view).unwrap().0,
        ShadowKind::WouldNeedContent
    );
    let cleartext = |method: &str| {
        connect("ok.test")
            .at("1.2.3.4")
            .http(method, "/", "ok.test")
    };
    assert_eq!(
        shadow(&cleartext("POST"), &view).unwrap().0,
        ShadowKind::WouldDeny
    );
    assert_eq!(shadow(&cleartext("GET"), &view), None);
}

#[test]
fn a_fleet_that_only_audits() {
    let mut fleet = snapshot([policy(
        "p",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}}]),
    )]);
    fleet.settings.enforcement.mode = EnforcementMode::Audit;
    let view = compiled(&fleet).view(&workload());
    for (flow, through) in [
        (connect("bad.test"), true),
        (tls("ok.test"), true),
        (connect("ok.test").at("10.0.0.1"), true),
        (connect("ok.test").at("169.254.169.254"), false),
        (connect("localhost"), false),
    ] {
        assert_eq!(
            flow.decide(&view).lets_through(),
            through,
            "{:?} {:?}",
            flow.name,
            flow.address
        );
    }
    fleet.settings.enforcement.namespace_selector =
        Some(serde_json::from_value(json!({"matchLabels": {"stage": "trial"}})).unwrap());
    let set = compiled(&fleet);
    assert!(
        !connect("bad.test")
            .decide(&set.view(&workload()))
            .lets_through()
    );
    let mut trial = workload();
    trial
        .namespace_labels
        .insert("stage".to_owned(), "trial".to_owned());
    assert!(connect("bad.test").decide(&set.view(&trial)).lets_through());
}

#[test]
fn explanations() {
    let view = view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET"]}},
            {"name": "port", "action": "Allow", "to": {"hosts": ["ok.test"], "ports": [80]}},
            {"name": "no", "action": "Deny", "to": {"hosts": ["ok.test"]}},
            {"name": "old", "action": "Deny", "expiresAt": "2020-01-01T00:00:00Z"},
        ]),
    )]);
    let explanation = connect("ok.test").with(|evidence| view.explain(evidence, 1_800_000_000));
    assert_eq!(explanation.decision.verdict, Verdict::Deny);
    let rows: Vec<_> = explanation
        .candidates
        .iter()
        .map(|row| (&*row.rule.rule, row.outcome, row.won, row.why.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            (
                "ok",
                Outcome::Unknown,
                false,
                "to.protocol, http is not known"
            ),
            ("port", Outcome::NotMatched, false, "to.ports does not hold"),
            ("no", Outcome::Matched, true, "it decided"),
            ("old", Outcome::Expired, false, "it has expired"),
        ]
    );
}

#[test]
fn views_are_shared() {
    let set = compiled(&snapshot([
        policy("p", json!([{"name": "ok", "action": "Allow"}])),
        admin(
            "a",
            1,
            json!([{"name": "r", "action": "Deny", "from": {"podSelector": {"matchLabels": {"app": "y"}}}}]),
        ),
    ]));
    let mut other = workload();
    other.name = "other".to_owned();
    assert!(std::sync::Arc::ptr_eq(
        &set.view(&workload()),
        &set.view(&other)
    ));
    other.labels.insert("app".to_owned(), "y".to_owned());
    assert!(!std::sync::Arc::ptr_eq(
        &set.view(&workload()),
        &set.view(&other)
    ));
    assert_eq!(tls("ok.test").says(&set.view(&workload())), "allow");
    assert_eq!(tls("ok.test").says(&set.view(&other)), "deny rule-denied");
}
