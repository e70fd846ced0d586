//! The servers of the system.

use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 53;
/// More than this helps nobody.
const MAX_SERVERS: usize = 8;

/// The name servers in the text of a `resolv.conf`. Search domains and options are not ours to follow.
pub(super) fn system_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, PORT))
        .take(MAX_SERVERS)
        .collect()
}
