//! A real Kubernetes API server with its store, for one test process.
//!
//! etcd and kube-apiserver listen on loopback, on ports that were free a moment before; keys, certificates and tokens are
//! made for the run, access is by RBAC as in production. No controllers, no nodes: what a controller would make
//! (a service account in a namespace, say), a row makes itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio::sync::OnceCell;

use crate::deadline::{within, within_for};

/// From nothing to ready takes 3 to 5 s on an idle machine.
const START: Duration = Duration::from_secs(90);

/// Starts both, and ends both when its standard input does: however the test process ends, nothing stays behind.
const SUPERVISOR: &str = r#"
cd "$RUN" || exit 1
"$ETCD" --name test --data-dir "$RUN/etcd" --unsafe-no-fsync \
    --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
    --listen-peer-urls "$PEER_URL" --initial-advertise-peer-urls "$PEER_URL" \
    --initial-cluster "test=$PEER_URL" >etcd.log 2>&1 & etcd=$!
"$APISERVER" --etcd-servers "$ETCD_URL" --etcd-prefix /exitgate --cert-dir "$RUN" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$PORT" \
    --endpoint-reconciler-type none --service-cluster-ip-range 198.18.128.0/20 \
    --tls-cert-file server.pem --tls-private-key-file server-key.pem --client-ca-file ca.pem \
    --authorization-mode RBAC --anonymous-auth=false \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file accounts.pub \
    --service-account-signing-key-file accounts.key --max-requests-inflight 400 \
    >apiserver.log 2>&1 & api=$!
read -r _
kill -KILL "$api" "$etcd"
wait
cd / && rm -rf "$RUN"
"#;

/// A running API server.
pub struct Cluster {
    supervisor: Child,
    stop: Option<ChildStdin>,
    kubeconfig: Kubeconfig,
    run: PathBuf,
    kubectl: PathBuf,
    installed: OnceCell<()>,
}

struct Assets {
    apiserver: PathBuf,
    etcd: PathBuf,
    kubectl: PathBuf,
}

/// The cluster of this test process. Absent where its programs are missing; under `CI=true` that is a failure.
pub async fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();
    let made = CLUSTER.get_or_init(|| async {
        match assets() {
            Ok(assets) => Some(Cluster::start(&assets).await),
            Err(missing) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
                eprintln!("NO KUBERNETES API SERVER, NOT TESTED: {missing}");
                None
            }
        }
    });
    made.await.as_ref()
}

/// `KUBEBUILDER_ASSETS` as envtest has it, else what `make kube-assets` and Debian's etcd-server brought.
fn assets() -> Result<Assets, String> {
    let (folder, etcd) = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(folder) => (PathBuf::from(&folder), PathBuf::from(folder).join("etcd")),
        None => (built(), PathBuf::from("/usr/bin/etcd")),
    };
    let found = Assets {
        apiserver: folder.join("kube-apiserver"),
        etcd,
        kubectl: folder.join("kubectl"),
    };
    for path in [&found.apiserver, &found.etcd, &found.kubectl] {
        if !path.exists() {
            return Err(format!(
                "{} is not there; `make setup` brings it",
                path.display()
            ));
        }
    }
    Ok(found)
}

/// The folder of the version that tests/kube/go.mod pins.
fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = std::fs::read_to_string(root.join("kube/go.mod")).unwrap();
    let version = modules
        .split_once("k8s.io/kubernetes v")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .expect("tests/kube/go.mod requires k8s.io/kubernetes");
    let cache = root.join("../.cache/kube").join(version);
    std::path::absolute(cache).unwrap()
}

