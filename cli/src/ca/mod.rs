//! `exitgate ca`: the certificate authority that intercepted clients trust.

mod csr;
mod files;
mod import;
mod init;

use std::path::Path;
use std::process::ExitCode;

use exitgate_gateway::authority::{CaProblem, KeyKind};

use crate::failure::Failure;
use crate::output;

/// Makes, requests or imports the certificate authority for TLS inspection.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Two ways to get one:
  exitgate ca init ca/           a root of your own; clients must be told to trust it
  exitgate ca csr ca/            a request that your enterprise CA signs; then
  exitgate ca import ca/ CERT    takes what it sent back; clients trust the enterprise root already

Exit codes: 0 fine, 1 a certificate or key cannot be used, 2 wrong usage, 3 a file cannot be read or written."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Csr(csr::Args),
    Import(import::Args),
    Init(init::Args),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Csr(args) => csr::run(args),
        Command::Import(args) => import::run(args),
        Command::Init(args) => init::run(args),
    }
}

/// The kind of a new key.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Key {
    /// P-256: small and fast, understood by everything of the last ten years.
    Ecdsa,
    /// RSA 3072: for clients that cannot do ECDSA.
    Rsa,
}

impl From<Key> for KeyKind {
    fn from(key: Key) -> Self {
        match key {
            Key::Ecdsa => Self::Ecdsa,
            Key::Rsa => Self::Rsa,
        }
    }
}

/// A common name that certificates can carry.
fn common_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        Err("a name is needed".to_owned())
    } else if length > 64 {
        Err(format!("{length} characters, 64 are the most"))
    } else if text.chars().any(char::is_control) {
        Err("control characters are not accepted".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn problem(path: &Path, problem: &CaProblem) -> Failure {
    Failure::Problem(format!("{}: {problem}", path.display()))
}

/// The part of an `EgressGateway` that uses the files.
fn settings(dir: &Path, more: &[String]) -> Result<(), Failure> {
    // Relative paths in documents are looked up from the documents' folder, which is not known here.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    output::line(format_args!("  spec:"))?;
    output::line(format_args!("    tls:"))?;
    output::line(format_args!("      inspection: On"))?;
    output::line(format_args!("      authority:"))?;
    for (key, file) in [("certFile", files::CERTIFICATE), ("keyFile", files::KEY)] {
        output::line(format_args!("        {key}: {}", dir.join(file).display()))?;
    }
    for line in more {
        output::line(format_args!("        {line}"))?;
    }
    Ok(())
}
