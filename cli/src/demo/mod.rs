//! `exitgate demo`: the bundled example, run for real on this machine.

mod bundle;
mod client;
mod expect;
mod origins;
mod records;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use exitgate_controller::source::{self, Options};
use exitgate_policy::{Overflow, RecordSink, SinkType};

use crate::failure::{Failure, PROBLEM};
use crate::output;
use crate::serve::{self, Server};
use bundle::Bundle;
use expect::Row;
use origins::Origins;
use records::Records;
use report::{Outcome, Report};

/// Runs a gateway on a bundled example and shows what it does with real requests.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Starts two small web servers on loopback and a gateway in front of them, sends each request of the example through \
the gateway and compares what the gateway recorded with what the example expects. The example exists as one policy and \
as three policies, one per phase; both are run and must agree. Nothing leaves this machine.

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
    let rows =
        expect::read(&bundle.folder().join(bundle::EXPECTATIONS)).map_err(Failure::Problem)?;
    let origins = Origins::start(&rows)
        .await
        .map_err(|error| Failure::System(format!("cannot start the origins: {error}")))?;
    let mut report = Report::default();
    for form in bundle::FORMS {
        let outcomes = run_form(
            &bundle.folder().join(form),
            bundle.scratch(),
            form,
            &rows,
            &origins,
            log,
        )
        .await?;
        report.add(form, &rows, outcomes);
    }
    Ok(report)
}

/// Runs every request under one form of the policy.
async fn run_form(
    folder: &Path,
    scratch: &Path,
    form: &str,
    rows: &[Row],
    origins: &Origins,
    log: &serve::Log,
) -> Result<Vec<Outcome>, Failure> {
    let mut loaded = source::load(&[folder.to_path_buf()], &Options::default())?;
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
    let file = scratch.join(format!("{form}.jsonl"));
    let settings = &mut loaded.snapshot.settings;
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
    let server = Server::start(loaded.snapshot, log.clone(), |role, url| {
        if role == "proxy" {
            proxy = url
                .strip_prefix("http://")
                .and_then(|address| address.parse().ok());
        }
    })?;
    let address =
        proxy.ok_or_else(|| Failure::System("the gateway named no proxy address".into()))?;
    let mut records = Records::new(file);
    let mut outcomes = Vec::with_capacity(rows.len());
    for row in rows {
        let saw = client::send(address, row, origins).await;
        let record = records
            .next(RECORD_WAIT)
            .await
            .map_err(|error| Failure::System(format!("{}: {error}", row.name)))?;
        outcomes.push(Outcome { saw, record });
    }
    tokio::time::timeout(DRAIN_WAIT, server.drain()).await.ok();
    Ok(outcomes)
}

/// A record is written when its connection ends, which for a closed tunnel is at once.
const RECORD_WAIT: Duration = Duration::from_secs(10);
const DRAIN_WAIT: Duration = Duration::from_secs(3);
