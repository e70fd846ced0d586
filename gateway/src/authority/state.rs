//! Which authority signs: what it is made from, and when another one is made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use exitgate_policy::Name;
use rustls::pki_types::CertificateDer;

use super::certificate::Validity;
use super::check::CaProblem;
use super::constraints::{Constraints, Coverage};
use super::key::{CaKey, KeyKind};
use super::leaf_keys::{LeafKeys, RsaAuthorities};
use super::load::Source;
use super::settings::{Bounds, Custody, Names, Settings};
use super::signer::{Ca, DirectSigner, IssuingSigner, LeafRequest, Signer};
use super::{AuthorityError, AuthorityId, BACKDATING, LEAF_LIFE, LeafError, LeafKey};

/// A failed renewal is tried again after this.
const RETRY: u64 = 60;
/// A root that was in force before stays published this long.
const OVERLAP: u64 = 7 * 86_400;
/// The bounds of an issuing CA's life.
const LEAST_LIFETIME: u64 = 10;
const MOST_LIFETIME: u64 = 86_400;
/// More subtrees than this make every handshake too large.
const MAX_SUBTREES: usize = 100;

/// Where the authority comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// Somebody else signs each leaf.
    Elsewhere {
        signer: Arc<dyn Signer>,
        roots: Vec<CertificateDer<'static>>,
        id: AuthorityId,
    },
    /// Certificate and key from files.
    Files(Source),
}

/// What states are made from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) custody: Custody,
    pub(super) bounds: Bounds,
    /// How long an issuing CA is valid, in seconds, the backdating included.
    pub(super) lifetime: u64,
    pub(super) names: Names,
    pub(super) origin: Origin,
    /// Roots of before, each with the time until which it stays published.
    pub(super) previous: Vec<(CertificateDer<'static>, u64)>,
    /// How many states were made.
    pub(super) made: u64,
}

/// The authority in force.
#[derive(Debug)]
pub(super) struct State {
    /// Another one for each state.
    pub(super) number: u64,
    pub(super) id: AuthorityId,
    /// None where there is no name to sign for.
    pub(super) signer: Option<Arc<dyn Signer>>,
    /// What the issuing CA of this gateway permits, where there is one.
    issuing: Option<Constraints>,
    /// What the certificates above permit.
    above: Vec<Constraints>,
    rsa_authorities: RsaAuthorities,
    /// When the next state is due.
    renew_at: AtomicU64,
    /// After this nothing can be signed.
    ends: u64,
}

impl State {
    /// Whether this name may be signed for now.
    pub(super) fn permits(&self, name: &Name, now: u64) -> Result<(), LeafError> {
        if self.ends <= now {
            return Err(LeafError::Expired);
        }
        let above = self.above.iter().map(|one| one.coverage(name));
        if above.into_iter().any(|found| found != Coverage::Covered) {
            return Err(LeafError::NotPermitted);
        }
        match self.issuing.as_ref().map(|one| one.coverage(name)) {
            Some(Coverage::Excluded) => Err(LeafError::NotPermitted),
            Some(Coverage::Outside) => Err(LeafError::Pending),
            Some(Coverage::Covered) | None => Ok(()),
        }
    }

    /// Which RSA keys signing may need.
    pub(super) fn rsa_authorities(&self) -> RsaAuthorities {
        self.rsa_authorities
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.renew_at.load(Ordering::Relaxed) <= now
    }

    pub(super) fn postpone(&self, now: u64) {
        self.renew_at.store(now + RETRY, Ordering::Relaxed);
    }

    /// Until when it signs.
    pub(super) fn ends(&self) -> u64 {
        self.ends
    }

    /// What its certificate permits, where it was issued for this gateway.
    pub(super) fn issuing(&self) -> Option<&Constraints> {
        self.issuing.as_ref()
    }
}

impl Plan {
    /// Leaves signed elsewhere.
    pub(super) fn elsewhere(signer: Arc<dyn Signer>, roots: Vec<CertificateDer<'static>>) -> Self {
        let all: Vec<u8> = roots.iter().flat_map(|root| root.iter().copied()).collect();
        Self {
            custody: Custody::PerLeaf,
            bounds: Bounds::Auto,
            lifetime: 0,
            names: Names::Unbounded,
            origin: Origin::Elsewhere {
                signer,
                roots,
                id: AuthorityId::of(&all),
            },
            previous: Vec::new(),
            made: 0,
        }
    }

