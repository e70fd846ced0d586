//! Starts the built binary and stops it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::deadline::within;
use crate::log::Log;
use crate::records::Records;

/// The binary under test: `EXITGATE_BIN`, else the one that cargo builds beside the running test.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("EXITGATE_BIN") {
                return std::path::absolute(PathBuf::from(path)).unwrap();
            }
            // target/<profile>/deps/<suite> → target/<profile>/exitgate
            let suite = std::env::current_exe().unwrap();
            let profile = suite
                .parent()
                .and_then(Path::parent)
                .expect("a suite lies in target/<profile>/deps");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = std::process::Command::new(cargo);
            build.args([
                "build",
                "--quiet",
                "--package",
                "exitgate",
                "--bin",
                "exitgate",
            ]);
            if profile.ends_with("release") {
                build.arg("--release");
            }
            let status = build
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
                .env(
                    "CARGO_TARGET_DIR",
                    profile
                        .parent()
                        .expect("a profile lies in the target folder"),
                )
                .status()
                .expect("cargo starts");
            assert!(status.success(), "the binary under test does not build");
            profile.join("exitgate")
        })
        .clone()
}

/// A folder that is removed with the row.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "exitgate-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Replaces a file as editors and volume mounts do: another file renamed over it.
    pub fn replace(&self, name: &str, content: &str) {
        let fresh = self.write(&format!(".{name}.new"), content);
        std::fs::rename(fresh, self.0.join(name)).unwrap();
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// What `up` is started with.
pub struct Launch {
    pub documents: Folder,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Soft and hard limit of open descriptors.
    pub descriptors: Option<u32>,
    /// Leave standard output unread (a blocked record sink).
    pub deaf: bool,
    /// A folder that is a full file system of 256 KiB with a file `ballast` on it, for this process alone.
    pub full_disk: Option<PathBuf>,
    /// The documents say where records go, not the command line.
    pub own_records: bool,
}

impl Launch {
    pub fn new(documents: Folder) -> Self {
        let arguments = ["--listen", "127.0.0.1:0"].map(String::from).to_vec();
        Self {
            documents,
            arguments,
            environment: Vec::new(),
            descriptors: None,
            deaf: false,
            full_disk: None,
            own_records: false,
        }
    }

    pub fn dns(mut self, server: SocketAddr) -> Self {
        self.arguments
            .extend(["--dns-server".into(), server.to_string()]);
        self
    }

    pub fn argument(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.into(), value.into()]);
        self
    }

    /// Whether [`Launch::full_disk`] works on this machine.
    pub fn can_mount() -> bool {
        let mount = format!("{MOUNT} /mnt");
        let probe = std::process::Command::new("unshare")
            .args(["-rm", "sh", "-c", &mount])
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = match (self.descriptors, &self.full_disk) {
            (None, None) => Command::new(binary()),
            (Some(limit), _) => shell(&[], &format!("ulimit -n {limit}")),
            (None, Some(folder)) => {
                let folder = folder.display();
                let fill = format!(
                    "{MOUNT} {folder}; dd if=/dev/zero of={folder}/ballast bs=4k 2>/dev/null"
                );
                shell(&["unshare", "-rm"], &fill)
            }
        };
        command.arg("up").arg(self.documents.path());
        if !self.own_records {
            command.args(["--records", "-"]);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts the gateway and waits until it says that it is ready.
    pub async fn start(self) -> Gateway {
        let mut child = self.command().spawn().expect("the gateway starts");
        let diagnostics = Log::default();
        let stderr = child.stderr.take().unwrap();
        let reader = collect_lines(stderr, diagnostics.clone());
        let records = Records::default();
        let mut unread = None;
        let mut recorder = None;
        let stdout = child.stdout.take().unwrap();
        if self.deaf {
            unread = Some(stdout);
        } else {
            recorder = Some(records.read(stdout));
        }
        let became_ready = diagnostics
            .wait(
                "`ready revision=…` or the end of the process",
                |lines: &[String]| {
                    let over = lines
                        .iter()
                        .any(|line| line.starts_with("ready revision=") || line == END);
                    over.then(|| lines.iter().any(|line| line.starts_with("ready revision=")))
                },
            )
            .await;
        assert!(
            became_ready,
            "the gateway did not start:\n{}",
            diagnostics.all().join("\n")
        );
        let listeners = listeners(&diagnostics.all());
        let Some(proxy) = listeners
            .get("proxy")
            .and_then(|addresses| addresses.first())
            .copied()
        else {
            panic!(
                "no `listening proxy …` line in:\n{}",
                diagnostics.all().join("\n")
            );
        };
        Gateway {
            child,
            proxy,
            listeners,
            records,
            diagnostics,
            documents: self.documents,
            reader,
            recorder,
            unread,
        }
    }
}

const MOUNT: &str = "mount -t tmpfs -o size=256k none";

/// The binary after some shell commands, in the same process.
fn shell(through: &[&str], first: &str) -> Command {
    let script = format!("{first}; exec \"$0\" \"$@\"");
    let mut words = through.iter().copied().chain(["sh", "-c", &script]);
    let mut command = Command::new(words.next().unwrap_or("sh"));
    command.args(words).arg(binary());
    command
}

/// Marks the end of standard error in the list of its lines.
const END: &str = "\u{4}";

fn collect_lines(
    stream: impl tokio::io::AsyncRead + Send + Unpin + 'static,
    lines: Log<String>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            lines.push(line);
        }
        lines.push(END.into());
    })
}

