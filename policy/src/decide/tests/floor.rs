use serde_json::json;

use super::fixture::*;
use crate::*;

const ALL: &str = "*";

fn open(cidrs: &[&str]) -> PolicyResource {
    admin(
        "open",
        1,
        json!([{"name": "lab", "action": "Pass", "to": {"cidrs": cidrs}}]),
    )
}

fn everything() -> PolicyResource {
    policy("p", json!([{"name": ALL, "action": "Allow"}]))
}

#[test]
fn closed_whatever_the_policies() {
    for (addr, reason) in [
        ("169.254.169.254", "metadata"),
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "non-public"),
        ("2002:a9fe:a9fe::1", "embedded-ipv4"),
        ("::ffff:10.0.0.1", "non-public"),
    ] {
        let says = format!("deny {reason}");
        assert_eq!(literal(addr).says(&view([everything()])), says, "{addr}");
        assert_eq!(
            connect("ok.test").at(addr).says(&view([everything()])),
            says,
            "{addr}"
        );
    }
}

#[test]
fn opened_by_an_entry_inside() {
    for (cidr, says) in [
        ("10.0.0.0/8", "allow"),
        ("10.1.0.0/16", "allow"),
        ("10.2.0.0/16", "deny non-public"),
        ("0.0.0.0/0", "deny non-public"),
    ] {
        let view = view([open(&[cidr]), everything()]);
        assert_eq!(
            connect("ok.test")
                .at("10.1.2.3")
                .tls(Some("ok.test"))
                .says(&view),
            says,
            "{cidr}"
        );
        assert_eq!(
            literal("10.1.2.3").unnamed().tls(None).says(&view),
            says,
            "{cidr}"
        );
    }
    let view = view([open(&["169.254.0.0/16", "10.0.0.0/8"]), everything()]);
    assert_eq!(
        connect("ok.test").at("169.254.169.254").says(&view),
        "deny metadata"
    );
}

#[test]
fn what_opens() {
    let opener = |rule: serde_json::Value| view([admin("open", 1, json!([rule])), everything()]);
    let flow = connect("ok.test").at("10.1.2.3").tls(Some("ok.test"));
    for (rule, says) in [
        (
            json!({"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"], "hosts": ["ok.test"]}}),
            "allow",
        ),
        (
            json!({"name": "r", "action": "Allow", "to": {"cidrs": ["10.0.0.0/8"], "hosts": ["ok.test"]}}),
            "allow",
        ),
        (
            json!({"name": "r", "action": "Allow", "to": {"cidrs": ["10.0.0.0/8"]}}),
            "deny non-public",
        ),
        (
            json!({"name": "r", "action": "Next", "to": {"cidrs": ["10.0.0.0/8"]}}),
            "deny non-public",
        ),
        (
            json!({"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"], "hosts": ["no.test"]}}),
            "deny non-public",
        ),
        (
            json!({"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"], "ports": [80]}}),
            "deny non-public",
        ),
        (
            json!({"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"]}, "tls": {"sni": "Present"}}),
            "deny non-public",
        ),
        (
            json!({"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"]}, "expiresAt": "2020-01-01T00:00:00Z"}),
            "deny non-public",
        ),
    ] {
        assert_eq!(flow.says(&opener(rule.clone())), says, "{rule}");
    }
    // Audit opens nothing, and neither does a namespace.
    let lab = json!([{"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"]}}]);
    let audited = cluster(
        "open",
        json!({"tier": "Admin", "mode": "Audit", "rules": lab}),
    );
    assert_eq!(flow.says(&view([audited, everything()])), "deny non-public");
    let own = policy(
        "own",
        json!([{"name": "r", "action": "Allow", "to": {"hosts": ["ok.test"], "cidrs": ["10.0.0.0/8"]}}]),
    );
    assert_eq!(flow.says(&view([own])), "deny non-public");
    // An opener that is never reached opens all the same; the verdict follows the order.
    let view = view([
        admin(
            "a",
            1,
            json!([{"name": "n", "action": "Deny", "to": {"hosts": ["ok.test"]}}]),
        ),
        {
            admin(
                "b",
                2,
                json!([{"name": "r", "action": "Pass", "to": {"cidrs": ["10.0.0.0/8"]}}]),
            )
        },
    ]);
    assert_eq!(flow.says(&view), "deny rule-denied");
}

