//! The settings of an `EgressGateway`, parsed once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use exitgate_policy::model::{Dns, EgressGatewaySpec};
use exitgate_policy::name::{Authority, Host};

use crate::resolve::{self, Resolver};

/// Deadlines, limits and the parent proxy of one revision.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First client bytes after a tunnel is granted.
    pub peek: Duration,
    /// Resolving and connecting.
    pub dial: Duration,
    /// Silence in both directions.
    pub idle: Duration,
    /// Life of a connection.
    pub total: Duration,
    /// Grace of an open tunnel that policy no longer allows.
    pub recheck_grace: Duration,
    /// One head.
    pub head: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Bytes of a ClientHello.
    pub hello_bytes: usize,
    /// Connections of one workload.
    pub per_workload: usize,
    /// Connections in total.
    pub in_total: usize,
    /// One refused answer refuses the name.
    pub strict_answers: bool,
    /// The proxy that connections are chained to.
    pub parent: Option<Authority>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A parent that is no authority.
    #[error(
        "spec.parent.address: {0:?} is not HOST:PORT; write for example 192.0.2.10:3128 or proxy.example:3128"
    )]
    Parent(String),
}

impl Settings {
    /// Parses the settings.
    pub fn read(spec: &EgressGatewaySpec) -> Result<Self, SettingsError> {
        let parent = match &spec.parent {
            None => None,
            Some(parent) => Some(
                Authority::parse(parent.address.as_bytes())
                    .ok()
                    .filter(|a| a.port.is_some())
                    .ok_or_else(|| SettingsError::Parent(parent.address.clone()))?,
            ),
        };
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Self {
            peek: spec.timeouts.peek(),
            dial: spec.timeouts.dial(),
            idle: spec.timeouts.idle(),
            total: spec.timeouts.total(),
            recheck_grace: spec.timeouts.recheck_grace(),
            head: spec.timeouts.head(),
            head_bytes: size(spec.limits.head_bytes()),
            hello_bytes: size(spec.limits.hello_bytes()),
            per_workload: size(spec.limits.connections_per_workload()),
            in_total: size(spec.limits.connections_total()),
            strict_answers: spec.dns.strict_answers,
            parent,
        })
    }

    /// The parent's addresses, where it is given by address.
    pub fn parent_literal(&self) -> Option<SocketAddr> {
        let parent = self.parent.as_ref()?;
        match (&parent.host, parent.port) {
            (Host::Addr(address), Some(port)) => Some(SocketAddr::new(*address, port)),
            _ => None,
        }
    }
}

/// A resolver as configured.
pub(super) fn resolver(dns: &Dns, base: &Path) -> Result<Resolver, String> {
    let servers = dns
        .servers
        .iter()
        .enumerate()
        .map(|(index, text)| {
            text.parse::<SocketAddr>()
                .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)))
                .map_err(|_| format!("servers[{index}]: {text:?} is not an address; write for example 192.0.2.53:53"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let config = resolve::Config {
        servers,
        hosts_file: dns.hosts_file.as_ref().map(|file| base.join(file)),
        min_ttl: dns.min_ttl(),
        max_ttl: dns.max_ttl(),
        timeout: dns.timeout(),
        ..resolve::Config::default()
    };
    Resolver::new(config).map_err(|e| e.to_string())
}
