//! What has to hold for every policy and every flow.
//!
//! `PROPTEST_CASES` raises the number of cases of each property.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod coverage;
mod naive;
mod worlds;

use exitgate_policy::{
    Action, ClusterEgressPolicySpec, Decision, Digest, EgressPolicySpec, Feature, Mode,
    PolicyResource, PolicySet, Reason, Resource, ResourceName, ShadowKind, Snapshot, StandIn,
    TlsAction, Verdict, compile, resource, snapshot_of,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use worlds::{Flow, NOW, Stage, flow, snapshot, workload};

#[allow(
    clippy::disallowed_methods,
    reason = "the number of cases is proptest's own variable"
)]
fn cases(default: u32) -> Config {
    let asked: Option<u32> = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(default);
    Config {
        cases,
        // The same worlds for everybody; whoever asks for a number of cases gets new ones each time.
        rng_seed: asked.map_or(RngSeed::Fixed(20_261_120), |_| RngSeed::Random),
        failure_persistence: None,
        max_global_rejects: cases * 4 + 1024,
        ..Config::default()
    }
}

fn compiled(snapshot: &Snapshot) -> PolicySet {
    let (set, problems) = compile(snapshot);
    set.unwrap_or_else(|| panic!("a world has no errors: {problems:#?}"))
}

type Moment = (Stage, bool);

fn decide(set: &PolicySet, flow: &Flow, moment: Moment, opened: bool) -> Decision {
    flow.at(moment, opened, |evidence| {
        set.view(&workload()).decide(evidence, NOW)
    })
}

/// Whether the TLS of this flow is opened.
fn opens(set: &PolicySet, flow: &Flow) -> bool {
    let decision = decide(set, flow, (Stage::Both, false), false);
    decision.tls == TlsAction::Inspect && decision.verdict != Verdict::Deny
}

/// The stages of a flow, and the last one once more with what is missing gone for good.
const MOMENTS: [Moment; 7] = [
    (Stage::Asked, false),
    (Stage::Half, false),
    (Stage::Both, false),
    (Stage::Both, true),
    (Stage::Inside, false),
    (Stage::Inside, true),
    (Stage::Answered, false),
];

#[test]
fn compiled_policies_decide_like_the_naive_interpreter() {
    let mut runner = TestRunner::new(cases(2_000));
    let seen = coverage::Coverage::default();
    let result = runner.run(
        &(snapshot(), proptest::collection::vec(flow(), 1..=3)),
        |(snapshot, flows)| {
            let set = compiled(&snapshot);
            seen.world(&snapshot);
            for flow in &flows {
                let opened = opens(&set, flow);
                for moment in MOMENTS {
                    let (stage, over) = moment;
                    let real = decide(&set, flow, moment, opened);
                    let naive = flow.at(moment, opened, |evidence| {
                        seen.evidence(evidence);
                        naive::judge(&snapshot, &workload(), evidence, NOW)
                    });
                    seen.verdict(stage, flow.is_tls(), &real);
                    let context = || {
                        format!(
                            "{stage:?} over={over}\n{}\n{flow:?}\nreal  {real:?}\nnaive {naive:?}\n",
                            serde_json::to_string(&(
                                &snapshot.policies,
                                &snapshot.sets,
                                &snapshot.settings
                            ))
                            .unwrap()
                        )
                    };
                    prop_assert_eq!(real.verdict, naive.verdict, "verdict\n{}", context());
                    prop_assert_eq!(real.tls, naive.tls, "tls\n{}", context());
                    if real.verdict == Verdict::Undecided {
                        continue;
                    }
                    let mut injected: Vec<_> = real
                        .inject
                        .iter()
                        .map(|add| (add.name.to_string(), add.header.to_string()))
                        .collect();
                    injected.sort();
                    prop_assert_eq!(&injected, &naive.inject, "inject\n{}", context());
                    prop_assert!(
                        naive.permits(real.reason),
                        "reason {}\n{}",
                        real.reason,
                        context()
                    );
                    if real.verdict == Verdict::Deny {
                        prop_assert_eq!(real.enforced, naive.enforced, "enforced\n{}", context());
                    }
                    let rule = real
                        .rule
                        .as_ref()
                        .map(|rule| (rule.policy.to_string(), rule.rule.to_string()));
                    // A denial may name the Allow that could not be seen to match.
                    let names_the_hidden =
                        matches!(real.reason, Reason::Uninspectable | Reason::SetUnavailable);
                    prop_assert!(
                        rule.is_none()
                            || names_the_hidden
                            || naive.leaves.iter().any(|leaf| leaf.rule == rule),
                        "rule {:?}\n{}",
                        rule,
                        context()
                    );
                    let alerts: Vec<_> = real
                        .alerts
                        .iter()
                        .map(|rule| (rule.policy.to_string(), rule.rule.to_string()))
                        .collect();
                    if !stage_is_open(stage, over) {
                        prop_assert!(
                            naive.alerts.iter().all(|alert| alerts.contains(alert)),
                            "alerts missing\n{}",
                            context()
                        );
                    }
                    prop_assert!(
                        alerts
                            .iter()
                            .all(|alert| naive.possible_alerts.contains(alert)),
                        "alerts too many\n{}",
                        context()
                    );
                    let kind = real.shadow.as_ref().map(|shadow| shadow.kind);
                    let late = kind == Some(ShadowKind::WouldNeedContent)
                        && flow.at(moment, opened, |evidence| evidence.hello.is_pending());
                    prop_assert!(
                        late || naive.shadow.contains(&kind),
                        "shadow {:?}\n{}",
                        kind,
                        context()
                    );
                }
            }
            Ok(())
        },
    );
    seen.print();
    if let Err(error) = result {
        panic!("{error}");
    }
    seen.assert_minimums();
}

