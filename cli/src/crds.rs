//! `exitgate crds`: the definitions of the kinds for a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_controller::api::Kind;
use exitgate_controller::crd;

use crate::failure::Failure;
use crate::output;

/// Prints the CustomResourceDefinitions of all kinds as YAML.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  exitgate crds | kubectl apply --server-side -f -")]
pub(crate) struct Args {
    /// Write one file for each kind into this folder instead.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let failed = |error: crd::DefinitionError| Failure::System(error.to_string());
    for kind in Kind::ALL {
        let text = crd::to_yaml(&crd::definition(kind).map_err(failed)?).map_err(failed)?;
        match &args.dir {
            None => output::line(format_args!("---\n{}", text.trim_end()))?,
            Some(folder) => {
                let path = folder.join(crd::file_name(kind));
                std::fs::write(&path, text)
                    .map_err(|error| Failure::System(format!("{}: {error}", path.display())))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
