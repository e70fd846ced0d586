//! `exitgate ca import`: what an enterprise CA has sent back.

use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_gateway::authority;

use super::files::{self, Readers};
use super::{problem, settings};
use crate::failure::Failure;
use crate::output;

/// Checks and takes the certificate that was issued for a request of `ca csr`.
#[derive(clap::Args)]
#[command(after_help = "\
Checks that the certificate belongs to DIR/ca-key.pem, is in date and a CA with all that strict clients demand, and that \
those above it have signed it. Then writes DIR/ca.pem: the certificate and those above it, without the root. A root \
among them goes to DIR/ca-root.pem.

Examples:
  exitgate ca import ca/ issued.pem --chain enterprise-chain.pem
  exitgate ca import ca/ renewed.pem --chain enterprise-chain.pem --replace")]
pub(super) struct Args {
    /// The folder of `ca csr`.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The certificate that was issued, PEM.
    #[arg(value_name = "CERT")]
    certificate: PathBuf,
    /// The certificates above it, PEM, in any order; the root may be among them.
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Overwrite the ca.pem that is there: a running gateway takes it at once.
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if !args.replace {
        let otherwise = "add --replace if the new certificate is to take its place";
        files::must_be_new(&args.dir, &[files::CERTIFICATE], otherwise)?;
    }
    let key = files::read(&args.dir.join(files::KEY))?;
    let certificate = files::read(&args.certificate)?;
    let chain = args.chain.as_deref().map(files::read).transpose()?;
    let now = exitgate_runtime::clock::unix_seconds();
    let imported = authority::import(&certificate, chain.as_deref(), &key, now)
        .map_err(|error| problem(&args.certificate, &error))?;
    let path = if args.replace {
        files::replace(&args.dir, files::CERTIFICATE, &imported.chain_pem)?
    } else {
        files::create(
            &args.dir,
            files::CERTIFICATE,
            &imported.chain_pem,
            Readers::Everyone,
        )?
    };
    output::line(format_args!(
        "{}  the certificate and those above it",
        path.display()
    ))?;
    let mut more = Vec::new();
    match &imported.root_pem {
        Some(root) => {
            let root = files::replace(&args.dir, files::ROOT, root)?;
            output::line(format_args!(
                "{}  the root, which clients must trust",
                root.display()
            ))?;
            let root = root.canonicalize().unwrap_or(root);
            more.push(format!("trustFiles: [{}]", root.display()));
        }
        None => {
            output::note(format_args!(
                "note: the root is not among the certificates; name its file in trustFiles, so that the bundle for clients \
                 holds it"
            ));
        }
    }
    if !imported.may_issue {
        more.push("custody: PerLeaf".to_owned());
        output::note(format_args!(
            "note: its path length allows it to sign leaf certificates only, so custody must be PerLeaf; for a gateway with \
             a CA of its own have it issued with path length 1"
        ));
    }
    output::line(format_args!("\nNext, in the EgressGateway document:"))?;
    settings(&args.dir, &more)?;
    Ok(ExitCode::SUCCESS)
}
