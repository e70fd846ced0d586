//! Real clients through `exitgate up`: curl, Python, Node and git.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use exitgate_tests::client::Wire;
use exitgate_tests::dns::Answer;
use exitgate_tests::documents;
use exitgate_tests::gateway::{Folder, Launch};
use exitgate_tests::origin::{Origin, Reply};
use exitgate_tests::pki::Authority;
use exitgate_tests::programs::{Outcome, Server, present, run, script};
use exitgate_tests::world::{ORIGIN, PRIVATE, Plan, Reached, World};

const CURL: (&str, &[&str]) = ("curl", &["--version"]);
const NODE: (&str, &[&str]) = ("node", &["--version"]);
const PYTHON: (&str, &[&str]) = ("python3", &["-c", "import requests"]);
const GIT: (&str, &[&str]) = ("git", &["http-backend", "--help"]);
const SIZE: u64 = 2 << 30;

/// A world whose records are looked at by each test itself.
struct Scene {
    world: World,
    authority: Authority,
    files: Folder,
    proxy: String,
}

impl Scene {
    async fn new(plan: Plan) -> Self {
        let mut world = plan.start().await;
        world.may_ask(&[
            "ok.test",
            "also.test",
            "closed.ok.test",
            "silent.ok.test",
            "int.test",
        ]);
        let proxy = format!("http://{}", world.proxy);
        let scene = Self {
            world,
            authority: Authority::new(),
            files: Folder::new(),
            proxy,
        };
        scene.files.write("ca.pem", &scene.authority.pem());
        let leaf = scene.authority.leaf(&["ok.test", "also.test", "bad.test"]);
        scene.files.write("origin.pem", &leaf.certificate_pem);
        scene.files.write("origin.key", &leaf.key_pem);
        scene
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    async fn curl(&self, arguments: &[&str]) -> Outcome {
        let ca = self.file("ca.pem");
        let mut all = vec![
            "-sS",
            "-q",
            "--max-time",
            "60",
            "-x",
            &self.proxy,
            "--cacert",
            &ca,
        ];
        all.extend(arguments);
        run("curl", &all).await
    }

    async fn https(&mut self, reached: Reached) -> u16 {
        let names = ["ok.test", "also.test", "bad.test"];
        let config = self.authority.server_config(&names, &["http/1.1"]);
        let number = self.world.add(Origin::https(ORIGIN, config).await, reached);
        self.world.origin(number).port()
    }
}

const STATUS: [&str; 2] = ["-w", "\n%{http_code} %{http_connect} %{http_version}"];

/// The write-out line of [`STATUS`].
fn codes(outcome: &Outcome) -> (&str, &str) {
    outcome
        .stdout
        .rsplit_once('\n')
        .unwrap_or(("", &outcome.stdout))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_http() {
    if !present(&[CURL]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let origin = scene
        .world
        .add(Origin::http(ORIGIN).await, Reached::Times(1));
    let port = scene.world.origin(origin).port();
    let [flag, format] = STATUS;
    let outcome = scene
        .curl(&[flag, format, &format!("http://ok.test:{port}/a?b")])
        .await;
    assert_eq!(codes(outcome.success()), ("origin", "200 000 1.1"));
    scene.world.allowed().host("ok.test");
    let outcome = scene
        .curl(&[flag, format, &format!("http://bad.test:{port}/")])
        .await;
    let (body, line) = codes(outcome.success());
    assert_eq!(line, "403 000 1.1");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["reason"], "no-rule");
    scene
        .world
        .closed(&["no-rule"])
        .phase("preDns")
        .host("bad.test");
    scene.world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_https() {
    if !present(&[CURL]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let port = scene.https(Reached::Times(1)).await;
    let [flag, format] = STATUS;
    let outcome = scene
        .curl(&[flag, format, &format!("https://ok.test:{port}/")])
        .await;
    assert_eq!(codes(outcome.success()), ("origin over TLS", "200 200 1.1"));
    scene.world.allowed().host("ok.test");
    let outcome = scene
        .curl(&[flag, format, &format!("https://bad.test:{port}/")])
        .await;
    assert_eq!(
        outcome.code,
        Some(56),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    assert_eq!(codes(&outcome).1, "000 403 0");
    scene
        .world
        .closed(&["no-rule"])
        .phase("preDns")
        .host("bad.test");
    scene.world.finish().await;
}

/// The listener that speaks TLS itself; `documents` are settings below `proxyTls`.
fn over_tls(authority: &Authority, files: &Folder, client: bool) -> Plan {
    let leaf = authority.leaf(&["127.0.0.1", "proxy.test"]);
    let certificate = files.write("proxy.pem", &leaf.certificate_pem);
    let key = files.write("proxy.key", &leaf.key_pem);
    let ca = files.write("clients.pem", &authority.pem());
    let show = |path: PathBuf| path.to_str().unwrap().to_owned();
    let mut settings = format!(
        "  listeners:\n    proxyTls:\n      addresses: [\"127.0.0.1:0\"]\n      certFile: {}\n      keyFile: {}\n",
        show(certificate),
        show(key)
    );
    if client {
        settings.extend([
            "      requireClientCert: true\n      clientCaFile: ",
            &show(ca),
            "\n",
        ]);
    }
    Plan::default().settings(&settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_through_a_tls_listener() {
    if !present(&[CURL]) {
        return;
    }
    let (authority, files) = (Authority::new(), Folder::new());
    let plan = over_tls(&authority, &files, false);
    let mut scene = Scene::new(plan).await;
    scene.files.write("proxy-ca.pem", &authority.pem());
    let port = scene.https(Reached::Times(1)).await;
    scene.proxy = format!("https://{}", scene.world.gateway.listener("proxy-tls"));
    let ca = scene.file("proxy-ca.pem");
    let [flag, format] = STATUS;
    let url = format!("https://ok.test:{port}/");
    let outcome = scene
        .curl(&["--proxy-cacert", &ca, flag, format, &url])
        .await;
    assert_eq!(codes(outcome.success()), ("origin over TLS", "200 200 1.1"));
    scene.world.allowed().host("ok.test");
    let url = format!("http://bad.test:{port}/");
    let outcome = scene
        .curl(&["--proxy-cacert", &ca, flag, format, &url])
        .await;
    assert_eq!(codes(outcome.success()).1, "403 000 1.1");
    scene.world.closed(&["no-rule"]).host("bad.test");
    scene.world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_with_a_client_certificate() {
    if !present(&[CURL]) {
        return;
    }
    let (authority, files) = (Authority::new(), Folder::new());
    let plan = over_tls(&authority, &files, true);
    let mut scene = Scene::new(plan).await;
    scene.files.write("proxy-ca.pem", &authority.pem());
    let client = authority.leaf(&["client.test"]);
    scene.files.write("client.pem", &client.certificate_pem);
    scene.files.write("client.key", &client.key_pem);
    let stranger = Authority::new().leaf(&["client.test"]);
    scene.files.write("stranger.pem", &stranger.certificate_pem);
    scene.files.write("stranger.key", &stranger.key_pem);
    let port = scene.https(Reached::Times(1)).await;
    scene.proxy = format!("https://{}", scene.world.gateway.listener("proxy-tls"));
    let url = format!("https://ok.test:{port}/");
    let ca = scene.file("proxy-ca.pem");
    for (who, works) in [("client", true), ("stranger", false), ("", false)] {
        let (certificate, key) = (
            scene.file(&format!("{who}.pem")),
            scene.file(&format!("{who}.key")),
        );
        let mut arguments = vec!["--proxy-cacert", &ca, &url];
        if !who.is_empty() {
            arguments.extend(["--proxy-cert", &certificate, "--proxy-key", &key]);
        }
        let outcome = scene.curl(&arguments).await;
        if works {
            assert_eq!(outcome.success().stdout, "origin over TLS");
            scene.world.allowed().host("ok.test");
        } else {
            assert_ne!(
                outcome.code,
                Some(0),
                "{who:?} was served: {}",
                outcome.stdout
            );
        }
    }
    // Whether a failed handshake with the listener itself is worth a record is not this test's question.
    let code = scene.world.gateway.stop().await;
    assert_eq!(code, Some(0));
    let records = scene.world.gateway.records.log.all();
    assert_eq!(
        records
            .iter()
            .filter(|record| record.verdict() == "allow")
            .count(),
        1,
        "{records:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_http2_inside_the_tunnel() {
    if !present(&[CURL, NODE]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let (certificate, key) = (scene.file("origin.pem"), scene.file("origin.key"));
    let origin = Server::start(
        "node",
        &[&script("node/origin.mjs"), ORIGIN, &certificate, &key],
    )
    .await;
    let url = format!("https://ok.test:{}/", origin.port);
    let [flag, format] = STATUS;
    let outcome = scene.curl(&["--http2", flag, format, &url]).await;
    assert_eq!(codes(outcome.success()), ("over HTTP/2.0", "200 200 2"));
    let outcome = scene.curl(&["--http1.1", flag, format, &url]).await;
    assert_eq!(codes(outcome.success()), ("over HTTP/1.1", "200 200 1.1"));
    scene.world.allowed();
    scene.world.allowed();
    scene.world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_that_forges_names_and_addresses() {
    if !present(&[CURL]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let port = scene.https(Reached::Unchecked).await;
    let twin = scene.world.origin(0).twin(PRIVATE).await;
    scene.world.add(twin, Reached::Never);
    // The client's own idea of the address is of no effect.
    let own = format!("ok.test:{port}:{PRIVATE}");
    let outcome = scene
        .curl(&["--resolve", &own, &format!("https://ok.test:{port}/")])
        .await;
    assert_eq!(outcome.success().stdout, "origin over TLS");
    scene.world.allowed().host("ok.test");
    // A refused name at an allowed name's address: its own name is what is judged.
    let own = format!("bad.test:{port}:{ORIGIN}");
    let outcome = scene
        .curl(&["--resolve", &own, &format!("https://bad.test:{port}/")])
        .await;
    assert_eq!(outcome.code, Some(56), "{}", outcome.stderr);
    scene.world.closed(&["no-rule"]).host("bad.test");
    // CONNECT to an allowed name, then the server name and the Host of a refused one.
    let forged = format!("bad.test:{port}:ok.test:{port}");
    let outcome = scene
        .curl(&[
            "--connect-to",
            &forged,
            &format!("https://bad.test:{port}/"),
        ])
        .await;
    assert_eq!(
        outcome.code,
        Some(35),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    scene.world.closed(&["name-mismatch"]).phase("preRequest");
    // And the address itself, with the allowed name inside.
    let direct = format!("ok.test:{port}:{PRIVATE}:{port}");
    let outcome = scene
        .curl(&["--connect-to", &direct, &format!("https://ok.test:{port}/")])
        .await;
    assert_eq!(
        outcome.code,
        Some(56),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    scene.world.closed(&["loopback"]).phase("preDns");
    let seen = scene.world.origin(0).seen.connections.all();
    assert!(
        seen.iter()
            .all(|visit| visit.sni.as_deref() != Some("bad.test")),
        "{seen:?}"
    );
    scene.world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_to_hosts_that_do_not_answer() {
    if !present(&[CURL]) {
        return;
    }
    let mut scene = Scene::new(Plan::default().settings("  timeouts: {dial: 1s}\n")).await;
    // Bound and not listening: refused at once.
    let unreachable = bound();
    let closed = unreachable.local_addr().unwrap();
    let closed = closed.as_socket().unwrap().port();
    // Listening with a full backlog: silence.
    let silent = Silent::new();
    let [flag, format] = STATUS;
    for (port, status, reason) in [
        (closed, 502, "dial-failed"),
        (silent.port, 504, "dial-timeout"),
    ] {
        let outcome = scene
            .curl(&[flag, format, &format!("http://ok.test:{port}/")])
            .await;
        let (body, line) = codes(outcome.success());
        assert_eq!(line, format!("{status} 000 1.1"), "{body}");
        let outcome = scene
            .curl(&[flag, format, &format!("https://ok.test:{port}/")])
            .await;
        assert_eq!(
            codes(&outcome).1,
            format!("000 {status} 0"),
            "{}",
            outcome.stderr
        );
        scene.world.closed(&[reason]);
        scene.world.closed(&[reason]);
    }
    scene.world.dns.set("silent.ok.test", Answer::silence());
    let outcome = scene
        .curl(&[flag, format, "http://closed.ok.test:1/"])
        .await;
    assert_eq!(codes(outcome.success()).1, "502 000 1.1");
    scene.world.closed(&["dial-failed"]);
    let outcome = scene
        .curl(&[flag, format, "http://silent.ok.test:1/"])
        .await;
    assert_eq!(codes(outcome.success()).1, "504 000 1.1");
    scene.world.closed(&["resolve-timeout"]);
    scene.world.finish().await;
}

fn stream_socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

/// A socket with an address where the names of the world point.
fn bound() -> socket2::Socket {
    let socket = stream_socket();
    let any_port = SocketAddr::new(ORIGIN.parse().unwrap(), 0);
    socket.bind(&any_port.into()).unwrap();
    socket
}

/// A port whose SYNs are dropped: its accept queue is full.
struct Silent {
    port: u16,
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl Silent {
    fn new() -> Self {
        let listener = bound();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        loop {
            let socket = stream_socket();
            let full = socket
                .connect_timeout(&address, Duration::from_millis(300))
                .is_err();
            queued.push(socket);
            if full {
                break;
            }
            assert!(queued.len() < 64, "the accept queue has no end");
        }
        let port = address.as_socket().unwrap().port();
        Self {
            port,
            _listener: listener,
            _queued: queued,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_requests_and_urllib() {
    if !present(&[PYTHON]) {
        return;
    }
    for client in ["python/with_requests.py", "python/with_urllib.py"] {
        let mut scene = Scene::new(Plan::default()).await;
        let port = scene.https(Reached::Times(1)).await;
        let plain = scene
            .world
            .add(Origin::http(ORIGIN).await, Reached::Times(1));
        let plain = scene.world.origin(plain).port();
        let urls = [
            format!("http://ok.test:{plain}/"),
            format!("https://ok.test:{port}/"),
            format!("http://bad.test:{plain}/"),
            format!("https://bad.test:{port}/"),
        ];
        let (script, ca) = (script(client), scene.file("ca.pem"));
        let mut arguments = vec![script.as_str(), &scene.proxy, &ca];
        arguments.extend(urls.iter().map(String::as_str));
        let outcome = run("python3", &arguments).await;
        let lines = outcome.success().stdout.lines().collect::<Vec<_>>();
        assert_eq!(
            &lines[..2],
            ["200 - origin", "200 - origin over TLS"],
            "{client}"
        );
        assert!(
            lines[2].starts_with("403 no-rule"),
            "{client}: {}",
            lines[2]
        );
        assert!(lines[3].starts_with("error"), "{client}: {}", lines[3]);
        scene.world.allowed();
        scene.world.allowed();
        scene.world.closed(&["no-rule"]).phase("preDns");
        scene.world.closed(&["no-rule"]).phase("preDns");
        scene.world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_fetch() {
    let package = script("node/node_modules/undici/package.json");
    if !present(&[NODE, ("node", &["-e", &format!("require({package:?})")])]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let port = scene.https(Reached::Times(1)).await;
    let (fetch, ca) = (script("node/fetch.mjs"), scene.file("ca.pem"));
    let url = format!("https://ok.test:{port}/");
    let outcome = run("node", &[&fetch, &scene.proxy, &url, &ca]).await;
    assert_eq!(outcome.success().stdout, "200\norigin over TLS\n");
    scene.world.allowed().host("ok.test");
    let url = format!("https://bad.test:{port}/");
    let outcome = run("node", &[&fetch, &scene.proxy, &url, &ca]).await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("403"), "{}", outcome.stdout);
    scene.world.closed(&["no-rule"]).host("bad.test");
    scene.world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_over_https() {
    if !present(&[GIT, PYTHON]) {
        return;
    }
    let scene = Scene::new(Plan::default()).await;
    let git = async |arguments: &[&str]| {
        let mut all = vec![
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@ok.test",
            "-c",
            "init.defaultBranch=main",
        ];
        all.extend(arguments);
        run("git", &all).await
    };
    let (root, bare, work, copy) = (
        scene.file("."),
        scene.file("repo.git"),
        scene.file("work"),
        scene.file("copy"),
    );
    git(&["init", "-q", "--bare", &bare]).await.success();
    git(&["-C", &bare, "config", "http.receivepack", "true"])
        .await
        .success();
    let (certificate, key) = (scene.file("origin.pem"), scene.file("origin.key"));
    let server = script("python/git_origin.py");
    let origin = Server::start("python3", &[&server, ORIGIN, &certificate, &key, &root]).await;
    let proxy = format!("http.proxy={}", scene.proxy);
    let ca = format!("http.sslCAInfo={}", scene.file("ca.pem"));
    let url = format!("https://ok.test:{}/repo.git", origin.port);

    git(&["init", "-q", &work]).await.success();
    std::fs::write(scene.files.path().join("work/big"), vec![7; 3 << 20]).unwrap();
    git(&["-C", &work, "add", "big"]).await.success();
    git(&["-C", &work, "commit", "-qm", "First"])
        .await
        .success();
    git(&[
        "-c",
        &proxy,
        "-c",
        &ca,
        "-C",
        &work,
        "push",
        "-q",
        &url,
        "HEAD:main",
    ])
    .await
    .success();
    git(&[
        "-c", &proxy, "-c", &ca, "clone", "-q", "-b", "main", &url, &copy,
    ])
    .await
    .success();
    assert_eq!(
        std::fs::read(scene.files.path().join("copy/big"))
            .unwrap()
            .len(),
        3 << 20
    );

    let refused = url.replace("ok.test", "bad.test");
    let outcome = git(&["-c", &proxy, "-c", &ca, "ls-remote", &refused]).await;
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("403"), "{}", outcome.stderr);
    let mut world = scene.world;
    assert_eq!(world.gateway.stop().await, Some(0));
    let records = world.gateway.records.log.all();
    let denied = records
        .iter()
        .filter(|record| record.verdict() == "deny")
        .collect::<Vec<_>>();
    assert_eq!(denied.len(), 1, "{records:#?}");
    assert!(
        records
            .iter()
            .filter(|record| record.verdict() == "allow")
            .count()
            >= 2,
        "{records:#?}"
    );
}

/// Streams `SIZE` bytes either way; the gateway's peak must not follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gib_down_and_up_with_flat_memory() {
    if !present(&[CURL]) {
        return;
    }
    let mut scene = Scene::new(Plan::default()).await;
    let download = Origin::scripted(ORIGIN, |mut wire: Wire| async move {
        wire.take_until("\r\n\r\n").await;
        let block = vec![0x2a; 1 << 20];
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n"
        ))
        .await;
        for _ in 0..SIZE >> 20 {
            if !wire.offer(&block).await {
                return;
            }
        }
    });
    let download = scene.world.add(download.await, Reached::Times(1));
    let upload = Origin::scripted(ORIGIN, |mut wire: Wire| async move {
        wire.take_until("\r\n\r\n").await;
        let received = wire.swallow(SIZE).await;
        let body = received.to_string();
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await;
        drop(wire.drain().await);
    });
    let upload = scene.world.add(upload.await, Reached::Times(1));
    let small = scene
        .world
        .add(Origin::http(ORIGIN).await, Reached::Times(1));

    let url = format!("http://ok.test:{}/", scene.world.origin(small).port());
    scene.curl(&[&url]).await.success();
    let before = scene.world.gateway.memory("VmHWM");
    let url = format!("http://ok.test:{}/", scene.world.origin(download).port());
    let outcome = scene
        .curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            "--max-time",
            "280",
            &url,
        ])
        .await;
    assert_eq!(outcome.success().stdout, SIZE.to_string());
    let file = scene.files.path().join("zeros");
    std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap(); // sparse: takes no room
    let url = format!("http://ok.test:{}/", scene.world.origin(upload).port());
    let outcome = scene
        .curl(&[
            "--max-time",
            "280",
            "-H",
            "Expect:",
            "-T",
            file.to_str().unwrap(),
            &url,
        ])
        .await;
    assert_eq!(outcome.success().stdout, SIZE.to_string());
    let after = scene.world.gateway.memory("VmHWM");
    eprintln!("gateway peak: {before} KiB before, {after} KiB after 2 GiB down and 2 GiB up");
    assert!(
        after < before + 8 * 1024,
        "the gateway grew from {before} to {after} KiB"
    );
    for _ in 0..3 {
        scene.world.allowed();
    }
    let records = scene.world.finish().await;
    assert!(
        records.iter().any(|record| record.bytes_in() >= SIZE),
        "{records:#?}"
    );
    assert!(
        records.iter().any(|record| record.bytes_out() >= SIZE),
        "{records:#?}"
    );
}

/// Nothing above is let through by accident: without the `Pass` rule the same request is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loopback_stays_closed_without_the_rule() {
    let folder = Folder::new();
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    let dns = exitgate_tests::dns::DnsStub::start().await;
    dns.point("ok.test", ORIGIN);
    let mut gateway = Launch::new(folder).dns(dns.address).start().await;
    let origin = Origin::http_with(ORIGIN, |_| Reply::ok("never")).await;
    let host = format!("ok.test:{}", origin.port());
    let mut wire = Wire::open(gateway.proxy).await;
    let answer = wire
        .ask(format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ))
        .await;
    assert_eq!(
        (answer.status, answer.header("exitgate-reason")),
        (403, "loopback"),
        "{}",
        answer.head
    );
    drop(wire);
    gateway.stop().await;
    assert!(origin.visits().await.is_empty());
}
