//! Addresses: canonical form, the IPv4 addresses that IPv6 addresses carry, and ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use smallvec::SmallVec;

/// An IPv4-mapped address is its IPv4 address.
pub fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// The IPv4 addresses that an IPv6 address carries, in every form that some network would unpack: 6to4, Teredo (server
/// and client), NAT64 (well-known and local prefix), IPv4-compatible, IPv4-translated and ISATAP.
pub fn embedded(addr: IpAddr) -> SmallVec<[Ipv4Addr; 2]> {
    let mut found = SmallVec::new();
    let IpAddr::V6(addr) = addr else { return found };
    let bits = addr.to_bits();
    let [s0, s1, s2, s3, s4, s5, _, _] = addr.segments();
    let last = low32(bits);
    let mut push = |value: u32| {
        let value = Ipv4Addr::from_bits(value);
        if !found.contains(&value) {
            found.push(value);
        }
    };
    match (s0, s1, s2) {
        (0x2002, ..) => push(low32(bits >> 80)),
        (0x2001, 0, _) => {
            push(low32(bits >> 64));
            push(!last);
        }
        (0x0064, 0xff9b, 0) if s3 == 0 && s4 == 0 && s5 == 0 => push(last),
        (0x0064, 0xff9b, 1) => nat64_local(bits).for_each(&mut push),
        (0, 0, 0) if s3 == 0 && s4 == 0 && s5 == 0 && bits > 1 => push(last),
        (0, 0, 0) if s3 == 0 && s4 == 0xffff && s5 == 0 => push(last),
        _ => {}
    }
    if (s4 == 0 || s4 == 0x0200) && s5 == 0x5efe {
        push(last);
    }
    found
}

/// The readings of an address below 64:ff9b:1::/48 (RFC 8215), which leaves the length of the prefix to the network
/// (RFC 6052, 2.2): 48, 56, 64 or 96 bits.
fn nat64_local(bits: u128) -> impl Iterator<Item = u32> {
    let around_u = |before: u32| {
        // `before` bits of the IPv4 address stand before the reserved byte 64..72, the rest behind it.
        let high = if before == 0 {
            0
        } else {
            low32(bits >> 64) & ((1 << before) - 1)
        };
        let after = 32 - before;
        let low = low32(bits >> (56 - after)) & low32((1_u128 << after) - 1);
        let rest = bits & ((1 << (56 - after)) - 1);
        let reserved = (bits >> 56) & 0xff;
        let value = low32((u128::from(high) << after) | u128::from(low));
        (rest == 0 && reserved == 0 && value != 0).then_some(value)
    };
    [
        around_u(16),
        around_u(8),
        around_u(0),
        Some(low32(bits)).filter(|&value| value != 0),
    ]
    .into_iter()
    .flatten()
}

fn low32(bits: u128) -> u32 {
    u32::try_from(bits & 0xffff_ffff).unwrap_or_default()
}

/// Why a text is not an address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Bits are set behind the prefix.
    #[error("bits are set behind the prefix; write {0}")]
    HostBits(IpNet),
    /// Not an address range at all.
    #[error(
        "it is not an address range; write for example 192.0.2.0/24, 2001:db8::/32 or a single address"
    )]
    Shape,
}

/// Parses `192.0.2.0/24`, `2001:db8::/32` or a single address. A range of IPv4-mapped addresses is its IPv4 range.
pub fn parse_cidr(text: &str) -> Result<IpNet, CidrError> {
    let net: IpNet = if let Ok(addr) = text.parse::<IpAddr>() {
        IpNet::from(addr)
    } else {
        // The address goes through the standard library, which accepts canonical spellings only.
        let (addr, prefix) = text.split_once('/').ok_or(CidrError::Shape)?;
        let addr: IpAddr = addr.parse().map_err(|_| CidrError::Shape)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(CidrError::Shape)?;
        IpNet::new(addr, prefix).map_err(|_| CidrError::Shape)?
    };
    let net = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96)
                .map(IpNet::V4)
                .map_err(|_| CidrError::Shape)?,
            None => net,
        },
        net => net,
    };
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(CidrError::HostBits(net.trunc()))
    }
}

