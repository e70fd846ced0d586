//! Whose connections these are.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;

use super::sessions::{Scope, ScopeParts};
use super::settings::Route;

/// Workload, host, port, trust and client certificate. What one key has is never used for another.
#[derive(Clone)]
pub struct PoolKey(Arc<Parts>);

struct Parts {
    scope: Scope,
    host: Name,
    route: Arc<Route>,
}

impl PoolKey {
    pub(super) fn new(workload: &Workload, host: &Name, port: u16, route: &Arc<Route>) -> Self {
        let scope = Scope(Arc::new(ScopeParts {
            namespace: workload.namespace.as_str().into(),
            workload: workload.name.as_str().into(),
            port,
            trust: route.trust.id,
            client: route.client.id,
        }));
        Self(Arc::new(Parts {
            scope,
            host: host.clone(),
            route: route.clone(),
        }))
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// The host.
    pub fn host(&self) -> &Name {
        &self.0.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.scope.0.port
    }

    /// The entry of the settings that decides whom we trust and who we are; none is the system's roots.
    pub fn entry(&self) -> Option<&str> {
        self.0.route.name.as_deref()
    }

    pub(super) fn route(&self) -> &Route {
        &self.0.route
    }
}

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.scope == other.0.scope && self.0.host == other.0.host
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.scope.hash(state);
        self.0.host.hash(state);
    }
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = &self.0.scope.0;
        write!(
            f,
            "{}/{} to {}:{}",
            scope.namespace, scope.workload, self.0.host, scope.port
        )
    }
}
