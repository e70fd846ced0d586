//! Which workload a connection belongs to.
//!
//! A mapping of the `EgressGateway` matches when everything it names holds: source range, verified proxy
//! credential, client certificate. All mappings that match must name the same workload; among those that name a
//! source range, only the narrowest count. Where the settings trust source addresses, the addresses of the known
//! workloads count as mappings of single addresses. Without either, every connection is `default/local` if the documents
//! come from a directory, and nobody's otherwise.

mod password;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exitgate_policy::decide::View;
use exitgate_policy::model::{SourceAddresses, WorkloadMapping};
use exitgate_policy::snapshot::{Snapshot, Workload};
use ipnet::IpNet;

use crate::limits::Share;
use crate::reason::Reason;
pub use password::{HashError, Passwords, StoredHash};

/// A workload with what decides for it.
pub struct Member {
    /// Who it is.
    pub workload: Arc<Workload>,
    /// Its policies.
    pub view: Arc<View>,
    /// Its share of the connections; outlives policy changes.
    pub share: Arc<Share>,
}

struct Mapping {
    member: usize,
    sources: Vec<IpNet>,
    user: Option<String>,
    san: Option<String>,
}

/// The mappings of one policy revision.
pub struct Identities {
    members: Vec<Arc<Member>>,
    mappings: Vec<Mapping>,
    users: HashMap<String, StoredHash>,
    /// By address, where addresses are trusted. None: more than one workload has it.
    addresses: HashMap<IpAddr, Option<usize>>,
}

/// A mapping that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A source range that cannot be read.
    #[error(
        "spec.workloads[{index}].source.cidrs: {value:?} is not a CIDR; write for example 192.0.2.0/24"
    )]
    Cidr { index: usize, value: String },
    /// A password hash that cannot be used.
    #[error("spec.workloads[{index}].user.passwordHashFile: {error}")]
    Password { index: usize, error: HashError },
}

/// What a connection shows about itself.
pub struct Shown<'a> {
    /// Its source address.
    pub source: IpAddr,
    /// The subject alternative names of its verified client certificate.
    pub sans: &'a [String],
    /// The value of `Proxy-Authorization`.
    pub credential: Option<&'a [u8]>,
}

/// The workload that a mapping names.
pub fn workload_of(mapping: &WorkloadMapping) -> Workload {
    Workload {
        namespace: mapping.namespace.clone(),
        name: mapping.name.clone(),
        labels: mapping.labels.clone(),
        service_account: mapping.service_account.clone(),
        namespace_labels: mapping.namespace_labels.clone(),
        ..Workload::default()
    }
}

/// The workload of every connection where nothing is mapped.
pub fn local_workload() -> Workload {
    Workload {
        namespace: "default".to_owned(),
        name: "local".to_owned(),
        ..Workload::default()
    }
}

impl Identities {
    /// Builds the mappings; `member` gives the state of a workload, `base` is where relative files are looked up.
    pub fn build(
        snapshot: &Snapshot,
        base: &Path,
        mut member: impl FnMut(Workload) -> Arc<Member>,
    ) -> Result<Self, IdentityError> {
        let mut built = Self {
            members: Vec::new(),
            mappings: Vec::new(),
            users: HashMap::new(),
            addresses: HashMap::new(),
        };
        let mappings = &snapshot.settings.workloads;
        let trusted = snapshot.settings.identity.source_addresses == SourceAddresses::Trusted;
        if mappings.is_empty() && !trusted && snapshot.standalone {
            built.members.push(member(local_workload()));
            built.mappings.push(Mapping {
                member: 0,
                sources: Vec::new(),
                user: None,
                san: None,
            });
            return Ok(built);
        }
        for (index, mapping) in mappings.iter().enumerate() {
            let sources = mapping
                .source
                .iter()
                .flat_map(|s| &s.cidrs)
                .map(|text| {
                    parse_net(text).ok_or_else(|| IdentityError::Cidr {
                        index,
                        value: text.clone(),
                    })
                })
                .collect::<Result<_, _>>()?;
            if let Some(user) = &mapping.user {
                let path: PathBuf = base.join(&user.password_hash_file);
                let hash = StoredHash::read(&path)
                    .map_err(|error| IdentityError::Password { index, error })?;
                built.users.insert(user.name.clone(), hash);
            }
            built.mappings.push(Mapping {
                member: index,
                sources,
                user: mapping.user.as_ref().map(|u| u.name.clone()),
                san: mapping.client_certificate.as_ref().map(|c| c.san.clone()),
            });
            built.members.push(member(workload_of(mapping)));
        }
        if trusted {
            built.trust(&snapshot.workloads, member);
        }
        Ok(built)
    }

