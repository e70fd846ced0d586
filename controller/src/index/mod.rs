//! What every gateway is to hold: a synchronous state machine. Events in, manifests out through `watch`.
//!
//! An [`Event`] about an object goes to [`Index::event`]; [`Index::publish`] then makes the manifests anew that it may have
//! changed, and nothing else. Where an event comes from makes no difference, and neither does the order of events about
//! different objects.

mod content;
mod documents;
pub mod event;
mod manifest;
mod needs;
mod part;
mod query;
mod scope;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod workload;
mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use exitgate_policy::{NameSet, SecretValue};
use tokio::sync::watch;

use crate::api::Kind;
use documents::Documents;
pub use documents::{Effect, Report};
pub use event::{Event, Object, ObjectKey, Sink, Watched};
pub use manifest::{Manifest, Position, Secret};
pub use part::Part;
pub use query::{PodIdentity, Selected};
pub use scope::Scope;
pub use shared::SharedIndex;
use world::World;

/// Receives the manifests of a scope. There is none before every kind has been listed once.
pub type Manifests = watch::Receiver<Option<Arc<Manifest>>>;

/// Where the objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A cluster: workloads are pods.
    Cluster,
    /// A directory: workloads are those that the settings name. A rule may open loopback.
    Directory,
}

impl Origin {
    /// The kinds that must have been listed before anything is published.
    fn kinds(self) -> impl Iterator<Item = Watched> {
        let others = [Watched::Namespace, Watched::Node, Watched::Pod];
        let others = others.into_iter().filter(move |_| self == Self::Cluster);
        Kind::ALL.into_iter().map(Watched::Document).chain(others)
    }
}

#[derive(Debug)]
struct Published {
    manifest: watch::Sender<Option<Arc<Manifest>>>,
    /// Nothing was made for it yet.
    fresh: bool,
}

/// What every gateway is to hold.
#[derive(Debug)]
pub struct Index {
    origin: Origin,
    documents: Documents,
    world: World,
    feeds: HashMap<String, Arc<NameSet>>,
    nodes: BTreeSet<String>,
    unlisted: HashSet<Watched>,
    /// Lists that are being told: what has been named so far.
    listing: HashMap<Watched, HashSet<ObjectKey>>,
    position: Arc<Position>,
    scopes: HashMap<Scope, Published>,
    reported: BTreeSet<ObjectKey>,
}