/// `listening <role> <scheme>://<address>` lines.
fn listeners(lines: &[String]) -> BTreeMap<String, Vec<SocketAddr>> {
    let mut found = BTreeMap::<String, Vec<SocketAddr>>::new();
    for line in lines {
        let Some(rest) = line.strip_prefix("listening ") else {
            continue;
        };
        let Some((role, url)) = rest.split_once(' ') else {
            continue;
        };
        let address = url.split_once("://").map_or(url, |(_, address)| address);
        let Ok(address) = address.trim_end_matches('/').parse() else {
            continue;
        };
        found.entry(role.into()).or_default().push(address);
    }
    found
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    /// The first plain proxy listener.
    pub proxy: SocketAddr,
    pub listeners: BTreeMap<String, Vec<SocketAddr>>,
    pub records: Records,
    pub diagnostics: Log<String>,
    pub documents: Folder,
    reader: JoinHandle<()>,
    recorder: Option<JoinHandle<()>>,
    unread: Option<tokio::process::ChildStdout>,
}

impl Gateway {
    pub fn listener(&self, role: &str) -> SocketAddr {
        match self
            .listeners
            .get(role)
            .and_then(|addresses| addresses.first())
        {
            Some(address) => *address,
            None => panic!(
                "no `listening {role} …` line in:\n{}",
                self.diagnostics.all().join("\n")
            ),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("the gateway still runs")
    }

    /// A line of `/proc/<pid>/status` in KiB.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.trim_start_matches(':')
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits for a line of standard error.
    pub async fn says(&self, what: &str) -> String {
        self.diagnostics
            .wait(&format!("the gateway to say {what:?}"), |lines| {
                lines.iter().find(|line| line.contains(what)).cloned()
            })
            .await
    }

    pub fn terminate(&self) {
        let status = std::process::Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .unwrap();
        assert!(
            status.success(),
            "the gateway was gone before it was told to stop"
        );
    }

    /// Reads standard output again after a time of deafness.
    pub fn listen_again(&mut self) {
        if let Some(stdout) = self.unread.take() {
            self.recorder = Some(self.records.read(stdout));
        }
    }

    /// Waits for the process and for the end of its output: every record there will ever be has been read.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = within("the gateway to end", self.child.wait())
            .await
            .unwrap();
        if let Some(recorder) = self.recorder.take() {
            within("the end of the records", recorder).await.unwrap();
        }
        within("the end of standard error", &mut self.reader)
            .await
            .unwrap();
        status.code()
    }

    pub async fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.ended().await
    }
}

/// Runs a command of the binary to its end: exit code, standard output, standard error.
pub async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let child = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within(&format!("`exitgate {}` to end", arguments.join(" ")), child)
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}
