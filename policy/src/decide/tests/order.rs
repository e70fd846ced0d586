use serde_json::json;

use super::fixture::*;
use crate::*;

fn tls(host: &str) -> Flow {
    connect(host).at("1.2.3.4").tls(Some(host))
}

#[test]
fn nothing_allows_nothing() {
    assert_eq!(connect("ok.test").says(&view([])), "deny default-deny");
    let mut open = snapshot([]);
    open.settings.default_action = DefaultAction::Allow;
    let open = compiled(&open).view(&workload());
    assert_eq!(connect("ok.test").says(&open), "undecided");
    assert_eq!(tls("ok.test").says(&open), "allow");
}

#[test]
fn namespace_tier() {
    let allow =
        json!({"name": "a", "action": "Allow", "to": {"hosts": ["ok.test", "*.wild.test"]}});
    let deny = json!({"name": "d", "action": "Deny", "to": {"hosts": ["x.wild.test"]}});
    for policies in [
        vec![policy("one", json!([allow, deny]))],
        vec![policy("one", json!([deny, allow]))],
        vec![policy("one", json!([allow])), policy("two", json!([deny]))],
        vec![policy("one", json!([deny])), policy("two", json!([allow]))],
    ] {
        let view = view(policies);
        for (host, says) in [
            ("ok.test", "allow"),
            ("a.wild.test", "allow"),
            ("x.wild.test", "deny rule-denied"),
            ("wild.test", "deny no-rule"),
            ("bad.test", "deny no-rule"),
        ] {
            assert_eq!(tls(host).says(&view), says, "{host}");
        }
        assert_eq!(connect("bad.test").says(&view), "deny no-rule");
        assert_eq!(connect("ok.test").says(&view), "undecided");
        assert_eq!(connect("x.wild.test").says(&view), "deny rule-denied");
    }
    assert_eq!(
        tls("ok.test").says(&view([policy("empty", json!([]))])),
        "deny no-rule"
    );
}

#[test]
fn admin_tier() {
    let first = |action: &str| {
        admin(
            "first",
            1,
            json!([{"name": "r", "action": action, "to": {"hosts": ["ok.test"]}}]),
        )
    };
    let second = admin("second", 2, json!([{"name": "no", "action": "Deny"}]));
    let below = policy(
        "below",
        json!([{"name": "a", "action": "Allow", "to": {"hosts": ["ok.test"]}}]),
    );
    for (action, says) in [
        ("Allow", "allow"),
        ("Deny", "deny rule-denied"),
        ("Pass", "allow"),
        ("Next", "deny rule-denied"),
        ("Alert", "deny rule-denied"),
    ] {
        let view = view([second.clone(), first(action), below.clone()]);
        assert_eq!(tls("ok.test").says(&view), says, "{action}");
        assert_eq!(tls("bad.test").says(&view), "deny rule-denied", "{action}");
    }
    let allow = tls("ok.test").decide(&view([first("Allow"), second]));
    assert_eq!(
        allow.rule.unwrap().to_string(),
        "ClusterEgressPolicy first rule r"
    );
}

#[test]
fn baseline_only_without_namespace_policies() {
    let base = baseline(
        "base",
        json!([{"name": "b", "action": "Allow", "to": {"hosts": ["ok.test"]}}]),
    );
    assert_eq!(tls("ok.test").says(&view([base.clone()])), "allow");
    assert_eq!(
        tls("bad.test").says(&view([base.clone()])),
        "deny default-deny"
    );
    assert_eq!(
        tls("ok.test").says(&view([base.clone(), policy("p", json!([]))])),
        "deny no-rule"
    );
    let other = namespaced(
        "p",
        json!({"subject": {"podSelector": {"matchLabels": {"app": "y"}}}, "rules": []}),
    );
    assert_eq!(tls("ok.test").says(&view([base, other])), "allow");
}

#[test]
fn alerts() {
    let view = view([
        admin(
            "a",
            1,
            json!([{"name": "watch", "action": "Alert", "to": {"hosts": ["ok.test"]}}]),
        ),
        policy(
            "p",
            json!([
                {"name": "one", "action": "Alert"},
                {"name": "other", "action": "Alert", "to": {"hosts": ["other.test"]}},
                {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
            ]),
        ),
    ]);
    let names: Vec<String> = tls("ok.test")
        .decide(&view)
        .alerts
        .iter()
        .map(|rule| rule.rule.to_string())
        .collect();
    assert_eq!(names, ["watch", "one"]);
}

#[test]
fn conditions_beside_names() {
    let view = view([policy(
        "p",
        json!([
            {"name": "db", "action": "Allow", "to": {"hosts": ["db.test"], "ports": [5432, "6000-6001"], "protocol": "TCP"}},
            {"name": "web", "action": "Allow", "to": {"hosts": ["web.test"], "ports": [443]}},
            {"name": "net", "action": "Allow", "to": {"hosts": ["net.test"], "cidrs": ["1.2.3.0/24"]}},
            {"name": "old", "action": "Allow", "to": {"hosts": ["old.test"]}, "expiresAt": "2020-01-01T00:00:00Z"},
            {"name": "soon", "action": "Allow", "to": {"hosts": ["soon.test"]}, "expiresAt": "2100-01-01T00:00:00Z"},
            {"name": "h3", "action": "Allow", "to": {"hosts": ["alpn.test"]}, "tls": {"alpn": ["acme-tls/1"]}},
            {"name": "not", "action": "Allow", "to": {"hosts": ["*.not.test"]}, "not": {"to": {"hosts": ["bad.not.test"]}}},
        ]),
    )]);
    for (flow, says) in [
        (connect("db.test").port(5432).at("1.2.3.4").raw(), "allow"),
        (connect("db.test").port(5432).at("1.2.3.4"), "allow"),
        (connect("db.test").port(6001).at("1.2.3.4").raw(), "allow"),
        (connect("db.test").port(5433), "deny no-rule"),
        (connect("web.test").at("1.2.3.4").raw(), "deny no-rule"),
        (connect("web.test").port(80), "deny no-rule"),
        (tls("web.test"), "allow"),
        (tls("net.test"), "allow"),
        (connect("net.test").at("1.2.4.4"), "deny no-rule"),
        (connect("net.test"), "undecided"),
        (connect("old.test"), "deny no-rule"),
        (tls("soon.test"), "allow"),
        (tls("alpn.test"), "deny no-rule"),
        (tls("a.not.test"), "allow"),
        (tls("bad.not.test"), "deny no-rule"),
    ] {
        assert_eq!(flow.says(&view), says, "{:?} {}", flow.name, flow.port);
    }
    assert_eq!(view.next_expiry(1_800_000_000), Some(4_102_444_800));
}
