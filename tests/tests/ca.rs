//! `exitgate ca`, with OpenSSL as the enterprise's certificate authority.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use exitgate_tests::gateway::{Folder, run};
use exitgate_tests::programs;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

async fn openssl(arguments: &[&str]) -> String {
    let outcome = programs::run("openssl", arguments).await;
    outcome.success();
    outcome.stdout
}

/// Runs the command, which succeeds, and gives what it says.
async fn succeeds(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    format!("{stdout}{stderr}")
}

/// Runs the command, which fails with this code, and says all of these.
async fn fails(arguments: &[&str], code: i32, says: &[&str]) {
    let (status, stdout, stderr) = run(arguments).await;
    assert_eq!(status, Some(code), "{stdout}{stderr}");
    for what in says {
        assert!(stderr.contains(what), "{what:?} is not in:\n{stderr}");
    }
}

/// An enterprise root, made by OpenSSL, whose name and subordinates' names have parts that repeat.
struct Enterprise {
    folder: Folder,
}

impl Enterprise {
    async fn new() -> Self {
        let folder = Folder::new();
        let (key, root) = (
            folder.path().join("key.pem"),
            folder.path().join("root.pem"),
        );
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/DC=example/DC=corp/OU=PKI/OU=Root/CN=Enterprise root",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            &text(&key),
            "-out",
            &text(&root),
        ])
        .await;
        Self { folder }
    }

    fn root(&self) -> String {
        text(&self.folder.path().join("root.pem"))
    }

    /// Signs a request as a CA with these basic constraints.
    async fn sign(&self, request: &Path, constraints: &str) -> String {
        let extensions = self.folder.write(
            "extensions",
            &format!(
                "basicConstraints=critical,{constraints}\nkeyUsage=critical,keyCertSign\n\
                 subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            ),
        );
        let out = text(&self.folder.path().join("issued.pem"));
        openssl(&[
            "x509",
            "-req",
            "-days",
            "20",
            "-in",
            &text(request),
            "-CA",
            &self.root(),
            "-CAkey",
            &text(&self.folder.path().join("key.pem")),
            "-set_serial",
            "0x4711",
            "-extfile",
            &text(&extensions),
            "-out",
            &out,
        ])
        .await;
        out
    }
}

