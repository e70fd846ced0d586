//! How many ways there are through the certificates that an origin sent. Path building tries them all, and certificates
//! of one name that certify each other in a circle make more ways than anybody has time for.

use rustls::pki_types::CertificateDer;

use super::certificate::Parsed;

/// Certificates beside the origin's own. Longer chains exist only to cost time.
pub(super) const MOST: usize = 16;
/// So few cannot be tangled enough.
const FEW: usize = 4;
/// Issuers tried on all ways together. Cross-signed chains of the public web need fewer than ten.
const STEPS: usize = 64;

/// Whether trying all ways takes reasonably long.
pub(super) fn is_simple(leaf: &Parsed<'_>, chain: &[CertificateDer<'_>]) -> bool {
    if chain.len() <= FEW {
        return true;
    }
    let issuers: Vec<Parsed<'_>> = chain.iter().filter_map(Parsed::read).collect();
    let mut walk = Walk {
        used: vec![false; issuers.len()],
        issuers: &issuers,
        left: STEPS,
    };
    walk.up(leaf);
    walk.left > 0
}

struct Walk<'w, 'a> {
    issuers: &'w [Parsed<'a>],
    used: Vec<bool>,
    left: usize,
}

impl Walk<'_, '_> {
    /// Ends: every level uses one certificate up, and there are few.
    fn up(&mut self, certificate: &Parsed<'_>) {
        for (index, issuer) in self.issuers.iter().enumerate() {
            if self.left == 0 {
                return;
            }
            let is_free = self.used.get(index) == Some(&false);
            if !is_free || issuer.raw_subject() != certificate.raw_issuer() {
                continue;
            }
            self.left -= 1;
            self.mark(index, true);
            self.up(issuer);
            self.mark(index, false);
        }
    }

    fn mark(&mut self, index: usize, used: bool) {
        if let Some(mark) = self.used.get_mut(index) {
            *mark = used;
        }
    }
}
