//! Credentials.

use exitgate_policy::{Attr, CredentialResource, Protocol, Reason, Rule};

use super::{
    outcome::{Leaf, Outcome},
    rule::{Inside, closed_tls},
    text::host_matches,
    tiers::{Modes, Placed, World},
    truth::Truth,
};

impl<'a> World<'a> {
    /// The rules that add a credential to this request, with the credential where there is one.
    fn adding(
        self,
        modes: Modes,
    ) -> Vec<(Truth, Placed<'a>, &'a str, Option<&'a CredentialResource>)> {
        let mut found = Vec::new();
        for (policy, spec) in self.namespaced() {
            for rule in &spec.rules {
                let Some(inject) = &rule.inject else { continue };
                let without = Rule {
                    response: None,
                    ..rule.clone()
                };
                let placed = Placed {
                    policy,
                    namespace: Some(self.workload.namespace.as_str()),
                    rule,
                };
                let value = self.value_of(placed, &without, modes, false);
                let name = inject.credential_ref.name.as_str();
                let credential = self.snapshot.credentials.iter().find(|credential| {
                    credential.namespace == self.workload.namespace && credential.name == name
                });
                if value.may_hold() {
                    found.push((value, placed, name, credential));
                }
            }
        }
        found
    }

    /// What the credentials make of what was allowed.
    pub fn with_credentials(self, modes: Modes, outcome: Outcome) -> Outcome {
        if self.audited {
            return outcome;
        }
        let evidence = self.evidence;
        // Whether something can be added, and whether TLS has to be opened for it.
        let (possible, opens) = if evidence.inspected {
            (Truth::YES, false)
        } else {
            match evidence.protocol {
                Attr::Known(Protocol::Tls) if modes.through || self.inside == Inside::Sealed => {
                    (Truth::NO, false)
                }
                Attr::Known(Protocol::Tls) if self.inside == Inside::Open => (Truth::YES, true),
                Attr::Known(Protocol::Tls) => (Truth::PENDING, true),
                Attr::Pending if self.inside != Inside::Sealed => (Truth::PENDING, true),
                _ => (Truth::NO, false),
            }
        };
        let mut result = outcome;
        let names = [
            Reason::NameMismatch,
            Reason::PortMismatch,
            Reason::SniMissing,
        ];
        let all = self.adding(modes);
        for (at, (value, placed, name, credential)) in all.iter().enumerate() {
            let mut checks = vec![(possible, Reason::InjectImpossible)];
            match credential {
                None => checks.push((Truth::NO, Reason::CredentialUnavailable)),
                Some(credential) => {
                    let listed = match evidence.name {
                        Attr::Known(name) => Truth::of(
                            credential
                                .hosts
                                .iter()
                                .any(|pattern| host_matches(pattern, name.as_str())),
                        ),
                        Attr::Pending => Truth::PENDING,
                        Attr::Absent | Attr::Hidden => Truth::NO,
                    };
                    checks.push((listed, Reason::InjectImpossible));
                    for (other_value, _, other_name, other) in &all[..at] {
                        if other_name != name
                            && other.is_some_and(|other| {
                                other.header.eq_ignore_ascii_case(&credential.header)
                            })
                        {
                            checks.push((!*other_value, Reason::InjectConflict));
                        }
                    }
                }
            }
            for (fine, reason) in checks {
                let refused = value.and(!fine);
                if !refused.may_hold() {
                    continue;
                }
                let denial = Leaf {
                    allow: false,
                    opens: false,
                    reasons: vec![
                        reason,
                        Reason::InjectImpossible,
                        Reason::InjectConflict,
                        Reason::CredentialUnavailable,
                    ],
                    rule: Some(placed.key()),
                    never: false,
                };
                // Names that differ are as good a reason as the credential.
                let by_name = |leaf: &Leaf| leaf.reasons.iter().any(|one| names.contains(one));
                let possible = result.may_allow() || result.leaves.iter().any(by_name);
                if refused == Truth::YES {
                    result.leaves.retain(|leaf| !leaf.allow);
                }
                if possible {
                    result.leaves.insert(denial);
                }
            }
            if opens {
                result.leaves = result
                    .leaves
                    .into_iter()
                    .map(|leaf| Leaf {
                        opens: leaf.allow && (leaf.opens || self.may_open()),
                        ..leaf
                    })
                    .collect();
            }
        }
        result
    }

    /// Names of the credentials that a request gets, with their headers.
    pub fn injections(self) -> Vec<(String, String)> {
        if self.audited || !self.evidence.inspected || self.evidence.request.known().is_none() {
            return Vec::new();
        }
        let mut all: Vec<_> = self
            .adding(Modes::default())
            .into_iter()
            .filter(|(value, ..)| *value == Truth::YES)
            .filter_map(|(_, _, name, credential)| {
                Some((name.to_owned(), credential?.header.to_ascii_lowercase()))
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether this may be TLS that can be opened.
    pub fn may_open(self) -> bool {
        !self.evidence.inspected
            && self.inside != Inside::Sealed
            && (self.evidence.protocol.is_pending() || closed_tls(self.evidence))
    }
}