impl Index {
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            documents: Documents::default(),
            world: World::default(),
            feeds: HashMap::new(),
            nodes: BTreeSet::new(),
            unlisted: origin.kinds().collect(),
            listing: HashMap::new(),
            position: Arc::default(),
            scopes: HashMap::new(),
            reported: BTreeSet::new(),
        }
    }

    /// Takes one change. Nothing is published before [`publish`](Self::publish).
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Apply(object) => {
                self.named(object.key());
                self.apply(object);
            }
            Event::Invalid(invalid) => {
                self.named(invalid.key.clone());
                self.reached(&invalid.key.watched.to_string(), invalid.version);
                let key = self.documents.invalid(*invalid);
                self.link(key);
            }
            Event::Delete(key) => {
                if let Some(named) = self.listing.get_mut(&key.watched) {
                    named.remove(&key);
                }
                self.delete(&key);
            }
            Event::Reset(watched) => {
                self.listing.insert(watched, HashSet::new());
            }
            Event::Synced(watched) => self.synced(watched),
        }
    }

    /// Everything up to this version of a source has been told. Objects say it of their own kind.
    pub fn reached(&mut self, source: &str, version: u64) {
        if version > self.position.sources.get(source).copied().unwrap_or(0) {
            let position = Arc::make_mut(&mut self.position);
            position.sources.insert(source.to_owned(), version);
        }
    }

    /// Begins another epoch: positions are not compared with those of earlier ones.
    pub fn set_epoch(&mut self, epoch: u64) {
        if self.position.epoch != epoch {
            Arc::make_mut(&mut self.position).epoch = epoch;
            self.world.changes.all = true;
        }
    }

    /// What the feed of a ClusterEgressDomainSet holds. A feed that cannot be read keeps what it had: say nothing then.
    pub fn feed(&mut self, set: &str, names: Option<Arc<NameSet>>) {
        match names {
            Some(names) => self.feeds.insert(set.to_owned(), names),
            None => self.feeds.remove(set),
        };
        self.link(ObjectKey {
            watched: Watched::Document(Kind::ClusterEgressDomainSet),
            namespace: None,
            name: set.to_owned(),
        });
    }

    /// The value of an EgressCredential. `None`: there is none.
    pub fn secret(&mut self, namespace: &str, credential: &str, value: Option<SecretValue>) {
        self.world.secret(namespace, credential, value);
    }

    /// The credentials that have a value.
    pub fn secret_names(&self) -> impl Iterator<Item = (String, String)> {
        self.world.secrets.keys().cloned()
    }

    /// The manifests of a scope, from now on. Receivers that are dropped end the work for it.
    pub fn subscribe(&mut self, scope: Scope) -> Manifests {
        let published = self.scopes.entry(scope).or_insert_with(|| Published {
            manifest: watch::Sender::new(None),
            fresh: true,
        });
        published.manifest.subscribe()
    }

    /// Makes the manifests anew that may have changed, and tells whom they are for. Says how many were made.
    pub fn publish(&mut self) -> usize {
        if !self.is_listed() {
            return 0;
        }
        let changes = std::mem::take(&mut self.world.changes);
        self.scopes
            .retain(|_, published| published.manifest.receiver_count() > 0);
        let mut made = 0;
        for (scope, published) in &mut self.scopes {
            let stays = published
                .manifest
                .borrow()
                .as_ref()
                .is_some_and(|manifest| {
                    !published.fresh && !scope.is_touched(&manifest.namespaces, &changes)
                });
            if stays {
                continue;
            }
            made += 1;
            published.fresh = false;
            let position = Arc::clone(&self.position);
            let manifest = self.world.manifest(scope, self.origin, position);
            published.manifest.send_if_modified(|current| {
                let same = current.as_ref().is_some_and(|current| {
                    current.says(&manifest) && current.position.epoch == manifest.position.epoch
                });
                *current = Some(Arc::new(manifest));
                !same
            });
        }
        made
    }

    /// Whether everything has been listed once. Before that nobody is told anything.
    pub fn is_listed(&self) -> bool {
        self.unlisted.is_empty()
    }

    pub fn position(&self) -> &Position {
        &self.position
    }

    fn named(&mut self, key: ObjectKey) {
        if let Some(named) = self.listing.get_mut(&key.watched) {
            named.insert(key);
        }
    }

    fn apply(&mut self, object: Object) {
        match object {
            Object::Document(document) => {
                self.reached(&document.key.watched.to_string(), document.version);
                let key = self.documents.apply(*document);
                self.link(key);
            }
            Object::Namespace(namespace) => self.world.namespace(namespace),
            Object::Node(node) => {
                self.nodes.insert(node.name);
            }
            Object::Pod(pod) => self.world.pod(pod),
        }
    }

    fn delete(&mut self, key: &ObjectKey) {
        match key.watched {
            Watched::Document(_) => {
                if self.documents.delete(key) {
                    self.link(key.clone());
                }
            }
            Watched::Namespace => self.world.no_namespace(&key.name),
            Watched::Node => {
                self.nodes.remove(&key.name);
            }
            Watched::Pod => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                self.world.no_pod(namespace, &key.name);
            }
        }
    }

    /// What a list has not named is gone.
    fn synced(&mut self, watched: Watched) {
        self.unlisted.remove(&watched);
        let Some(named) = self.listing.remove(&watched) else {
            return;
        };
        for key in self.keys_of(watched) {
            if !named.contains(&key) {
                self.delete(&key);
            }
        }
    }

    fn keys_of(&self, watched: Watched) -> Vec<ObjectKey> {
        let key = |namespace: Option<&String>, name: &String| ObjectKey {
            watched,
            namespace: namespace.cloned(),
            name: name.clone(),
        };
        match watched {
            Watched::Document(_) => self.documents.keys_of(watched),
            Watched::Namespace => {
                let known = self.world.spaces.iter();
                let known = known.filter(|(_, space)| space.labels.is_some());
                known.map(|(name, _)| key(None, name)).collect()
            }
            Watched::Node => self.nodes.iter().map(|name| key(None, name)).collect(),
            Watched::Pod => {
                let spaces = self.world.spaces.iter();
                spaces
                    .flat_map(|(namespace, space)| {
                        let pods = space.pods.keys();
                        pods.map(move |name| (namespace, name))
                    })
                    .map(|(namespace, name)| key(Some(namespace), name))
                    .collect()
            }
        }
    }

    /// Puts what counts of an object into the world.
    fn link(&mut self, key: ObjectKey) {
        let now = self
            .documents
            .entry(&key)
            .and_then(|entry| match entry.form() {
                Ok(spec) => Some(content::content(&key, spec, self.feeds.get(&key.name))),
                Err(written) => content::fallback(&key, written),
            });
        self.world.put(&key, now);
        self.reported.insert(key);
    }
}

impl Sink for Index {
    fn event(&mut self, event: Event) {
        Self::event(self, event);
    }
}
