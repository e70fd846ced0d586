//! The JA4 fingerprint of a TLS client over TCP, as FoxIO describes it publicly.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use exitgate_policy::TlsVersion;
use smallvec::SmallVec;

use super::{
    cursor::numbers,
    parse::{Seen, extension, is_grease},
};

/// `t` (TCP), version, `d` with a server name or `i` without, numbers of ciphers and extensions, ends of the first ALPN value;
/// then hashes of the sorted ciphers, and of the sorted extensions with the signature algorithms as they come.
pub(super) fn fingerprint(seen: &Seen<'_>, version: TlsVersion) -> String {
    let version = match version {
        TlsVersion::Ssl3 => "s3",
        TlsVersion::Tls10 => "10",
        TlsVersion::Tls11 => "11",
        TlsVersion::Tls12 => "12",
        TlsVersion::Tls13 => "13",
    };
    let server_name = if seen.sni.is_some() { 'd' } else { 'i' };
    let mut ciphers: SmallVec<[u16; 64]> = real(seen.ciphers);
    ciphers.sort_unstable();
    let mut extensions: SmallVec<[u16; 64]> = seen
        .extensions
        .iter()
        .copied()
        .filter(|kind| !is_grease(*kind))
        .collect();
    let extension_count = extensions.len();
    extensions.retain(|kind| !matches!(*kind, extension::SERVER_NAME | extension::ALPN));
    extensions.sort_unstable();

    let mut listed = String::with_capacity(256);
    push_list(&mut listed, &ciphers);
    let cipher_hash = short_hash(&listed);
    listed.clear();
    push_list(&mut listed, &extensions);
    let algorithms = real(seen.signature_algorithms);
    if !listed.is_empty() && !algorithms.is_empty() {
        listed.push('_');
        push_list(&mut listed, &algorithms);
    }
    let extension_hash = short_hash(&listed);
    let (first, last) = alpn_ends(seen.alpn.first().copied().unwrap_or_default());
    format!(
        "t{version}{server_name}{:02}{:02}{first}{last}_{cipher_hash}_{extension_hash}",
        ciphers.len().min(99),
        extension_count.min(99),
    )
}

fn real(list: &[u8]) -> SmallVec<[u16; 64]> {
    numbers(list)
        .into_iter()
        .flatten()
        .filter(|value| !is_grease(*value))
        .collect()
}

fn push_list(out: &mut String, values: &[u16]) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        // Writing to a string cannot fail.
        write!(out, "{value:04x}").ok();
    }
}

/// First twelve hexadecimal digits of SHA-256; zeros for an empty list.
fn short_hash(listed: &str) -> String {
    if listed.is_empty() {
        return "000000000000".to_owned();
    }
    let hash = digest::digest(&digest::SHA256, listed.as_bytes());
    let mut out = String::with_capacity(12);
    for byte in hash.as_ref().iter().take(6) {
        write!(out, "{byte:02x}").ok();
    }
    out
}

/// First and last character; of the hexadecimal form where one of them is no ASCII letter or digit.
fn alpn_ends(protocol: &[u8]) -> (char, char) {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return ('0', '0');
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return (char::from(*first), char::from(*last));
    }
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    (digit(first >> 4), digit(last & 0x0f))
}
