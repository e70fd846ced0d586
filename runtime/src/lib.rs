//! What every Exitgate binary shares: logging, admin server, shutdown, build information.
