//! What a decision says beside its verdict: phase, bound of a body, what is watched, explanations.

use serde_json::json;

use super::fixture::*;
use crate::*;

fn get() -> Flow {
    connect("ok.test")
        .port(80)
        .at("1.2.3.4")
        .http("GET", "/", "ok.test")
}

#[test]
fn the_phase_is_the_step_that_was_needed() {
    let view = view([policy(
        "p",
        json!([
            {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "response": {"status": ["2xx"]}},
            {"name": "no", "action": "Deny", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["POST"]}},
        ]),
    )]);
    let unresolved = |method: &str| {
        let mut flow = get().http(method, "/", "ok.test");
        flow.address = Attr::Pending;
        flow
    };
    for (flow, phase) in [
        (connect("bad.test"), Phase::PreDns),
        (unresolved("POST"), Phase::PreRequest),
        // Its answer decides nothing: the method did.
        (
            unresolved("POST").response(500, None, &[]),
            Phase::PreRequest,
        ),
        (connect("ok.test").at("10.0.0.1"), Phase::PreRequest),
        (literal("10.0.0.1").at("10.0.0.1").unnamed(), Phase::PreDns),
        (get().http("POST", "/", "ok.test"), Phase::PreRequest),
        (get().response(500, None, &[]), Phase::PostResponse),
        (get().response(200, None, &[]), Phase::PostResponse),
    ] {
        let decision = flow.decide(&view);
        assert_eq!(decision.phase, phase, "{:?} {decision:?}", flow.request);
    }
}

#[test]
fn a_body_of_undeclared_length_has_the_bound_of_the_rules_that_take_part() {
    let rules = |expires: &str, action: &str| {
        view([policy(
            "p",
            json!([
                {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "response": {"contentLength": {"max": 100}}},
                {"name": "big", "action": action, "response": {"contentLength": {"min": 51}}, "expiresAt": expires},
                {"name": "no", "action": "Deny", "response": {"status": ["5xx"]}},
            ]),
        )])
    };
    let (never, past) = ("2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z");
    let limit =
        |view: &View, status, length| get().response(status, length, &[]).decide(view).body_limit;
    assert_eq!(limit(&rules(never, "Deny"), 200, None), Some(50));
    assert_eq!(limit(&rules(past, "Deny"), 200, None), Some(100));
    assert_eq!(limit(&rules(never, "Alert"), 200, None), Some(100));
    assert_eq!(limit(&rules(never, "Deny"), 200, Some(10)), None);
    assert_eq!(limit(&rules(never, "Deny"), 500, None), None);
    // Nothing follows a 304, and without a greatest length there is no bound.
    assert_eq!(limit(&rules(never, "Deny"), 304, None), None);
    let least = view([policy(
        "p",
        json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "response": {"contentLength": {"min": 0}}}]),
    )]);
    let decision = get().response(200, None, &[]).decide(&least);
    assert_eq!(
        (decision.verdict, decision.body_limit),
        (Verdict::Allow, None)
    );
}

#[test]
fn a_response_is_watched_only_for_a_rule_that_waits_for_it() {
    let plain = json!({"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}});
    let boom = json!({"name": "boom", "action": "Alert", "response": {"status": ["5xx"]}});
    let trial = audit("trial", json!([boom]));
    let both = view([policy("p", json!([plain])), trial]);
    assert!(get().decide(&both).watch_response);
    let seen = json!({"name": "seen", "action": "Alert", "to": {"hosts": ["ok.test"]}});
    for (flow, rules, watched) in [
        (get(), json!([plain]), false),
        (get(), json!([plain, seen]), false),
        (get(), json!([plain, boom]), true),
        (
            get().http("GET", "/", "bad.test"),
            json!([plain, boom]),
            false,
        ),
    ] {
        let view = view([policy("p", rules.clone())]);
        assert_eq!(flow.decide(&view).watch_response, watched, "{rules}");
    }
}

#[test]
fn nothing_is_compared_before_the_verdict() {
    let view = view([
        policy(
            "p",
            json!([{"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET"]}}]),
        ),
        audit(
            "a",
            json!([{"name": "no", "action": "Deny", "to": {"hosts": ["ok.test"]}}]),
        ),
    ]);
    let asked = connect("ok.test").decide(&view);
    assert_eq!(asked.verdict, Verdict::Undecided);
    assert!(asked.shadow.is_none());
    let shadow = get().decide(&view).shadow.unwrap();
    assert_eq!(shadow.kind, ShadowKind::WouldDeny);
}

