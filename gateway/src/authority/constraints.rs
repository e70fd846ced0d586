//! Which names an authority may sign for: the name constraints of its certificate.

use std::collections::BTreeSet;

use exitgate_policy::Name;
use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::X509Certificate;

use super::der;

/// Permitted and excluded subtrees of DNS names. Addresses are always excluded in what we issue: without that most clients
/// accept a certificate for an address from an authority that is constrained to names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    /// `None` permits every name that is not excluded.
    permitted: Option<BTreeSet<Box<str>>>,
    excluded: BTreeSet<Box<str>>,
}

/// What constraints say about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// It may be signed.
    Covered,
    /// It lies in an excluded subtree.
    Excluded,
    /// It lies in no permitted subtree.
    Outside,
}

impl Constraints {
    /// Only names in these subtrees; a subtree is a name and everything below it.
    pub(super) fn only<'a>(
        permitted: impl IntoIterator<Item = &'a str>,
        excluded: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let all: BTreeSet<Box<str>> = permitted.into_iter().map(Box::from).collect();
        let outermost = all
            .iter()
            .filter(|one| !all.iter().any(|other| other != *one && lies_in(one, other)))
            .cloned()
            .collect();
        Self {
            permitted: Some(outermost),
            excluded: excluded.into_iter().map(Box::from).collect(),
        }
    }

    /// Every name but those in these subtrees.
    pub(super) fn all_but<'a>(excluded: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            permitted: None,
            excluded: excluded.into_iter().map(Box::from).collect(),
        }
    }

    /// The constraints of a certificate. What cannot be read permits nothing.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let parsed = match certificate.name_constraints() {
            Ok(None) => return Self::default(),
            Ok(Some(extension)) => extension.value,
            Err(_) => return Self::only([], []),
        };
        let permitted = parsed.permitted_subtrees.as_deref().and_then(dns_subtrees);
        let excluded = parsed.excluded_subtrees.as_deref().and_then(dns_subtrees);
        Self {
            permitted,
            excluded: excluded.unwrap_or_default(),
        }
    }

    pub(super) fn coverage(&self, name: &Name) -> Coverage {
        let name = name.as_str();
        if within(&self.excluded, name) {
            return Coverage::Excluded;
        }
        match &self.permitted {
            Some(permitted) if !within(permitted, name) => Coverage::Outside,
            Some(_) | None => Coverage::Covered,
        }
    }

    /// Whether everything that `other` permits is permitted here too.
    pub(super) fn include(&self, other: &Self) -> bool {
        let permitted = match (&self.permitted, &other.permitted) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.iter().all(|one| within(ours, one)),
        };
        permitted && self.excluded == other.excluded
    }

    /// Whether no name at all is permitted.
    pub(super) fn is_empty(&self) -> bool {
        self.permitted.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// The permitted subtrees; `None` where only exclusions hold.
    pub(super) fn permitted(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.permitted.as_ref()?.iter().map(AsRef::as_ref))
    }

    /// The value of the certificate's extension.
    pub(super) fn to_der(&self) -> Vec<u8> {
        let names = |set: &BTreeSet<Box<str>>| -> Vec<u8> {
            set.iter()
                .flat_map(|one| der::sequence(&[&der::tlv(der::CONTEXT_2, &[one.as_bytes()])]))
                .collect()
        };
        let permitted = self
            .permitted
            .as_ref()
            .map(|set| der::tlv(der::CONTEXT_0_CONSTRUCTED, &[&names(set)]));
        // Address and mask, all zero: every IPv4 and every IPv6 address.
        let addresses: Vec<u8> = [&[0; 8][..], &[0; 32][..]]
            .into_iter()
            .flat_map(|range| der::sequence(&[&der::tlv(der::CONTEXT_7, &[range])]))
            .collect();
        let excluded = der::tlv(
            der::CONTEXT_1_CONSTRUCTED,
            &[&names(&self.excluded), &addresses],
        );
        der::sequence(&[&permitted.unwrap_or_default(), &excluded])
    }
}

fn dns_subtrees(subtrees: &[GeneralSubtree<'_>]) -> Option<BTreeSet<Box<str>>> {
    let names: BTreeSet<Box<str>> = subtrees
        .iter()
        .filter_map(|subtree| match &subtree.base {
            GeneralName::DNSName(name) => {
                Some(name.trim_start_matches('.').to_ascii_lowercase().into())
            }
            _ => None,
        })
        .collect();
    // Constraints on other kinds of names say nothing about DNS names.
    (!names.is_empty()).then_some(names)
}

fn within(subtrees: &BTreeSet<Box<str>>, name: &str) -> bool {
    let mut rest = name;
    loop {
        if subtrees.contains(rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, parent)) => rest = parent,
            // The empty subtree holds every name.
            None => return subtrees.contains(""),
        }
    }
}

fn lies_in(name: &str, subtree: &str) -> bool {
    name.strip_suffix(subtree)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_subtree_is_the_name_and_what_is_below() {
        let constraints = Constraints::only(["x.io", "api.y.io"], ["secret.x.io"]);
        for (text, expected) in [
            ("x.io", Coverage::Covered),
            ("a.b.x.io", Coverage::Covered),
            ("api.y.io", Coverage::Covered),
            ("y.io", Coverage::Outside),
            ("ax.io", Coverage::Outside),
            ("io", Coverage::Outside),
            ("secret.x.io", Coverage::Excluded),
            ("a.secret.x.io", Coverage::Excluded),
        ] {
            assert_eq!(constraints.coverage(&name(text)), expected, "{text}");
        }
    }

    #[test]
    fn only_the_outermost_subtrees_are_kept() {
        let constraints = Constraints::only(["x.io", "a.x.io", "b.a.x.io", "ax.io"], []);
        let kept: Vec<_> = constraints.permitted().unwrap().collect();
        assert_eq!(kept, ["ax.io", "x.io"]);
    }

    #[test]
    fn what_includes_what() {
        let some = Constraints::only(["x.io"], []);
        let more = Constraints::only(["x.io", "y.io"], []);
        let below = Constraints::only(["a.x.io"], []);
        let any = Constraints::all_but([]);
        assert!(more.include(&some) && !some.include(&more));
        assert!(some.include(&below) && !below.include(&some));
        assert!(any.include(&some) && !some.include(&any));
        assert!(!any.include(&Constraints::all_but(["x.io"])));
    }

    #[test]
    fn nothing_permitted_is_not_everything_permitted() {
        let nothing = Constraints::only([], []);
        assert!(nothing.is_empty());
        assert_eq!(nothing.coverage(&name("x.io")), Coverage::Outside);
    }
}
