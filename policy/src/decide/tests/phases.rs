use serde_json::json;

use super::fixture::*;
use crate::*;

/// Plain HTTP after resolution.
fn get(path: &str) -> Flow {
    let mut flow = connect("ok.test")
        .port(80)
        .at("1.2.3.4")
        .http("GET", path, "ok.test");
    flow.entry = Entry::Forward;
    flow
}

#[test]
fn requests() {
    let view = view([policy(
        "p",
        json!([
            {"name": "read", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET"], "paths": ["/v2/**"]}},
            {"name": "scan", "action": "Deny", "http": {"userAgents": ["*sqlmap*"]}},
            {"name": "secret", "action": "Deny", "http": {"paths": ["/v2/secret/**"]}},
            {"name": "head", "action": "Deny", "http": {"headers": {"X-Env": {"exact": ["prod"]}}}},
        ]),
    )]);
    for (flow, says) in [
        (get("/v2/a"), "allow"),
        (get("/v1/a"), "deny no-rule"),
        (get("/v2/../v1"), "deny no-rule"),
        (get("/v1/%2e%2e/v2/a"), "allow"),
        // One reading is within, the other is not.
        (get("/v2/..%2fv1"), "deny no-rule"),
        (get("/v2//secret/x"), "deny rule-denied"),
        (get("/v2/secret%2fx"), "deny rule-denied"),
        (
            get("/v2/a").header("user-agent", "sqlmap/1.7"),
            "deny rule-denied",
        ),
        (
            get("/v2/a")
                .header("user-agent", "curl")
                .header("user-agent", "sqlmap"),
            "deny rule-denied",
        ),
        (get("/v2/a").header("x-env", "prod"), "deny rule-denied"),
        (get("/v2/a").header("x-env", "test"), "allow"),
    ] {
        assert_eq!(flow.says(&view), says, "{:?}", flow.request);
    }
    // In TLS that is not opened both kinds of rules are hidden.
    let tls = connect("ok.test").at("1.2.3.4").tls(Some("ok.test"));
    assert_eq!(tls.says(&view), "deny uninspectable");
    assert_eq!(connect("ok.test").says(&view), "undecided");
    assert_eq!(get("/v2/a").decide(&view).phase, Phase::PreRequest);
    assert_eq!(connect("bad.test").decide(&view).phase, Phase::PreDns);
}

#[test]
fn responses() {
    let view = view([policy(
        "p",
        json!([
            {"name": "json", "action": "Allow", "to": {"hosts": ["ok.test"]},
             "response": {"status": ["2xx", 304], "contentTypes": ["application/json"], "contentLength": {"max": 100}}},
            {"name": "boom", "action": "Alert", "response": {"status": ["5xx"]}},
        ]),
    )]);
    let json_type = [("content-type", "application/json")];
    for (flow, says) in [
        (get("/"), "undecided"),
        (get("/").response(200, Some(10), &json_type), "allow"),
        (
            get("/").response(200, Some(101), &json_type),
            "deny no-rule",
        ),
        (get("/").response(200, None, &json_type), "allow"),
        (
            get("/").response(200, Some(10), &[("content-type", "text/html")]),
            "deny no-rule",
        ),
        (get("/").response(200, Some(10), &[]), "deny no-rule"),
        (get("/").response(404, Some(10), &json_type), "deny no-rule"),
        (get("/").response(304, None, &[]), "allow"),
    ] {
        assert_eq!(flow.says(&view), says, "{:?}", flow.response);
    }
    assert_eq!(
        get("/")
            .response(200, None, &json_type)
            .decide(&view)
            .body_limit,
        Some(100)
    );
    let refused = get("/").response(500, None, &json_type).decide(&view);
    assert_eq!(refused.phase, Phase::PostResponse);
    assert_eq!(refused.alerts.len(), 1);
}

#[test]
fn watching_the_response() {
    let view = view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
            {"name": "boom", "action": "Alert", "response": {"status": ["5xx"]}},
        ]),
    )]);
    let before = get("/").decide(&view);
    assert_eq!(
        (before.verdict, before.watch_response, before.alerts.len()),
        (Verdict::Allow, true, 0)
    );
    let after = get("/").response(500, None, &[]).decide(&view);
    assert_eq!(
        (after.verdict, after.watch_response, after.alerts.len()),
        (Verdict::Allow, false, 1)
    );
    assert_eq!(after.phase, Phase::PreRequest);
}

#[test]
fn a_deny_waits_for_the_response() {
    let view = view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
            {"name": "html", "action": "Deny", "response": {"contentTypes": ["text/html"]}},
        ]),
    )]);
    assert_eq!(get("/").says(&view), "undecided");
    assert_eq!(
        get("/")
            .response(200, None, &[("content-type", "text/html")])
            .says(&view),
        "deny rule-denied"
    );
    assert_eq!(
        get("/")
            .response(304, None, &[("content-type", "text/html")])
            .says(&view),
        "allow"
    );
    // Inside TLS that is not opened nobody can say.
    assert_eq!(
        connect("ok.test")
            .at("1.2.3.4")
            .tls(Some("ok.test"))
            .says(&view),
        "deny uninspectable"
    );
}

#[test]
fn passthrough_reaches_down() {
    let deny = json!({"name": "no", "action": "Deny", "http": {"methods": ["POST"]}});
    let only_read = json!({"name": "no", "action": "Deny", "not": {"http": {"methods": ["GET"]}}});
    let allow = json!({"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    let through = json!({"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Passthrough"}});
    let pass = |mode: &str| {
        admin(
            "a",
            1,
            json!([{"name": "p", "action": "Pass", "to": {"hosts": ["ok.test"]}, "tls": {"mode": mode}}]),
        )
    };
    let tls = connect("ok.test").at("1.2.3.4").tls(Some("ok.test"));
    for (policies, says) in [
        (
            vec![policy("p", json!([allow, deny]))],
            "deny uninspectable",
        ),
        (vec![policy("p", json!([through, deny]))], "allow"),
        (vec![policy("p", json!([through, only_read]))], "allow"),
        (
            vec![policy("p", json!([through])), policy("q", json!([deny]))],
            "deny uninspectable",
        ),
        (
            vec![pass("Auto"), policy("p", json!([allow, deny]))],
            "deny uninspectable",
        ),
        (
            vec![pass("Passthrough"), policy("p", json!([allow, deny]))],
            "allow",
        ),
        (
            vec![pass("Passthrough"), policy("p", json!([allow, only_read]))],
            "allow",
        ),
        (
            vec![pass("Inspect"), policy("p", json!([allow]))],
            "deny uninspectable",
        ),
    ] {
        assert_eq!(tls.says(&view(policies.clone())), says, "{policies:?}");
    }
    let mut exempt = snapshot([policy("p", json!([allow, deny]))]);
    exempt.settings.tls.exempt = vec!["ok.test".to_owned()];
    assert_eq!(tls.says(&compiled(&exempt).view(&workload())), "allow");
    let inspect = policy(
        "p",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Inspect"}}]),
    );
    assert_eq!(tls.says(&view([inspect.clone()])), "deny uninspectable");
    assert_eq!(get("/").says(&view([inspect.clone()])), "allow");
    assert_eq!(tls.says(&view([pass("Passthrough"), inspect])), "allow");
}

#[test]
fn hidden_steering_is_tried_both_ways() {
    let next = |action: &str| json!([{"name": "n", "action": action, "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET"]}}]);
    let allow = policy(
        "p",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}}]),
    );
    let tls = connect("ok.test").at("1.2.3.4").tls(Some("ok.test"));
    assert_eq!(
        tls.says(&view([admin("a", 1, next("Next")), allow.clone()])),
        "allow"
    );
    let deny = json!({"name": "no", "action": "Deny"});
    let mut rules = next("Pass");
    rules.as_array_mut().unwrap().push(deny);
    let steered = view([admin("a", 1, rules), allow]);
    assert_eq!(tls.says(&steered), "deny uninspectable");
    assert_eq!(get("/").says(&steered), "allow");
}

#[test]
fn expressions() {
    let view = view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "when": "port == 80 && request.path.startsWith(\"/v2\")"},
            {"name": "bad", "action": "Deny", "when": "has(request.headers.cookie) && request.headers[\"cookie\"].contains(\"x=1\")"},
            {"name": "err", "action": "Deny", "to": {"ports": [8080]}, "when": "request.headers[\"nope\"] == \"1\""},
        ]),
    )]);
    for (flow, says) in [
        (get("/v2/a"), "allow"),
        (get("/v1/a"), "deny no-rule"),
        (get("/v2/a").header("cookie", "x=1"), "deny rule-denied"),
        (get("/v2/a").header("cookie", "y=1"), "allow"),
        (get("/v2/a").port(8080), "deny policy-error"),
        (connect("ok.test").port(80), "undecided"),
    ] {
        assert_eq!(flow.says(&view), says, "{:?}", flow.request);
    }
}

#[test]
fn expressions_about_content_that_stays_closed() {
    let rules = |mode: &str| {
        view([
            admin(
                "a",
                1,
                json!([{"name": "p", "action": "Pass", "to": {"hosts": ["ok.test"]}, "tls": {"mode": mode}}]),
            ),
            policy(
                "p",
                json!([
                    {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
                    {"name": "no", "action": "Deny", "when": "request.method == 'GET'"},
                ]),
            ),
        ])
    };
    let tls = connect("ok.test").at("1.2.3.4").tls(Some("ok.test"));
    assert_eq!(tls.says(&rules("Auto")), "deny uninspectable");
    assert_eq!(tls.says(&rules("Passthrough")), "allow");
    assert_eq!(get("/").says(&rules("Passthrough")), "deny rule-denied");
    assert_eq!(get("/").says(&rules("Auto")), "deny rule-denied");
}

/// The deepest accepted expression is evaluated on the stack of an ordinary thread.
#[test]
fn deep_expressions() {
    for when in [
        format!("{}port == 80", "port == 1 ? false : ".repeat(29)),
        format!("{}port == 80{}", "(".repeat(40), ")".repeat(40)),
        format!("size({}1{}) == 1", "[".repeat(28), "]".repeat(28)),
        format!("port{} == 80", " + 0".repeat(29)),
        format!("port == 80{}", " || port == 81".repeat(100)),
    ] {
        let view = view([policy(
            "p",
            json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "when": when}]),
        )]);
        assert_eq!(get("/").says(&view), "allow", "{when}");
    }
}

#[test]
fn injection_is_impossible_for_now() {
    let view = view([policy(
        "p",
        json!([
            {"name": "key", "action": "Allow", "to": {"hosts": ["ok.test"]}, "inject": {"credentialRef": {"name": "k"}}},
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
        ]),
    )]);
    assert_eq!(
        connect("ok.test")
            .at("1.2.3.4")
            .tls(Some("ok.test"))
            .says(&view),
        "deny inject-impossible"
    );
    assert_eq!(get("/").says(&view), "deny inject-impossible");
}
