//! The floor: addresses that no policy opens by accident.

use std::net::IpAddr;

use exitgate_policy::{Action, Attr, PolicyTier, Reason};

use super::{
    net::{self, Closed, Range, itself},
    rule::{self, Inside, Scene, closed_tls},
    tiers::World,
    truth::Truth,
};

impl World<'_> {
    /// The addresses that the floor judges; a pending one is none yet.
    pub fn involved(self) -> Vec<(Option<IpAddr>, bool)> {
        let mut all: Vec<(Option<IpAddr>, bool)> = self
            .evidence
            .literal
            .map(|literal| (Some(literal), false))
            .into_iter()
            .collect();
        match self.evidence.address {
            Attr::Known(address) => all.push((Some(address), false)),
            Attr::Pending => all.push((None, true)),
            Attr::Absent | Attr::Hidden => {}
        }
        all
    }

    /// Whether the floor is closed at an address, why, and whether anything could have opened it.
    pub fn closed(self, address: IpAddr) -> (Truth, Vec<Reason>, bool) {
        let cluster: Vec<String> = {
            let ranges = &self.snapshot.settings.ranges;
            ranges
                .pods
                .iter()
                .chain(&ranges.services)
                .chain(&ranges.nodes)
                .cloned()
                .collect()
        };
        let own = self.snapshot.own_listeners.iter().any(|listener| {
            itself(listener.ip()) == itself(address) && listener.port() == self.evidence.port
        });
        let mut reasons = Vec::new();
        let mut closed = Truth::NO;
        let mut never_open = false;
        if own {
            closed = Truth::YES;
            never_open = true;
            reasons.push(Reason::SelfAddress);
        }
        for (index, reading) in net::readings_of(address).into_iter().enumerate() {
            let embedded = index > 0;
            let mut note = |why: Closed| {
                reasons.push(reason_of(why));
                if embedded {
                    reasons.push(Reason::EmbeddedIpv4);
                }
            };
            let (never, ranges) = net::floor(reading, &cluster, self.snapshot.standalone);
            if let Some(why) = never {
                note(why);
                closed = Truth::YES;
                never_open = true;
                continue;
            }
            for (range, why) in ranges {
                let open = self.opened(address, range);
                if open != Truth::YES {
                    note(why);
                    // An entry cannot lie both around the address itself and inside the range of its other reading.
                    never_open |= embedded;
                }
                closed = closed.or(!open);
            }
        }
        (closed, reasons, never_open)
    }

    /// Whether an Admin Allow or Pass opens a floor range for an address.
    fn opened(self, address: IpAddr, range: Range) -> Truth {
        // What is not known before the dial counts as false.
        let mut early = self.evidence.clone();
        early.response = Attr::Hidden;
        let dialled_first = self.evidence.entry == exitgate_policy::Entry::Connect
            && self.evidence.literal.is_none();
        if dialled_first {
            early.protocol = Attr::Hidden;
            early.hello = Attr::Hidden;
            early.request = Attr::Hidden;
        }
        if self.evidence.entry == exitgate_policy::Entry::Forward && self.evidence.literal.is_none()
        {
            // A request in absolute form has no handshake.
            early.hello = Attr::Hidden;
        }
        if closed_tls(self.evidence) || self.evidence.inspected {
            early.request = Attr::Hidden;
        }
        let (rules, _) = self.flat(PolicyTier::Admin);
        Truth::any(rules.into_iter().map(|placed| {
            // Entries of sets open nothing: a list that grows must not open a range.
            let entries = placed.rule.to.iter().flat_map(|to| &to.cidrs);
            let covers = entries
                .map(|text| Range::parse(text))
                .any(|entry| entry.inside(range) && entry.contains(address));
            if !covers || !matches!(placed.rule.action, Action::Allow | Action::Pass) {
                return Truth::NO;
            }
            let scene = Scene {
                snapshot: self.snapshot,
                workload: self.workload,
                evidence: &early,
                now: self.now,
                namespace: None,
                inside: Inside::Sealed,
                through: false,
                switched_off: false,
                opening: Some(address),
            };
            rule::rule(scene, placed.rule).or_false()
        }))
    }
}

fn reason_of(why: Closed) -> Reason {
    match why {
        Closed::Metadata => Reason::Metadata,
        Closed::Loopback => Reason::Loopback,
        Closed::Unspecified => Reason::Unspecified,
        Closed::Multicast => Reason::Multicast,
        Closed::LinkLocal => Reason::LinkLocal,
        Closed::NonPublic => Reason::NonPublic,
        Closed::ClusterInternal => Reason::ClusterInternal,
    }
}
