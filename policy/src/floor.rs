//! The floor: addresses that are closed by code, and what may open some of them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::{
    address::{CidrSet, canonical, embedded, v4, v6},
    reason::Reason,
};

/// Ranges that nothing opens. The first match gives the reason.
const NEVER: &[(IpNet, Reason)] = &[
    (v4(0, 0, 0, 0, 32), Reason::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Reason::Unspecified),
    (v4(169, 254, 169, 254, 32), Reason::Metadata),
    (v4(169, 254, 170, 2, 32), Reason::Metadata),
    (v4(169, 254, 170, 23, 32), Reason::Metadata),
    (v4(169, 254, 42, 42, 32), Reason::Metadata),
    (v4(100, 100, 100, 200, 32), Reason::Metadata),
    (v4(192, 0, 0, 192, 32), Reason::Metadata),
    (v4(168, 63, 129, 16, 32), Reason::Metadata),
    (
        v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
        Reason::Metadata,
    ),
    (
        v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
        Reason::Metadata,
    ),
    (
        v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
        Reason::Metadata,
    ),
    (
        v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),
        Reason::Metadata,
    ),
    (v4(224, 0, 0, 0, 4), Reason::Multicast),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Reason::Multicast),
    (v4(169, 254, 0, 0, 16), Reason::LinkLocal),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Reason::LinkLocal),
];

/// Loopback: only documents from a directory may open it.
const LOOPBACK: &[IpNet] = &[v4(127, 0, 0, 0, 8), v6([0, 0, 0, 0, 0, 0, 0, 1], 128)];

/// Ranges that are not public (the registries of special-purpose addresses, and IPv6 outside 2000::/3).
const NON_PUBLIC: &[IpNet] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(240, 0, 0, 0, 4),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
];

/// The well-known NAT64 prefix is public; what it carries is judged as well.
const NAT64: IpNet = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// All ranges above in one sorted set: most addresses are in none of them, and to know that must cost next to nothing.
static LISTED: LazyLock<CidrSet> = LazyLock::new(|| {
    let never = NEVER.iter().map(|(range, _)| range);
    CidrSet::new(never.chain(LOOPBACK).chain(NON_PUBLIC).copied())
});

/// Why an address is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) reason: Reason,
    /// An entry must lie inside each of these to open the address. Empty: nothing opens it.
    pub(crate) ranges: SmallVec<[IpNet; 4]>,
}

impl Closed {
    fn never(reason: Reason) -> Self {
        Self {
            reason,
            ranges: SmallVec::new(),
        }
    }

    pub(crate) fn is_never_openable(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether an entry that contains the address opens it.
    pub(crate) fn opened_by(&self, entry: &IpNet) -> bool {
        !self.ranges.is_empty() && self.ranges.iter().all(|range| range.contains(entry))
    }
}

/// What is closed for one gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor {
    pub(crate) cluster: Vec<IpNet>,
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) loopback_openable: bool,
}

