//! What is a workload.

use std::collections::BTreeMap;

use exitgate_policy::{EgressGatewaySpec, Workload};

use super::event::Pod;

/// The workload that a pod is. None for one that has ended, or whose namespace is not known: labels that are not known
/// would select the wrong policies. A pod on the network of its node has no address that says who connects.
pub(super) fn of_pod(pod: &Pod, labels: Option<&BTreeMap<String, String>>) -> Option<Workload> {
    let labels = labels.filter(|_| !pod.ended)?;
    let mut addresses = if pod.host_network {
        Vec::new()
    } else {
        pod.addresses.clone()
    };
    addresses.sort_unstable();
    addresses.dedup();
    Some(Workload {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        service_account: Some(pod.service_account.clone()),
        namespace_labels: labels.clone(),
        addresses,
        uid: Some(pod.uid.clone()),
        node: pod.node.clone(),
    })
}

/// The workloads that settings name, each once.
pub(super) fn of_settings(spec: &EgressGatewaySpec) -> Vec<Workload> {
    let mut found: BTreeMap<(&str, &str), Workload> = BTreeMap::new();
    for mapping in &spec.workloads {
        found
            .entry((&mapping.namespace, &mapping.name))
            .or_insert_with(|| Workload {
                namespace: mapping.namespace.clone(),
                name: mapping.name.clone(),
                labels: mapping.labels.clone(),
                service_account: mapping.service_account.clone(),
                namespace_labels: mapping.namespace_labels.clone(),
                ..Workload::default()
            });
    }
    found.into_values().collect()
}

/// Who connects where a directory names nobody.
pub(super) fn local() -> Workload {
    Workload {
        namespace: "default".to_owned(),
        name: "local".to_owned(),
        ..Workload::default()
    }
}
