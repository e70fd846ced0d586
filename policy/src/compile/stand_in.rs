//! What takes the place of policies that cannot be used.

use std::sync::Arc;

use super::policy::{CompiledPolicy, Selector};
use crate::{
    decide::{RuleRef, Tier},
    matcher::{Matcher, Rule},
    model::{Action, Mode, PolicyTier, TlsMode},
    reason::Reason,
    resource::StandIn,
};

/// The policy that stands in. None where the refused one would only have audited.
pub(super) fn policy(stand_in: &StandIn) -> Option<CompiledPolicy> {
    if stand_in.mode() == Mode::Audit {
        return None;
    }
    let mut policy = match stand_in {
        StandIn::Cluster {
            name,
            tier,
            priority,
            subject,
            ..
        } => CompiledPolicy {
            tier: match tier {
                PolicyTier::Admin => Tier::Admin,
                PolicyTier::Baseline => Tier::Baseline,
            },
            kind: "ClusterEgressPolicy",
            namespace: None,
            name: name.as_str().into(),
            mode: Mode::Enforce,
            replaces: None,
            priority: *priority,
            selector: Selector::Cluster(subject.clone()),
            rules: Vec::new(),
            stands_in: true,
        },
        StandIn::Namespaced {
            namespace,
            name,
            subject,
            ..
        } => {
            let namespace: Arc<str> = namespace.as_str().into();
            CompiledPolicy {
                tier: Tier::Namespace,
                kind: "EgressPolicy",
                namespace: Some(Arc::clone(&namespace)),
                name: name.as_str().into(),
                mode: Mode::Enforce,
                replaces: None,
                priority: 0,
                selector: Selector::Namespace(namespace, subject.clone()),
                rules: Vec::new(),
                stands_in: true,
            }
        }
    };
    match stand_in {
        StandIn::Cluster { .. }
        | StandIn::Namespaced {
            restricts: true, ..
        } => {
            let rule = deny_all(&policy);
            policy.rules.push(rule);
        }
        StandIn::Namespaced {
            restricts: false, ..
        } => {}
    }
    Some(policy)
}

fn deny_all(policy: &CompiledPolicy) -> Rule {
    Rule {
        reference: RuleRef {
            tier: policy.tier,
            kind: policy.kind,
            namespace: policy.namespace.clone(),
            policy: Arc::clone(&policy.name),
            rule: Reason::PolicyUnsupported.code().into(),
            action: Action::Deny,
        },
        action: Action::Deny,
        expires: None,
        matcher: Matcher::default(),
        mode: TlsMode::Auto,
        denial: Reason::PolicyUnsupported,
        inject: None,
        touches_content: false,
        touches_tls: false,
        raw: false,
        without_sni: false,
        openings: Box::default(),
    }
}