    /// The authority of the settings' files.
    pub(super) fn read(
        settings: &Settings,
        names: Names,
        now: u64,
    ) -> Result<Self, AuthorityError> {
        let lifetime = settings.lifetime.as_secs();
        if !(LEAST_LIFETIME..=MOST_LIFETIME).contains(&lifetime) {
            return Err(AuthorityError::Setting {
                field: "lifetime",
                reason: format!("{lifetime} s is not between 10s and 24h"),
            });
        }
        let source = Source::read(settings, Self::below(settings.custody), now)?;
        if source.roots.is_empty() {
            tracing::warn!(
                "spec.tls.authority: no root among the certificates, so the bundle for clients is empty; name the enterprise \
                 root in trustFiles"
            );
        }
        Ok(Self {
            custody: settings.custody,
            bounds: settings.bounds.clone(),
            lifetime,
            names,
            origin: Origin::Files(source),
            previous: Vec::new(),
            made: 0,
        })
    }

    /// How many authorities stand between the one in the files and a leaf.
    pub(super) fn below(custody: Custody) -> u32 {
        match custody {
            // A root that can only sign leaves could not move on to custody PerGateway.
            Custody::Development | Custody::PerGateway => 1,
            Custody::PerLeaf => 0,
        }
    }

    /// The constraints of the issuing CA that the names ask for; none where leaves are signed without one.
    fn wanted(&self) -> Option<Constraints> {
        match (self.custody, &self.bounds, &self.names) {
            (Custody::PerGateway, Bounds::ExclusionsOnly(excluded), _) => {
                Some(Constraints::all_but(excluded.iter().map(String::as_str)))
            }
            (Custody::PerGateway, Bounds::Auto, Names::Bounded(names)) => {
                let constraints = Constraints::only(names.iter().map(String::as_str), []);
                let count = constraints.permitted().map_or(0, Iterator::count);
                (count <= MAX_SUBTREES).then_some(constraints)
            }
            // What cannot be constrained is signed leaf by leaf.
            (Custody::PerGateway, Bounds::Auto, Names::Unbounded)
            | (Custody::Development | Custody::PerLeaf, _, _) => None,
        }
    }

    /// The first state, tried out before it is used.
    pub(super) fn first(&mut self, keys: &LeafKeys, now: u64) -> Result<State, AuthorityError> {
        self.make(keys, now, true)
    }

    /// The next state.
    pub(super) fn next(&mut self, keys: &LeafKeys, now: u64) -> Result<State, AuthorityError> {
        self.make(keys, now, false)
    }

