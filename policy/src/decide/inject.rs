//! Credentials: which ones a request gets, and where that is not possible.

use super::{
    outcome::{Kind, Outcomes, Win},
    types::{Injection, Tier},
    view::{Lane, View},
};
use crate::{
    evidence::{Attr, Protocol},
    index::Ids,
    matcher::{Context, Injector, Inside, Side, Tri},
    reason::Reason,
};

/// The rules with a credential that take part, with the value of everything in them but `response`.
fn acting<'v>(
    view: &'v View,
    context: &Context<'_>,
    ids: &[u32],
    (lane, now): (Lane, u64),
) -> impl Iterator<Item = (u32, &'v Injector, Tri)> {
    ids.iter().filter_map(move |&id| {
        let (policy, rule) = view.rule(id)?;
        let injector = rule.inject.as_ref()?;
        if !view.takes_part(policy, lane) || rule.expired(now) {
            return None;
        }
        let value = rule.matcher.matches_but_response(context, Side::ALLOW);
        (!value.is_false()).then_some((id, injector, value))
    })
}

/// What the credentials make of what a rule allows, whichever it is: the outcomes, and whether TLS has to be opened.
pub(super) fn judge(
    view: &View,
    context: &Context<'_>,
    ids: &[u32],
    (lane, now): (Lane, u64),
    mut outcomes: Outcomes,
) -> (Outcomes, bool) {
    // A fleet that only audits adds nothing.
    if !view.injects || view.audited {
        return (outcomes, false);
    }
    let mut refused: Option<(bool, Win)> = None;
    let mut inspect = false;
    let mut seen: Vec<(&Injector, bool)> = Vec::new();
    for (id, injector, value) in acting(view, context, ids, (lane, now)) {
        if !value.may_be_true() {
            continue;
        }
        let mut refuse = |certain: bool, reason| {
            let win = Win {
                rule: Some(id),
                reason,
                tier: Tier::Namespace,
            };
            if refused.is_none_or(|(before, _)| !before && certain) {
                refused = Some((certain, win));
            }
        };
        let certain = value.is_true();
        match possible(context) {
            Possible::No => refuse(certain, Reason::InjectImpossible),
            Possible::Open => {
                inspect = true;
                refuse(false, Reason::InjectImpossible);
            }
            Possible::Yes => inspect |= !context.evidence.inspected,
        }
        match &injector.credential {
            None => refuse(certain, Reason::CredentialUnavailable),
            Some(credential) => {
                match context.name {
                    Attr::Known(name) if credential.hosts.contains(name) => {}
                    Attr::Pending => refuse(false, Reason::InjectImpossible),
                    Attr::Known(_) | Attr::Absent | Attr::Hidden => {
                        refuse(certain, Reason::InjectImpossible);
                    }
                }
                let conflict = seen.iter().find(|(other, _)| {
                    !same(other, injector)
                        && other
                            .credential
                            .as_ref()
                            .is_some_and(|other| other.header == credential.header)
                });
                if let Some((_, other)) = conflict {
                    refuse(certain && *other, Reason::InjectConflict);
                }
            }
        }
        seen.push((injector, certain));
    }
    match refused {
        Some((true, win)) => outcomes = Outcomes::only(Kind::Deny, win),
        Some((false, win)) => outcomes.add(Kind::Deny, win),
        None => {}
    }
    (outcomes, inspect && outcomes.may_allow())
}

/// Whether something can be added to the requests of a flow.
enum Possible {
    No,
    /// That is still to be seen.
    Open,
    /// Its TLS is opened, or can be.
    Yes,
}

fn possible(context: &Context<'_>) -> Possible {
    if context.evidence.inspected {
        return Possible::Yes;
    }
    match context.protocol {
        Attr::Known(Protocol::Tls) if context.passthrough => Possible::No,
        Attr::Known(Protocol::Tls) => match context.inside {
            Inside::Open => Possible::Yes,
            Inside::Sealed | Inside::Supposed => Possible::No,
            Inside::Unclear => Possible::Open,
        },
        Attr::Pending if context.inside != Inside::Sealed => Possible::Open,
        Attr::Known(Protocol::Http | Protocol::Tcp)
        | Attr::Absent
        | Attr::Hidden
        | Attr::Pending => Possible::No,
    }
}

/// The credentials for a request that is seen and allowed.
pub(super) fn injections(view: &View, context: &Context<'_>, now: u64) -> Vec<Injection> {
    let mut found: Vec<Injection> = Vec::new();
    if !view.injects
        || view.audited
        || !context.evidence.inspected
        || context.request.known().is_none()
    {
        return found;
    }
    let mut ids = Ids::new();
    view.candidates(context, &mut ids);
    for (_, injector, value) in acting(view, context, &ids, (Lane::Live, now)) {
        let Some(credential) = injector.credential.as_ref().filter(|_| value.is_true()) else {
            continue;
        };
        if !found.iter().any(|other| other.header == credential.header) {
            found.push(Injection {
                namespace: credential.namespace.clone(),
                name: credential.name.clone(),
                header: credential.header.clone(),
            });
        }
    }
    found
}

fn same(left: &Injector, right: &Injector) -> bool {
    left.namespace == right.namespace && left.name == right.name
}
