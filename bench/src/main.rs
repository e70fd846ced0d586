//! The load side of the benchmark: origin, load generator and a bare relay in one program.
//!
//! It knows nothing of Exitgate: every proxy is an address that speaks HTTP CONNECT. Everything is
//! on loopback, every run is bounded by time or by a count, and each party is one thread.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are for people; counts stay far below 2^52"
)]

mod cpu;
mod dns;
mod https;
mod load;
mod measure;
mod modes;
mod net;
mod origin;
mod relay;
mod tls;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve echo, TLS echo, HTTP, bulk and two kinds of HTTPS on six ports, and DNS
    Origin(origin::Options),
    /// A CONNECT relay without policy, accounting or records: what the system calls alone cost
    Relay(relay::Options),
    /// Make a CA for proxies that open TLS: a certificate and its key
    Authority(tls::Authority),
    /// Run one mode against a proxy (or directly) and print one JSON line
    Load(load::Options),
}

fn run() -> Result<()> {
    let args = Args::parse();
    net::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        match args.command {
            Command::Origin(o) => origin::run(o).await,
            Command::Relay(o) => relay::run(o).await,
            Command::Authority(o) => tls::authority(&o),
            Command::Load(o) => load::run(o).await,
        }
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            net::note(&format!("exitgate-bench: {e}"));
            ExitCode::FAILURE
        }
    }
}
