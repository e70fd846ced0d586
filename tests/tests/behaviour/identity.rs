//! Who is asking: proxy passwords, client certificates, and what happens when they disagree.

use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exitgate_tests::client::{Wire, connect_head};
use exitgate_tests::deadline::within;
use exitgate_tests::gateway::{Folder, binary};
use exitgate_tests::hello::Hello;
use exitgate_tests::origin::Origin;
use exitgate_tests::pki::Authority;
use exitgate_tests::tunnel;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};
use tokio::io::AsyncWriteExt;

const PASSWORD: &str = "open sesame 7f3a";

/// What `exitgate hash-password` prints for a password on its standard input.
async fn hash(password: &str) -> String {
    let mut child = tokio::process::Command::new(binary())
        .arg("hash-password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(password.as_bytes()).await.unwrap();
    drop(input);
    let output = within("a password hash", child.wait_with_output()).await;
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// A namespace in which the names of the world are allowed.
fn namespace(name: &str) -> String {
    format!(
        "apiVersion: exitgate.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: names, namespace: {name}}}
spec:
  rules:
  - {{name: names, action: Allow, to: {{hosts: [ok.test]}}}}
"
    )
}

fn get(host: &str, credential: &str) -> String {
    format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{credential}\r\n")
}

fn basic(user: &str, password: &str) -> String {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {pair}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_asked_for_and_never_recorded() {
    let files = Folder::new();
    let file = files.write("runner.hash", &hash(PASSWORD).await);
    let settings = format!(
        "  workloads:\n  - {{namespace: ci, name: runner, user: {{name: runner, passwordHashFile: {}}}}}\n",
        file.display()
    );
    let plan = Plan::default()
        .settings(&settings)
        .document(&namespace("ci"));
    let mut world = plan.start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(3));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);

    let right = basic("runner", PASSWORD);
    let encoded = STANDARD.encode(format!("runner:{PASSWORD}"));
    let useless = [
        String::new(),
        basic("runner", "wrong"),
        basic("runner", ""),
        basic("nobody", PASSWORD),
        basic("", PASSWORD),
        format!("Proxy-Authorization: Bearer {encoded}\r\n"),
        format!("Proxy-Authorization: Digest username=\"runner\", response=\"{encoded}\"\r\n"),
        format!("Proxy-Authorization: {encoded}\r\n"),
        "Proxy-Authorization: Basic\r\n".to_owned(),
        "Proxy-Authorization: Basic %%%\r\n".to_owned(),
        format!(
            "Proxy-Authorization: Basic {}\r\n",
            STANDARD.encode("runner")
        ),
        // For the origin, not for the proxy.
        format!("Authorization: Basic {encoded}\r\n"),
        format!("{right}{right}"),
    ];
    for credential in &useless {
        let forms = [
            get(&host, credential),
            connect_head(&host).replace("\r\n\r\n", &format!("\r\n{credential}\r\n")),
        ];
        for request in forms {
            let mut wire = world.client().await;
            let answer = wire.ask(request).await;
            wire.closed().await;
            world.refused(&answer, 407, &["proxy-auth-required"]);
            let asked = answer.header("proxy-authenticate");
            assert!(asked.starts_with("Basic realm="), "{}", answer.head);
        }
    }

    // Right, in any case of the scheme; on a kept connection each request shows its own.
    let mut wire = world.client().await;
    for credential in [right.clone(), right.replace("Basic", "bAsIc")] {
        assert_eq!(wire.ask(get(&host, &credential)).await.status, 200);
        world.allowed().workload("ci", "runner");
    }
    let answer = wire.ask(get(&host, "")).await;
    wire.closed().await;
    world.refused(&answer, 407, &["proxy-auth-required"]);
    let seen = world.origin(origin).seen.requests.all();
    assert!(
        seen.iter()
            .all(|request| request.headers("proxy-authorization").is_empty())
    );

    let head = connect_head(&host).replace("\r\n\r\n", &format!("\r\n{right}\r\n"));
    let mut wire = world.client().await;
    wire.send(head).await;
    assert_eq!(wire.answer_to(true).await.status, 200);
    wire.send(Hello::for_name("ok.test").bytes()).await;
    drop(wire);
    world.allowed().workload("ci", "runner");

    // A kept upstream connection may or may not have been used again for the second request.
    world.reached(origin, Reached::Unchecked);
    let diagnostics = world.gateway.diagnostics.clone();
    for record in world.finish().await {
        for secret in [PASSWORD, encoded.as_str(), "wrong", "sesame"] {
            assert!(!record.1.contains(secret), "{}", record.1);
        }
    }
    let said = diagnostics.all().join("\n");
    assert!(
        !said.contains(PASSWORD) && !said.contains(&encoded),
        "{said}"
    );
}

#[tokio::test]
async fn a_bad_hash_file_is_named_with_its_line() {
    let good = hash(PASSWORD).await;
    for (content, line) in [
        ("nonsense\n".to_owned(), 1),
        (String::new(), 1),
        (format!("\n{good}{good}"), 3),
    ] {
        let folder = Folder::new();
        folder.write("runner.hash", &content);
        let settings = "  workloads:\n  - {namespace: ci, name: runner, user: {name: runner, passwordHashFile: runner.hash}}\n";
        folder.write(
            "gateway.yaml",
            &exitgate_tests::documents::settings(settings),
        );
        let up = [
            "up",
            folder.path().to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ];
        let (code, _, stderr) = exitgate_tests::gateway::run(&up).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains(&format!("runner.hash:{line}: expected one line")),
            "{stderr}"
        );
        assert!(
            stderr.contains("spec.workloads[0].user.passwordHashFile"),
            "{stderr}"
        );
    }
}

