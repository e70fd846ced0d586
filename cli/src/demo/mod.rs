//! `exitgate demo`: the bundled example, run for real on this machine.

mod bundle;
mod client;
mod expect;
mod origins;
mod records;
mod report;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use exitgate_controller::source::{self, Options};
use exitgate_gateway::authority::{self, KeyKind};
use exitgate_policy::model::TlsSettings;
use exitgate_policy::{Overflow, RecordSink, SinkType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::failure::{Failure, PROBLEM};
use crate::output;
use crate::serve::{self, Server};
use bundle::{Bundle, PARTS};
use client::Surroundings;
use expect::Row;
use origins::Origins;
use records::Records;
use report::{Outcome, Report};

/// Runs a gateway on a bundled example and shows what it does with real requests.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Starts two small web servers on loopback and a gateway in front of them, sends each request of the example through \
the gateway and compares what the gateway recorded with what the example expects. The example exists as one policy and \
as three policies, one per phase; both are run and must agree. A second example has rules about what is inside TLS: \
methods, response types, a credential that the gateway adds. For it the gateway gets a CA that is made for the run, \
and the client trusts that CA where TLS is to be opened and the origin alone where it must not be. Nothing leaves \
this machine.

Examples:
  exitgate demo
  exitgate demo --dir my-demo    the first run writes the example there; change a rule and run it again

Exit codes: 0 everything as expected, 1 a request came out differently (its row is named), 3 the system refused.")]
pub(crate) struct Args {
    /// A directory for the example: used if it is there, written if not. Unless given, a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: output::Format,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bundle = Bundle::open(args.dir.as_deref())?;
    let log = serve::logging("error")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::System(format!("cannot start: {error}")))?;
    let report = runtime.block_on(demo(&bundle, &log))?;
    if args.output.is_json() {
        output::json(&report.to_json())?;
    } else {
        report.print(bundle.folder(), args.dir.is_some())?;
    }
    if report.differences().is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for difference in report.differences() {
        output::note(format_args!("error: {difference}"));
    }
    Ok(PROBLEM.into())
}

async fn demo(bundle: &Bundle, log: &serve::Log) -> Result<Report, Failure> {
    let folder = bundle.folder();
    let mut parts = Vec::new();
    for part in &PARTS {
        let rows = expect::read(&folder.join(part.expectations)).map_err(Failure::Problem)?;
        parts.push((part, rows));
    }
    let key = std::fs::read_to_string(folder.join(bundle::TOKEN)).unwrap_or_default();
    let rows = parts.iter().flat_map(|(_, rows)| rows);
    let origins = Origins::start(rows, key.trim().to_owned())
        .await
        .map_err(|error| Failure::System(format!("cannot start the origins: {error}")))?;
    let run = Run {
        bundle,
        authority: Authority::create(bundle.scratch(), &origins)?,
        origins,
        log,
    };
    let mut report = Report::default();
    for (part, rows) in &parts {
        for form in part.forms {
            let outcomes = run.form(form, rows).await?;
            report.add(form, part.forms, rows, outcomes);
        }
    }
    Ok(report)
}

/// The certificates of a gateway that opens TLS, made for one run.
struct Authority {
    certificate: PathBuf,
    key: PathBuf,
    /// Whom this gateway trusts: the origins of the demo, and nobody else.
    origins: PathBuf,
    root: CertificateDer<'static>,
}

impl Authority {
    /// The same root as that of `exitgate ca init`, in `scratch`.
    fn create(scratch: &Path, origins: &Origins) -> Result<Self, Failure> {
        let now = exitgate_runtime::clock::unix_seconds();
        let made = authority::create_root(
            Some("Root of exitgate demo"),
            KeyKind::Ecdsa,
            ROOT_DAYS,
            now,
        )
        .map_err(|error| Failure::System(format!("cannot make a root: {error}")))?;
        let root = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes())
            .map_err(|error| Failure::System(format!("cannot make a root: {error}")))?;
        let write = |name: &str, text: &str| {
            let path = scratch.join(name);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| Failure::System(format!("{}: {error}", path.display())))?;
            Ok::<_, Failure>(path)
        };
        Ok(Self {
            certificate: write("ca.pem", &made.certificate_pem)?,
            key: write("ca-key.pem", &made.key_pem)?,
            origins: write("origins.pem", &origins.root_pem)?,
            root,
        })
    }

    /// Puts these files in the place of those that the example names.
    fn apply(&self, settings: &mut TlsSettings) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        if let Some(authority) = &mut settings.authority {
            authority.cert_file = text(&self.certificate);
            authority.key_file = text(&self.key);
        }
        settings.system_roots_file = Some(text(&self.origins));
    }
}

/// What all forms of the policy are run with.
struct Run<'a> {
    bundle: &'a Bundle,
    authority: Authority,
    origins: Origins,
    log: &'a serve::Log,
}

impl Run<'_> {
    /// Runs every request under one form of the policy.
    async fn form(&self, form: &str, rows: &[Row]) -> Result<Vec<Outcome>, Failure> {
        let folder = self.bundle.folder().join(form);
        let mut loaded = source::load(std::slice::from_ref(&folder), &Options::default())?;
        let compiled = loaded.compile();
        if compiled.is_none() {
            for diagnostic in &loaded.diagnostics {
                output::note(format_args!("{diagnostic}"));
            }
            return Err(Failure::Problem(format!(
                "the policies in {} have errors",
                folder.display()
            )));
        }
        let file = self
            .bundle
            .scratch()
            .join(format!("{}.jsonl", form.replace('/', "-")));
        let settings = &mut loaded.snapshot.settings;
        self.authority.apply(&mut settings.tls);
        settings.listeners.proxy = vec!["127.0.0.1:0".to_owned()];
        settings.records = Some(vec![RecordSink {
            kind: SinkType::File,
            path: Some(file.to_string_lossy().into_owned()),
            max_bytes: None,
            keep: None,
            classes: Vec::new(),
            verdicts: Vec::new(),
            overflow: Overflow::default(),
        }]);
        let mut proxy = None;
        let server = Server::start(
            loaded.snapshot,
            &loaded.secrets,
            self.log.clone(),
            |role, url| {
                if role == "proxy" {
                    proxy = url
                        .strip_prefix("http://")
                        .and_then(|address| address.parse().ok());
                }
            },
        )?;
        let around = Surroundings {
            proxy: proxy
                .ok_or_else(|| Failure::System("the gateway named no proxy address".into()))?,
            origins: &self.origins,
            gateway_root: Some(self.authority.root.clone()),
        };
        let mut records = Records::new(file);
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let saw = client::send(&around, row).await;
            let record = records
                .next(RECORD_WAIT)
                .await
                .map_err(|error| Failure::System(format!("{}: {error}", row.name)))?;
            outcomes.push(Outcome { saw, record });
        }
        tokio::time::timeout(DRAIN_WAIT, server.drain()).await.ok();
        Ok(outcomes)
    }
}

/// A record is written when its connection ends, which for a closed tunnel is at once.
const RECORD_WAIT: Duration = Duration::from_secs(10);
/// The root is thrown away after the run.
const ROOT_DAYS: u32 = 1;
const DRAIN_WAIT: Duration = Duration::from_secs(3);