/// What is known before the dial depends on how the flow came in.
#[test]
fn what_opens_in_time() {
    let opens = |flow: &Flow, to: serde_json::Value, more: serde_json::Value| {
        let mut rule = json!({"name": "r", "action": "Pass", "to": to});
        rule["to"]["cidrs"] = json!(["10.0.0.0/8"]);
        for (key, value) in more.as_object().unwrap() {
            rule[key] = value.clone();
        }
        flow.says(&view([admin("open", 1, json!([rule])), everything()]))
    };
    let by_name = connect("ok.test").at("10.1.2.3");
    let by_address = literal("10.1.2.3").unnamed();
    let mut forwarded = by_name.clone().port(80).http("GET", "/", "ok.test");
    forwarded.entry = Entry::Forward;
    let mut captured = by_name.clone().tls(Some("ok.test"));
    captured.entry = Entry::Redirected;
    let (closed, open) = ("deny non-public", "allow");
    let (any, gets, sni) = (
        json!({}),
        json!({"http": {"methods": ["GET"]}}),
        json!({"tls": {"sni": "Present"}}),
    );
    let (http, tls) = (json!({"protocol": "HTTP"}), json!({"protocol": "TLS"}));
    let in_clear = |flow: &Flow| flow.clone().port(80).http("GET", "/", "ok.test");
    for (flow, to, more, says) in [
        // The request comes before the dial, or after it.
        (&forwarded, &any, &gets, open),
        (&in_clear(&by_name), &any, &gets, closed),
        (&in_clear(&by_address), &any, &gets, open),
        // And so do the first bytes.
        (&forwarded, &http, &any, open),
        (&by_name.clone().tls(Some("ok.test")), &tls, &any, closed),
        (&by_name.clone().tls(Some("ok.test")), &any, &sni, closed),
        (&captured, &tls, &any, open),
        (&captured, &any, &sni, open),
        (&by_address.clone().tls(Some("ok.test")), &any, &sni, open),
    ] {
        assert_eq!(
            opens(flow, to.clone(), more.clone()),
            says,
            "{:?} {to} {more}",
            flow.entry
        );
    }
}

#[test]
fn cluster_ranges_and_own_listeners() {
    let mut snapshot = snapshot([open(&["10.0.0.0/8", "127.0.0.0/8"]), everything()]);
    snapshot.settings.ranges.pods = vec!["10.4.0.0/16".to_owned()];
    snapshot.own_listeners = vec!["127.0.0.1:3128".parse().unwrap()];
    let view = compiled(&snapshot).view(&workload());
    assert_eq!(
        connect("ok.test").at("10.4.0.1").says(&view),
        "deny cluster-internal"
    );
    assert_eq!(literal("127.0.0.1").port(3128).says(&view), "deny self");
    assert_eq!(
        literal("127.0.0.1")
            .port(3129)
            .unnamed()
            .tls(None)
            .says(&view),
        "allow"
    );
    snapshot.standalone = false;
    let view = compiled(&snapshot).view(&workload());
    assert_eq!(
        literal("127.0.0.1").port(3129).unnamed().says(&view),
        "deny loopback"
    );
}

#[test]
fn localhost_needs_no_dns() {
    let view = view([open(&["127.0.0.0/8"]), everything()]);
    for host in ["localhost", "x.localhost", "ip6-localhost"] {
        assert_eq!(connect(host).says(&view), "deny loopback", "{host}");
    }
}