/// A world with a TLS listener that takes certificates of `authority`.
async fn over_tls(authority: &Authority, files: &Folder, workloads: &str) -> World {
    let leaf = authority.leaf(&["proxy.test"]);
    let certificate = files.write("proxy.pem", &leaf.certificate_pem);
    let key = files.write("proxy.key", &leaf.key_pem);
    let clients = files.write("clients.pem", &authority.pem());
    let settings = format!(
        "  listeners:\n    proxyTls: {{addresses: [\"127.0.0.1:0\"], certFile: {}, keyFile: {}, clientCaFile: {}}}\n  workloads:\n{workloads}",
        certificate.display(),
        key.display(),
        clients.display()
    );
    let plan = Plan::default().settings(&settings);
    plan.document(&namespace("pay"))
        .document(&namespace("shop"))
        .start()
        .await
}

/// A connection to the TLS listener with a certificate for these names, or with none.
async fn with_certificate(world: &World, authority: &Authority, names: &[&str]) -> Wire {
    let config = match names {
        [] => authority.client_config(&[]),
        names => authority.client_config_as(&authority.leaf(names)),
    };
    let tcp = Wire::open(world.gateway.listener("proxy-tls")).await;
    tunnel::handshake(tcp, "proxy.test", config)
        .await
        .unwrap()
        .0
}

const WEB: &str = "spiffe://example.org/ns/shop/sa/web";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_names_its_workload() {
    let (authority, files) = (Authority::new(), Folder::new());
    let workloads = format!(
        "  - {{namespace: pay, name: billing, clientCertificate: {{san: billing.test}}}}\n  - {{namespace: shop, name: web, clientCertificate: {{san: \"{WEB}\"}}}}\n"
    );
    let mut world = over_tls(&authority, &files, &workloads).await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(2));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    for (san, namespace, name) in [("billing.test", "pay", "billing"), (WEB, "shop", "web")] {
        let mut wire = with_certificate(&world, &authority, &["more.test", san]).await;
        assert_eq!(wire.ask(get(&host, "")).await.status, 200);
        world.allowed().workload(namespace, name);
    }
    let cases: [(&[&str], &str); 4] = [
        (&[], "identity-unknown"),
        (&["other.test"], "identity-unknown"),
        // A name is compared whole.
        (&["x.billing.test"], "identity-unknown"),
        (&["billing.test", WEB], "identity-conflict"),
    ];
    for (names, reason) in cases {
        for request in [get(&host, ""), connect_head(&host)] {
            let mut wire = with_certificate(&world, &authority, names).await;
            let answer = wire.ask(request).await;
            world.refused(&answer, 403, &[reason]);
        }
    }
    // The listener without TLS shows no certificate.
    world
        .request_refused(get(&host, ""), 403, &["identity-unknown"])
        .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_and_certificate_must_agree() {
    let (authority, files) = (Authority::new(), Folder::new());
    let workloads = "  - {namespace: pay, name: billing, source: {cidrs: [127.0.0.0/8]}}
  - {namespace: shop, name: web, clientCertificate: {san: web.test}}
  - {namespace: pay, name: billing, clientCertificate: {san: billing.test}}\n";
    let mut world = over_tls(&authority, &files, workloads).await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(2));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let named: [&[&str]; 2] = [&["billing.test"], &[]];
    for names in named {
        let mut wire = with_certificate(&world, &authority, names).await;
        assert_eq!(wire.ask(get(&host, "")).await.status, 200);
        world.allowed().workload("pay", "billing");
    }
    let mut wire = with_certificate(&world, &authority, &["web.test"]).await;
    let answer = wire.ask(get(&host, "")).await;
    world.refused(&answer, 403, &["identity-conflict"]);
    world.finish().await;
}
