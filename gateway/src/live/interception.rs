//! What opening TLS needs: who signs, how origins are reached, and which clients did not take our certificates.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use exitgate_policy::model::{self, Inspection, TlsAuthority, TlsSettings, TlsUpstream};
use exitgate_policy::name::Name;
use exitgate_policy::{InspectedNames, PolicySet};
use parking_lot::Mutex;
use rustls::ServerConfig;

use crate::authority::{Authority, AuthorityError, Bounds, Custody, Names, Settings};
use crate::http2::Parked;
use crate::origin::{self, OriginError, Origins};
use crate::session::base_config;

/// Hosts whose refused handshakes are counted one by one.
const COUNTED_HOSTS: usize = 4096;

/// The means of one fleet to open TLS.
pub struct Interception {
    /// Makes the certificates that clients see.
    pub authority: Authority,
    /// Reaches the origins.
    pub origins: Origins,
    /// HTTP/2 connections with origins that wait for their next client.
    pub(crate) parked: Arc<Parked>,
    /// What every handshake with a client starts from.
    pub(crate) base_config: ServerConfig,
    pub(crate) rejections: Arc<Rejections>,
    files: Vec<Vec<u8>>,
    settings: TlsSettings,
}

/// Why TLS cannot be opened although the settings ask for it.
#[derive(Debug, thiserror::Error)]
pub enum InterceptionError {
    /// Nothing signs.
    #[error(
        "spec.tls.authority: missing; inspection: On needs a CA: `exitgate ca init DIR` makes one for development, `exitgate ca csr DIR` asks an enterprise CA for one"
    )]
    NoAuthority,
    /// The CA cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The settings for origins cannot be used.
    #[error("spec.tls.{0}")]
    Origins(#[from] OriginError),
    /// The TLS library refuses its own defaults.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Interception {
    /// Builds what the settings ask for. What is there already goes on where it can: leaves, kept connections, sessions.
    pub(super) fn build(
        settings: &TlsSettings,
        policy: &PolicySet,
        base: &Path,
        previous: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, InterceptionError> {
        match settings.inspection {
            Inspection::Off => return Ok(None),
            Inspection::On => {}
        }
        let wanted = settings
            .authority
            .as_ref()
            .ok_or(InterceptionError::NoAuthority)?;
        let names = names(&policy.inspected_names());
        let from = authority_settings(wanted, base);
        let files = read(&from);
        let Some(previous) = previous else {
            return Ok(Some(Arc::new(Self {
                authority: Authority::load(&from, names)?,
                origins: Origins::new(&origin_settings(settings), base)?,
                parked: Arc::default(),
                base_config: base_config()?,
                rejections: Arc::default(),
                files,
                settings: settings.clone(),
            })));
        };
        // First what can fail, so that a refused change leaves nothing half done.
        let origins = previous.origins.renewed(&origin_settings(settings), base)?;
        if previous.settings.authority == settings.authority && previous.files == files {
            previous.authority.update(names);
        } else {
            previous.authority.reload(&from, names)?;
        }
        Ok(Some(Arc::new(Self {
            authority: previous.authority.clone(),
            origins,
            parked: previous.parked.clone(),
            base_config: previous.base_config.clone(),
            rejections: previous.rejections.clone(),
            files,
            settings: settings.clone(),
        })))
    }
}

/// The bytes of the CA's files; a file that cannot be read counts as empty here, and its reader says why.
fn read(from: &Settings) -> Vec<Vec<u8>> {
    [&from.certificates, &from.key]
        .into_iter()
        .chain(&from.trust)
        .map(|path| std::fs::read(path).unwrap_or_default())
        .collect()
}

fn authority_settings(wanted: &TlsAuthority, base: &Path) -> Settings {
    Settings {
        custody: match wanted.custody {
            model::Custody::Development => Custody::Development,
            model::Custody::PerGateway => Custody::PerGateway,
            model::Custody::PerLeaf => Custody::PerLeaf,
        },
        certificates: base.join(&wanted.cert_file),
        key: base.join(&wanted.key_file),
        trust: wanted
            .trust_files
            .iter()
            .map(|file| base.join(file))
            .collect(),
        bounds: match wanted.constraints {
            model::NameConstraints::Auto => Bounds::Auto,
            model::NameConstraints::ExclusionsOnly => {
                Bounds::ExclusionsOnly(wanted.excluded.clone())
            }
        },
        lifetime: wanted.lifetime(),
    }
}

fn origin_settings(settings: &TlsSettings) -> origin::Config {
    let upstream = |from: &TlsUpstream| origin::Upstream {
        name: from.name.clone(),
        hosts: from.hosts.clone(),
        namespaces: from.namespaces.clone(),
        ca_file: from.ca_file.clone(),
        client_certificate: from
            .client_certificate
            .as_ref()
            .map(|pair| origin::Identity {
                cert_file: pair.cert_file.clone(),
                key_file: pair.key_file.clone(),
            }),
        insecure_skip_verify: from.insecure_skip_verify,
    };
    origin::Config {
        system_roots_file: settings.system_roots_file.clone(),
        upstreams: settings.upstreams.iter().map(upstream).collect(),
    }
}

fn names(inspected: &InspectedNames) -> Names {
    match inspected {
        InspectedNames::Bounded(subtrees) => Names::Bounded(
            subtrees
                .iter()
                .map(|subtree| subtree.name().to_string())
                .collect(),
        ),
        InspectedNames::Unbounded => Names::Unbounded,
    }
}

/// How often clients refused our certificate, by host. Bounded: what comes after the bound is counted together.
#[derive(Default)]
pub(crate) struct Rejections(Mutex<HashMap<Name, u64>>);

impl Rejections {
    /// Counts one more and tells how many there are.
    pub(crate) fn count(&self, name: &Name) -> u64 {
        let mut hosts = self.0.lock();
        if hosts.len() >= COUNTED_HOSTS && !hosts.contains_key(name) {
            return 1;
        }
        let count = hosts.entry(name.clone()).or_default();
        *count += 1;
        *count
    }
}
