//! Test kit of the Exitgate black-box suites.
//!
//! Every suite drives the built binary over loopback: a [`gateway::Gateway`] started on a folder of documents, a
//! [`dns::DnsStub`] as its only resolver, [`origin::Origin`]s that write down what reached them, and raw byte
//! [`client`]s. [`world::World`] puts the four together and holds what each row must satisfy at its end.
//!
//! 127.1.0.0/16 plays the internet (opened by one Admin `Pass` rule in the documents), 127.2.0.0/16 the private side
//! that no rule opens: an origin may listen there and must never be reached.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test kit: a failure is a panic that says what was awaited"
)]
#![allow(
    clippy::return_self_not_must_use,
    reason = "builders that a row chains; a forgotten one shows in its result"
)]
#![allow(
    clippy::unused_async,
    reason = "starting a server needs a runtime, and `async` says so in its type"
)]
#![allow(
    clippy::print_stderr,
    reason = "what a run found missing or measured is shown to its reader"
)]

pub mod client;
pub mod corpus;
pub mod deadline;
pub mod dns;
pub mod documents;
pub mod frames;
pub mod gateway;
pub mod hello;
pub mod http2;
pub mod kube;
pub mod log;
pub mod opened;
pub mod origin;
pub mod pki;
pub mod programs;
pub mod records;
pub mod rows;
pub mod scene;
pub mod tunnel;
pub mod world;
