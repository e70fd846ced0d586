//! `exitgate hash-password`: what a password hash file holds.

use std::io::Read;
use std::process::ExitCode;

use exitgate_gateway::identity::StoredHash;

use crate::failure::Failure;
use crate::output;

const MAX_PASSWORD: u64 = 1024;

/// Reads a password from standard input and prints its salted hash for `user.passwordHashFile`.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  printf %s \"$PASSWORD\" | exitgate hash-password > billing.hash")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode, Failure> {
    let mut password = Vec::new();
    let read = std::io::stdin()
        .take(MAX_PASSWORD + 1)
        .read_to_end(&mut password);
    read.map_err(|error| Failure::System(format!("standard input: {error}")))?;
    while password.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        password.pop();
    }
    if password.is_empty() {
        return Err(Failure::Usage("no password on standard input".to_owned()));
    }
    if password.len() as u64 > MAX_PASSWORD {
        return Err(Failure::Usage(format!(
            "a password has at most {MAX_PASSWORD} bytes"
        )));
    }
    output::line(format_args!("{}", StoredHash::create(&password)))?;
    Ok(ExitCode::SUCCESS)
}
