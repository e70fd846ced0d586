//! What lasts, through a gateway that opens TLS: the four shapes of a gRPC call, WebSockets, server-sent events.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use exitgate_tests::programs::{present, script};
use exitgate_tests::records::Record;
use exitgate_tests::scene::{ISSUER, Scene, lines};
use exitgate_tests::world::ORIGIN;

const NODE: (&str, &[&str]) = ("node", &["--version"]);
const GRPC: (&str, &[&str]) = ("python3", &["-c", "import grpc"]);
const WEBSOCKETS: (&str, &[&str]) = ("python3", &["-c", "import websockets"]);
const HTTPX: (&str, &[&str]) = ("python3", &["-c", "import httpx, h2"]);

const CALLS: &str = "  - name: calls
    action: Allow
    to: {hosts: [ok.test]}
    http: {methods: [POST], paths: [\"/test.Echo/*\"], contentTypes: [application/grpc]}
  - name: closed
    action: Deny
    to: {hosts: [ok.test]}
    http: {paths: [/test.Echo/Closed]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_in_all_four_shapes() {
    if !present(&[GRPC]) {
        return;
    }
    let mut scene = Scene::new(CALLS).await;
    let service = scene.serve("python3", "python/grpc_origin.py", &[]).await;
    let target = format!("ok.test:{}", service.port);
    let outcome = scene
        .run("python3", &[&script("python/grpc_client.py"), &target])
        .await;
    assert_eq!(
        outcome.success().stdout.lines().collect::<Vec<_>>(),
        [
            "Unary|0|one|Unary",
            "Down|0|n0,n1,n2|Down",
            "Up|0|a+b+c|Up",
            "Both|0|x,y,z|Both",
            "Closed|7|rule-denied|-",
            "ClosedStream|7||-",
            "Unary|0|again|Unary",
        ]
    );
    let reached = service.said.all();
    assert_eq!(reached, ["Unary", "Down", "Up", "Both", "Unary"]);

    let requests = scene.requests().await;
    assert_eq!(requests.len(), 7, "{requests:#?}");
    for record in &requests {
        let path = record.0.pointer("/http_request/url/path").unwrap();
        let denied = path == "/test.Echo/Closed";
        let expected = if denied { "deny" } else { "allow" };
        assert_eq!(record.verdict(), expected, "{record:#?}");
        assert_eq!(record.rule() == "closed", denied, "{record:#?}");
    }
}

const ECHO: &str = "  - name: echo
    action: Allow
    to: {hosts: [ok.test]}
    http: {paths: [/echo]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_echoes() {
    if !present(&[WEBSOCKETS]) {
        return;
    }
    let mut scene = Scene::new(ECHO).await;
    let service = scene
        .serve("python3", "python/websocket_origin.py", &[])
        .await;
    let url = |path: &str| format!("wss://ok.test:{}/{path}", service.port);
    let (script, urls) = (
        script("python/websocket_client.py"),
        ["echo", "closed", "echo"].map(url),
    );
    let mut arguments = vec![script.as_str()];
    arguments.extend(urls.iter().map(String::as_str));
    let outcome = scene.run("python3", &arguments).await;
    let seen = lines(&outcome);
    assert_eq!(seen.len(), 3, "{seen:?}");
    for echoed in [&seen[0], &seen[2]] {
        let shown = (echoed.status, echoed.reason, echoed.issuer);
        assert_eq!(shown, ("echoed", "5", "1000"), "{seen:?}");
        assert!(echoed.body.contains(ISSUER), "{seen:?}");
    }
    let refused = (seen[1].status, seen[1].reason, seen[1].issuer);
    assert_eq!(refused, ("refused", "403", "no-rule"), "{seen:?}");
    assert_eq!(service.said.all(), ["/echo", "/echo"]);

    let requests = scene.requests().await;
    let verdicts = requests.iter().map(Record::verdict);
    let mut verdicts = verdicts.collect::<Vec<_>>();
    verdicts.sort_unstable();
    assert_eq!(verdicts, ["allow", "allow", "deny"], "{requests:#?}");
}

/// Every answer is looked at before it is let through.
const ANSWERS: &str = "  - name: events
    action: Allow
    to: {hosts: [ok.test]}
    response: {contentTypes: [text/event-stream]}
  - name: pages
    action: Deny
    to: {hosts: [ok.test]}
    response: {contentTypes: [text/html]}
";

/// How much later than straight from the service an event may arrive, in milliseconds.
const LAG: i64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_as_they_are_sent() {
    if !present(&[HTTPX, NODE]) {
        return;
    }
    let mut scene = Scene::new(ANSWERS).await;
    let service = scene.serve("node", "node/service.mjs", &[]).await;
    let script = script("python/events.py");
    let runs = [
        ("1", 4, 1000_i64),
        ("2", 4, 1000),
        ("1", 8, 250),
        ("2", 8, 250),
    ];
    for (version, count, every) in runs {
        let (port, tail) = (service.port, format!("events?count={count}&every={every}"));
        let through = format!("https://ok.test:{port}/{tail}");
        let direct = format!("https://{ORIGIN}:{port}/{tail}");
        let arguments = [script.as_str(), version, &through, &direct];
        let outcome = scene.run("python3", &arguments).await;
        let lags = outcome
            .success()
            .stdout
            .lines()
            .map(|line| {
                let (through, direct) = line.split_once(' ').unwrap();
                let number = |text: &str| text.parse::<i64>().unwrap();
                (number(through), number(direct))
            })
            .collect::<Vec<_>>();
        eprintln!("HTTP/{version}, an event every {every} ms; lag through and direct: {lags:?}");
        assert_eq!(lags.len(), count, "{lags:?}");
        // A busy machine is late now and then; a gateway that holds events back is late with all of them.
        let late = lags.iter().filter(|lag| lag.0 > LAG + lag.1.max(0)).count();
        assert!(late <= count / 4, "HTTP/{version}: {lags:?}");
        let held = lags.iter().any(|lag| lag.0 >= every + lag.1.max(0));
        assert!(!held, "HTTP/{version}: held until the next: {lags:?}");
    }
    let requests = scene.requests().await;
    assert_eq!(requests.len(), runs.len(), "{requests:#?}");
    for record in &requests {
        assert_eq!(
            (record.verdict(), record.rule()),
            ("allow", "events"),
            "{record:#?}"
        );
    }
}
