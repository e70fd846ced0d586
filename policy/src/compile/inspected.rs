//! The names whose TLS policies can have opened, for the constraints of the CA that signs for them.

use std::collections::BTreeSet;

use super::{CompiledPolicy, PolicySet};
use crate::{
    matcher::{NameMatcher, Patterns, RULE_TLS, Rule},
    model::{Inspection, Mode},
    name::Name,
    pattern::HostPattern,
};

/// Most subtrees that a CA is limited to by name.
const MAX_SUBTREES: usize = 100;

/// A name with everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subtree(Name);

impl Subtree {
    /// The name at the top.
    pub fn name(&self) -> &Name {
        &self.0
    }

    /// Whether the name is this one or below it.
    pub fn contains(&self, name: &Name) -> bool {
        self.0 == *name
            || name
                .as_str()
                .strip_suffix(self.0.as_str())
                .is_some_and(|head| head.ends_with('.'))
    }
}

/// The names whose TLS some rule can have opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InspectedNames {
    /// These, with everything below them. Empty: none.
    Bounded(BTreeSet<Subtree>),
    /// Any name, or too many to list.
    Unbounded,
}

impl PolicySet {
    /// The names whose TLS some rule can have opened, whatever the workload and the time.
    pub fn inspected_names(&self) -> InspectedNames {
        let mut found = BTreeSet::new();
        if self.settings.inspection == Inspection::Off {
            return InspectedNames::Bounded(found);
        }
        for rule in self.inspecting_rules() {
            let Some(names) = &rule.matcher.names else {
                return InspectedNames::Unbounded;
            };
            if !self.add_names(names, &mut found) {
                return InspectedNames::Unbounded;
            }
        }
        // A subtree within another one says nothing new.
        let all = found.clone();
        found.retain(|one| {
            !all.iter()
                .any(|other| other != one && other.contains(one.name()))
        });
        if found.len() > MAX_SUBTREES {
            return InspectedNames::Unbounded;
        }
        InspectedNames::Bounded(found)
    }

    fn inspecting_rules(&self) -> impl Iterator<Item = &Rule> {
        let live = |policy: &&std::sync::Arc<CompiledPolicy>| policy.mode == Mode::Enforce;
        self.policies
            .iter()
            .filter(live)
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.may_inspect() && rule.matcher.protocols & RULE_TLS != 0)
    }

    /// false: these are too many.
    fn add_names(&self, names: &NameMatcher, found: &mut BTreeSet<Subtree>) -> bool {
        let mut add = |pattern: &HostPattern| {
            let exempt = self.settings.exempt.list();
            if !exempt.iter().any(|exempt| exempt.covers(pattern)) {
                found.insert(Subtree(pattern.name().clone()));
            }
            // Subtrees within others are left out at the end only; a hostile number of them must not be kept until then.
            found.len() <= 100 * MAX_SUBTREES
        };
        let own = match &names.patterns {
            Patterns::Few(list) | Patterns::Many(list, _) => list.iter().all(&mut add),
        };
        own && names.sets.iter().all(|set| {
            // What is not loaded matches nothing yet.
            set.names.as_ref().is_none_or(|set| {
                set.len() <= 10 * MAX_SUBTREES && set.patterns().iter().all(&mut add)
            })
        })
    }
}
