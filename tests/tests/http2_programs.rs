//! Programs that judge a TLS and HTTP/2 server, let loose on the gateway's side of opened TLS. They know no proxy: a shim asks
//! for the tunnel.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use exitgate_tests::client::Wire;
use exitgate_tests::dns::DnsStub;
use exitgate_tests::programs::{Server, present, run};
use exitgate_tests::scene::Scene;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

const NODE: (&str, &[&str]) = ("node", &["--version"]);
const H2LOAD: (&str, &[&str]) = ("h2load", &["--version"]);
const H2SPEC: (&str, &[&str]) = ("h2spec", &[]);
const OPEN: &str = "  - name: open
    action: Allow
    to: {hosts: [ok.test]}
    http: {paths: [\"/**\"]}
";
/// Where the shim listens: on the origin's port, which the programs show in `:authority`.
const SHIM: &str = "127.1.0.77";

async fn scene() -> (Scene, Server) {
    let scene = Scene::new(OPEN).await;
    let service = scene.serve("node", "node/service.mjs", &[]).await;
    let listener = TcpListener::bind((SHIM, service.port)).await.unwrap();
    let (proxy, target) = (scene.world.proxy, format!("ok.test:{}", service.port));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut wire = Wire::open(proxy).await;
                assert_eq!(wire.connect(&target).await.status, 200);
                let mut tunnel = wire.into_stream();
                // Either side may break off; that is what these programs are for.
                drop(copy_bidirectional(&mut client, &mut tunnel).await);
            });
        }
    });
    (scene, service)
}

#[tokio::test]
async fn conformance() {
    if !present(&[NODE, H2SPEC]) {
        return;
    }
    let (scene, service) = scene().await;
    let names = DnsStub::start().await;
    names.point("ok.test", SHIM);
    let target = format!("ok.test:{}", service.port);
    let outcome = run("h2spec", &[&target, &names.address.to_string()]).await;
    outcome.success();
    assert!(outcome.stdout.contains(" 0 failed"), "{}", outcome.stdout);
    drop((scene, service));
}

#[tokio::test]
async fn load() {
    const REQUESTS: usize = 4000;
    if !present(&[NODE, H2LOAD]) {
        return;
    }
    let (mut scene, service) = scene().await;
    let url = format!("https://ok.test:{}/data", service.port);
    let there = format!("--connect-to={SHIM}:{}", service.port);
    let count = REQUESTS.to_string();
    let arguments = ["-n", &count, "-c", "8", "-m", "20", &there, &url];
    let outcome = run("h2load", &arguments).await;
    let all = format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    let shown = &outcome.success().stdout;
    assert!(shown.contains(&all), "{shown}");
    let requests = scene.requests().await;
    assert_eq!(requests.len(), REQUESTS);
    assert!(requests.iter().all(|request| request.verdict() == "allow"));
}

/// What testssl.sh complains of and why that is as it should be: id and reason.
const WAIVED: &[(&str, &str)] = &[
    (
        "cert_expirationStatus",
        "a leaf lives for a day: that takes the place of revocation",
    ),
    ("cert_notAfter", "the same"),
    (
        "cert_revocation",
        "the same: there is nothing to ask about it",
    ),
    (
        "engine_problem",
        "about the scanner's own openssl, which may lack GOST ciphers; the gateway offers none",
    ),
    ("DNS_CAArecord", "the test's own name has no zone"),
    ("HSTS", "the origin's to say"),
    ("security_headers", "the origin's to say"),
];

#[tokio::test]
async fn testssl_has_nothing_to_say() {
    if !present(&[NODE, ("testssl", &["--version"])]) {
        return;
    }
    let (scene, service) = scene().await;
    let report = scene.files.path().join("testssl.json");
    let report = report.to_str().unwrap();
    let root = scene.files.path().join("root.pem");
    let url = format!("https://ok.test:{}", service.port);
    let ip = format!("--ip={SHIM}");
    let outcome = run(
        "testssl",
        &[
            "--quiet",
            "--color=0",
            "--warnings=off",
            &ip,
            "--add-ca",
            root.to_str().unwrap(),
            "--jsonfile",
            report,
            &url,
        ],
    )
    .await;
    let text = std::fs::read_to_string(report)
        .unwrap_or_else(|error| panic!("{error}: {}{}", outcome.stdout, outcome.stderr));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    // A run that was cut short would have nothing to complain of either.
    for id in [
        "TLS1_3",
        "heartbleed",
        "cert_chain_of_trust",
        "clientsimulation",
    ] {
        assert!(
            findings
                .iter()
                .any(|one| one["id"].as_str().unwrap().starts_with(id)),
            "{id} was not looked at: {}",
            outcome.stdout
        );
    }
    let bad: Vec<_> = findings
        .iter()
        .filter(|one| !matches!(one["severity"].as_str(), Some("OK" | "INFO" | "DEBUG")))
        .filter(|one| {
            let id = one["id"].as_str().unwrap().split(' ').next().unwrap();
            !WAIVED.iter().any(|(waived, _)| *waived == id)
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    drop((scene, service));
}

/// The time that an ordinary client needs: the slowest of some requests.
async fn slowest(scene: &Scene, port: u16) -> std::time::Duration {
    let proxy = format!("http://{}", scene.world.proxy);
    let root = scene.files.path().join("root.pem");
    let url = format!("https://ok.test:{port}/");
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        let root = root.to_str().unwrap();
        let arguments = [
            "-sS",
            "-f",
            "-o",
            "/dev/null",
            "-x",
            &proxy,
            "--cacert",
            root,
            &url,
        ];
        run("curl", &arguments).await.success();
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_hold_nobody_up() {
    let slow = ("sh", &["-c", "command -v slowhttptest"] as &[_]);
    if !present(&[NODE, slow]) {
        return;
    }
    for mode in ["-H", "-B", "-X", "-R"] {
        let (scene, service) = scene().await;
        let url = format!("https://{SHIM}:{}/", service.port);
        let arguments = [
            mode, "-c", "200", "-r", "100", "-i", "1", "-l", "8", "-x", "24", "-p", "3", "-u", &url,
        ];
        let (attack, slowest) = tokio::join!(
            run("slowhttptest", &arguments),
            slowest(&scene, service.port)
        );
        assert!(
            attack.stdout.contains("YES") && !attack.stdout.contains("NO\u{1b}"),
            "{mode}: {}",
            attack.stdout
        );
        // Twice what it is without them would be some 50 ms; a busy machine needs room.
        assert!(
            slowest < std::time::Duration::from_secs(2),
            "{mode}: {slowest:?}"
        );
        drop((scene, service));
    }
}
