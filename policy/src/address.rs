//! Addresses: canonical form and the IPv4 addresses that IPv6 addresses carry.

use std::net::IpAddr;

/// An IPv4-mapped address is its IPv4 address.
pub fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}
