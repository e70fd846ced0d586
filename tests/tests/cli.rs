//! The command line: bad input, exit codes, live reload, demo.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use exitgate_tests::client::Wire;
use exitgate_tests::dns::DnsStub;
use exitgate_tests::documents;
use exitgate_tests::gateway::{Folder, Launch, run};
use exitgate_tests::origin::Origin;
use exitgate_tests::world::ORIGIN;

/// `up` on this folder ends with this code, and says all of these on standard error.
async fn up_fails(folder: &Path, more: &[&str], code: i32, says: &[&str]) {
    let mut arguments = vec!["up", folder.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    arguments.extend(more);
    let (status, stdout, stderr) = run(&arguments).await;
    assert_eq!(status, Some(code), "{stderr}");
    assert!(
        stdout.is_empty(),
        "standard output is for records: {stdout}"
    );
    for what in says {
        assert!(stderr.contains(what), "{what:?} is not in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A policy that is wrong in one way: `up` and `check` say where and what.
async fn wrong(rules: &str, says: &[&str]) {
    let folder = Folder::new();
    let file = folder.write("wrong.yaml", &documents::policy(rules));
    let mut all = vec!["wrong.yaml"];
    all.extend(says);
    up_fails(folder.path(), &[], 1, &all).await;
    let (status, stdout, stderr) = run(&["check", file.to_str().unwrap()]).await;
    assert_eq!(status, Some(1), "{stdout}{stderr}");
    let shown = format!("{stdout}{stderr}");
    for what in all {
        assert!(shown.contains(what), "{what:?} is not in:\n{shown}");
    }
}

#[tokio::test]
async fn unknown_field() {
    wrong(
        "  - name: a\n    action: Allow\n    destination: x.test\n",
        &["destination", "wrong.yaml:8"],
    )
    .await;
}

#[tokio::test]
async fn wrong_patterns() {
    for pattern in [".x.io", "**.x.io"] {
        let rule = format!("  - name: a\n    action: Allow\n    to: {{hosts: [\"{pattern}\"]}}\n");
        wrong(&rule, &["rules[0].to.hosts[0]", "*.x.io", "wrong.yaml:8"]).await;
    }
    for pattern in [
        "*",
        "a.*.io",
        "w*.x.io",
        "x..io",
        "127.1",
        "http://x.io",
        "x.io:443",
    ] {
        let rule = format!("  - name: a\n    action: Allow\n    to: {{hosts: [\"{pattern}\"]}}\n");
        wrong(&rule, &["rules[0].to.hosts[0]"]).await;
    }
}

#[tokio::test]
async fn duplicate_rule_name() {
    let rule = "  - {name: twice, action: Allow, to: {hosts: [x.test]}}\n";
    wrong(&format!("{rule}{rule}"), &["twice", "rules[1].name"]).await;
}

/// All problems at once, not only the first.
#[tokio::test]
async fn several_problems() {
    let rules = "  - {name: a, action: Permit}\n  - {name: b, action: Allow, to: {hosts: [.x.io], ports: [70000]}}\n";
    let folder = Folder::new();
    folder.write("one.yaml", &documents::policy(rules));
    folder.write(
        "two.yaml",
        "apiVersion: exitgate.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: [}\n",
    );
    up_fails(folder.path(), &[], 1, &["one.yaml", "two.yaml"]).await;
    let rules = "  - {name: b, action: Allow, to: {hosts: [.x.io], ports: [70000], cidrs: [10.0.0.0/40]}}\n";
    wrong(rules, &["hosts[0]", "ports[0]", "cidrs[0]"]).await;
}

#[tokio::test]
async fn file_of_ten_megabytes() {
    let folder = Folder::new();
    let comment = format!("# {}\n", "x".repeat(98));
    folder.write(
        "huge.yaml",
        &format!(
            "{}{}",
            documents::policy(documents::NAMES),
            comment.repeat(105_000)
        ),
    );
    up_fails(folder.path(), &[], 1, &["huge.yaml", "MiB"]).await;
}

#[tokio::test]
async fn unreadable_directory() {
    let folder = Folder::new();
    let missing = folder.path().join("missing");
    up_fails(&missing, &[], 3, &["missing"]).await;
    let file = folder.write("file.yaml", &documents::policy(documents::NAMES));
    up_fails(&file, &[], 3, &["file.yaml", "directory"]).await;
    // Root reads everything; for others a closed directory is the plain case.
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&closed).is_err() {
        up_fails(&closed, &[], 3, &["closed"]).await;
    }
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn port_in_use() {
    let folder = Folder::new();
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    up_fails(
        folder.path(),
        &["--listen", &address],
        3,
        &[&address, "in use"],
    )
    .await;
    up_fails(
        folder.path(),
        &["--metrics", &address],
        3,
        &[&address, "in use"],
    )
    .await;
}

#[tokio::test]
async fn bad_resolver() {
    let folder = Folder::new();
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    up_fails(
        folder.path(),
        &["--dns-server", "not an address"],
        2,
        &["--dns-server"],
    )
    .await;
    folder.write(
        "gateway.yaml",
        &documents::settings("  dns: {servers: [nonsense]}\n"),
    );
    up_fails(folder.path(), &[], 1, &["gateway.yaml", "dns.servers[0]"]).await;
    folder.write(
        "gateway.yaml",
        &documents::settings("  dns: {servers: [\"127.0.0.1:1\"], timeoutMs: 1000}\n"),
    );
    // A well-formed server that nobody runs: the gateway starts, and requests say what is wrong.
    let mut gateway = Launch::new(folder).start().await;
    let mut wire = Wire::open(gateway.proxy).await;
    let answer = wire.connect("ok.test:443").await;
    assert!(matches!(answer.status, 502 | 504), "{}", answer.head);
    assert_eq!(
        answer.header("exitgate-reason"),
        "resolve-failed",
        "{}",
        answer.head
    );
    drop(wire);
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test]
async fn usage() {
    for arguments in [
        &["--nonsense"][..],
        &["up"],
        &["up", ".", "--listen", "nonsense"],
        &["explain"],
        &["frobnicate"],
    ] {
        let (status, _, stderr) = run(arguments).await;
        assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["up", "--help"],
        &["check", "--help"],
        &["demo", "--help"],
    ] {
        let (status, stdout, _) = run(arguments).await;
        assert_eq!(status, Some(0), "{arguments:?}");
        assert!(!stdout.is_empty());
    }
}

#[tokio::test]
async fn good_files() {
    let folder = Folder::new();
    let world = folder.write("world.yaml", &documents::policy(documents::NAMES));
    let internet = folder.write("internet.yaml", documents::INTERNET);
    let (status, stdout, stderr) =
        run(&["check", world.to_str().unwrap(), internet.to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
}

#[tokio::test]
async fn an_empty_directory_is_a_denial() {
    let folder = Folder::new();
    let directory = folder.path().to_str().unwrap().to_owned();
    let (status, stdout, stderr) = run(&["check", &directory]).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.contains("no policies: everything is denied"),
        "{stdout}"
    );
    folder.write(
        "gateway.yaml",
        &documents::settings("  defaultAction: Allow\n"),
    );
    let (status, stdout, stderr) = run(&["check", &directory]).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("everything public is allowed"), "{stdout}");
}

#[tokio::test]
async fn explain() {
    let folder = Folder::new();
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    let directory = folder.path().to_str().unwrap().to_owned();
    let ask = async |url: &str| {
        let base = [
            "explain",
            "--policies",
            &directory,
            "--from",
            "default/local",
            "--address",
            "93.184.216.34",
        ];
        let (status, stdout, stderr) = run(&[&base[..], &["-o", "json", url]].concat()).await;
        let json: serde_json::Value =
            serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        (status, json.to_string())
    };
    let (_, allowed) = ask("https://ok.test/").await;
    assert!(
        allowed.contains("\"names\"") && allowed.to_lowercase().contains("allow"),
        "{allowed}"
    );
    let (_, denied) = ask("https://bad.test/").await;
    assert!(
        denied.contains("no-rule") && denied.to_lowercase().contains("deny"),
        "{denied}"
    );
}

#[tokio::test]
async fn start_says_what_is_selected() {
    let folder = Folder::new();
    let other =
        documents::policy(documents::NAMES).replace("namespace: default", "namespace: elsewhere");
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    folder.write("other.yaml", &other);
    let mut gateway = Launch::new(folder).start().await;
    let lines = gateway.diagnostics.all();
    let about = |what: &str| {
        lines
            .iter()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what} is not in {lines:#?}"))
    };
    assert!(about("default/world").contains('1'), "{lines:#?}");
    let nobody = about("elsewhere/world");
    assert!(
        nobody.contains("warning") && (nobody.contains('0') || nobody.contains("no ")),
        "{nobody}"
    );
    assert_eq!(gateway.stop().await, Some(0));

    let mut gateway = Launch::new(Folder::new()).start().await;
    assert!(
        gateway
            .says("everything is denied")
            .await
            .contains("warning")
    );
    let mut wire = Wire::open(gateway.proxy).await;
    assert_eq!(wire.connect("ok.test:443").await.status, 403);
    drop(wire);
    assert_eq!(gateway.stop().await, Some(0));
}

/// An invalid file keeps the old policy and says what is wrong where; the next valid one applies.
#[tokio::test]
async fn live_reload() {
    let folder = Folder::new();
    folder.write("internet.yaml", documents::INTERNET);
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    let dns = DnsStub::start().await;
    dns.point("ok.test", ORIGIN);
    dns.point("bad.test", ORIGIN);
    let origin = Origin::http(ORIGIN).await;
    let mut gateway = Launch::new(folder).dns(dns.address).start().await;
    let proxy = gateway.proxy;
    let status = async |name: &str| {
        let host = format!("{name}:{}", origin.port());
        Wire::open(proxy)
            .await
            .ask(format!(
                "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ))
            .await
            .status
    };
    assert_eq!(
        (status("ok.test").await, status("bad.test").await),
        (200, 403)
    );

    let broken = documents::policy("  - {name: a, action: Allow, to: {hosts: [.bad.test]}}\n");
    gateway.documents.replace("world.yaml", &broken);
    gateway.says("keeping revision=").await;
    let problem = gateway.says("world.yaml").await;
    assert!(problem.contains("rules[0].to.hosts[0]"), "{problem}");
    assert_eq!(
        (status("ok.test").await, status("bad.test").await),
        (200, 403)
    );

    let swapped = documents::policy("  - {name: a, action: Allow, to: {hosts: [bad.test]}}\n");
    gateway.documents.replace("world.yaml", &swapped);
    gateway.says("applied revision=").await;
    assert_eq!(
        (status("ok.test").await, status("bad.test").await),
        (403, 200)
    );
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test]
async fn demo_is_as_expected() {
    let (status, stdout, stderr) = run(&["demo"]).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    for what in [
        "GET",
        "POST",
        "User-Agent",
        "500",
        "SNI",
        "relayed",
        "opened",
        "was delivered",
        "default/pay injected",
        "key accepted",
    ] {
        let found = stdout.to_lowercase().contains(&what.to_lowercase());
        assert!(found, "{what} is not in the table:\n{stdout}");
    }
    let token = include_str!("../../examples/demo/intercepted/policy/pay-token");
    let shown = format!("{stdout}{stderr}").contains(token.trim());
    assert!(!shown, "the secret is shown:\n{stdout}{stderr}");
}

/// One rule of the example changed: the demo names the row that differs.
#[tokio::test]
async fn demo_notices_a_changed_rule() {
    let example = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/demo"));
    let copy = Folder::new();
    copy_tree(&example, copy.path());
    let (status, stdout, stderr) = run(&["demo", "--dir", copy.path().to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "an unchanged copy: {stdout}{stderr}");
    for (before, after, rows) in [
        (
            "methods: [GET]",
            "methods: [GET, POST]",
            &["\"POST denied\" (one)", "\"HTTPS POST denied\""][..],
        ),
        (
            "contentTypes: [application/zip]",
            "contentTypes: [application/gzip]",
            &["\"response type denied\""],
        ),
        (
            "hosts: [shop.example]\n",
            "hosts: [shop.example]\n    http: {methods: [GET]}\n",
            &["\"HTTPS not opened\""],
        ),
        (
            "    inject:\n      credentialRef:\n        name: pay\n",
            "",
            &["\"credential injected\""],
        ),
    ] {
        let copy = Folder::new();
        copy_tree(&example, copy.path());
        let mut changed = 0;
        for file in files(copy.path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            let other = text.replace(before, after);
            if other != text {
                std::fs::write(&file, other).unwrap();
                changed += 1;
            }
        }
        assert!(changed > 0, "the example has no {before:?}");
        let (status, stdout, stderr) = run(&["demo", "--dir", copy.path().to_str().unwrap()]).await;
        assert_eq!(status, Some(1), "{after}: {stdout}{stderr}");
        for row in rows {
            let named = stderr.contains(&format!("error: row {row}"));
            assert!(named, "{row} is not named:\n{stdout}{stderr}");
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn copy_tree(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}
