//! What gateways say that they apply: the material of statuses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use exitgate_policy::Digest;
use exitgate_proto::control as proto;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::metrics::Metrics;
use super::wire::cut;
use crate::index::{Manifest, Position};
use crate::trust::Identity;

/// One that is gone for so long is forgotten.
const FORGOTTEN: u64 = 600;
const MAX_REFUSALS: usize = 1_000;
const MAX_REASON: usize = 1_024;
/// Rules of which it is remembered when they decided last.
const MAX_RULES: usize = 100_000;

/// A resource that a gateway does not use as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Empty: the update as a whole.
    pub name: String,
    pub digest: Option<Digest>,
    pub reason: String,
}

/// One process of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayRow {
    pub identity: Identity,
    pub instance: String,
    pub version: String,
    /// When its stream began, in seconds since 1970. The newest of a place counts.
    pub since: u64,
    pub connected: bool,
    /// When it was heard last, in seconds since 1970.
    pub last_seen: u64,
    /// What it says to have in force.
    pub revision: String,
    /// What it answered for last.
    pub applied: Option<Arc<Manifest>>,
    pub refused: Vec<Refused>,
    /// What it had been told before its stream began. Ahead of us: our source is behind, or was restored.
    pub position: Position,
}

impl GatewayRow {
    /// The digest of a resource that is in force here as it was sent.
    pub fn applies(&self, name: &str) -> Option<Digest> {
        if self
            .refused
            .iter()
            .any(|one| one.name == name || one.name.is_empty())
        {
            return None;
        }
        let part = self.applied.as_ref()?.part(name)?;
        Some(part.resource.digest)
    }
}

/// When a rule decided last, anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSeen {
    pub last: u64,
    pub count: u64,
    pub assurance: String,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<(Identity, String), GatewayRow>,
    /// By policy's resource name and rule.
    rules: BTreeMap<(String, String), RuleSeen>,
}

/// What gateways say that they apply. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acks {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<u64>,
    metrics: Metrics,
}

impl Acks {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            table: Arc::default(),
            changed: watch::Sender::new(0),
            metrics,
        }
    }

    /// Changes whenever a row does, heartbeats aside.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Every process that is known, in the order of identities, newest first.
    pub fn rows(&self) -> Vec<GatewayRow> {
        let mut rows: Vec<_> = self.table.lock().rows.values().cloned().collect();
        rows.sort_by(|left, right| {
            let newest = right.since.cmp(&left.since);
            left.identity
                .cmp(&right.identity)
                .then(newest)
                .then_with(|| left.instance.cmp(&right.instance))
        });
        rows
    }

    /// When the rules of a policy decided last, by the policy's resource name.
    pub fn rules(&self, policy: &str) -> BTreeMap<String, RuleSeen> {
        let table = self.table.lock();
        let all = table.rules.range((policy.to_owned(), String::new())..);
        all.take_while(|((name, _), _)| name == policy)
            .map(|((_, rule), seen)| (rule.clone(), seen.clone()))
            .collect()
    }

    /// The kinds of source in which some gateway of this epoch has been told more than `ours`.
    pub fn ahead_of(&self, ours: &Position) -> Vec<String> {
        let table = self.table.lock();
        let mut kinds: Vec<String> = table
            .rows
            .values()
            .flat_map(|row| ours.behind(&row.position))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// A stream begins. What is returned ends it when it is dropped.
    pub(super) fn enter(&self, mut row: GatewayRow) -> Entry {
        let key = (row.identity.clone(), row.instance.clone());
        let now = row.since;
        {
            let mut table = self.table.lock();
            table
                .rows
                .retain(|_, row| row.connected || row.last_seen + FORGOTTEN > now);
            if let Some(before) = table.rows.get(&key) {
                row.applied.clone_from(&before.applied);
                row.refused.clone_from(&before.refused);
                row.revision.clone_from(&before.revision);
            }
            table.rows.insert(key.clone(), row);
        }
        self.metrics.stream(key.0.role, 1);
        self.tell();
        Entry {
            acks: self.clone(),
            since: now,
            key,
        }
    }
}

/// The row of a stream.
pub(super) struct Entry {
    acks: Acks,
    key: (Identity, String),
    since: u64,
}

impl Entry {
    fn change(&self, work: impl FnOnce(&mut GatewayRow)) {
        if let Some(row) = self.acks.table.lock().rows.get_mut(&self.key) {
            work(row);
        }
    }

    /// The gateway was heard.
    pub(super) fn seen(&self, now: u64) {
        self.change(|row| row.last_seen = now);
    }

    /// The gateway answered for what was sent last.
    pub(super) fn answered(&self, ack: &proto::Ack, manifest: &Arc<Manifest>, now: u64) {
        let refused: Vec<Refused> = ack
            .refusals
            .iter()
            .take(MAX_REFUSALS)
            .map(|refusal| Refused {
                name: cut(&refusal.name, MAX_REASON),
                digest: Digest::from_slice(&refusal.digest).ok(),
                reason: cut(&refusal.reason, MAX_REASON),
            })
            .collect();
        self.acks.metrics.ack(refused.is_empty());
        for one in refused.iter().take(10) {
            tracing::warn!(gateway = %self.key.0, resource = one.name, reason = one.reason, "refused by a gateway");
        }
        self.change(|row| {
            row.last_seen = now;
            row.revision = cut(&ack.revision, 64);
            row.applied = Some(Arc::clone(manifest));
            row.refused = refused;
        });
        self.acks.tell();
    }

    /// Rules decided. A gateway speaks for policies that it was sent only.
    pub(super) fn report(&self, report: proto::Report) {
        let mut table = self.acks.table.lock();
        let known = table
            .rows
            .get(&self.key)
            .and_then(|row| row.applied.clone());
        for seen in report.matches {
            let sent = known
                .as_ref()
                .is_some_and(|one| one.part(&seen.policy).is_some());
            let key = (seen.policy, cut(&seen.rule, 256));
            let room = table.rules.len() < MAX_RULES || table.rules.contains_key(&key);
            if !sent || !room {
                continue;
            }
            let rule = table.rules.entry(key).or_default();
            rule.count = rule.count.saturating_add(seen.count);
            if seen.last >= rule.last {
                rule.last = seen.last;
                rule.assurance = cut(&seen.assurance, 32);
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let since = self.since;
        // A newer stream of the same process may have begun.
        self.change(|row| row.connected &= row.since != since);
        self.acks.metrics.stream(self.key.0.role, -1);
        self.acks.tell();
    }
}
