//! Row 68: credentials that the gateway adds.

use std::collections::BTreeSet;

use exitgate_tests::client::Wire;
use exitgate_tests::deadline::within;
use exitgate_tests::http2::request;
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::{Answered, Manners};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};

/// Adds a credential to what goes to `ok.test`, and looks into the other without any.
const INJECTS: &str = "  - {name: with-key, action: Allow, to: {hosts: [ok.test]}, inject: {credentialRef: {name: key}}}\n  - {name: without, action: Allow, to: {hosts: [also.test]}, tls: {mode: Inspect}}\n";

const SECRET: &str = "s3cr3t-of-the-gateway";

fn credential(opened: &Opened) -> String {
    let file = opened.file("secret", &format!("{SECRET}\n"));
    format!(
        "apiVersion: exitgate.dev/v1alpha1
kind: EgressCredential
metadata: {{name: key, namespace: default}}
spec: {{header: Authorization, prefix: \"Bearer \", hosts: [ok.test], valueFrom: {{file: {file}}}}}
"
    )
}

/// The value that reaches the origin, asked until it is another one than `before`.
async fn value_other_than(world: &mut World, wire: &mut Wire, before: &str) -> String {
    let port = world.origin(0).port();
    let changed = async {
        loop {
            let answer = wire.ask(get(&format!("ok.test:{port}"), "/")).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            world.allowed().rule("with-key");
            let requests = world.origin(0).seen.requests.all();
            let value = requests.last().unwrap().headers("authorization").concat();
            if value != before {
                return value;
            }
        }
    };
    within("another value", changed).await
}

/// A file that changes needs neither a restart nor a new connection, and the policy's revision stays.
async fn another_value_is_used_at_once() {
    let opened = Opened::new();
    let plan = opened.plan(INJECTS).document(&credential(&opened));
    let mut world = plan.start().await;
    world.add(opened.origin(ORIGIN).await, Reached::Times(1));
    world.may_ask(&["ok.test"]);
    let port = world.origin(0).port();
    let mut wire = opened.open(&world, "ok.test", port).await;
    let first = value_other_than(&mut world, &mut wire, "").await;
    assert_eq!(first, format!("Bearer {SECRET}"));
    opened.replace("secret", "another-one\n");
    let second = value_other_than(&mut world, &mut wire, &first).await;
    assert_eq!(second, "Bearer another-one");
    drop(wire);
    let records = world.finish().await;
    let revisions = records
        .iter()
        .map(|record| record.0.pointer("/exitgate/revision").unwrap().as_str());
    assert_eq!(revisions.collect::<BTreeSet<_>>().len(), 1);
}

rows! {
    async fn row_068_credential_goes_to_its_host_only() {
        let opened = Opened::new();
        let mut world = opened.plan(INJECTS).document(&credential(&opened)).start().await;
        let one = world.add(opened.origin(ORIGIN).await, Reached::Times(2));
        let port = world.origin(one).port();
        world.may_ask(&["ok.test", "also.test"]);
        let with_own = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nauthorization: Basic own\r\nAuthorization: Basic other\r\n\r\n");
        let mut wire = opened.open(&world, "ok.test", port).await;
        let answer = wire.ask(with_own("ok.test")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("with-key");
        let answer = wire.ask(with_own("also.test")).await;
        world.refused(&answer, 421, &["name-mismatch"]);
        wire.closed().await;
        let mut wire = opened.open(&world, "also.test", port).await;
        let answer = wire.ask(get(&format!("also.test:{port}"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("without");
        drop(wire);
        let requests = world.origin(one).seen.requests.all();
        let sent = requests.iter().map(|request| request.headers("authorization")).collect::<Vec<_>>();
        assert_eq!(sent, [vec![format!("Bearer {SECRET}")], vec![]]);
        let said = world.gateway.diagnostics.clone();
        for record in world.finish().await {
            assert!(!record.1.contains(SECRET), "{}", record.1);
        }
        assert!(!said.all().concat().contains(SECRET));

        // The same over HTTP/2.
        let mut world = opened.plan(INJECTS).document(&credential(&opened)).start().await;
        let origin = opened.http2_origin(ORIGIN, Manners::default(), |_| Answered::ok("x"));
        let two = world.add(origin.await, Reached::Times(1));
        let port = world.origin(two).port();
        world.may_ask(&["ok.test"]);
        let client = opened.http2(&world, "ok.test", port).await;
        let mut asked = request("GET", &format!("ok.test:{port}"), "/");
        asked.headers_mut().insert("authorization", "Basic own".parse().unwrap());
        let answer = client.ask(asked).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("with-key");
        let answer = client.get(&format!("also.test:{port}"), "/").await.unwrap();
        world.stream_refused(&answer, 421, &["name-mismatch"]);
        let requests = world.origin(two).seen.requests.all();
        let sent = requests.iter().map(|request| request.headers("authorization")).collect::<Vec<_>>();
        assert_eq!(sent, [[format!("Bearer {SECRET}")]]);
        drop(client);
        for record in world.finish().await {
            assert!(!record.1.contains(SECRET), "{}", record.1);
        }

        another_value_is_used_at_once().await;
    }
}
