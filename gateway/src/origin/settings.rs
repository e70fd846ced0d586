//! Whom we trust and who we are, by host and namespace.

use std::path::Path;
use std::sync::Arc;

use exitgate_policy::name::Name;
use exitgate_policy::pattern::HostPattern;
use rustls::crypto::CryptoProvider;

use super::client::Client;
use super::roots::{Files, OriginError};
use super::trust::{Mode, Trust};

/// The settings for origins.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// PEM file instead of the platform's bundle.
    pub system_roots_file: Option<String>,
    /// In this order; the first that matches counts.
    pub upstreams: Vec<Upstream>,
}

/// Whom to trust, and who we are, for some hosts.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// Its name in records.
    pub name: String,
    /// Host patterns.
    pub hosts: Vec<String>,
    /// Namespaces of workloads; none is all.
    pub namespaces: Vec<String>,
    /// Roots besides the system's, PEM.
    pub ca_file: Option<String>,
    /// Our own certificate.
    pub client_certificate: Option<Identity>,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Chain, PEM.
    pub cert_file: String,
    /// Key, PEM.
    pub key_file: String,
}

/// Trust and identity for some hosts.
pub(super) struct Route {
    pub(super) name: Option<Box<str>>,
    pub(super) trust: Arc<Trust>,
    pub(super) client: Arc<Client>,
}

struct Entry {
    hosts: Vec<HostPattern>,
    namespaces: Vec<String>,
    route: Arc<Route>,
}

/// All of them.
pub(super) struct Routes {
    pub(super) files: Files,
    entries: Vec<Entry>,
    system: Arc<Route>,
}

impl Routes {
    /// Reads what the settings name. What `previous` has and is equal is used on: sessions hang on the very same objects.
    pub(super) fn load(
        config: &Config,
        base: &Path,
        provider: &CryptoProvider,
        previous: Option<&Self>,
    ) -> Result<Self, OriginError> {
        let mut files = Files::default();
        let named = config
            .system_roots_file
            .as_ref()
            .map(|file| base.join(file));
        let roots = files.system(named.as_deref())?;
        let mut known = Known::of(previous);
        let system = Arc::new(Route {
            name: None,
            trust: known.trust(Trust::new(roots.clone(), Mode::Verify, provider)),
            client: known.client(Client::nobody()),
        });
        let mut entries = Vec::with_capacity(config.upstreams.len());
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let field = |name: &str| format!("upstreams[{index}].{name}");
            let hosts = upstream
                .hosts
                .iter()
                .enumerate()
                .map(|(at, text)| {
                    HostPattern::parse(text).map_err(|e| OriginError::Pattern {
                        field: format!("upstreams[{index}].hosts[{at}]"),
                        reason: e.to_string(),
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let mut anchors = roots.clone();
            if let Some(file) = &upstream.ca_file {
                anchors.extend(files.private(&base.join(file), &field("caFile"))?);
            }
            let mode = if upstream.insecure_skip_verify {
                Mode::Skip
            } else {
                Mode::Verify
            };
            let client = match &upstream.client_certificate {
                None => Client::nobody(),
                Some(identity) => Client::new(files.identity(
                    &base.join(&identity.cert_file),
                    &base.join(&identity.key_file),
                    &field("clientCertificate"),
                    provider,
                )?),
            };
            entries.push(Entry {
                hosts,
                namespaces: upstream.namespaces.clone(),
                route: Arc::new(Route {
                    name: Some(upstream.name.as_str().into()),
                    trust: known.trust(Trust::new(anchors, mode, provider)),
                    client: known.client(client),
                }),
            });
        }
        Ok(Self {
            files,
            entries,
            system,
        })
    }

    /// The first entry for this host and namespace, else the system's roots.
    pub(super) fn find(&self, namespace: &str, host: &Name) -> &Arc<Route> {
        self.entries
            .iter()
            .find(|entry| {
                (entry.namespaces.is_empty() || entry.namespaces.iter().any(|n| n == namespace))
                    && entry.hosts.iter().any(|pattern| pattern.matches(host))
            })
            .map_or(&self.system, |entry| &entry.route)
    }

    fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let entries = self.entries.iter().map(|entry| &entry.route);
        entries.chain([&self.system])
    }
}

/// Objects that exist already, by what they are.
struct Known {
    trusts: Vec<Arc<Trust>>,
    clients: Vec<Arc<Client>>,
}

impl Known {
    fn of(previous: Option<&Routes>) -> Self {
        let routes = || previous.into_iter().flat_map(Routes::routes);
        Self {
            trusts: routes().map(|route| route.trust.clone()).collect(),
            clients: routes().map(|route| route.client.clone()).collect(),
        }
    }

    fn trust(&mut self, new: Trust) -> Arc<Trust> {
        if let Some(known) = self.trusts.iter().find(|known| known.id == new.id) {
            return known.clone();
        }
        let new = Arc::new(new);
        self.trusts.push(new.clone());
        new
    }

    fn client(&mut self, new: Client) -> Arc<Client> {
        if let Some(known) = self.clients.iter().find(|known| known.id == new.id) {
            return known.clone();
        }
        let new = Arc::new(new);
        self.clients.push(new.clone());
        new
    }
}