#[test]
fn a_host_that_is_an_address_is_the_one_that_was_asked_for() {
    let view = view([policy(
        "p",
        json!([{"name": "net", "action": "Allow", "to": {"cidrs": ["1.2.3.0/24"]}}]),
    )]);
    let asked = |host: &str| {
        literal("1.2.3.4")
            .unnamed()
            .port(80)
            .http("GET", "/", host)
            .says(&view)
    };
    assert_eq!(asked("1.2.3.4"), "allow");
    assert_eq!(asked("1.2.3.5"), "deny name-mismatch");
}

#[test]
fn explanations_name_all_rules_of_a_small_view_and_candidates_of_a_large_one() {
    let explained = |rules: &serde_json::Value| {
        let view = view([policy("p", rules.clone())]);
        connect("ok.test")
            .at("1.2.3.4")
            .tls(Some("ok.test"))
            .with(|evidence| view.explain(evidence, 1_800_000_000))
            .candidates
            .into_iter()
            .map(|row| (row.rule.rule.to_string(), row.outcome, row.why))
            .collect::<Vec<_>>()
    };
    let mut rules = json!([
        {"name": "told", "action": "Alert", "to": {"hosts": ["ok.test"]}},
        {"name": "ok", "action": "Allow", "to": {"hosts": ["ok.test"]}},
        {"name": "again", "action": "Allow", "to": {"hosts": ["ok.test"]}},
        {"name": "other", "action": "Allow", "to": {"hosts": ["other.test"]}},
    ]);
    let row = |name: &str, outcome, why: &str| (name.to_owned(), outcome, why.to_owned());
    let here = [
        row("told", Outcome::Matched, "it is recorded"),
        row("ok", Outcome::Matched, "it decided"),
        row("again", Outcome::Matched, "another rule or tier decided"),
    ];
    let elsewhere = row("other", Outcome::NotMatched, "to.hosts does not hold");
    assert_eq!(explained(&rules), [&here[..], &[elsewhere]].concat());
    for number in 0..500 {
        rules.as_array_mut().unwrap().push(
            json!({"name": format!("r{number}"), "action": "Allow", "to": {"hosts": [format!("h{number}.test")]}}),
        );
    }
    assert_eq!(explained(&rules), here);
}

#[test]
fn records_name_everything_in_fixed_words() {
    let phases = [Phase::PreDns, Phase::PreRequest, Phase::PostResponse];
    assert_eq!(
        phases.map(Phase::as_str),
        ["preDns", "preRequest", "postResponse"]
    );
    let tiers = [
        Tier::Admin,
        Tier::Baseline,
        Tier::Default,
        Tier::Floor,
        Tier::Namespace,
    ];
    assert_eq!(
        tiers.map(Tier::as_str),
        ["Admin", "Baseline", "Default", "Floor", "Namespace"]
    );
    let kinds = [
        ShadowKind::WouldAllow,
        ShadowKind::WouldDeny,
        ShadowKind::WouldNeedContent,
    ];
    assert_eq!(
        kinds.map(ShadowKind::as_str),
        ["would_allow", "would_deny", "would_need_content"]
    );
    let assurances = [
        Assurance::AddressOnly,
        Assurance::NameResolved,
        Assurance::Inspected,
    ];
    assert_eq!(
        assurances.map(Assurance::as_str),
        ["AddressOnly", "NameResolved", "Inspected"]
    );
}

#[test]
fn names_that_can_no_longer_show_do_not_keep_a_verdict_open() {
    let rules: Vec<_> = (0..300)
        .map(|number| json!({"name": format!("no-{number}"), "action": "Deny", "to": {"hosts": [format!("h{number}.test")]}}))
        .chain([json!({"name": "raw", "action": "Allow", "to": {"hosts": ["ok.test"], "protocol": "TCP"}})])
        .collect();
    let view = view([policy("p", json!(rules))]);
    // The handshake may show one of the names, and there are too many of them to try each.
    let asked = connect("ok.test").at("1.2.3.4");
    assert_eq!(asked.says(&view), "undecided");
    assert_eq!(asked.clone().raw().says(&view), "allow");
    assert_eq!(asked.clone().tls(Some("ok.test")).says(&view), "allow");
    assert_eq!(asked.tls(Some("h7.test")).says(&view), "deny rule-denied");
}
