//! `exitgate up`: a gateway on a directory of policies, following its changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use exitgate_controller::source::{self, Diagnostic, Loaded, Options, Watcher};
use exitgate_policy::{
    EgressGatewaySpec, EnforcementMode, Overflow, PolicyResource, PolicySet, RecordSink, SinkType,
    Snapshot,
};
use exitgate_runtime::signals::Signals;

use crate::check::{plural, without_policies};
use crate::failure::Failure;
use crate::output::note;
use crate::serve::{self, Refused, Server};

/// Runs a gateway on a directory of policies.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The directory holds *.yaml, *.yml and *.json documents. Settings are the EgressGateway document among them; without \
one the gateway listens on 127.0.0.1:3128, uses the name servers of /etc/resolv.conf and takes every client as the \
workload default/local. The directory is watched: a valid change takes effect at once, an invalid one is reported and \
the policy in force stays.

Records go to standard output as JSON lines; everything else that this command says goes to standard error: a line \
`listening ROLE URL` for each listener, then `ready revision=...`.

Examples:
  exitgate up policies/
  curl -x http://127.0.0.1:3128 https://example.com/

  exitgate up policies/ --listen 127.0.0.1:0 --metrics 127.0.0.1:9090 --records /var/log/exitgate.jsonl

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 a problem in policies or settings, 3 a port or file is not available.")]
pub(crate) struct Args {
    /// The directory with the policies.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Address of the HTTP proxy, in place of the settings' (repeatable; port 0 picks one).
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Address of the HTTP proxy over TLS, in place of the settings'. Certificate and key come from the settings.
    #[arg(long, value_name = "ADDR")]
    listen_tls: Option<SocketAddr>,
    /// Address of the readiness port.
    #[arg(long, value_name = "ADDR")]
    ready: Option<SocketAddr>,
    /// Address of the metrics port.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Address of the admin port; keep it on loopback.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Name server to ask, in place of the settings' (repeatable).
    #[arg(long = "dns-server", value_name = "ADDR")]
    dns_servers: Vec<SocketAddr>,
    /// File for the records, or - for standard output; in place of the settings'.
    #[arg(long, value_name = "PATH|-")]
    records: Option<PathBuf>,
    /// What the operational log on standard error shows, for example info or warn,exitgate_gateway=debug.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if !args.directory.is_dir() {
        let error = match std::fs::metadata(&args.directory) {
            Ok(_) => "not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Failure::System(format!(
            "cannot read the directory {}: {error}",
            args.directory.display()
        )));
    }
    let log = serve::logging(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::System(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args, log))
}

