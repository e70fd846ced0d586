//! Real clients through a gateway that opens TLS: each is allowed to read, is refused by method inside TLS, and sees a
//! certificate of the gateway.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use exitgate_tests::programs::{Outcome, Server, present, run, script};
use exitgate_tests::records::Record;
use exitgate_tests::scene::{ISSUER, READ_ONLY, Scene, lines};

const CURL: (&str, &[&str]) = ("curl", &["--version"]);
const NODE: (&str, &[&str]) = ("node", &["--version"]);
const PYTHON: (&str, &[&str]) = ("python3", &["-c", "import requests, httpx, h2"]);
const JAVA: (&str, &[&str]) = ("javac", &["--version"]);
const KEYTOOL: (&str, &[&str]) = ("keytool", &["-help"]);
const GO: (&str, &[&str]) = ("go", &["version"]);
const GIT: (&str, &[&str]) = ("git", &["http-backend", "--help"]);

/// The scene in which `ok.test` may be read only, with the service behind it.
async fn read_only() -> (Scene, Server) {
    let scene = Scene::new(READ_ONLY).await;
    let service = scene.serve("node", "node/service.mjs", &[]).await;
    (scene, service)
}

/// What a client printed about a read and a refused write, and what the records and the service say of them.
async fn read_and_refused(
    mut scene: Scene,
    service: Server,
    outcome: &Outcome,
    version: &str,
    client: &str,
) {
    let seen = lines(outcome);
    assert_eq!(seen.len(), 2, "{client}: {seen:?}");
    let (read, refused) = (&seen[0], &seen[1]);
    assert_eq!(
        (read.status, read.reason),
        ("200", "-"),
        "{client}: {read:?}"
    );
    assert_eq!(read.body, format!("GET 0 over {version}"), "{client}");
    assert!(read.issuer.contains(ISSUER), "{client}: {read:?}");
    let shown = (refused.status, refused.reason);
    assert_eq!(shown, ("403", "no-rule"), "{client}: {refused:?}");
    // A client that has let go of its connection cannot say.
    let told = refused.issuer == "-" || refused.issuer.contains(ISSUER);
    assert!(told, "{client}: {refused:?}");
    let problem: serde_json::Value = serde_json::from_str(refused.body).unwrap();
    assert_eq!(problem["phase"], "preRequest", "{client}: {problem}");

    let requests = scene.requests().await;
    asked(&requests, &[("GET", "allow"), ("POST", "deny")], client);
    let denied = &requests[1];
    assert_eq!(denied.reason(), "no-rule", "{client}: {denied:#?}");
    assert_eq!(denied.phase(), "preRequest", "{client}: {denied:#?}");
    assert_eq!(denied.host(), "ok.test", "{client}: {denied:#?}");
    assert_eq!(problem["decisionId"], denied.decision(), "{client}");
    // The line of a request is printed before its answer is sent; what a refused one would have printed, earlier still.
    let line = format!("GET /data {version}");
    let first = |said: &[String]| (!said.is_empty()).then(|| said.to_vec());
    let reached = service.said.wait("the service's line", first).await;
    assert_eq!(reached, [line], "{client}");
}

fn asked(requests: &[Record], expected: &[(&str, &str)], client: &str) {
    let found = requests
        .iter()
        .map(|record| (record.method(), record.verdict()))
        .collect::<Vec<_>>();
    assert_eq!(found, expected, "{client}: {requests:#?}");
}

fn url(service: &Server) -> String {
    format!("https://ok.test:{}/data", service.port)
}

/// Runs a client on a read and a write, and looks at what everybody says.
async fn client(program: &str, arguments: &[&str], version: &str) {
    let (scene, service) = read_only().await;
    let outcome = ask(&scene, &service, program, arguments).await;
    let name = format!("{program} {arguments:?}");
    read_and_refused(scene, service, &outcome, version, &name).await;
}

async fn ask(scene: &Scene, service: &Server, program: &str, arguments: &[&str]) -> Outcome {
    let url = url(service);
    let mut all = arguments.to_vec();
    all.extend(["GET", &url, "POST", &url]);
    scene.run(program, &all).await
}