/// A set of ranges, merged and sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl CidrSet {
    /// A set of these ranges.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: merge(v4),
            v6: merge(v6),
        }
    }

    /// Whether the address lies in one of the ranges.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match canonical(addr) {
            IpAddr::V4(addr) => within(&self.v4, addr.to_bits()),
            IpAddr::V6(addr) => within(&self.v6, addr.to_bits()),
        }
    }

    /// Whether the address, or one that it carries, lies in one of the ranges.
    pub fn contains_any_reading(&self, addr: IpAddr) -> bool {
        self.contains(addr)
            || embedded(addr)
                .into_iter()
                .any(|v4| within(&self.v4, v4.to_bits()))
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.into_boxed_slice()
}

fn within<T: Copy + Ord>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|&(start, _)| start <= value);
    after
        .checked_sub(1)
        .and_then(|at| ranges.get(at))
        .is_some_and(|&(_, end)| value <= end)
}

/// A constant IPv4 range.
pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

/// A constant IPv6 range.
pub(crate) const fn v6(segments: [u16; 8], prefix: u8) -> IpNet {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = segments;
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(s0, s1, s2, s3, s4, s5, s6, s7),
        prefix,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn embeddings() {
        for (addr, carried) in [
            ("2002:a9fe:a9fe::1", &["169.254.169.254"][..]),
            ("2001:0:a9fe:a9fe:0:0:5601:5601", &["169.254.169.254"]),
            ("2001:0:0808:0808:0:0:f5ff:fffe", &["8.8.8.8", "10.0.0.1"]),
            ("64:ff9b::a9fe:a9fe", &["169.254.169.254"]),
            ("64:ff9b:1::a9fe:a9fe", &["169.254.169.254"]),
            ("64:ff9b:1:a9fe:a9:fe00::", &["169.254.169.254"]),
            ("64:ff9b:1:a9:fe:a9fe::", &["169.254.169.254"]),
            ("64:ff9b:1:0:a9:fea9:fe00:0", &["169.254.169.254"]),
            ("::127.0.0.1", &["127.0.0.1"]),
            ("::ffff:0:127.0.0.1", &["127.0.0.1"]),
            ("2a00::5efe:10.0.0.1", &["10.0.0.1"]),
            ("2a00::200:5efe:10.0.0.1", &["10.0.0.1"]),
            ("2a00::1", &[]),
            ("::1", &[]),
            ("::", &[]),
            ("10.0.0.1", &[]),
        ] {
            let found: Vec<String> = embedded(ip(addr)).iter().map(ToString::to_string).collect();
            // Below 64:ff9b:1::/48 several lengths of the prefix fit.
            let several = addr.starts_with("64:ff9b:1:");
            assert!(
                carried.iter().all(|v4| found.iter().any(|one| one == v4)),
                "{addr}: {found:?}"
            );
            assert!(several || found.len() == carried.len(), "{addr}: {found:?}");
        }
    }

    #[test]
    fn ranges() {
        for (text, parsed) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_cidr(text).unwrap().to_string(), parsed, "{text}");
        }
        assert_eq!(
            parse_cidr("10.1.2.3/8").unwrap_err().to_string(),
            "bits are set behind the prefix; write 10.0.0.0/8"
        );
        for text in [
            "",
            "10",
            "10.0.0/8",
            "10.0.0.0/33",
            "010.0.0.0/8",
            "x.io",
            "10.0.0.0/",
            "fe80::1%eth0",
        ] {
            assert_eq!(parse_cidr(text), Err(CidrError::Shape), "{text}");
        }
    }

    #[test]
    fn sets() {
        let set = CidrSet::new(
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32"]
                .map(|text| parse_cidr(text).unwrap()),
        );
        for inside in [
            "10.0.0.0",
            "10.255.255.255",
            "192.0.2.7",
            "::ffff:10.2.3.4",
            "2001:db8::",
            "2001:db8:ffff::1",
        ] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "2001:db9::",
            "2002:a00:1::",
        ] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert!(set.contains_any_reading(ip("2002:a00:1::")));
        assert!(!set.contains_any_reading(ip("2002:b00:1::")));
        assert!(CidrSet::new([parse_cidr("0.0.0.0/0").unwrap()]).contains(ip("255.255.255.255")));
    }
}