impl Floor {
    /// Why this address is closed, if it is.
    pub(crate) fn judge(&self, addr: IpAddr, port: u16) -> Option<Closed> {
        let addr = canonical(addr);
        let listed = LISTED.contains(addr);
        if listed && let Some((_, reason)) = NEVER.iter().find(|(range, _)| range.contains(&addr)) {
            return Some(Closed::never(*reason));
        }
        let loopback = LOOPBACK
            .iter()
            .find(|range| listed && range.contains(&addr));
        if self.own.iter().any(|own| {
            own.port() == port
                && (canonical(own.ip()) == addr
                    || (own.ip().is_unspecified() && loopback.is_some()))
        }) {
            return Some(Closed::never(Reason::SelfAddress));
        }
        if loopback.is_some() && !self.loopback_openable {
            return Some(Closed::never(Reason::Loopback));
        }
        // An IPv4 address that is carried can be opened by no entry: those are for the address itself.
        if embedded(addr)
            .into_iter()
            .any(|carried| self.judge(IpAddr::V4(carried), port).is_some())
        {
            return Some(Closed::never(Reason::EmbeddedIpv4));
        }
        let mut ranges: SmallVec<[IpNet; 4]> = SmallVec::new();
        ranges.extend(
            self.cluster
                .iter()
                .filter(|range| range.contains(&addr))
                .copied(),
        );
        let cluster = !ranges.is_empty();
        if listed && !NAT64.contains(&addr) {
            match loopback {
                Some(range) => ranges.push(*range),
                None => ranges.extend(
                    NON_PUBLIC
                        .iter()
                        .filter(|range| range.contains(&addr))
                        .copied(),
                ),
            }
        }
        let reason = match (cluster, loopback) {
            (true, _) => Reason::ClusterInternal,
            (false, Some(_)) => Reason::Loopback,
            (false, None) => Reason::NonPublic,
        };
        (!ranges.is_empty()).then_some(Closed { reason, ranges })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::address::parse_cidr;

    fn floor() -> Floor {
        Floor {
            cluster: ["10.4.0.0/14", "8.8.4.0/24"]
                .map(|text| parse_cidr(text).unwrap())
                .to_vec(),
            own: vec![
                "198.51.100.7:3128".parse().unwrap(),
                "0.0.0.0:3129".parse().unwrap(),
            ],
            loopback_openable: true,
        }
    }

    #[test]
    fn reasons() {
        for (addr, reason) in [
            ("0.0.0.0", Some("unspecified")),
            ("::", Some("unspecified")),
            ("0.0.0.1", Some("non-public")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("::1", Some("loopback")),
            ("169.254.169.254", Some("metadata")),
            ("::ffff:169.254.169.254", Some("metadata")),
            ("169.254.170.2", Some("metadata")),
            ("169.254.170.23", Some("metadata")),
            ("fd00:ec2::254", Some("metadata")),
            ("fd00:ec2::23", Some("metadata")),
            ("100.100.100.200", Some("metadata")),
            ("192.0.0.192", Some("metadata")),
            ("168.63.129.16", Some("metadata")),
            ("168.63.129.15", None),
            ("168.63.129.17", None),
            ("169.254.0.0", Some("link-local")),
            ("169.253.255.255", None),
            ("169.255.0.0", None),
            ("fe80::1", Some("link-local")),
            ("febf:ffff::", Some("link-local")),
            ("224.0.0.0", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("223.255.255.255", None),
            ("ff02::1", Some("multicast")),
            ("240.0.0.0", Some("non-public")),
            ("255.255.255.255", Some("non-public")),
            ("9.255.255.255", None),
            ("10.0.0.0", Some("non-public")),
            ("10.255.255.255", Some("non-public")),
            ("11.0.0.0", None),
            ("10.4.0.0", Some("cluster-internal")),
            ("8.8.4.4", Some("cluster-internal")),
            ("8.8.8.8", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("non-public")),
            ("100.127.255.255", Some("non-public")),
            ("100.128.0.0", None),
            ("172.15.255.255", None),
            ("172.16.0.0", Some("non-public")),
            ("172.31.255.255", Some("non-public")),
            ("172.32.0.0", None),
            ("191.255.255.255", None),
            ("192.0.0.0", Some("non-public")),
            ("192.0.1.0", None),
            ("192.0.2.255", Some("non-public")),
            ("192.168.0.0", Some("non-public")),
            ("192.169.0.0", None),
            ("198.17.255.255", None),
            ("198.18.0.0", Some("non-public")),
            ("198.19.255.255", Some("non-public")),
            ("198.20.0.0", None),
            ("203.0.113.9", Some("non-public")),
            ("fbff:ffff::", Some("non-public")),
            ("fc00::", Some("non-public")),
            ("fdff:ffff::", Some("non-public")),
            ("fec0::1", Some("non-public")),
            ("2001:db8::1", Some("non-public")),
            ("2001:2::1", Some("non-public")),
            ("2001:200::1", None),
            ("2606:4700::1", None),
            ("4000::1", Some("non-public")),
            ("::127.0.0.1", Some("embedded-ipv4")),
            ("64:ff9b::a9fe:a9fe", Some("embedded-ipv4")),
            ("64:ff9b::808:808", None),
            ("64:ff9b::a04:1", Some("embedded-ipv4")),
            ("64:ff9b:1::a9fe:a9fe", Some("embedded-ipv4")),
            ("64:ff9b:1::808:808", Some("non-public")),
            ("2002:a9fe:a9fe::1", Some("embedded-ipv4")),
            ("2002:808:808::1", None),
            ("2001:0:808:808:0:0:5601:5601", Some("embedded-ipv4")),
            ("2606:4700::5efe:10.0.0.1", Some("embedded-ipv4")),
        ] {
            let found = floor()
                .judge(addr.parse().unwrap(), 443)
                .map(|closed| closed.reason.code());
            assert_eq!(found, reason, "{addr}");
        }
    }

    #[test]
    fn the_sorted_set_is_the_lists() {
        let lists = || {
            let never = NEVER.iter().map(|(range, _)| range);
            never.chain(LOOPBACK).chain(NON_PUBLIC)
        };
        let around = |range: &IpNet| match range {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                    .map(|bits| IpAddr::V4(bits.into()))
            }
            IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                    .map(|bits| IpAddr::V6(bits.into()))
            }
        };
        for addr in lists().flat_map(around) {
            let addr = canonical(addr);
            let listed = lists().any(|range| range.contains(&addr));
            assert_eq!(LISTED.contains(addr), listed, "{addr}");
        }
    }

    #[test]
    fn own_listeners() {
        for (addr, port, expected) in [
            ("198.51.100.7", 3128, true),
            ("::ffff:198.51.100.7", 3128, true),
            ("198.51.100.7", 3127, false),
            ("127.0.0.1", 3129, true),
            ("::1", 3129, true),
            ("198.51.100.8", 3129, false),
        ] {
            let closed = floor().judge(addr.parse().unwrap(), port).unwrap();
            assert_eq!(
                closed.reason == Reason::SelfAddress,
                expected,
                "{addr}:{port}"
            );
        }
    }

    #[test]
    fn openings() {
        for (addr, entry, expected) in [
            ("10.0.0.1", "10.0.0.0/8", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "0.0.0.0/0", false),
            ("10.4.0.1", "10.0.0.0/8", false),
            ("10.4.0.1", "10.4.0.0/14", true),
            ("10.4.0.1", "10.4.0.0/16", true),
            ("198.19.0.1", "198.19.0.0/16", true),
            ("198.19.0.1", "198.16.0.0/14", false),
            ("127.0.0.1", "127.0.0.0/8", true),
            ("2001:2::1", "2001:2::/48", true),
            ("2001:2::1", "2001::/23", false),
            ("fd12::1", "fd12::/16", true),
            ("169.254.169.254", "169.254.169.254", false),
            ("2002:a00:1::", "2002:a00:1::/48", false),
        ] {
            let closed = floor().judge(addr.parse().unwrap(), 443).unwrap();
            assert_eq!(
                closed.opened_by(&parse_cidr(entry).unwrap()),
                expected,
                "{addr} {entry}"
            );
        }
        let closed = Floor::default()
            .judge("127.0.0.1".parse().unwrap(), 80)
            .unwrap();
        assert!(closed.is_never_openable());
    }
}
