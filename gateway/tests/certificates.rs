//! Other people's verifiers and linters look at the certificates of interception.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests run programs and read their environment"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exitgate_gateway::authority::{
    Authority, Bounds, Custody, KeyKind, LeafKey, Names, NewCa, Settings, create_root, import,
};
use exitgate_policy::Name;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

/// A folder of its own for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("exitgate-certificates-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A program of `make setup`; without it nothing is tested, which under `CI=true` is a failure.
fn present(program: &Path, probe: &[&str]) -> bool {
    let found = Command::new(program)
        .args(probe)
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let program = program.display();
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "missing program: `{program}` does not run"
        );
        eprintln!(
            "MISSING PROGRAM, NOT TESTED: `{program}` does not run; `make setup` installs it"
        );
    }
    found
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn shown(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn openssl() -> PathBuf {
    PathBuf::from("openssl")
}

fn linter() -> PathBuf {
    let installed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/python/bin/lint_pkix_cert");
    if installed.exists() {
        installed
    } else {
        PathBuf::from("lint_pkix_cert")
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn now() -> u64 {
    exitgate_runtime::clock::unix_seconds()
}

/// A chain that a client gets, and the root that it trusts.
struct Seen {
    what: String,
    name: String,
    chain: Vec<CertificateDer<'static>>,
    root: String,
}

struct World {
    folder: Folder,
    what: &'static str,
    custody: Custody,
    bounds: Bounds,
    names: Names,
    certificate: String,
    key: String,
    root: String,
}

impl World {
    fn of(what: &'static str, custody: Custody, ca: &NewCa) -> Self {
        Self {
            folder: Folder::new(),
            what,
            custody,
            bounds: Bounds::Auto,
            names: Names::Bounded(vec!["x.io".to_owned(), "bare.test".to_owned()]),
            certificate: ca.certificate_pem.clone(),
            key: ca.key_pem.clone(),
            root: ca.certificate_pem.clone(),
        }
    }

    async fn see(&self, seen: &mut Vec<Seen>) {
        let settings = Settings {
            custody: self.custody,
            certificates: self.folder.write("ca.pem", &self.certificate),
            key: self.folder.write("ca-key.pem", &self.key),
            trust: Vec::new(),
            bounds: self.bounds.clone(),
            lifetime: Duration::from_hours(24),
        };
        let authority = Authority::load(&settings, self.names.clone()).unwrap();
        let long = format!("{}.{}.x.io", "a".repeat(50), "b".repeat(50));
        for name in ["api.x.io", long.as_str(), "bare.test"] {
            for key in [LeafKey::Ecdsa, LeafKey::Rsa] {
                let leaf = authority
                    .leaf(&Name::parse(name.as_bytes()).unwrap(), key)
                    .await
                    .unwrap();
                seen.push(Seen {
                    what: format!("{}, {key:?} leaf for {name}", self.what),
                    name: name.to_owned(),
                    chain: leaf.cert.clone(),
                    root: self.root.clone(),
                });
            }
        }
    }
}

/// A root of an enterprise, and a subordinate of it.
fn enterprise(path_length: u8, kind: KeyKind) -> World {
    let key = || match kind {
        KeyKind::Ecdsa => KeyPair::generate().unwrap(),
        KeyKind::Rsa => {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
        }
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Enterprise");
    params.not_before = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(2_500_000_000).unwrap();
    let root = CertifiedIssuer::self_signed(params.clone(), key()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Egress");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.use_authority_key_identifier_extension = true;
    let key = key();
    let certificate = params.signed_by(&key, &root).unwrap();
    let imported = import(
        certificate.pem().as_bytes(),
        Some(root.pem().as_bytes()),
        key.serialize_pem().as_bytes(),
        now(),
    )
    .unwrap();
    assert_eq!(
        imported.root_pem.as_deref().map(unwrapped),
        Some(unwrapped(&root.pem()))
    );
    assert_eq!(imported.may_issue, path_length > 0);
    let custody = if imported.may_issue {
        Custody::PerGateway
    } else {
        Custody::PerLeaf
    };
    let ca = NewCa {
        certificate_pem: imported.chain_pem,
        key_pem: key.serialize_pem(),
    };
    World {
        root: root.pem(),
        ..World::of("subordinate of an enterprise root", custody, &ca)
    }
}

/// A PEM text without its line breaks.
fn unwrapped(pem: &str) -> String {
    pem.split_whitespace().collect()
}

async fn everything() -> Vec<Seen> {
    let ecdsa = create_root(None, KeyKind::Ecdsa, 365, now()).unwrap();
    let rsa = create_root(Some("RSA root"), KeyKind::Rsa, 365, now()).unwrap();
    let mut seen = Vec::new();
    let exclusions = World {
        bounds: Bounds::ExclusionsOnly(vec!["bank.test".to_owned()]),
        names: Names::Unbounded,
        ..World::of("exclusions only", Custody::PerGateway, &ecdsa)
    };
    for world in [
        World::of("development", Custody::Development, &ecdsa),
        World::of("issuing CA", Custody::PerGateway, &ecdsa),
        World::of("issuing CA under RSA", Custody::PerGateway, &rsa),
        exclusions,
        enterprise(1, KeyKind::Ecdsa),
        enterprise(0, KeyKind::Ecdsa),
        enterprise(1, KeyKind::Rsa),
    ] {
        world.see(&mut seen).await;
    }
    seen
}

#[tokio::test]
async fn openssl_accepts_every_chain_under_strict_rules() {
    if !present(&openssl(), &["version"]) {
        return;
    }
    for seen in everything().await {
        let folder = Folder::new();
        // The program wants at least one certificate in each file, so the leaf is in both.
        let leaf = folder.write("leaf.pem", &pem(seen.chain.first().unwrap()));
        let above = folder.write("chain.pem", &seen.chain.iter().map(pem).collect::<String>());
        let root = folder.write("root.pem", &seen.root);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let output = run(
            &openssl(),
            &[
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-verify_hostname",
                &seen.name,
                "-no-CApath",
                "-no-CAstore",
                "-CAfile",
                &text(&root),
                "-untrusted",
                &text(&above),
                &text(&leaf),
            ],
        );
        assert!(output.status.success(), "{}: {}", seen.what, shown(&output));
    }
}

#[tokio::test]
async fn openssl_reads_the_constraints() {
    if !present(&openssl(), &["version"]) {
        return;
    }
    let ca = create_root(None, KeyKind::Ecdsa, 365, now()).unwrap();
    let world = World::of("issuing CA", Custody::PerGateway, &ca);
    let mut seen = Vec::new();
    world.see(&mut seen).await;
    let issuing = seen.first().unwrap().chain.get(1).unwrap();
    let folder = Folder::new();
    let file = folder.write("issuing.pem", &pem(issuing));
    let output = run(
        &openssl(),
        &["x509", "-noout", "-text", "-in", file.to_str().unwrap()],
    );
    let text = shown(&output);
    for expected in [
        "X509v3 Name Constraints: critical",
        "DNS:x.io",
        "IP:0.0.0.0/0.0.0.0",
        "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",
        "CA:TRUE, pathlen:0",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// Attack row 169.
#[tokio::test]
async fn pkilint_finds_no_error() {
    if !present(&linter(), &["--help"]) {
        return;
    }
    let folder = Folder::new();
    let mut files = Vec::new();
    // One short and one long name are all the shapes that there are.
    for seen in everything()
        .await
        .into_iter()
        .filter(|seen| seen.name != "bare.test")
    {
        // The enterprise's own certificates are not ours to answer for.
        let ours = if seen.what.starts_with("subordinate") {
            1
        } else {
            2
        };
        for (position, certificate) in seen.chain.iter().take(ours).enumerate() {
            let file = folder.write(&format!("{}.pem", files.len()), &pem(certificate));
            files.push((format!("{}, certificate {position}", seen.what), file));
        }
    }
    let root = create_root(None, KeyKind::Ecdsa, 365, now()).unwrap();
    let root = folder.write("root.pem", &root.certificate_pem);
    files.push(("root".to_owned(), root));
    for (what, file) in files {
        let output = run(&linter(), &["lint", "-s", "ERROR", file.to_str().unwrap()]);
        assert!(output.status.success(), "{what}: {}", shown(&output));
    }
}