impl Cluster {
    async fn start(assets: &Assets) -> Self {
        static NEXT: OnceLock<()> = OnceLock::new();
        NEXT.set(()).expect("one cluster in a test process");
        let run = std::env::temp_dir().join(format!("exitgate-kube-{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        let [port, store, peer] = free_ports();
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = credentials(&run, &server);
        let began = Instant::now();
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR])
            .env("RUN", &run)
            .env("ETCD", &assets.etcd)
            .env("APISERVER", &assets.apiserver)
            .env("PORT", port.to_string())
            .env("ETCD_URL", format!("http://127.0.0.1:{store}"))
            .env("PEER_URL", format!("http://127.0.0.1:{peer}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sh starts");
        let cluster = Self {
            stop: supervisor.stdin.take(),
            supervisor,
            kubeconfig,
            run,
            kubectl: assets.kubectl.clone(),
            installed: OnceCell::new(),
        };
        let client = cluster.client().await;
        while !is_ready(&client).await {
            assert!(
                began.elapsed() < START,
                "the API server is not ready: {}",
                cluster.log_end()
            );
            // Nobody announces readiness; asking is the only way to learn of it.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        eprintln!(
            "kube-apiserver ready after {:.1} s",
            began.elapsed().as_secs_f32()
        );
        cluster
    }

    /// A client with all rights. It belongs to the runtime of its row.
    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).unwrap()
    }

    /// The configuration of [`Self::client`], to be changed by the row.
    pub async fn config(&self) -> Config {
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options)
            .await
            .unwrap()
    }

    /// The configuration of someone who has this bearer token and nothing else.
    pub async fn config_of(&self, token: String) -> Config {
        let mut config = self.config().await;
        config.auth_info = kube::config::AuthInfo {
            token: Some(token.into()),
            ..Default::default()
        };
        config
    }

    /// Installs definitions once in a process, and returns when the server serves them.
    pub async fn install(&self, definitions: Vec<CustomResourceDefinition>) {
        self.installed
            .get_or_init(|| {
                Box::pin(async {
                    let client = self.client().await;
                    let api: Api<CustomResourceDefinition> = Api::all(client);
                    for definition in definitions {
                        let name = definition.metadata.name.clone().unwrap();
                        if let Err(error) = api.create(&PostParams::default(), &definition).await {
                            panic!("{name} is refused: {error}");
                        }
                        let established = conditions::is_crd_established();
                        let wait = await_condition(api.clone(), &name, established);
                        Box::pin(within(&format!("{name} established"), wait))
                            .await
                            .unwrap();
                    }
                })
            })
            .await;
    }

    /// Runs kubectl; what it printed on both channels, and whether it succeeded.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = tokio::process::Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(self.run.join("kubeconfig"))
            .args(arguments)
            .env("HOME", &self.run)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes())
            .await
            .ok();
        drop(stdin);
        let output = within_for(Duration::from_mins(1), "kubectl", child.wait_with_output())
            .await
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    fn log_end(&self) -> String {
        let mut text = String::new();
        for name in ["etcd.log", "apiserver.log"] {
            let log = std::fs::read_to_string(self.run.join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            text = format!("{text}\n== {name}\n{end}");
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.take();
        self.supervisor.wait().ok();
    }
}

/// The name of a kind in addresses.
pub fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) if lower.ends_with("policy") => format!("{stem}ies"),
        _ => format!("{lower}s"),
    }
}

async fn is_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
    client
        .request_text(request)
        .await
        .is_ok_and(|text| text == "ok")
}

fn free_ports() -> [u16; 3] {
    // All three at once, so that they differ.
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Writes the keys and certificates of a run and gives the administrator's configuration.
fn credentials(run: &Path, server: &str) -> Kubeconfig {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    root.distinguished_name
        .push(DnType::CommonName, "Test cluster");
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let leaf = |names: &[&str], common: &str, group: &str, purpose| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &root).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server_pem, server_key) = leaf(
        &["127.0.0.1", "localhost", "kubernetes.default.svc"],
        "kube-apiserver",
        "test",
        ExtendedKeyUsagePurpose::ServerAuth,
    );
    let (admin_pem, admin_key) = leaf(
        &[],
        "admin",
        "system:masters",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let accounts = KeyPair::generate().unwrap();
    let encoded = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": encoded(&root.pem())}}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": encoded(&admin_pem), "client-key-data": encoded(&admin_key)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
    });
    for (name, text) in [
        ("ca.pem", root.pem()),
        ("server.pem", server_pem),
        ("server-key.pem", server_key),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("kubeconfig", kubeconfig.to_string()),
    ] {
        let mut file = std::fs::File::create(run.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    serde_json::from_value(kubeconfig).unwrap()
}
