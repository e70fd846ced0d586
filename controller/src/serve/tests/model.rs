//! The session against a gateway that does what it is told, over many random histories.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use exitgate_policy::{Resource, ResourceName};

use crate::index::{Manifest, Part};
use crate::serve::session::{Answered, Session};

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn manifest(numbers: &mut Numbers) -> Arc<Manifest> {
    let mut parts = Vec::new();
    for name in 0..8 {
        if numbers.below(3) > 0 {
            // Names of which one begins like another.
            let name = ["a", "a-b", "a.b", "aa", "b", "a0", "z", "ab"][name];
            let body = numbers.below(3).to_string().into_bytes();
            let name = ResourceName::Policy(name.to_owned(), name.to_owned());
            parts.push(Arc::new(Part::new(Resource::new(name, body))));
        }
    }
    Arc::new(Manifest::of_parts(parts))
}

fn digests(manifest: &Manifest) -> BTreeMap<String, [u8; 32]> {
    let parts = manifest.resources.iter();
    parts
        .map(|part| (part.name().to_owned(), part.resource.digest.0))
        .collect()
}

#[test]
fn whatever_happens_the_gateway_gets_to_what_is_wanted() {
    let mut numbers = Numbers(7);
    for _ in 0..500 {
        let mut held: BTreeMap<String, [u8; 32]> = digests(&manifest(&mut numbers));
        let hello: HashMap<String, [u8; 32]> = held.clone().into_iter().collect();
        let mut session = Session::new(hello);
        let mut wanted = manifest(&mut numbers);
        let mut in_flight = None;
        for step in 0..30 {
            if numbers.below(2) == 0 && step < 25 {
                wanted = manifest(&mut numbers);
            }
            if in_flight.is_none() {
                if let Some(next) = session.next(&wanted) {
                    for name in &next.removals {
                        assert!(held.remove(name).is_some(), "{name} was not held");
                    }
                    for part in &next.upserts {
                        let digest = part.resource.digest.0;
                        let before = held.insert(part.name().to_owned(), digest);
                        assert_ne!(before, Some(digest), "{} was held", part.name());
                    }
                    assert_eq!(held, digests(&wanted));
                    in_flight = Some(next.nonce);
                }
            } else {
                assert!(session.next(&wanted).is_none());
                assert!(session.waits());
            }
            if let Some(nonce) = in_flight
                && (numbers.below(2) == 0 || step >= 25)
            {
                assert_eq!(session.answered(nonce + 1), Answered::Unknown);
                assert_eq!(session.answered(nonce), Answered::Applied);
                assert_eq!(session.answered(nonce), Answered::Again);
                in_flight = None;
            }
        }
        assert_eq!(held, digests(&wanted));
        assert!(session.next(&wanted).is_none());
    }
}