async fn serve(args: &Args, log: serve::Log) -> Result<ExitCode, Failure> {
    // Before anything is said to be ready: whoever waits for that may stop us at once.
    let mut stop = Signals::listen()
        .map_err(|error| Failure::System(format!("cannot wait for signals: {error}")))?;
    let paths = [args.directory.clone()];
    let mut watcher = Watcher::new(&paths, &[]);
    let mut loaded = source::load(&paths, &Options::default())?;
    let policies = loaded.compile();
    show(&loaded.diagnostics);
    let Some(policies) = policies else {
        let (errors, _) = source::count(&loaded.diagnostics);
        let errors = plural(errors, "error", "errors");
        return Err(Failure::Problem(format!(
            "{errors} in {}; not started",
            args.directory.display()
        )));
    };
    watcher.set_others(&loaded.named_files);
    for line in overview(&loaded, &policies, &args.directory.display().to_string()) {
        note(format_args!("{line}"));
    }
    args.overlay(&mut loaded.snapshot.settings)?;
    let server = Server::start(
        loaded.snapshot.clone(),
        &loaded.secrets,
        log,
        |role, url| {
            note(format_args!("listening {role} {url}"));
        },
    )?;
    note(format_args!("ready revision={}", short(&server.revision())));
    loop {
        tokio::select! {
            _ = stop.next() => break,
            () = watcher.changed() => reload(args, &mut loaded, &mut watcher, &server),
        }
    }
    note(format_args!("draining; a second signal ends at once"));
    tokio::select! {
        () = server.drain() => {}
        _ = stop.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes over what changed, or says why not and leaves everything as it is.
fn reload(args: &Args, current: &mut Loaded, watcher: &mut Watcher, server: &Server) {
    let paths = [args.directory.clone()];
    let options = Options {
        previous: Some(current),
        strict: false,
    };
    let mut loaded = match source::load(&paths, &options) {
        Ok(loaded) => loaded,
        Err(error) => {
            return note(format_args!(
                "error: {error}; keeping revision={}",
                short(&server.revision())
            ));
        }
    };
    // Also after errors: what repairs them may be one of these files.
    watcher.set_others(&loaded.named_files);
    let policies = loaded.compile();
    show(&loaded.diagnostics);
    let Some(policies) = policies else {
        let (errors, _) = source::count(&loaded.diagnostics);
        let errors = plural(errors, "error", "errors");
        return note(format_args!(
            "{errors}; keeping revision={}",
            short(&server.revision())
        ));
    };
    if let Err(failure) = args.overlay(&mut loaded.snapshot.settings) {
        return note(format_args!(
            "error: {failure}; keeping revision={}",
            short(&server.revision())
        ));
    }
    let before = server.revision();
    match server.apply(loaded.snapshot.clone(), &loaded.secrets) {
        Ok(revision) if revision == before => {
            note(format_args!("unchanged revision={}", short(&revision)));
        }
        Ok(revision) => {
            for line in overview(&loaded, &policies, &args.directory.display().to_string()) {
                note(format_args!("{line}"));
            }
            note(format_args!("applied revision={}", short(&revision)));
            *current = loaded;
        }
        Err(Refused::Policy(problems)) => {
            let located: Vec<Diagnostic> = problems
                .into_iter()
                .map(|problem| loaded.locate(problem))
                .collect();
            show(&located);
            note(format_args!(
                "not applied; keeping revision={}",
                short(&before)
            ));
        }
        Err(Refused::Settings(message)) => {
            note(format_args!(
                "error: {message}; keeping revision={}",
                short(&before)
            ));
        }
    }
}

fn show(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        note(format_args!("{diagnostic}"));
    }
}

/// What a person wants to know before trusting the gateway: who is selected by what, and what happens to the rest.
fn overview(loaded: &Loaded, policies: &PolicySet, directory: &str) -> Vec<String> {
    let snapshot = &loaded.snapshot;
    let mut lines = Vec::new();
    if snapshot.policies.is_empty() {
        let effect = without_policies(snapshot.settings.default_action);
        lines.push(format!("warning: no policies in {directory}: {effect}"));
    }
    if snapshot.settings.enforcement.mode == EnforcementMode::Audit {
        lines.push(
            "warning: enforcement.mode is Audit: what would be denied is let through and recorded"
                .to_owned(),
        );
    }
    for policy in &snapshot.policies {
        let (name, selected) = selected(policy, snapshot, policies);
        if selected == 0 {
            lines.push(format!("warning: {name} selects no known workload"));
        } else {
            lines.push(format!(
                "{name} selects {}",
                plural(selected, "workload", "workloads")
            ));
        }
    }
    lines
}

/// The policy's name and how many of the known workloads it selects.
fn selected(policy: &PolicyResource, snapshot: &Snapshot, policies: &PolicySet) -> (String, usize) {
    let (kind, namespace, name) = match policy {
        PolicyResource::Cluster { name, .. } => ("ClusterEgressPolicy", None, name),
        PolicyResource::Namespaced {
            namespace, name, ..
        } => ("EgressPolicy", Some(namespace.as_str()), name),
    };
    let count = snapshot
        .workloads
        .iter()
        .filter(|workload| {
            policies
                .view(workload)
                .selected_policies()
                .iter()
                .any(|selected| {
                    selected.kind == kind
                        && selected.namespace.as_deref() == namespace
                        && *selected.name == **name
                })
        })
        .count();
    let shown = match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    (shown, count)
}

/// Paths on the command line start from where the command was called, unlike those in documents.
fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_path_buf())
        .to_string_lossy()
        .into_owned()
}

fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

impl Args {
    /// Puts the flags in place of the settings that they stand for.
    fn overlay(&self, settings: &mut EgressGatewaySpec) -> Result<(), Failure> {
        let listeners = &mut settings.listeners;
        let texts = |addresses: &[SocketAddr]| {
            addresses
                .iter()
                .map(SocketAddr::to_string)
                .collect::<Vec<_>>()
        };
        if !self.listen.is_empty() {
            listeners.proxy = texts(&self.listen);
        }
        if let Some(address) = self.listen_tls {
            let tls = listeners.proxy_tls.as_mut().ok_or_else(|| {
                Failure::Problem(
                    "--listen-tls needs spec.listeners.proxyTls with certFile and keyFile in an EgressGateway document".into(),
                )
            })?;
            tls.addresses = vec![address.to_string()];
        }
        for (flag, setting) in [
            (self.ready, &mut listeners.ready),
            (self.metrics, &mut listeners.metrics),
            (self.admin, &mut listeners.admin),
        ] {
            if let Some(address) = flag {
                *setting = vec![address.to_string()];
            }
        }
        if !self.dns_servers.is_empty() {
            settings.dns.servers = texts(&self.dns_servers);
        }
        if let Some(path) = &self.records {
            let to_stdout = path.as_os_str() == "-";
            settings.records = Some(vec![RecordSink {
                kind: if to_stdout {
                    SinkType::Stdout
                } else {
                    SinkType::File
                },
                path: (!to_stdout).then(|| absolute(path)),
                max_bytes: None,
                keep: None,
                classes: Vec::new(),
                verdicts: Vec::new(),
                overflow: Overflow::default(),
            }]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_take_the_place_of_settings() {
        let line = [
            "up",
            "d",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "[::1]:0",
            "--ready",
            "127.0.0.1:1",
            "--records",
            "-",
        ];
        let args = Line::parse_from(line).args;
        let mut settings = EgressGatewaySpec::default();
        args.overlay(&mut settings).unwrap();
        assert_eq!(settings.listeners.proxy, ["127.0.0.1:0", "[::1]:0"]);
        assert_eq!(settings.listeners.ready, ["127.0.0.1:1"]);
        assert_eq!(settings.records.unwrap()[0].kind, SinkType::Stdout);
    }

    #[test]
    fn a_tls_listener_needs_a_certificate() {
        let args = Line::parse_from(["up", "d", "--listen-tls", "127.0.0.1:0"]).args;
        assert!(args.overlay(&mut EgressGatewaySpec::default()).is_err());
    }
}
