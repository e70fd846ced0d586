//! Operational log: plain lines on standard error, never mixed with records, with a level that can be
//! changed while running.

use std::sync::Arc;

use parking_lot::RwLock;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Changes and tells the log level of a running process.
#[derive(Clone, Debug)]
pub struct LogLevel {
    handle: Option<reload::Handle<EnvFilter, tracing_subscriber::Registry>>,
    current: Arc<RwLock<String>>,
}

/// A filter expression that could not be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "log filter {value:?} is not valid: {reason}; use for example `info` or `warn,exitgate_gateway=debug`"
)]
pub struct BadFilter {
    value: String,
    reason: String,
}

impl LogLevel {
    /// A level that is recorded but drives no subscriber, for processes that have their own.
    pub fn detached() -> Self {
        Self {
            handle: None,
            current: Arc::new(RwLock::new("info".to_owned())),
        }
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        self.current.read().clone()
    }

    /// Puts another filter in force.
    pub fn set(&self, filter: &str) -> Result<(), BadFilter> {
        let parsed = parse(filter)?;
        if let Some(handle) = &self.handle {
            handle.reload(parsed).map_err(|e| BadFilter {
                value: filter.to_owned(),
                reason: e.to_string(),
            })?;
        }
        filter.clone_into(&mut self.current.write());
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::builder().parse(filter).map_err(|e| BadFilter {
        value: filter.to_owned(),
        reason: e.to_string(),
    })
}

/// Starts logging with `filter`. A second call in one process leaves the first in force.
pub fn init(filter: &str) -> Result<LogLevel, BadFilter> {
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    let started = tracing_subscriber::registry()
        .with(layer)
        .with(format)
        .try_init()
        .is_ok();
    Ok(LogLevel {
        handle: started.then_some(handle),
        current: Arc::new(RwLock::new(filter.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_and_changes_nothing() {
        let level = LogLevel::detached();
        assert!(level.set("exitgate=loudest").is_err());
        assert_eq!(level.current(), "info");
        level.set("debug").unwrap();
        assert_eq!(level.current(), "debug");
    }
}
