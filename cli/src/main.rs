//! The `exitgate` command.
//!
//! Each subcommand is a module with `Args` and `run`; [`output`] is the only place that writes to standard output and
//! [`serve`] the only one that knows the gateway.

mod ca;
mod check;
mod crds;
mod demo;
mod explain;
mod failure;
mod hash_password;
mod output;
mod serve;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Decides where workloads may connect, and can say why.
#[derive(Parser)]
#[command(
    name = "exitgate",
    version = exitgate_runtime::build::VERSION,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "\
Start here:
  exitgate demo                  watch a gateway judge requests, nothing to set up
  exitgate check policies/       find every mistake in a directory of policies
  exitgate up policies/          run a gateway on it

Exit codes: 0 fine, 1 a problem in policies or settings, 2 wrong usage, 3 the system refused (port, file)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ca(ca::Args),
    Check(check::Args),
    Crds(crds::Args),
    Demo(demo::Args),
    Explain(explain::Args),
    HashPassword(hash_password::Args),
    Up(up::Args),
    /// Prints the version.
    Version(VersionArgs),
}

#[derive(clap::Args)]
struct VersionArgs {
    #[command(flatten)]
    output: output::Format,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Ca(args) => ca::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::HashPassword(args) => hash_password::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Version(args) => version(&args),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::note(format_args!("error: {message}"));
            }
            failure.code()
        }
    }
}

fn version(args: &VersionArgs) -> Result<ExitCode, Failure> {
    let version = exitgate_runtime::build::VERSION;
    if args.output.is_json() {
        output::json(&serde_json::json!({ "name": "exitgate", "version": version }))?;
    } else {
        output::line(format_args!("exitgate {version}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
