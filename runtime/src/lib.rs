//! What every Exitgate binary shares: logging, admin server, shutdown, build information.

pub mod admin;
pub mod build;
pub mod clock;
pub mod logging;
pub mod signals;
