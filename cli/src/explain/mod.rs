//! `exitgate explain`: what the policies in a directory would decide, and which rules made it so.

mod answer;
mod question;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use exitgate_controller::source::{self, Options};
use exitgate_policy::Workload;

use crate::failure::Failure;
use crate::output;
use question::Question;

/// Says what would be decided for a request and why, without sending it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same decision function as in the gateway, asked phase by phase: by name (preDns), with address, handshake and \
request (preRequest), with the response (postResponse). Names are not looked up: give --address, or an address is \
taken from the hosts file in the settings, or else some public address is assumed.

Examples:
  exitgate explain --policies policies/ --from pay/billing https://api.pay.example/v2/cards
  exitgate explain --policies policies/ --method POST --header 'User-Agent: sqlmap/1.8' http://shop.example/
  exitgate explain --policies policies/ --sni other.example https://shop.example/
  exitgate explain --policies policies/ --status 500 -o json http://shop.example/
  exitgate explain --policies policies/ --address 10.0.0.7 tcp://db.partner.example:5432

Exit codes: 0 answered (whatever the verdict), 1 the policies have errors, 2 wrong usage.")]
pub(crate) struct Args {
    /// The directory (or file) with the policies.
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: PathBuf,
    /// The workload that asks.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "default/local")]
    pub(crate) from: String,
    /// A label of that workload, where the settings do not list the workload (repeatable).
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The service account of that workload, where the settings do not list it.
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Option<String>,
    /// The method of the request.
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// The path of the request, in place of the one in the URL.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// A header of the request (repeatable).
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The status of the response; without it the response is taken as still to come.
    #[arg(long)]
    pub(crate) status: Option<u16>,
    /// A header of the response (repeatable); needs --status.
    #[arg(
        long = "response-header",
        value_name = "NAME: VALUE",
        requires = "status"
    )]
    pub(crate) response_headers: Vec<String>,
    /// The server name in the TLS handshake, or `none`. Unless given, the host of the URL.
    #[arg(long, value_name = "NAME|none")]
    pub(crate) sni: Option<String>,
    /// An address that the name resolves to (repeatable; each is judged).
    #[arg(long = "address", value_name = "IP")]
    pub(crate) addresses: Vec<IpAddr>,
    /// The address that the workload connects from.
    #[arg(long, value_name = "IP")]
    pub(crate) source: Option<IpAddr>,
    /// http://, https:// or tcp://HOST:PORT; a bare host means https.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) output: output::Format,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let question = Question::parse(args).map_err(Failure::Usage)?;
    let mut loaded = source::load(std::slice::from_ref(&args.policies), &Options::default())?;
    let Some(policies) = loaded.compile() else {
        for diagnostic in loaded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
        {
            output::note(format_args!("{diagnostic}"));
        }
        return Err(Failure::Problem(
            "the policies have errors; nothing is explained".into(),
        ));
    };
    let (workload, listed) = workload(args, &loaded.snapshot.workloads).map_err(Failure::Usage)?;
    let hosts_file = loaded.snapshot.settings.dns.hosts_file.as_deref();
    let answer = answer::answer(
        &question,
        &policies.view(&workload),
        hosts_file,
        policies.revision(),
    );
    if args.output.is_json() {
        output::json(&answer.to_json(&workload, listed))?;
    } else {
        answer.print(&workload, listed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The workload that asks, and whether the settings know it.
fn workload(args: &Args, known: &[Workload]) -> Result<(Workload, bool), String> {
    let (namespace, name) = args
        .from
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
        .ok_or_else(|| format!("--from {:?} is not NAMESPACE/NAME", args.from))?;
    let listed = known
        .iter()
        .find(|workload| workload.namespace == namespace && workload.name == name);
    let mut workload = listed.cloned().unwrap_or_else(|| Workload {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Workload::default()
    });
    for label in &args.labels {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| format!("--label {label:?} is not KEY=VALUE"))?;
        workload.labels.insert(key.to_owned(), value.to_owned());
    }
    if args.service_account.is_some() {
        workload.service_account.clone_from(&args.service_account);
    }
    Ok((workload, listed.is_some()))
}