/// What curl writes about a request, in the form of the other clients.
const WRITE: &str = "%{stderr}%{http_code}|%header{exitgate-reason}|%{certs}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl() {
    if !present(&[CURL, NODE]) {
        return;
    }
    for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let (scene, service) = read_only().await;
        let url = url(&service);
        let mut said = String::new();
        for more in [&[][..], &["-d", "sent"]] {
            let mut arguments = vec!["-q", "-sS", "--max-time", "20", "-w", WRITE, flag, &url];
            arguments.extend(more);
            let outcome = scene.run("curl", &arguments).await;
            let text = &outcome.success().stderr;
            let issuer = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("Issuer:"));
            let mut fields = text.split('|');
            let mut next = || {
                fields
                    .next()
                    .filter(|field| !field.is_empty())
                    .unwrap_or("-")
            };
            let (status, reason) = (next(), next());
            let issuer = issuer.unwrap_or("-");
            let body = outcome.stdout.trim();
            said.extend([status, "|", reason, "|", issuer, "|", body, "\n"]);
        }
        let outcome = Outcome {
            code: Some(0),
            stdout: said,
            stderr: String::new(),
        };
        read_and_refused(scene, service, &outcome, version, &format!("curl {flag}")).await;
    }
}

/// What one client came to with the origin is no limit to the next, though its connection is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_now_this_and_now_that() {
    if !present(&[CURL, NODE]) {
        return;
    }
    let (mut scene, service) = read_only().await;
    let url = url(&service);
    let versions = ["1.1", "2", "1.1", "2", "2", "1.1", "1.1"];
    for version in versions {
        let flag = format!("--http{version}");
        let arguments = [
            "-q",
            "-sS",
            "--max-time",
            "20",
            "-w",
            " %{http_version}",
            &flag,
            &url,
        ];
        let outcome = scene.run("curl", &arguments).await;
        let minor = if version == "2" { "2.0" } else { version };
        let expected = format!("GET 0 over HTTP/{minor} {version}");
        assert_eq!(outcome.success().stdout, expected);
    }
    let expected = versions.map(|_| ("GET", "allow"));
    asked(&scene.requests().await, &expected, "curl");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_shakes_hands_for_a_websocket() {
    if !present(&[CURL, NODE]) {
        return;
    }
    let (mut scene, service) = read_only().await;
    let url = url(&service);
    let mut arguments = vec!["-q", "-sS", "--max-time", "20", "--http1.1", &url];
    arguments.extend(["-i", "--suppress-connect-headers"]);
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        arguments.extend(["-H", header]);
    }
    let outcome = scene.run("curl", &arguments).await;
    let answer = &outcome.success().stdout;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.contains("hello"), "the first frame: {answer}");
    asked(&scene.requests().await, &[("GET", "allow")], "curl");
    assert_eq!(service.said.all(), ["GET /data HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    if !present(&[PYTHON, NODE]) {
        return;
    }
    let script = script("python/through.py");
    for (name, version) in [
        ("requests", "HTTP/1.1"),
        ("httpx", "HTTP/1.1"),
        ("httpx2", "HTTP/2.0"),
        ("strict", "HTTP/1.1"),
    ] {
        client("python3", &[&script, name], version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_fetch() {
    let package = script("node/node_modules/undici/package.json");
    if !present(&[NODE, ("node", &["-e", &format!("require({package:?})")])]) {
        return;
    }
    client("node", &[&script("node/through.mjs")], "HTTP/1.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java() {
    if !present(&[JAVA, KEYTOOL, NODE]) {
        return;
    }
    let program = script("java/Through.java");
    for (number, version) in [("1", "HTTP/1.1"), ("2", "HTTP/2.0")] {
        let (mut scene, service) = read_only().await;
        // What keytool makes carries the attribute without which Java takes a PKCS#12 file for an empty trust store.
        let (root, store) = (scene.file("root.pem"), scene.file("trust.p12"));
        let import = "-importcert -noprompt -alias exitgate -storetype PKCS12 -storepass changeit";
        let mut arguments = import.split(' ').collect::<Vec<_>>();
        arguments.extend(["-file", &root, "-keystore", &store]);
        run("keytool", &arguments).await.success();
        let options = format!(
            "-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit"
        );
        scene.variable("JAVA_TOOL_OPTIONS", &options);
        let outcome = ask(&scene, &service, "java", &[&program, number]).await;
        read_and_refused(scene, service, &outcome, version, &format!("java {number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go() {
    if !present(&[GO, NODE]) {
        return;
    }
    let source = script("go/through.go");
    for (number, version) in [("1", "HTTP/1.1"), ("2", "HTTP/2.0")] {
        let (mut scene, service) = read_only().await;
        for (name, value) in [
            ("GO111MODULE", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", "0"),
        ] {
            scene.variable(name, value);
        }
        let outcome = ask(&scene, &service, "go", &["run", &source, number]).await;
        read_and_refused(scene, service, &outcome, version, &format!("go {number}")).await;
    }
}

/// Everything may be cloned, and only one repository pushed to.
const GIT_RULES: &str = "  - name: clone
    action: Allow
    to: {hosts: [ok.test]}
    http: {paths: [\"/*.git/info/refs\", \"/*.git/git-upload-pack\"]}
  - name: push
    action: Allow
    to: {hosts: [ok.test]}
    http: {methods: [POST], paths: [/open.git/git-receive-pack]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_and_pushes() {
    if !present(&[GIT, PYTHON]) {
        return;
    }
    let mut scene = Scene::new(GIT_RULES).await;
    let root = scene.file(".");
    let git = async |arguments: &[&str]| {
        let mut all = vec!["-c", "user.name=test", "-c", "user.email=test@ok.test"];
        all.extend(["-c", "init.defaultBranch=main"]);
        all.extend(arguments);
        scene.run("git", &all).await
    };
    for name in ["open.git", "closed.git"] {
        let bare = scene.file(name);
        git(&["init", "-q", "--bare", &bare]).await.success();
        git(&["-C", &bare, "config", "http.receivepack", "true"])
            .await
            .success();
    }
    let origin = scene
        .serve("python3", "python/git_origin.py", &[&root])
        .await;
    let url = |name: &str| format!("https://ok.test:{}/{name}.git", origin.port);

    let (work, copy) = (scene.file("work"), scene.file("copy"));
    git(&["init", "-q", &work]).await.success();
    // Above git's buffer: sent in chunks, after a probe.
    std::fs::write(scene.files.path().join("work/big"), noise(3 << 20)).unwrap();
    git(&["-C", &work, "add", "big"]).await.success();
    git(&["-C", &work, "commit", "-qm", "First"])
        .await
        .success();
    let push = async |name| git(&["-C", &work, "push", "-q", &url(name), "HEAD:main"]).await;
    push("open").await.success();
    let clone = git(&["clone", "-q", "-b", "main", &url("open"), &copy]).await;
    clone.success();
    let big = std::fs::read(scene.files.path().join("copy/big")).unwrap();
    assert!(
        big == noise(3 << 20),
        "what was cloned is not what was pushed"
    );

    let outcome = push("closed").await;
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("403"), "{}", outcome.stderr);
    let heads = git(&["-C", &scene.file("closed.git"), "rev-list", "--all"]).await;
    assert_eq!(heads.success().stdout, "", "something was pushed");

    let requests = scene.requests().await;
    let denied = |record: &&Record| record.verdict() == "deny";
    let denied = requests.iter().filter(denied).collect::<Vec<_>>();
    assert!(!denied.is_empty(), "{requests:#?}");
    for record in denied {
        assert_eq!(record.method(), "POST", "{record:#?}");
        assert_eq!(record.reason(), "no-rule", "{record:#?}");
    }
    let rule = |name| requests.iter().any(|record| record.rule() == name);
    assert!(rule("clone") && rule("push"), "{requests:#?}");
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    std::iter::repeat_with(next).take(length).collect()
}