    /// Whether a state signs for everything that the names ask for, and in the way that they ask for.
    pub(super) fn suffices(&self, state: &State) -> bool {
        match (&state.issuing, self.wanted()) {
            (Some(current), Some(wanted)) => current.include(&wanted),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn make(&mut self, keys: &LeafKeys, now: u64, try_out: bool) -> Result<State, AuthorityError> {
        let wanted = self.wanted();
        let number = self.made + 1;
        let source = match &self.origin {
            Origin::Elsewhere { signer, id, .. } => {
                self.made = number;
                return Ok(State {
                    number,
                    id: *id,
                    signer: Some(Arc::clone(signer)),
                    issuing: None,
                    above: Vec::new(),
                    rsa_authorities: RsaAuthorities::None,
                    renew_at: AtomicU64::new(u64::MAX),
                    ends: u64::MAX,
                });
            }
            Origin::Files(source) => source,
        };
        let failed = |problem: CaProblem| AuthorityError::Ca {
            path: "the issuing CA of this gateway".to_owned(),
            problem,
        };
        let (id, signer, ends, renew_at) = match &wanted {
            None => {
                let signer = DirectSigner {
                    ca: Arc::clone(&source.ca),
                };
                let (id, ends) = (
                    identify(&source.ca, &source.top),
                    source.ca.validity.not_after,
                );
                (
                    id,
                    Some(Arc::new(signer) as Arc<dyn Signer>),
                    ends,
                    u64::MAX,
                )
            }
            Some(constraints) if constraints.is_empty() => {
                // No permitted subtree at all would mean that every name is permitted.
                let (id, ends) = (
                    identify(&source.ca, &source.top),
                    source.ca.validity.not_after,
                );
                (id, None, ends, u64::MAX)
            }
            Some(constraints) => {
                let ca = issue(source, constraints, self.lifetime, now).map_err(failed)?;
                if try_out {
                    probe(source, &ca, Some(constraints), now).map_err(failed)?;
                }
                let (id, ends) = (identify(&ca, &source.top), ca.validity.not_after);
                let renew_at = now + ends.saturating_sub(now) * 2 / 3;
                let signer = IssuingSigner {
                    parent: Arc::clone(&source.ca),
                    ca,
                    constraints: constraints.clone(),
                    rsa: OnceLock::new(),
                    rsa_keys: keys.rsa_keys(),
                };
                (
                    id,
                    Some(Arc::new(signer) as Arc<dyn Signer>),
                    ends,
                    renew_at,
                )
            }
        };
        if try_out && wanted.is_none() {
            probe(source, &source.ca, None, now).map_err(failed)?;
        }
        let rsa_authorities = match source.ca.key.kind() {
            KeyKind::Rsa if wanted.is_some() => RsaAuthorities::Issuing,
            KeyKind::Rsa | KeyKind::Ecdsa => RsaAuthorities::None,
        };
        self.made = number;
        Ok(State {
            number,
            id,
            signer,
            issuing: wanted,
            above: source.constraints.clone(),
            rsa_authorities,
            renew_at: AtomicU64::new(renew_at),
            ends,
        })
    }

    /// The roots that clients are to trust.
    pub(super) fn published(&self, now: u64) -> impl Iterator<Item = &CertificateDer<'static>> {
        let roots = match &self.origin {
            Origin::Elsewhere { roots, .. } => roots,
            Origin::Files(source) => &source.roots,
        };
        let previous = self
            .previous
            .iter()
            .filter(move |(root, until)| *until > now && !roots.contains(root))
            .map(|(root, _)| root);
        roots.iter().chain(previous)
    }

    /// Takes over what was published before, to stay so for a while.
    pub(super) fn succeed(&mut self, before: &Self, now: u64) {
        let roots = match &before.origin {
            Origin::Elsewhere { roots, .. } => roots,
            Origin::Files(source) => &source.roots,
        };
        let replaced = roots.iter().map(|root| (root.clone(), now + OVERLAP));
        let mut previous: Vec<_> = before.previous.clone();
        previous.extend(replaced);
        previous.retain(|(_, until)| *until > now);
        previous.sort_by(|(a, x), (b, y)| a.as_ref().cmp(b.as_ref()).then(y.cmp(x)));
        previous.dedup_by(|(a, _), (b, _)| a == b);
        self.previous = previous;
        self.made = before.made;
    }
}

fn issue(
    source: &Source,
    constraints: &Constraints,
    lifetime: u64,
    now: u64,
) -> Result<Ca, CaProblem> {
    let not_before = now.saturating_sub(BACKDATING.min(lifetime / 2));
    let validity = Validity {
        not_before,
        not_after: not_before + lifetime,
    };
    source
        .ca
        .issue(CaKey::generate_ecdsa()?, constraints, validity)
}

/// Signs a leaf and has a strict verifier look at it: finds in a chain what no single check does.
pub(super) fn probe(
    source: &Source,
    ca: &Ca,
    constraints: Option<&Constraints>,
    now: u64,
) -> Result<(), CaProblem> {
    let rejected = |text: String| CaProblem::Rejected(text);
    let mut names: Vec<Name> = constraints
        .into_iter()
        .chain(&source.constraints)
        .filter_map(Constraints::permitted)
        .flatten()
        .filter_map(|subtree| Name::parse(subtree.as_bytes()).ok())
        .collect();
    names.extend(Name::parse(b"self-test.invalid"));
    let permitted = names.into_iter().find(|name| {
        constraints
            .into_iter()
            .chain(&source.constraints)
            .all(|one| one.coverage(name) == Coverage::Covered)
    });
    let Some(name) = permitted else {
        return Ok(());
    };
    let key = CaKey::generate_ecdsa()?;
    let request = LeafRequest {
        name: name.clone(),
        key: LeafKey::Ecdsa,
        spki: key.spki().into(),
        validity: Validity {
            not_before: now.saturating_sub(BACKDATING),
            not_after: now + LEAF_LIFE,
        },
    };
    let signed = ca
        .leaf(&request)
        .map_err(|error| rejected(error.to_string()))?;
    source.accepts(&signed, name.as_str(), now)
}

fn identify(ca: &Ca, top: &CertificateDer<'_>) -> AuthorityId {
    let certificate = ca.chain.first().map_or(top.as_ref(), AsRef::as_ref);
    AuthorityId::of(certificate)
}