/// Whether more may still come.
fn stage_is_open(stage: Stage, over: bool) -> bool {
    stage != Stage::Answered && !over
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_verdict_never_changes_once_it_is_there(snapshot in snapshot(), flow in flow()) {
        let set = compiled(&snapshot);
        let opened = opens(&set, &flow);
        let last = decide(&set, &flow, (Stage::Answered, false), opened);
        prop_assert_ne!(last.verdict, Verdict::Undecided, "everything is known");
        for stage in Stage::ALL {
            let earlier = decide(&set, &flow, (stage, false), opened);
            if earlier.verdict != Verdict::Undecided {
                prop_assert_eq!(earlier.verdict, last.verdict, "at {:?}: {:#?}\nat last: {:#?}", stage, earlier, last);
            }
        }
    }

    #[test]
    fn the_order_of_documents_is_irrelevant(
        (snapshot, shuffled) in snapshot().prop_flat_map(|snapshot| {
            (Just(snapshot.clone()), Just(snapshot.policies).prop_shuffle())
        }),
        flow in flow(),
    ) {
        let other = Snapshot { policies: shuffled, ..snapshot.clone() };
        prop_assert_eq!(snapshot.revision(), other.revision());
        let (one, two) = (compiled(&snapshot), compiled(&other));
        let opened = opens(&one, &flow);
        for moment in MOMENTS {
            let (first, second) = (decide(&one, &flow, moment, opened), decide(&two, &flow, moment, opened));
            prop_assert_eq!(first.verdict, second.verdict);
            prop_assert_eq!(first.reason, second.reason);
            prop_assert_eq!(first.rule, second.rule);
            prop_assert_eq!(first.alerts, second.alerts);
            prop_assert_eq!(first.shadow, second.shadow);
        }
    }

    #[test]
    fn a_further_deny_never_allows_more(
        snapshot in snapshot(),
        deny in worlds::rule_in(None).prop_map(|mut rule| {
            rule.action = Action::Deny;
            rule.tls = None;
            rule.inject = None;
            rule.name = "further".to_owned();
            rule
        }),
        at in any::<prop::sample::Index>(),
        flow in flow(),
    ) {
        prop_assume!(!snapshot.policies.is_empty());
        let mut more = snapshot.clone();
        let index = at.index(more.policies.len());
        match &mut more.policies[index] {
            PolicyResource::Cluster { spec, .. } => {
                let mut deny = deny;
                // A cluster policy does not know the sets of a namespace.
                for to in deny.to.iter_mut().chain(deny.not.iter_mut().filter_map(|not| not.to.as_mut())) {
                    to.host_sets.clear();
                    to.cidr_sets.clear();
                }
                spec.rules.insert(at.index(spec.rules.len() + 1), deny);
            }
            PolicyResource::Namespaced { spec, .. } => spec.rules.push(deny),
        }
        let (Some(before), (Some(after), _)) = (Some(compiled(&snapshot)), compile(&more)) else {
            return Err(TestCaseError::reject("the rule cannot stand there"));
        };
        let opened = opens(&before, &flow);
        for moment in MOMENTS {
            let (old, new) = (decide(&before, &flow, moment, opened), decide(&after, &flow, moment, opened));
            prop_assert!(
                new.verdict != Verdict::Allow || old.verdict == Verdict::Allow,
                "{:#?}\nbecame {:#?}", old, new
            );
        }
    }

    #[test]
    fn audit_changes_nothing(snapshot in snapshot(), flow in flow()) {
        let mut without = snapshot.clone();
        without.policies.retain(|policy| match policy {
            PolicyResource::Cluster { spec, .. } => spec.mode == Mode::Enforce,
            PolicyResource::Namespaced { spec, .. } => spec.mode == Mode::Enforce,
        });
        let (with, without) = (compiled(&snapshot), compiled(&without));
        let opened = opens(&with, &flow);
        for moment in MOMENTS {
            let (one, two) = (decide(&with, &flow, moment, opened), decide(&without, &flow, moment, opened));
            // What is recorded about the shadow is all that may differ.
            prop_assert_eq!(one.verdict, two.verdict);
            prop_assert_eq!(one.reason, two.reason);
            prop_assert_eq!(one.rule, two.rule);
            prop_assert_eq!(one.tls, two.tls);
            prop_assert_eq!(&one.inject, &two.inject);
            prop_assert_eq!(one.alerts, two.alerts);
            prop_assert!(two.shadow.is_none());
        }
    }

    #[test]
    fn a_snapshot_survives_its_text(snapshot in snapshot(), flow in flow()) {
        let text = serde_json::to_string(&snapshot).unwrap();
        let mut again: Snapshot = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(snapshot.revision(), again.revision());
        prop_assert_eq!(&text, &serde_json::to_string(&again).unwrap());
        again.own_listeners.clone_from(&snapshot.own_listeners);
        let (one, two) = (compiled(&snapshot), compiled(&again));
        let opened = opens(&one, &flow);
        for moment in MOMENTS {
            let (first, second) = (decide(&one, &flow, moment, opened), decide(&two, &flow, moment, opened));
            prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
    }

    #[test]
    fn a_snapshot_survives_its_resources(snapshot in snapshot(), flow in flow()) {
        let resources = snapshot.resources();
        // As on the wire: text names, digests and bytes.
        let travelled: Vec<Resource> = resources
            .iter()
            .map(|resource| Resource {
                name: resource.name.to_string().parse().unwrap(),
                digest: Digest::from_slice(&resource.digest.0).unwrap(),
                body: resource.body.to_vec().into(),
                needs: resource.needs.clone(),
                stand_in: resource
                    .stand_in
                    .as_ref()
                    .and_then(|stand_in| StandIn::read(&resource.name, &stand_in.to_bytes())),
            })
            .collect();
        prop_assert_eq!(&resources, &travelled);
        let (mut again, refused) = snapshot_of(&travelled);
        prop_assert!(refused.is_empty(), "{:?}", refused);
        prop_assert_eq!(&resources, &again.resources());
        prop_assert_eq!(snapshot.revision(), again.revision());
        let lines = travelled.iter().map(|resource| (&resource.name, &resource.digest));
        prop_assert_eq!(snapshot.revision(), resource::revision(lines));
        again.own_listeners.clone_from(&snapshot.own_listeners);
        let (one, two) = (compiled(&snapshot), compiled(&again));
        let opened = opens(&one, &flow);
        for moment in MOMENTS {
            let (first, second) = (decide(&one, &flow, moment, opened), decide(&two, &flow, moment, opened));
            prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
    }

    #[test]
    fn what_stands_in_for_a_policy_never_allows_more(
        snapshot in snapshot(),
        at in any::<prop::sample::Index>(),
        flow in flow(),
    ) {
        let mut snapshot = snapshot;
        prop_assume!(!snapshot.policies.is_empty());
        let at = at.index(snapshot.policies.len());
        // A credential that is lost with its rule is missing at the destination; it is no permission.
        let (PolicyResource::Cluster { spec: ClusterEgressPolicySpec { rules, .. }, .. }
        | PolicyResource::Namespaced { spec: EgressPolicySpec { rules, .. }, .. }) = &mut snapshot.policies[at];
        for rule in rules {
            rule.inject = None;
        }
        prop_assume!(compile(&snapshot).0.is_some());
        let lost = ResourceName::of_policy(&snapshot.policies[at]);
        let mut resources = snapshot.resources();
        for resource in resources.iter_mut().filter(|resource| resource.name == lost) {
            resource.needs.push(Feature("time-travel".to_owned()));
        }
        let (mut less, refused) = snapshot_of(&resources);
        prop_assert_eq!(refused.len(), 1);
        less.own_listeners.clone_from(&snapshot.own_listeners);
        let (whole, less) = (compiled(&snapshot), compiled(&less));
        let opened = opens(&whole, &flow);
        for moment in MOMENTS {
            let (old, new) = (decide(&whole, &flow, moment, opened), decide(&less, &flow, moment, opened));
            if new.verdict == Verdict::Allow && old.verdict != Verdict::Allow {
                prop_assert!(false, "{:?}\n{:#?}\nbecame {:#?}", lost, old, new);
            }
        }
    }
}
