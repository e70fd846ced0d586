//! `exitgate ca init`: a root of one's own.

use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_gateway::authority;

use super::files::{self, Readers};
use super::{Key, common_name, problem, settings};
use crate::failure::Failure;
use crate::output;

/// Makes a root certificate and its key.
#[derive(clap::Args)]
#[command(after_help = "\
Writes DIR/ca.pem and DIR/ca-key.pem (mode 0600). Existing files are never overwritten.

Examples:
  exitgate ca init ca/
  exitgate ca init ca/ --name \"Example egress root 2027\" --days 180
  exitgate ca init ca/ --key rsa")]
pub(super) struct Args {
    /// Where the files go; made if it does not exist.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The name that clients show for it [default: Exitgate root and a part of its key's hash]
    #[arg(long, value_name = "NAME", value_parser = common_name)]
    name: Option<String>,
    /// The kind of its key.
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Key::Ecdsa)]
    key: Key,
    /// How many days it is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let otherwise = "choose another folder, or move the old files away if nothing uses them";
    files::must_be_new(&args.dir, &[files::CERTIFICATE, files::KEY], otherwise)?;
    let now = exitgate_runtime::clock::unix_seconds();
    let root = authority::create_root(args.name.as_deref(), args.key.into(), args.days, now)
        .map_err(|error| problem(&args.dir, &error))?;
    files::folder(&args.dir)?;
    let key = files::create(&args.dir, files::KEY, &root.key_pem, Readers::Owner)?;
    let certificate = files::create(
        &args.dir,
        files::CERTIFICATE,
        &root.certificate_pem,
        Readers::Everyone,
    )?;
    output::line(format_args!(
        "{}  the root; clients must trust it",
        certificate.display()
    ))?;
    output::line(format_args!(
        "{}  its private key; whoever has it can read your traffic",
        key.display()
    ))?;
    output::line(format_args!("\nNext, in the EgressGateway document:"))?;
    settings(&args.dir, &[])?;
    output::line(format_args!(
        "and have clients trust the root, for example: curl --cacert {} --proxy ...",
        certificate.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
