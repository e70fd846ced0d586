//! Addresses: ranges, the IPv4 addresses inside IPv6 ones, and the floor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range as its family, first bits and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    v4: bool,
    bits: u128,
    length: u32,
}

impl Range {
    pub fn parse(text: &str) -> Self {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().unwrap())),
            None => (text, None),
        };
        let (v4, bits, width) = number(address.parse().unwrap());
        Self {
            v4,
            bits,
            length: length.unwrap_or(width),
        }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        let (v4, bits, width) = number(address);
        v4 == self.v4 && top(bits, width, self.length) == top(self.bits, width, self.length)
    }

    /// Whether this range lies wholly inside another.
    pub fn inside(self, outer: Self) -> bool {
        let width = if self.v4 { 32 } else { 128 };
        self.v4 == outer.v4
            && self.length >= outer.length
            && top(self.bits, width, outer.length) == top(outer.bits, width, outer.length)
    }
}

fn top(bits: u128, width: u32, length: u32) -> u128 {
    if length == 0 {
        0
    } else {
        bits >> (width - length)
    }
}

/// An IPv4-mapped address is its IPv4 address.
pub fn itself(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn number(address: IpAddr) -> (bool, u128, u32) {
    match itself(address) {
        IpAddr::V4(v4) => (true, u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (false, u128::from(v6), 128),
    }
}

/// The address itself and what it may stand for.
pub fn readings_of(address: IpAddr) -> Vec<IpAddr> {
    let mut all = vec![itself(address)];
    if let IpAddr::V6(v6) = all[0] {
        all.extend(embedded(v6).into_iter().map(IpAddr::V4));
    }
    all
}

#[allow(clippy::match_same_arms, reason = "each form on its own line")]
fn embedded(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        // IPv4-compatible; `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => vec![v4(high, low)],
        // NAT64, well-known and local-use.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => {
            vec![v4(high, low)]
        }
        [0x2002, high, low, ..] => vec![v4(high, low)],
        // Teredo: the server in clear, the client inverted.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![v4(!high, !low), v4(server_high, server_low)]
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => vec![v4(high, low)],
        _ => Vec::new(),
    }
}

/// Why the floor is closed at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Closed {
    Metadata,
    Loopback,
    Unspecified,
    Multicast,
    LinkLocal,
    NonPublic,
    ClusterInternal,
}

const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
];
const NEVER: &[(&str, Closed)] = &[
    ("0.0.0.0", Closed::Unspecified),
    ("::", Closed::Unspecified),
    ("224.0.0.0/4", Closed::Multicast),
    ("ff00::/8", Closed::Multicast),
    ("169.254.0.0/16", Closed::LinkLocal),
    ("fe80::/10", Closed::LinkLocal),
];
const OPENABLE: &[(&str, Closed)] = &[
    ("127.0.0.0/8", Closed::Loopback),
    ("::1", Closed::Loopback),
    ("10.0.0.0/8", Closed::NonPublic),
    ("172.16.0.0/12", Closed::NonPublic),
    ("192.168.0.0/16", Closed::NonPublic),
    ("100.64.0.0/10", Closed::NonPublic),
    ("192.0.2.0/24", Closed::NonPublic),
    ("198.18.0.0/15", Closed::NonPublic),
    ("198.51.100.0/24", Closed::NonPublic),
    ("203.0.113.0/24", Closed::NonPublic),
    ("240.0.0.0/4", Closed::NonPublic),
    ("fc00::/7", Closed::NonPublic),
    ("2001:db8::/32", Closed::NonPublic),
    ("2001:2::/48", Closed::NonPublic),
];

/// Which floor ranges an address itself lies in: those that never open, and those that may.
pub fn floor(
    address: IpAddr,
    cluster: &[String],
    standalone: bool,
) -> (Option<Closed>, Vec<(Range, Closed)>) {
    let within = |text: &str| Range::parse(text).contains(address);
    let metadata = METADATA
        .iter()
        .any(|text| within(text))
        .then_some(Closed::Metadata);
    let never = metadata
        .or_else(|| {
            NEVER
                .iter()
                .find(|(text, _)| within(text))
                .map(|(_, why)| *why)
        })
        .or_else(|| {
            (!standalone && (within("127.0.0.0/8") || within("::1"))).then_some(Closed::Loopback)
        });
    let ranges = OPENABLE
        .iter()
        .map(|(text, why)| (*text, *why))
        .chain(
            cluster
                .iter()
                .map(|text| (text.as_str(), Closed::ClusterInternal)),
        )
        .filter(|(text, _)| within(text))
        .map(|(text, why)| (Range::parse(text), why))
        .collect();
    (never, ranges)
}
