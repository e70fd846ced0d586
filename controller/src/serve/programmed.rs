//! How many gateways apply a policy.

use std::collections::BTreeMap;

use exitgate_policy::Digest;

use super::acks::{Acks, GatewayRow};
use crate::index::Selected;
use crate::trust::Role;

/// One that has not been heard for so long is unknown, in seconds.
const UNKNOWN: u64 = 120;
const MAX_WAITING: usize = 10;

/// A gateway that does not apply it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// EgressGateway and node, or instance.
    pub gateway: String,
    pub reason: String,
}

/// How many gateways apply a resource, of those that have a workload it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programmed {
    pub applied: u32,
    pub expected: u32,
    /// Some of the others.
    pub waiting: Vec<Waiting>,
}

impl Acks {
    /// How many gateways apply the resource `name` in the form `digest`: the nodes of selected workloads where the fleet
    /// has scope Node, else the instances of the fleet. `is_node` says which of the two an EgressGateway is.
    pub fn programmed(
        &self,
        name: &str,
        digest: Digest,
        selected: &Selected,
        is_node: impl Fn(&str) -> bool,
        now: u64,
    ) -> Programmed {
        let rows = self.rows();
        // The newest process of each place; the rows come newest first.
        let mut nodes: BTreeMap<(&str, &str), &GatewayRow> = BTreeMap::new();
        let mut pools: BTreeMap<&str, BTreeMap<&str, &GatewayRow>> = BTreeMap::new();
        for row in &rows {
            let identity = &row.identity;
            let (gateway, subject) = (identity.gateway.as_str(), identity.subject.as_str());
            match identity.role {
                Role::Node => {
                    nodes.entry((gateway, subject)).or_insert(row);
                }
                Role::Pool => {
                    let pool = pools.entry(gateway).or_default();
                    pool.entry(subject).or_insert(row);
                }
                // Each speaks for its own pod only; the pod's node or pool counts.
                Role::Sidecar => {}
            }
        }
        let mut programmed = Programmed::default();
        for (gateway, node) in &selected.nodes {
            if is_node(gateway) {
                let row = nodes.get(&(gateway.as_str(), node.as_str())).copied();
                programmed.count(format!("{gateway}/{node}"), row, name, digest, now);
            }
        }
        for gateway in selected.gateways.iter().filter(|one| !is_node(one)) {
            let pool = pools.get(gateway.as_str());
            let live = pool.into_iter().flatten().filter(|(_, row)| {
                // A pod that was replaced is no member any more.
                row.connected || !is_unknown(row, now)
            });
            let mut any = false;
            for (subject, row) in live {
                any = true;
                programmed.count(format!("{gateway}/{subject}"), Some(row), name, digest, now);
            }
            if !any {
                programmed.count(gateway.clone(), None, name, digest, now);
            }
        }
        programmed
    }
}

fn is_unknown(row: &GatewayRow, now: u64) -> bool {
    row.last_seen + UNKNOWN < now
}

impl Programmed {
    fn count(
        &mut self,
        gateway: String,
        row: Option<&GatewayRow>,
        name: &str,
        digest: Digest,
        now: u64,
    ) {
        self.expected += 1;
        let reason = match row {
            None => "no gateway has been seen".to_owned(),
            Some(row) if is_unknown(row, now) => "not heard for two minutes".to_owned(),
            Some(row) if row.applies(name) == Some(digest) => {
                self.applied += 1;
                return;
            }
            Some(row) => {
                let refused = row.refused.iter();
                refused
                    .filter(|one| one.name == name || one.name.is_empty())
                    .map(|one| one.reason.clone())
                    .next()
                    .unwrap_or_else(|| "not applied yet".to_owned())
            }
        };
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(Waiting { gateway, reason });
        }
    }
}