#[tokio::test]
async fn init_makes_a_root_that_nobody_else_can_read_the_key_of() {
    let folder = Folder::new();
    let dir = folder.path().join("new/ca");
    let said = succeeds(&[
        "ca",
        "init",
        &text(&dir),
        "--name",
        "Test root",
        "--days",
        "30",
    ])
    .await;
    for what in [
        "ca.pem",
        "ca-key.pem",
        "certFile:",
        "keyFile:",
        "inspection: On",
    ] {
        assert!(said.contains(what), "{what:?} is not in:\n{said}");
    }
    assert_eq!(mode(&dir.join("ca-key.pem")), 0o600);
    assert!(
        std::fs::read_to_string(dir.join("ca.pem"))
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let key = std::fs::read(dir.join("ca-key.pem")).unwrap();
    fails(
        &["ca", "init", &text(&dir)],
        3,
        &["ca.pem exists and is not overwritten"],
    )
    .await;
    assert_eq!(std::fs::read(dir.join("ca-key.pem")).unwrap(), key);
    if programs::present(&[("openssl", &["version"])]) {
        let shown = openssl(&["x509", "-noout", "-text", "-in", &text(&dir.join("ca.pem"))]).await;
        for what in ["CN = Test root", "CA:TRUE, pathlen:1", "Certificate Sign"] {
            assert!(shown.contains(what), "{what:?} is not in:\n{shown}");
        }
    }
}

#[tokio::test]
async fn wrong_use() {
    let folder = Folder::new();
    let dir = text(folder.path());
    for arguments in [
        &["ca", "init"][..],
        &["ca", "init", &dir, "--name", ""],
        &["ca", "init", &dir, "--days", "0"],
        &["ca", "init", &dir, "--key", "dsa"],
        &["ca", "csr", &dir, "--name", &"x".repeat(65)],
        &["ca", "csr", &dir, "--keep-key", "--key", "rsa"],
        &["ca", "renew", &dir],
    ] {
        fails(arguments, 2, &[]).await;
    }
    fails(&["ca", "csr", &dir, "--keep-key"], 3, &["ca-key.pem"]).await;
    fails(&["ca", "import", &dir, "/nonexistent"], 3, &["ca-key.pem"]).await;
}

#[tokio::test]
async fn an_enterprise_signs_the_request() {
    if !programs::present(&[("openssl", &["version"])]) {
        return;
    }
    let enterprise = Enterprise::new().await;
    let folder = Folder::new();
    let dir = text(folder.path());
    let said = succeeds(&["ca", "csr", &dir, "--name", "Egress"]).await;
    assert!(said.contains("exitgate ca import"), "{said}");
    let key = folder.path().join("ca-key.pem");
    assert_eq!(mode(&key), 0o600);
    let request = folder.path().join("ca.csr");
    let shown = openssl(&["req", "-noout", "-verify", "-text", "-in", &text(&request)]).await;
    for what in ["CN = Egress", "CA:TRUE, pathlen:1"] {
        assert!(shown.contains(what), "{what:?} is not in:\n{shown}");
    }
    fails(&["ca", "csr", &dir], 3, &["not overwritten", "--keep-key"]).await;

    let issued = enterprise.sign(&request, "CA:TRUE,pathlen:1").await;
    // Without those above it, it is taken, and what is missing is said.
    let said = succeeds(&["ca", "import", &dir, &issued]).await;
    assert!(said.contains("trustFiles"), "{said}");
    fails(&["ca", "import", &dir, &issued], 3, &["--replace"]).await;
    let root = enterprise.root();
    let said = succeeds(&["ca", "import", &dir, &issued, "--chain", &root, "--replace"]).await;
    assert!(
        said.contains("ca-root.pem") && !said.contains("PerLeaf"),
        "{said}"
    );
    let taken = text(&folder.path().join("ca.pem"));
    let stored_root = text(&folder.path().join("ca-root.pem"));
    openssl(&["verify", "-x509_strict", "-CAfile", &stored_root, &taken]).await;

    // The renewal keeps the key; path length 0 is for custody PerLeaf, and said to be.
    let before = std::fs::read(&key).unwrap();
    succeeds(&["ca", "csr", &dir, "--keep-key"]).await;
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let issued = enterprise.sign(&request, "CA:TRUE,pathlen:0").await;
    let said = succeeds(&["ca", "import", &dir, &issued, "--chain", &root, "--replace"]).await;
    assert!(said.contains("custody: PerLeaf"), "{said}");
}

#[tokio::test]
async fn what_the_enterprise_must_not_send_back() {
    if !programs::present(&[("openssl", &["version"])]) {
        return;
    }
    let enterprise = Enterprise::new().await;
    let (folder, other) = (Folder::new(), Folder::new());
    let dir = text(folder.path());
    succeeds(&["ca", "csr", &dir]).await;
    succeeds(&["ca", "csr", &text(other.path())]).await;
    let request = folder.path().join("ca.csr");

    let issued = enterprise.sign(&request, "CA:FALSE").await;
    fails(
        &["ca", "import", &dir, &issued],
        1,
        &["not a certificate authority"],
    )
    .await;
    let issued = enterprise
        .sign(&other.path().join("ca.csr"), "CA:TRUE")
        .await;
    fails(
        &["ca", "import", &dir, &issued],
        1,
        &["not the one of the private key"],
    )
    .await;
    let nothing = text(&folder.write("nothing.pem", "nothing"));
    fails(&["ca", "import", &dir, &nothing], 1, &["nothing.pem"]).await;
    // A root with the right name and another key has not signed it.
    let issued = enterprise.sign(&request, "CA:TRUE").await;
    let impostor = Enterprise::new().await;
    let chain = impostor.root();
    fails(
        &["ca", "import", &dir, &issued, "--chain", &chain],
        1,
        &["not accepted"],
    )
    .await;
    assert!(!folder.path().join("ca.pem").exists());
}
