use serde_json::json;

use super::fixture::*;
use crate::*;

fn allowed() -> std::sync::Arc<View> {
    view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test", "also.test"]}},
            {"name": "raw", "action": "Allow", "to": {"hosts": ["raw.test"], "protocol": "TCP"}},
            {"name": "quiet", "action": "Allow", "to": {"hosts": ["quiet.test"]}, "tls": {"sni": "Absent"}},
            {"name": "net", "action": "Allow", "to": {"cidrs": ["1.2.3.0/24"], "ports": [443]}},
        ]),
    )])
}

#[test]
fn one_name_everywhere() {
    let view = allowed();
    for (flow, says) in [
        (connect("ok.test").tls(Some("ok.test")), "allow"),
        (
            connect("ok.test").tls(Some("also.test")),
            "deny name-mismatch",
        ),
        (
            connect("ok.test").tls(Some("bad.test")),
            "deny name-mismatch",
        ),
        (connect("ok.test").tls(None), "deny sni-missing"),
        (connect("quiet.test").tls(None), "allow"),
        (
            connect("quiet.test").tls(Some("quiet.test")),
            "deny no-rule",
        ),
        (connect("raw.test").tls(Some("bad.test")), "allow"),
        (connect("raw.test").tls(None), "allow"),
        (connect("raw.test").raw(), "allow"),
        (connect("ok.test").raw(), "deny no-rule"),
        (connect("ok.test").http("GET", "/", "ok.test"), "allow"),
        (connect("ok.test").http("GET", "/", "ok.test:443"), "allow"),
        (
            connect("ok.test").http("GET", "/", "ok.test:80"),
            "deny port-mismatch",
        ),
        (
            connect("ok.test").http("GET", "/", "also.test"),
            "deny name-mismatch",
        ),
        (
            connect("ok.test").http("GET", "/", "1.2.3.4"),
            "deny name-mismatch",
        ),
        (
            connect("ok.test")
                .tls(None)
                .inspected()
                .http("GET", "/", "ok.test"),
            "allow",
        ),
        (
            connect("ok.test")
                .tls(Some("ok.test"))
                .inspected()
                .http("GET", "/", "also.test"),
            "deny name-mismatch",
        ),
    ] {
        let flow = flow.at("1.2.3.4");
        assert_eq!(
            flow.says(&view),
            says,
            "{:?} {:?}",
            flow.hello,
            flow.request
        );
    }
}

#[test]
fn literals() {
    let view = allowed();
    // The name may still show.
    assert_eq!(literal("1.2.3.4").says(&view), "undecided");
    assert_eq!(literal("1.2.4.4").says(&view), "undecided");
    // It shows none: the address is judged.
    assert_eq!(literal("1.2.3.4").unnamed().tls(None).says(&view), "allow");
    assert_eq!(literal("1.2.3.4").unnamed().raw().says(&view), "allow");
    assert_eq!(
        literal("1.2.3.4").unnamed().port(80).says(&view),
        "deny no-rule"
    );
    assert_eq!(
        literal("1.2.4.4").unnamed().tls(None).says(&view),
        "deny no-rule"
    );
    // Judged by the name that it shows, ranges alone allow nothing.
    let mut named = literal("1.2.3.4").tls(Some("bad.test"));
    named.name = Attr::Known(name("bad.test"));
    assert_eq!(named.says(&view), "deny no-rule");
    // Only-address rules make no name resolvable.
    assert_eq!(connect("bad.test").says(&view), "deny no-rule");
    // Judged as the address, the name that shows still meets a Deny.
    let denying = crate::decide::tests::fixture::view([policy(
        "p",
        json!([
            {"name": "net", "action": "Allow", "to": {"cidrs": ["1.2.3.0/24"]}},
            {"name": "no", "action": "Deny", "to": {"hosts": ["bad.test"]}},
        ]),
    )]);
    assert_eq!(
        literal("1.2.3.4")
            .unnamed()
            .tls(Some("bad.test"))
            .says(&denying),
        "deny rule-denied"
    );
    assert_eq!(
        literal("1.2.3.4")
            .unnamed()
            .tls(Some("ok.test"))
            .says(&denying),
        "allow"
    );
    assert_eq!(
        literal("1.2.3.4")
            .unnamed()
            .tls(Some("ok.test"))
            .decide(&denying)
            .assurance,
        Assurance::AddressOnly
    );
}

#[test]
fn without_a_name() {
    let rules = |action: &str, negated: bool| {
        let to = json!({"to": {"hosts": ["x.test"]}});
        let mut rule = json!({"name": "r", "action": action});
        if negated {
            rule["not"] = to;
        } else {
            rule["to"] = to["to"].clone();
        }
        view([policy(
            "p",
            json!([rule, {"name": "all", "action": if action == "Deny" { "Allow" } else { "Deny" }, "to": {"ports": [if action == "Deny" { 443 } else { 1 }]}}]),
        )])
    };
    let flow = literal("1.2.3.4").unnamed().tls(None);
    assert_eq!(flow.says(&rules("Allow", false)), "deny no-rule");
    assert_eq!(flow.says(&rules("Allow", true)), "deny no-rule");
    assert_eq!(flow.says(&rules("Deny", false)), "allow");
    assert_eq!(flow.says(&rules("Deny", true)), "deny rule-denied");
}

#[test]
fn domain_sets() {
    let mut snapshot = snapshot([policy(
        "p",
        json!([
            {"name": "inline", "action": "Allow", "to": {"hostSets": ["own"]}},
            {"name": "feed", "action": "Allow", "to": {"hostSets": ["cluster/feed"]}},
            {"name": "late", "action": "Allow", "to": {"hostSets": ["late"], "ports": [8443]}},
            {"name": "nets", "action": "Allow", "to": {"hosts": ["net.test"], "cidrSets": ["own"]}},
        ]),
    )]);
    let set = |namespace: Option<&str>, name: &str, content| SetResource {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        content,
    };
    let inline = SetContent::Inline {
        hosts: vec!["*.own.test".to_owned()],
        cidrs: vec!["1.2.3.0/24".to_owned()],
        allow_broad: false,
    };
    let feed = SetContent::Artifact {
        names: std::sync::Arc::new(NameSet::from_lines(b"feed.test").unwrap()),
        cidrs: vec![],
    };
    snapshot.sets = vec![
        set(Some("default"), "own", inline),
        set(None, "feed", feed),
        set(Some("default"), "late", SetContent::Unavailable),
    ];
    let view = compiled(&snapshot).view(&workload());
    let tls = |host: &str| connect(host).at("1.2.3.4").tls(Some(host));
    for (flow, says) in [
        (tls("a.own.test"), "allow"),
        (tls("own.test"), "deny no-rule"),
        (tls("feed.test"), "allow"),
        (tls("net.test"), "allow"),
        (connect("net.test").at("1.2.4.4"), "deny no-rule"),
        (tls("any.test").port(8443), "deny set-unavailable"),
    ] {
        assert_eq!(flow.says(&view), says, "{:?}", flow.name);
    }
}
