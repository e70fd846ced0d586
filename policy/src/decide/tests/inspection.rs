use serde_json::{Value, json};

use super::fixture::*;
use crate::*;

fn open(policies: impl IntoIterator<Item = PolicyResource>) -> Snapshot {
    let mut snapshot = snapshot(policies);
    snapshot.settings.tls.inspection = Inspection::On;
    snapshot.settings.tls.authority =
        serde_json::from_value(json!({"certFile": "c", "keyFile": "k"})).unwrap();
    snapshot.credentials = [
        ("k", "Authorization", "*.test"),
        ("l", "authorization", "ok.test"),
        ("m", "X-Key", "ok.test"),
        ("far", "X-Far", "far.test"),
    ]
    .into_iter()
    .map(|(name, header, host)| CredentialResource {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        header: header.to_owned(),
        prefix: Some("Bearer ".to_owned()),
        hosts: vec![host.to_owned()],
    })
    .collect();
    snapshot
}

fn opened(policies: impl IntoIterator<Item = PolicyResource>) -> std::sync::Arc<View> {
    compiled(&open(policies)).view(&workload())
}

fn hello() -> Flow {
    connect("ok.test").at("1.2.3.4").tls(Some("ok.test"))
}

fn inside(method: &str) -> Flow {
    hello().inspected().http(method, "/", "ok.test")
}

/// Verdict, reason and what happens to TLS.
fn both(flow: &Flow, view: &View) -> String {
    format!("{} {:?}", flow.says(view), flow.decide(view).tls)
}

