//! What is refused before it is deployed although a running gateway would live with it.

use exitgate_policy::{
    Action, ObjectRef, PolicyResource, Problem, Rule, SetContent, Severity, Snapshot, To,
};

/// Rules that deny by, or exclude, a set without content. A gateway takes them and denies; whoever writes them means some
/// names and would deny everything until the set is there.
pub(super) fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    let mut found = Vec::new();
    for policy in &snapshot.policies {
        let (object, rules) = match policy {
            PolicyResource::Cluster { name, spec } => (
                ObjectRef {
                    kind: "ClusterEgressPolicy",
                    namespace: None,
                    name: name.clone(),
                },
                &spec.rules,
            ),
            PolicyResource::Namespaced {
                namespace,
                name,
                spec,
            } => {
                let namespace = Some(namespace.clone());
                (
                    ObjectRef {
                        kind: "EgressPolicy",
                        namespace,
                        name: name.clone(),
                    },
                    &spec.rules,
                )
            }
        };
        for (index, rule) in rules.iter().enumerate() {
            for (path, set) in negative_sets(rule) {
                if !is_loaded(snapshot, object.namespace.as_deref(), set) {
                    found.push(Problem {
                        severity: Severity::Error,
                        object: object.clone(),
                        path: format!("spec.rules[{index}].{path}"),
                        message: format!("a Deny or a not needs the set {set:?}, which is not there or not loaded"),
                    });
                }
            }
        }
    }
    found
}

/// The sets that a rule denies by or excludes.
fn negative_sets(rule: &Rule) -> Vec<(String, &str)> {
    let denied = rule.to.as_ref().filter(|_| rule.action == Action::Deny);
    let excluded = rule.not.as_ref().and_then(|not| not.to.as_ref());
    let mut sets = Vec::new();
    let parts: [(&str, Option<&To>); 2] = [("to", denied), ("not.to", excluded)];
    for (prefix, to) in parts {
        let Some(to) = to else { continue };
        for (field, names) in [("hostSets", &to.host_sets), ("cidrSets", &to.cidr_sets)] {
            sets.extend(
                names
                    .iter()
                    .enumerate()
                    .map(|(at, name)| (format!("{prefix}.{field}[{at}]"), name.as_str())),
            );
        }
    }
    sets
}

fn is_loaded(snapshot: &Snapshot, namespace: Option<&str>, reference: &str) -> bool {
    let (namespace, name) = match (namespace, reference.strip_prefix("cluster/")) {
        (Some(_), Some(name)) => (None, name),
        (namespace, _) => (namespace, reference),
    };
    snapshot.sets.iter().any(|set| {
        set.name == name
            && set.namespace.as_deref() == namespace
            && !matches!(set.content, SetContent::Unavailable)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::source::testing::Folder;
    use crate::source::{Options, load};

    #[test]
    fn a_deny_by_a_set_without_content_is_an_error_only_before_deployment() {
        let text = "apiVersion: exitgate.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: a}\nspec:\n  rules:\n  \
                    - {name: d, action: Deny, to: {hostSets: [nowhere, cluster/known]}}\n  \
                    - {name: n, action: Allow, to: {hosts: [a.io]}, not: {to: {cidrSets: [cluster/gone]}}}\n  \
                    - {name: a, action: Allow, to: {hostSets: [cluster/gone]}}\n---\n\
                    apiVersion: exitgate.dev/v1alpha1\nkind: ClusterEgressDomainSet\nmetadata: {name: known}\n\
                    spec: {hosts: [b.io]}\n";
        let folder = Folder::new(&[("a.yaml", text)]);
        let paths = [folder.path().to_owned()];
        let mut strict = load(
            &paths,
            &Options {
                previous: None,
                strict: true,
            },
        )
        .unwrap();
        assert!(strict.compile().is_none());
        let errors: Vec<_> = strict
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .map(|found| found.path.as_str())
            .collect();
        assert_eq!(
            errors,
            [
                "spec.rules[0].to.hostSets[0]",
                "spec.rules[1].not.to.cidrSets[0]"
            ]
        );
        let mut running = load(&paths, &Options::default()).unwrap();
        assert!(running.compile().is_some(), "{:#?}", running.diagnostics);
    }
}
