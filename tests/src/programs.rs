//! Real programs as clients and origins.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::deadline::within_for;
use crate::log::Log;

/// Whether these programs are here. Under `CI=true` a missing one is a failure, else it is said and the test ends.
pub fn present(needed: &[(&str, &[&str])]) -> bool {
    let mut all = true;
    for (program, probe) in needed {
        let found = std::process::Command::new(resolve(program))
            .args(*probe)
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success());
        if !found {
            let shown = format!("{program} {}", probe.join(" "));
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "missing client: `{shown}` does not run"
            );
            eprintln!(
                "MISSING CLIENT, NOT TESTED: `{shown}` does not run; `make setup` installs it"
            );
            all = false;
        }
    }
    all
}

/// Python with its packages, and h2spec, where `make setup` put them.
fn resolve(program: &str) -> PathBuf {
    let ours = match program {
        "h2spec" => repository().join(".cache/h2spec"),
        "python3" => repository().join(".cache/python/bin/python3"),
        _ => return program.into(),
    };
    if ours.exists() { ours } else { program.into() }
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file beside the clients, such as `python/with_urllib.py`.
pub fn script(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// What a program left behind.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn success(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(resolve(program));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // The machine's own proxies and trust are none of the test's business.
    for name in [
        "GIT_SSL_CAINFO",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "JAVA_TOOL_OPTIONS",
    ] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// Runs a program to its end.
pub async fn run(program: &str, arguments: &[&str]) -> Outcome {
    run_with(program, arguments, &[]).await
}

/// The same with variables of its environment.
pub async fn run_with(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> Outcome {
    let what = format!("`{program} {}` to end", arguments.join(" "));
    let limit = std::time::Duration::from_mins(5);
    let mut command = command(program, arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = within_for(limit, &what, command.output()).await.unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server program that prints its port first; it ends with this value.
pub struct Server {
    pub port: u16,
    /// The lines that it printed after its port.
    pub said: Log<String>,
    _child: Child,
}

impl Server {
    pub async fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = command(program, arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let what = format!("the port of `{program} {}`", arguments.join(" "));
        let line = within_for(crate::deadline::PATIENCE, &what, lines.next_line())
            .await
            .unwrap();
        let port = line.and_then(|line| line.trim().parse().ok());
        let said = Log::default();
        let log = said.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.push(line);
            }
        });
        Self {
            port: port.unwrap_or_else(|| panic!("no port from {program}")),
            said,
            _child: child,
        }
    }
}