fn allow(more: Value) -> Value {
    let mut rule = json!({"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    rule.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    rule
}

#[test]
fn tls_is_opened_exactly_where_the_verdict_hangs_on_it() {
    let gets = allow(json!({"http": {"methods": ["GET"]}}));
    let no_posts = json!({"name": "no", "action": "Deny", "http": {"methods": ["POST"]}});
    let other = json!({"name": "no", "action": "Deny", "to": {"hosts": ["other.test"]}, "http": {"methods": ["POST"]}});
    let told = json!({"name": "told", "action": "Alert", "http": {"methods": ["POST"]}});
    let told_open = json!({"name": "told", "action": "Alert", "tls": {"mode": "Inspect"}, "http": {"methods": ["POST"]}});
    for (rules, expected) in [
        (json!([allow(json!({}))]), "allow Relay"),
        (json!([gets]), "undecided Inspect"),
        (json!([allow(json!({})), no_posts]), "undecided Inspect"),
        (json!([allow(json!({})), other]), "allow Relay"),
        (
            json!([allow(json!({"response": {"status": ["2xx"]}}))]),
            "undecided Inspect",
        ),
        (
            json!([allow(json!({})), {"name": "get", "action": "Allow", "http": {"methods": ["GET"]}}]),
            "allow Relay",
        ),
        (json!([allow(json!({})), told]), "allow Relay"),
        (json!([allow(json!({})), told_open]), "undecided Inspect"),
        (
            json!([allow(json!({"tls": {"mode": "Inspect"}}))]),
            "undecided Inspect",
        ),
        (
            json!([allow(json!({"tls": {"mode": "Passthrough"}}))]),
            "allow Relay",
        ),
        (json!([other]), "deny no-rule Relay"),
    ] {
        let view = opened([policy("p", rules.clone())]);
        assert_eq!(both(&hello(), &view), expected, "{rules}");
        // Silent until the handshake is there.
        if expected != "deny no-rule Relay" {
            let asked = connect("ok.test").at("1.2.3.4");
            assert_eq!(both(&asked, &view), "undecided Undecided", "{rules}");
        }
    }
    // What stays closed is judged as closed: the rule that is named asks for nothing inside, and nothing inside is awaited.
    let any = json!({"name": "any", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    let view = opened([policy("p", json!([gets, any, told]))]);
    let decision = hello().decide(&view);
    assert_eq!(
        decision.rule.map(|rule| rule.rule.to_string()),
        Some("any".to_owned())
    );
    assert!(!decision.watch_response);
    // An Allow that may still match asks for it, also where a later one is certain.
    let mut asks = allow(json!({"tls": {"mode": "Inspect"}, "http": {"methods": ["GET"]}}));
    asks["name"] = json!("asks");
    let certain = json!({"name": "any", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    let wants = allow(json!({"tls": {"mode": "Inspect"}}));
    for rules in [json!([asks, certain]), json!([asks, wants])] {
        let view = opened([admin("a", 1, rules)]);
        assert_eq!(both(&hello(), &view), "undecided Inspect");
    }
    // A request in clear needs no opening, and what is opened is not opened again.
    let wanted = opened([policy(
        "p",
        json!([allow(json!({"tls": {"mode": "Inspect"}}))]),
    )]);
    assert_eq!(both(&get(), &wanted), "allow Relay");
    assert_eq!(both(&inside("GET"), &wanted), "allow Inspect");
    let view = opened([policy("p", json!([gets]))]);
    assert_eq!(both(&inside("GET"), &view), "allow Inspect");
    assert_eq!(both(&inside("POST"), &view), "deny no-rule Inspect");
    let fronted = hello().inspected().http("GET", "/", "other.test");
    assert_eq!(fronted.says(&view), "deny name-mismatch");
}

#[test]
fn what_is_never_opened() {
    let gets = allow(json!({"http": {"methods": ["GET"]}}));
    let policies = [policy("p", json!([gets]))];
    let mut exempt = open(policies.clone());
    exempt.settings.tls.exempt = vec!["*.test".to_owned()];
    let mut audited = open(policies.clone());
    audited.settings.enforcement.mode = EnforcementMode::Audit;
    for snapshot in [snapshot(policies.clone()), exempt, audited] {
        let view = compiled(&snapshot).view(&workload());
        assert_eq!(both(&hello(), &view), "deny uninspectable Relay");
        assert!(!view.inspectable(&name("ok.test"), 443, 0));
    }
    // An address has no name that a certificate could be for.
    let net = json!({"name": "net", "action": "Allow", "to": {"cidrs": ["1.2.3.0/24"]}, "http": {"methods": ["GET"]}});
    let view = opened([policy("p", json!([net]))]);
    let bare = literal("1.2.3.4").unnamed().tls(None);
    assert_eq!(both(&bare, &view), "deny uninspectable Relay");
    // An Audit policy is no reason either; what it would have needed is recorded.
    let view = opened([
        policy("p", json!([allow(json!({}))])),
        audit(
            "a",
            json!([{"name": "no", "action": "Deny", "http": {"methods": ["POST"]}}]),
        ),
    ]);
    assert_eq!(both(&hello(), &view), "allow Relay");
    let shadow = hello().decide(&view).shadow.unwrap();
    assert_eq!(shadow.kind, ShadowKind::WouldNeedContent);
    // A connection that is relayed stays closed.
    let mut relayed = hello();
    relayed.request = Attr::Hidden;
    let view = opened(policies);
    assert_eq!(both(&relayed, &view), "deny uninspectable Relay");
}

#[test]
fn modes_by_tier() {
    let pass = |mode: &str, action: &str| {
        admin(
            "a",
            1,
            json!([{"name": "p", "action": action, "to": {"hosts": ["ok.test"]}, "tls": {"mode": mode}}]),
        )
    };
    let plain = policy("p", json!([allow(json!({}))]));
    let gets = policy("p", json!([allow(json!({"http": {"methods": ["GET"]}}))]));
    let forced = policy("p", json!([allow(json!({"tls": {"mode": "Inspect"}}))]));
    let through = allow(json!({"tls": {"mode": "Passthrough"}}));
    let no_posts = json!({"name": "no", "action": "Deny", "http": {"methods": ["POST"]}});
    let also_forced = json!({"name": "also", "action": "Allow", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Inspect"}});
    for (policies, expected) in [
        (
            vec![pass("Inspect", "Pass"), plain.clone()],
            "undecided Inspect",
        ),
        (
            vec![pass("Inspect", "Next"), plain.clone()],
            "undecided Inspect",
        ),
        (
            vec![pass("Passthrough", "Pass"), plain.clone()],
            "allow Relay",
        ),
        (
            vec![pass("Passthrough", "Pass"), forced.clone()],
            "allow Relay",
        ),
        (
            vec![pass("Passthrough", "Next"), gets],
            "deny uninspectable Relay",
        ),
        (
            vec![
                pass("Passthrough", "Pass"),
                policy("p", json!([allow(json!({})), no_posts])),
            ],
            "allow Relay",
        ),
        (vec![policy("p", json!([through, no_posts]))], "allow Relay"),
        // Another team's Deny is not switched off.
        (
            vec![
                policy("p", json!([through])),
                policy("q", json!([no_posts])),
            ],
            "deny uninspectable Relay",
        ),
        // Within a tier Inspect beats Passthrough.
        (
            vec![policy("p", json!([through, also_forced, no_posts]))],
            "undecided Inspect",
        ),
        (
            vec![
                pass("Passthrough", "Next"),
                admin(
                    "b",
                    2,
                    json!([{"name": "p", "action": "Pass", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Inspect"}}]),
                ),
                plain.clone(),
            ],
            "undecided Inspect",
        ),
        (
            vec![pass("Inspect", "Pass"), policy("p", json!([through]))],
            "undecided Inspect",
        ),
    ] {
        let view = opened(policies.clone());
        assert_eq!(both(&hello(), &view), expected, "{policies:?}");
    }
}

/// An Alert with Inspect asks like any rule of its tier: it beats a Passthrough beside it, and yields to one above.
#[test]
fn alerts_that_ask_for_opening() {
    let told = json!({"name": "told", "action": "Alert", "tls": {"mode": "Inspect"}, "http": {"methods": ["POST"]}});
    let pass = |mode: &str| json!({"name": "pass", "action": "Pass", "to": {"hosts": ["ok.test"]}, "tls": {"mode": mode}});
    let below = policy("p", json!([allow(json!({}))]));
    for (rules, expected) in [
        (json!([told]), "undecided Inspect"),
        (json!([told, pass("Auto")]), "undecided Inspect"),
        (json!([told, pass("Passthrough")]), "undecided Inspect"),
        (json!([pass("Passthrough"), told]), "allow Relay"),
    ] {
        let snapshot = open([admin("a", 1, rules.clone()), below.clone()]);
        let view = compiled(&snapshot).view(&workload());
        assert_eq!(both(&hello(), &view), expected, "{rules}");
        let mut exempt = snapshot;
        exempt.settings.tls.exempt = vec!["ok.test".to_owned()];
        let view = compiled(&exempt).view(&workload());
        assert_eq!(both(&hello(), &view), "allow Relay", "{rules}");
    }
    let next = json!([{"name": "next", "action": "Next", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Passthrough"}}]);
    let view = opened([admin("a", 1, next), admin("b", 2, json!([told])), below]);
    assert_eq!(both(&hello(), &view), "undecided Inspect");
}

/// Where either way of an open rule leads to a rule that asks for opening, TLS is opened.
#[test]
fn opening_on_one_of_two_ways() {
    let gets = json!({"name": "pass", "action": "Pass", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET"]}});
    let all = json!({"name": "all", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    let below = policy("p", json!([allow(json!({"tls": {"mode": "Inspect"}}))]));
    let view = opened([admin("a", 1, json!([gets, all])), below.clone()]);
    assert_eq!(both(&hello(), &view), "undecided Inspect");
    // A set that has not loaded leaves both ways open for good.
    for (mode, then, expected) in [
        ("Inspect", json!([all]), "undecided Inspect"),
        ("Inspect", json!([]), "undecided Inspect"),
        ("Auto", json!([all]), "undecided Inspect"),
    ] {
        let mut rules = json!([{"name": "pass", "action": "Pass", "to": {"hostSets": ["s"]}, "tls": {"mode": mode}}]);
        rules
            .as_array_mut()
            .unwrap()
            .extend(then.as_array().unwrap().clone());
        let mut snapshot = open([admin("a", 1, rules), below.clone()]);
        snapshot.sets = vec![SetResource {
            namespace: None,
            name: "s".to_owned(),
            content: SetContent::Unavailable,
        }];
        let view = compiled(&snapshot).view(&workload());
        assert_eq!(both(&hello(), &view), expected, "{mode} {then}");
    }
}

/// Expressions about what is inside are as much content as methods are.
#[test]
fn modes_act_where_all_but_content_holds() {
    for (more, expected) in [
        (
            json!({"when": "request.method == 'GET'"}),
            "undecided Inspect",
        ),
        (
            json!({"not": {"http": {"methods": ["GET"]}}}),
            "undecided Inspect",
        ),
        (json!({"when": "port == 444"}), "allow Relay"),
        (json!({"not": {"to": {"ports": [443]}}}), "allow Relay"),
    ] {
        let mut pass = json!({"name": "pass", "action": "Pass", "to": {"hosts": ["ok.test"]}, "tls": {"mode": "Inspect"}});
        for (key, value) in more.as_object().unwrap() {
            pass[key] = value.clone();
        }
        let view = opened([
            admin("a", 1, json!([pass])),
            policy("p", json!([allow(json!({}))])),
        ]);
        assert_eq!(both(&hello(), &view), expected, "{more}");
    }
}

#[test]
fn a_passthrough_that_is_pending_does_not_refuse_early() {
    let view = opened([
        admin(
            "a",
            1,
            json!([{"name": "n", "action": "Next", "tls": {"mode": "Passthrough"},
                    "not": {"to": {"cidrs": ["93.184.216.34/32"]}}}]),
        ),
        policy("p", json!([allow(json!({"tls": {"mode": "Inspect"}}))])),
    ]);
    let pending = connect("ok.test").tls(Some("ok.test"));
    assert_eq!(both(&pending, &view), "undecided Undecided");
    assert_eq!(both(&pending.clone().at("1.2.3.4"), &view), "allow Relay");
    assert_eq!(
        both(&pending.at("93.184.216.34"), &view),
        "undecided Inspect"
    );
}

#[test]
fn a_missing_server_name() {
    let quiet = connect("ok.test").at("1.2.3.4").tls(None);
    let plain = opened([policy("p", json!([allow(json!({}))]))]);
    assert_eq!(both(&quiet, &plain), "deny sni-missing Relay");
    let gets = opened([policy(
        "p",
        json!([allow(json!({"http": {"methods": ["GET"]}}))]),
    )]);
    assert_eq!(both(&quiet, &gets), "undecided Inspect");
    let get = quiet.inspected().http("GET", "/", "ok.test");
    assert_eq!(both(&get, &gets), "allow Inspect");
}

#[test]
fn credentials() {
    let inject = |name: &str, key: &str, more: Value| {
        let mut rule = allow(more);
        rule["name"] = json!(name);
        rule["inject"] = json!({"credentialRef": {"name": key}});
        rule
    };
    let one = opened([policy("p", json!([inject("key", "k", json!({}))]))]);
    assert_eq!(both(&hello(), &one), "undecided Inspect");
    let decision = inside("GET").decide(&one);
    assert_eq!(decision.verdict, Verdict::Allow);
    let Injection {
        namespace,
        name,
        header,
    } = &decision.inject[0];
    assert_eq!(
        (&**namespace, &**name, &**header),
        ("default", "k", "authorization")
    );
    assert_eq!(get().says(&one), "deny inject-impossible");
    // Not before the request is there.
    assert!(hello().inspected().decide(&one).inject.is_empty());
    // Whichever rule allows, and only where the rule's own conditions hold.
    let gets = json!({"http": {"methods": ["GET"]}});
    let some = opened([
        admin("a", 1, json!([allow(json!({}))])),
        policy("p", json!([inject("key", "k", gets)])),
    ]);
    assert_eq!(both(&hello(), &some), "undecided Inspect");
    assert_eq!(inside("GET").decide(&some).inject.len(), 1);
    let post = inside("POST").decide(&some);
    assert_eq!((post.verdict, post.inject.len()), (Verdict::Allow, 0));
    for (rules, expected) in [
        (
            vec![inject("a", "k", json!({})), inject("b", "l", json!({}))],
            "deny inject-conflict",
        ),
        (
            vec![inject("a", "k", json!({})), inject("b", "k", json!({}))],
            "allow",
        ),
        (
            vec![inject("a", "k", json!({})), inject("b", "m", json!({}))],
            "allow",
        ),
        (
            vec![inject("a", "far", json!({}))],
            "deny inject-impossible",
        ),
        (
            vec![inject("a", "none", json!({}))],
            "deny credential-unavailable",
        ),
    ] {
        let view = opened([policy("p", json!(rules))]);
        assert_eq!(inside("GET").says(&view), expected, "{rules:?}");
    }
    // Under a higher tier's Passthrough, and where nothing is opened, it refuses.
    let through = admin(
        "a",
        1,
        json!([{"name": "p", "action": "Pass", "tls": {"mode": "Passthrough"}}]),
    );
    let below = policy("p", json!([inject("key", "k", json!({}))]));
    assert_eq!(
        both(&hello(), &opened([through, below.clone()])),
        "deny inject-impossible Relay"
    );
    assert_eq!(
        both(&hello(), &view([below])),
        "deny inject-impossible Relay"
    );
}

#[test]
fn credentials_of_rules_that_take_no_part() {
    let rule = |key: &str, more: Value| {
        let mut rule = allow(more);
        rule["name"] = json!(key);
        rule["inject"] = json!({"credentialRef": {"name": key}});
        rule
    };
    let plain = policy("p", json!([allow(json!({}))]));
    let expired = rule("k", json!({"expiresAt": "2020-01-01T00:00:00Z"}));
    let view = opened([plain.clone(), policy("old", json!([expired]))]);
    assert_eq!(both(&hello(), &view), "allow Relay");
    assert!(inside("GET").decide(&view).inject.is_empty());
    let view = opened([plain, audit("trial", json!([rule("k", json!({}))]))]);
    assert_eq!(both(&hello(), &view), "allow Relay");
    assert!(inside("GET").decide(&view).inject.is_empty());
    // A fleet that only audits adds nothing, and refuses nothing for it.
    let mut audited = open([policy("p", json!([rule("k", json!({}))]))]);
    audited.settings.enforcement.mode = EnforcementMode::Audit;
    let view = compiled(&audited).view(&workload());
    for flow in [hello(), inside("GET"), get()] {
        assert_eq!(flow.says(&view), "allow");
        assert!(flow.decide(&view).inject.is_empty());
    }
}

#[test]
fn a_credential_waits_for_what_may_still_come() {
    let rule = |key: &str, more: Value| {
        let mut rule = allow(more);
        rule["name"] = json!(key);
        rule["inject"] = json!({"credentialRef": {"name": key}});
        rule
    };
    let gets = json!({"http": {"methods": ["GET"]}});
    // They conflict only where the request is a GET.
    let both_keys = policy("p", json!([rule("k", gets), rule("l", json!({}))]));
    let twice = opened([both_keys]);
    assert_eq!(both(&hello(), &twice), "undecided Inspect");
    assert_eq!(inside("GET").says(&twice), "deny inject-conflict");
    assert_eq!(inside("POST").says(&twice), "allow");
    // Before the first bytes it may become TLS, where TLS can be opened.
    let key = policy(
        "p",
        json!([{"name": "any", "action": "Allow", "inject": {"credentialRef": {"name": "k"}}}]),
    );
    let asked = connect("ok.test").at("1.2.3.4");
    assert_eq!(asked.says(&opened([key.clone()])), "undecided");
    assert_eq!(asked.says(&view([key])), "deny inject-impossible");
}

fn get() -> Flow {
    connect("ok.test")
        .at("1.2.3.4")
        .port(80)
        .http("GET", "/", "ok.test")
}

#[test]
fn names_that_certificates_are_needed_for() {
    let names = |rules: Value| {
        let set = compiled(&open([policy("p", rules)]));
        match set.inspected_names() {
            InspectedNames::Bounded(found) => found
                .iter()
                .map(|subtree| subtree.name().to_string())
                .collect::<Vec<_>>()
                .join(" "),
            InspectedNames::Unbounded => "any".to_owned(),
        }
    };
    assert_eq!(names(json!([allow(json!({}))])), "");
    assert_eq!(
        names(json!([
            allow(json!({"http": {"methods": ["GET"]}})),
            {"name": "a", "action": "Allow", "to": {"hosts": ["*.x.io", "a.x.io", "y.io"]}, "tls": {"mode": "Inspect"}},
            {"name": "b", "action": "Deny", "to": {"hosts": ["z.io"], "protocol": "HTTP"}, "http": {"methods": ["GET"]}},
        ])),
        "ok.test x.io y.io"
    );
    assert_eq!(
        names(json!([{"name": "d", "action": "Deny", "http": {"methods": ["POST"]}}])),
        "any"
    );
    let many: Vec<String> = (0..101).map(|number| format!("h{number}.io")).collect();
    assert_eq!(
        names(
            json!([{"name": "m", "action": "Allow", "to": {"hosts": many}, "http": {"methods": ["GET"]}}])
        ),
        "any"
    );
    let view = opened([policy(
        "p",
        json!([{"name": "a", "action": "Allow", "to": {"hosts": ["*.x.io"], "ports": [443]}, "http": {"methods": ["GET"]}}]),
    )]);
    assert!(view.inspectable(&name("a.x.io"), 443, 0));
    assert!(!view.inspectable(&name("a.x.io"), 444, 0));
    assert!(!view.inspectable(&name("x.io"), 443, 0));
}
