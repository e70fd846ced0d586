//! `exitgate ca csr`: a request to an enterprise CA.

use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_gateway::authority;

use super::files::{self, Readers};
use super::{Key, common_name, problem};
use crate::failure::Failure;
use crate::output;

/// Makes a key and a request to have it signed as a subordinate of another CA.
#[derive(clap::Args)]
#[command(after_help = "\
Writes DIR/ca-key.pem (mode 0600) and DIR/ca.csr. The key never leaves the folder.

Have the request signed as a certificate authority: basic constraints CA with path length 1 (path length 0 will do for \
custody PerLeaf only), key usage keyCertSign, with subject key identifier. Then `exitgate ca import`.

Examples:
  exitgate ca csr ca/ --name \"Example egress CA\"
  exitgate ca csr ca/ --keep-key          the same key again, for a renewal")]
pub(super) struct Args {
    /// Where the files go; made if it does not exist.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The name to ask for; the other CA may give another.
    #[arg(long, value_name = "NAME", default_value = "Exitgate egress CA", value_parser = common_name)]
    name: String,
    /// The kind of its key.
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Key::Ecdsa)]
    key: Key,
    /// Use the key that DIR has, and replace the request.
    #[arg(long, conflicts_with = "key")]
    keep_key: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let path = args.dir.join(files::KEY);
    if !args.keep_key {
        let otherwise = "to ask for another certificate for this key add --keep-key, for a new key choose another folder";
        files::must_be_new(&args.dir, &[files::KEY, files::REQUEST], otherwise)?;
    }
    let kept = args.keep_key.then(|| files::read(&path)).transpose()?;
    let request = authority::create_request(&args.name, args.key.into(), kept.as_deref())
        .map_err(|error| problem(&path, &error))?;
    files::folder(&args.dir)?;
    if kept.is_none() {
        files::create(&args.dir, files::KEY, &request.key_pem, Readers::Owner)?;
    }
    let csr = files::replace(&args.dir, files::REQUEST, &request.certificate_pem)?;
    output::line(format_args!("{}  the request", csr.display()))?;
    output::line(format_args!(
        "{}  its private key; whoever has it can read your traffic",
        path.display()
    ))?;
    output::line(format_args!(
        "\nNext: have {} signed as a CA with path length 1, key usage keyCertSign and subject key identifier; then\n  \
         exitgate ca import {} CERTIFICATE --chain THOSE-ABOVE-IT",
        csr.display(),
        args.dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
