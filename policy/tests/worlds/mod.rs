//! Small worlds: a few names, addresses and ports, policies in every tier, and flows whose evidence comes step by step.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod flow;
mod policy;

use exitgate_policy::{
    CredentialResource, DefaultAction, EgressGatewaySpec, Enforcement, EnforcementMode, Inspection,
    PolicyResource, Ranges, SetContent, SetResource, Snapshot, TlsSettings, Workload,
};
pub use flow::{Flow, Stage, flow};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};

pub use policy::{HOSTS, cluster_policy, inviting_policy, namespaced_policy, rule_in};

/// The moment of every decision; rules expire before, at and after it.
pub const NOW: u64 = 1_800_000_000;

pub const NAMESPACE: &str = "pay";

pub fn workload() -> Workload {
    Workload {
        namespace: NAMESPACE.to_owned(),
        name: "billing".to_owned(),
        labels: [("app".to_owned(), "billing".to_owned())].into(),
        service_account: Some("billing".to_owned()),
        namespace_labels: [("team".to_owned(), "pay".to_owned())].into(),
        ..Workload::default()
    }
}

/// A snapshot with up to three policies a tier.
pub fn snapshot() -> BoxedStrategy<Snapshot> {
    // Where anything goes, most flows are refused early; in an inviting world much is allowed for what is inside.
    let policies = prop_oneof![
        (
            vec(cluster_policy(), 0..=3),
            vec(namespaced_policy(), 0..=3)
        ),
        (
            vec(cluster_policy(), 0..=1),
            (vec(namespaced_policy(), 0..=2), inviting_policy()).prop_map(
                |(mut policies, inviting)| {
                    policies.push(inviting);
                    policies
                }
            )
        ),
    ];
    (policies, settings(), any::<bool>(), sets())
        .prop_map(|((cluster, namespaced), settings, standalone, sets)| {
            let mut policies: Vec<PolicyResource> = Vec::new();
            for (index, spec) in cluster.into_iter().enumerate() {
                policies.push(PolicyResource::Cluster {
                    name: format!("guard-{index}"),
                    spec,
                });
            }
            for (index, (namespace, spec)) in namespaced.into_iter().enumerate() {
                policies.push(PolicyResource::Namespaced {
                    namespace: namespace.to_owned(),
                    name: format!("team-{index}"),
                    spec,
                });
            }
            Snapshot {
                gateway: "default".to_owned(),
                settings,
                policies,
                sets,
                credentials: credentials(),
                workloads: vec![workload()],
                stand_ins: Vec::new(),
                standalone,
                own_listeners: vec![
                    "10.1.0.9:3128".parse().unwrap(),
                    "93.184.216.34:8080".parse().unwrap(),
                ],
            }
        })
        .prop_filter("no rule is an error", |snapshot| {
            exitgate_policy::compile(snapshot).0.is_some()
        })
        .boxed()
}

fn settings() -> BoxedStrategy<EgressGatewaySpec> {
    (
        prop_oneof![3 => Just(DefaultAction::Deny), 1 => Just(DefaultAction::Allow)],
        prop_oneof![5 => Just(EnforcementMode::Enforce), 1 => Just(EnforcementMode::Audit)],
        prop::option::weighted(0.15, select(vec!["ok.test", "*.wild.test"])),
        prop_oneof![3 => Just(Inspection::On), 1 => Just(Inspection::Off)],
        subsequence(
            vec!["10.1.0.0/16".to_owned(), "93.184.216.0/24".to_owned()],
            0..=1,
        ),
    )
        .prop_map(
            |(default_action, mode, exempt, inspection, pods)| EgressGatewaySpec {
                default_action,
                enforcement: Enforcement {
                    mode,
                    namespace_selector: None,
                },
                tls: TlsSettings {
                    inspection,
                    exempt: exempt.into_iter().map(str::to_owned).collect(),
                    authority: (inspection == Inspection::On).then(|| {
                        serde_json::from_value(serde_json::json!({"certFile": "c", "keyFile": "k"}))
                            .unwrap()
                    }),
                    ..TlsSettings::default()
                },
                ranges: Ranges {
                    pods,
                    ..Ranges::default()
                },
                ..EgressGatewaySpec::default()
            },
        )
        .boxed()
}

/// `near` of the namespace and `far` of the cluster; each may be missing its content.
fn sets() -> BoxedStrategy<Vec<SetResource>> {
    let content = prop_oneof![
        4 => (vec(select(HOSTS), 1..=2), vec(select(policy::CIDRS), 0..=1)).prop_map(|(hosts, cidrs)| SetContent::Inline {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            cidrs: cidrs.into_iter().map(str::to_owned).collect(),
            allow_broad: true,
        }),
        1 => Just(SetContent::Unavailable),
    ];
    (content.clone(), content)
        .prop_map(|(near, far)| {
            vec![
                SetResource {
                    namespace: Some(NAMESPACE.to_owned()),
                    name: "near".to_owned(),
                    content: near,
                },
                SetResource {
                    namespace: None,
                    name: "far".to_owned(),
                    content: far,
                },
            ]
        })
        .boxed()
}

/// Two for one header and one for another; rules also name one that is not there.
fn credentials() -> Vec<CredentialResource> {
    [
        ("wide", "Authorization", "*.test"),
        ("narrow", "authorization", "ok.test"),
        ("other", "X-Key", "*.test"),
    ]
    .into_iter()
    .map(|(name, header, host)| CredentialResource {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        header: header.to_owned(),
        prefix: None,
        hosts: vec![host.to_owned()],
    })
    .collect()
}
