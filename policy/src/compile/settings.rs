//! The settings that decisions depend on.

use super::{At, Compiler, ObjectRef, values};
use crate::{
    floor::Floor,
    matcher::Patterns,
    model::{DefaultAction, EnforcementMode, Inspection, LabelSelector},
    snapshot::{Snapshot, Workload},
};

/// The settings that decisions depend on.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) floor: Floor,
    pub(crate) default_action: DefaultAction,
    /// Whether TLS is opened at all.
    pub(crate) inspection: Inspection,
    /// Never opened, as by a Passthrough before every policy.
    pub(crate) exempt: Patterns,
    mode: EnforcementMode,
    namespaces: Option<LabelSelector>,
}

impl Settings {
    /// Whether the fleet only audits this workload.
    pub(crate) fn is_audited(&self, workload: &Workload) -> bool {
        self.mode == EnforcementMode::Audit
            && self
                .namespaces
                .as_ref()
                .is_none_or(|selector| selector.matches(&workload.namespace_labels))
    }
}

impl Compiler {
    pub(super) fn settings(&mut self, snapshot: &Snapshot) -> Settings {
        let object = ObjectRef {
            kind: "EgressGateway",
            namespace: None,
            name: snapshot.gateway.clone(),
        };
        let at = At::new(object, "spec");
        let spec = &snapshot.settings;
        let exempt = self.hosts(&at.field("tls").field("exempt"), &spec.tls.exempt, true);
        self.tls(&at.field("tls"), &spec.tls);
        let ranges = at.field("ranges");
        let mut cluster = self.cidrs(&ranges.field("pods"), &spec.ranges.pods);
        cluster.extend(self.cidrs(&ranges.field("services"), &spec.ranges.services));
        cluster.extend(self.cidrs(&ranges.field("nodes"), &spec.ranges.nodes));
        for (index, workload) in spec.workloads.iter().enumerate() {
            if let Some(source) = &workload.source {
                let at = at
                    .field("workloads")
                    .item(index)
                    .field("source")
                    .field("cidrs");
                self.cidrs(&at, &source.cidrs);
            }
        }
        Settings {
            floor: Floor {
                cluster,
                own: snapshot.own_listeners.clone(),
                loopback_openable: snapshot.standalone,
            },
            default_action: spec.default_action,
            inspection: spec.tls.inspection,
            exempt: values::patterns(exempt),
            mode: spec.enforcement.mode,
            namespaces: spec.enforcement.namespace_selector.clone(),
        }
    }
}
