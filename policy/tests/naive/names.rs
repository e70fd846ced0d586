//! The built-in condition that all names and ports which a flow shows are the same.

use exitgate_policy::{Attr, Host, Presence, Protocol, Reason, ToProtocol};

use super::{
    net::itself,
    outcome::Outcome,
    rule::{Inside, closed_tls, visible_names},
    tiers::{Placed, World},
    truth::Truth,
};

impl<'a> World<'a> {
    /// What an Allow that matches leads to: the flow's names have to agree.
    pub fn let_through(self, placed: Option<Placed<'a>>, opens: bool) -> Outcome {
        let tcp = placed.is_some_and(|placed| {
            placed
                .rule
                .to
                .as_ref()
                .is_some_and(|to| to.protocol == Some(ToProtocol::Tcp))
        });
        let no_sni = placed.is_some_and(|placed| {
            placed
                .rule
                .tls
                .as_ref()
                .is_some_and(|tls| tls.sni == Some(Presence::Absent))
        });
        let key = placed.map(Placed::key);
        let mut outcome = Outcome::default();
        let mut fits = Truth::YES;
        if !tcp {
            for (truth, reason) in self.consistency(no_sni) {
                if truth != Truth::YES {
                    // Where the names differ, a rule may as well be said not to match.
                    let reasons = [
                        reason,
                        Reason::NoRule,
                        Reason::DefaultDeny,
                        Reason::Uninspectable,
                    ];
                    let known = if truth.may_stay_hidden() { 4 } else { 3 };
                    outcome = outcome.either(Outcome::deny(&reasons[..known], key.clone()));
                }
                fits = fits.and(truth);
            }
        }
        if fits.may_hold() {
            outcome.either(Outcome::allow(key, opens))
        } else {
            outcome
        }
    }

    fn consistency(self, sni_may_be_absent: bool) -> Vec<(Truth, Reason)> {
        let evidence = self.evidence;
        let opaque = match evidence.protocol {
            Attr::Known(protocol) => Truth::of(protocol == Protocol::Tcp),
            Attr::Absent => Truth::YES,
            Attr::Hidden => Truth::CONTENT,
            Attr::Pending => Truth::PENDING,
        };
        let (names, more) = visible_names(evidence);
        let same = names.windows(2).all(|pair| pair[0] == pair[1]);
        let authority = match evidence.request {
            Attr::Known(head) if !closed_tls(evidence) => head.authority,
            _ => None,
        };
        let host_address = match authority.map(|authority| &authority.host) {
            Some(Host::Addr(address)) => {
                names.is_empty()
                    && evidence
                        .literal
                        .is_none_or(|literal| itself(literal) == itself(*address))
            }
            Some(Host::Name(_)) | None => true,
        };
        let ports = authority
            .and_then(|authority| authority.port)
            .is_none_or(|port| port == evidence.port);
        let pending = |now: bool| {
            if !now {
                return Truth::NO;
            }
            // A further name or port may agree.
            if more == Truth::NO { Truth::YES } else { more }
        };
        let shows_none = match (evidence.hello, evidence.name) {
            // Where TLS is opened in the end, a hello need not name anybody.
            (Attr::Known(hello), Attr::Known(_)) => Truth::of(
                hello.sni.is_none()
                    && closed_tls(evidence)
                    && self.inside != Inside::Open
                    && !sni_may_be_absent,
            ),
            (Attr::Known(hello), Attr::Pending) if hello.sni.is_none() => Truth::PENDING,
            (Attr::Pending, _) => Truth::PENDING,
            _ => Truth::NO,
        };
        vec![
            (
                pending(same && host_address).or(opaque),
                Reason::NameMismatch,
            ),
            (pending(ports).or(opaque), Reason::PortMismatch),
            ((!shows_none).or(opaque), Reason::SniMissing),
        ]
    }
}
