//! What a refusal tells the client to ask for: never something that would not help.

use exitgate_tests::world::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_asks_for_what_would_help() {
    let rules = "  - {name: names, action: Allow, to: {hosts: [ok.test, bad.test]}}
  - {name: not-there, action: Deny, to: {hosts: [bad.test]}}\n";
    let mut world = Plan::rules(rules).start().await;
    let cases = [
        (
            "bad.test",
            "rule-denied",
            "Ask whoever owns EgressPolicy default/world about its rule \"not-there\"",
        ),
        (
            "other.test",
            "no-rule",
            "default/local for an Allow rule that covers other.test:80",
        ),
        (
            "169.254.169.254",
            "metadata",
            "Nothing: no rule can open 169.254.169.254:80",
        ),
        ("[::ffff:0:0]", "unspecified", "Nothing: no rule can open"),
        (
            "127.2.0.1",
            "loopback",
            "for an Admin rule whose cidrs open the address of 127.2.0.1:80",
        ),
        (
            "10.0.0.1",
            "non-public",
            "for an Admin rule whose cidrs open the address of 10.0.0.1:80",
        ),
    ];
    for (host, reason, help) in cases {
        let mut wire = world.client().await;
        let answer = wire
            .ask(format!(
                "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ))
            .await;
        wire.closed().await;
        let ask = answer.json()["ask"].as_str().unwrap().to_owned();
        assert!(ask.contains(help), "{host}: {ask}");
        let decision = answer.header("exitgate-decision");
        assert!(ask.contains(decision), "{host}: {ask} without {decision}");
        world.refused(&answer, 403, &[reason]);
    }
    world.finish().await;
}
