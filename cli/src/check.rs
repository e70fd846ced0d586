//! `exitgate check`: every problem in a set of documents, each with its place.

use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_controller::source::{self, Loaded, Options};
use exitgate_policy::DefaultAction;
use serde_json::json;

use crate::failure::{Failure, PROBLEM};
use crate::output;

/// Finds every mistake in policies, with file and line, without running anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads *.yaml, *.yml and *.json. All documents given are checked as one set, as `exitgate up` would use them. In the \
end it says how many errors and warnings there are.

Examples:
  exitgate check policies/
  exitgate check team-a.yaml team-b.yaml
  exitgate check -o json policies/ | jq -r '.diagnostics[].message'

Exit codes: 0 no errors (there may be warnings), 1 errors, 3 a file or directory cannot be read.")]
pub(crate) struct Args {
    /// Files and directories.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Take warnings as errors.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: output::Format,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut loaded = source::load(
        &args.paths,
        &Options {
            previous: None,
            strict: true,
        },
    )?;
    loaded.compile();
    let (errors, warnings) = source::count(&loaded.diagnostics);
    if args.output.is_json() {
        output::json(&json!({
            "errors": errors,
            "warnings": warnings,
            "files": loaded.files,
            "diagnostics": loaded.diagnostics,
        }))?;
    } else {
        for diagnostic in &loaded.diagnostics {
            output::line(format_args!("{diagnostic}"))?;
        }
        output::line(format_args!("{}", summary(&loaded, errors, warnings)))?;
        if loaded.snapshot.policies.is_empty() && errors == 0 {
            let action = loaded.snapshot.settings.default_action;
            output::line(format_args!("no policies: {}", without_policies(action)))?;
        }
    }
    let failed = errors > 0 || args.strict && warnings > 0;
    Ok(if failed {
        PROBLEM.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn summary(loaded: &Loaded, errors: usize, warnings: usize) -> String {
    let files = plural(loaded.files, "file", "files");
    if errors + warnings == 0 {
        let policies = plural(loaded.snapshot.policies.len(), "policy", "policies");
        let sets = plural(loaded.snapshot.sets.len(), "domain set", "domain sets");
        return format!("{files}: {policies}, {sets}; no problems");
    }
    let errors = plural(errors, "error", "errors");
    let warnings = plural(warnings, "warning", "warnings");
    format!("{files}: {errors}, {warnings}")
}

/// What holds where no policy is.
pub(crate) fn without_policies(action: DefaultAction) -> &'static str {
    match action {
        DefaultAction::Allow => "defaultAction is Allow, so everything public is allowed",
        DefaultAction::Deny => "everything is denied",
    }
}

pub(crate) fn plural(number: usize, one: &str, many: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {many}")
    }
}