    fn trust(&mut self, workloads: &[Workload], mut member: impl FnMut(Workload) -> Arc<Member>) {
        for workload in workloads.iter().filter(|w| !w.addresses.is_empty()) {
            let index = self.members.len();
            self.members.push(member(workload.clone()));
            for address in &workload.addresses {
                self.addresses
                    .entry(address.to_canonical())
                    .and_modify(|other| *other = None)
                    .or_insert(Some(index));
            }
        }
    }

    /// Names the workload, or says why none can be named. The verified user, if any, comes with it.
    pub async fn identify(
        &self,
        shown: &Shown<'_>,
        passwords: &Passwords,
    ) -> Result<(Arc<Member>, Option<String>), Reason> {
        let user = match shown.credential {
            None => None,
            // Nobody is asked for a password here: what a client sends unasked is not looked at, and not forwarded.
            Some(_) if self.users.is_empty() => None,
            Some(value) => {
                let (name, password) = basic(value).ok_or(Reason::ProxyAuthRequired)?;
                if !passwords.check(self.users.get(&name), &password).await {
                    return Err(Reason::ProxyAuthRequired);
                }
                Some(name)
            }
        };
        Ok((self.place(shown.source, shown.sans, user.as_deref())?, user))
    }

    /// The workload of a connection whose credential, if any, is already verified.
    pub fn place(
        &self,
        source: IpAddr,
        sans: &[String],
        user: Option<&str>,
    ) -> Result<Arc<Member>, Reason> {
        let source = source.to_canonical();
        let mut strong: Option<usize> = None;
        let mut by_source: Option<(usize, u8)> = None;
        let mut conflict = false;
        match self.addresses.get(&source) {
            Some(Some(member)) => by_source = Some((*member, IpNet::from(source).prefix_len())),
            Some(None) => conflict = true,
            None => {}
        }
        for mapping in &self.mappings {
            let width = mapping
                .sources
                .iter()
                .filter(|n| n.contains(&source))
                .map(IpNet::prefix_len)
                .max();
            let holds = (mapping.sources.is_empty() || width.is_some())
                && (mapping.user.is_none() || mapping.user.as_deref() == user)
                && mapping.san.as_ref().is_none_or(|san| sans.contains(san));
            if !holds {
                continue;
            }
            if mapping.user.is_some() || mapping.san.is_some() {
                conflict |= strong.is_some_and(|other| !self.same(other, mapping.member));
                strong = Some(mapping.member);
                continue;
            }
            let width = width.unwrap_or(0);
            match by_source {
                Some((other, best)) if best == width => {
                    conflict |= !self.same(other, mapping.member);
                }
                Some((_, best)) if best > width => {}
                _ => by_source = Some((mapping.member, width)),
            }
        }
        // A credential or certificate and the source address must not name different workloads.
        if let (Some(strong), Some((by_source, _))) = (strong, by_source) {
            conflict |= !self.same(strong, by_source);
        }
        if conflict {
            return Err(Reason::IdentityConflict);
        }
        match strong
            .or(by_source.map(|(member, _)| member))
            .and_then(|member| self.members.get(member))
        {
            Some(member) => Ok(member.clone()),
            None if user.is_none() && !self.users.is_empty() => Err(Reason::ProxyAuthRequired),
            None => Err(Reason::IdentityUnknown),
        }
    }

    fn same(&self, a: usize, b: usize) -> bool {
        match (self.members.get(a), self.members.get(b)) {
            (Some(a), Some(b)) => {
                a.workload.namespace == b.workload.namespace && a.workload.name == b.workload.name
            }
            _ => false,
        }
    }

    /// All members.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }
}

fn parse_net(text: &str) -> Option<IpNet> {
    IpNet::from_str(text)
        .ok()
        .or_else(|| IpAddr::from_str(text).ok().map(IpNet::from))
}

/// RFC 7617: `Basic` and base64 of `user:password`.
fn basic(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&b| b == b':')?;
    let (name, password) = decoded.split_at_checked(colon)?;
    let password = password.get(1..)?.to_vec();
    // HMAC pads its key with zeros: a password with trailing NULs would equal the one without.
    if password.contains(&0) {
        return None;
    }
    Some((String::from_utf8(name.to_vec()).ok()?, password))
}

#[cfg(test)]
mod tests;
