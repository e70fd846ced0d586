//! The few DER forms that a certificate is made of.
//!
//! Certificates are written here and not by rcgen because two of their fields are copied from the issuer's certificate
//! byte for byte: its name (rcgen writes it anew and loses repeated and multi-valued parts, such as `DC=corp,DC=example`,
//! with which no verifier finds the issuer any more) and its key identifier.

use time::OffsetDateTime;

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const CONTEXT_0: u8 = 0x80;
pub(super) const CONTEXT_0_CONSTRUCTED: u8 = 0xa0;
pub(super) const CONTEXT_1_CONSTRUCTED: u8 = 0xa1;
pub(super) const CONTEXT_2: u8 = 0x82;
pub(super) const CONTEXT_3_CONSTRUCTED: u8 = 0xa3;
pub(super) const CONTEXT_7: u8 = 0x87;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const UTF8_STRING: u8 = 0x0c;

/// One value: tag, length, and its parts one after the other.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.extend(u8::try_from(length));
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.into_iter().skip_while(|&byte| byte == 0).collect();
        out.extend(u8::try_from(significant.len()).map(|count| 0x80 | count));
        out.extend(significant);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, parts)
}

/// A name of organisation and common name, or the empty one.
pub(super) fn name(organisation: Option<&str>, common_name: Option<&str>) -> Vec<u8> {
    let attribute = |oid: &[u8], value: &str| {
        let value = tlv(UTF8_STRING, &[value.as_bytes()]);
        tlv(SET, &[&sequence(&[&tlv(OID, &[oid]), &value])])
    };
    let organisation = organisation.map(|value| attribute(&[0x55, 4, 10], value));
    let common_name = common_name.map(|value| attribute(&[0x55, 4, 3], value));
    sequence(&[
        &organisation.unwrap_or_default(),
        &common_name.unwrap_or_default(),
    ])
}

/// A point in time, in seconds since 1970: `UTCTime` until 2049, `GeneralizedTime` from then on.
pub(super) fn time(unix: u64) -> Vec<u8> {
    let at = i64::try_from(unix)
        .ok()
        .and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok())
        // Nothing that is issued here lives that long.
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    if at.year() < 2050 {
        tlv(
            UTC_TIME,
            &[
                format!("{:02}", at.year() % 100).as_bytes(),
                rest.as_bytes(),
            ],
        )
    } else {
        tlv(
            GENERALIZED_TIME,
            &[format!("{:04}", at.year()).as_bytes(), rest.as_bytes()],
        )
    }
}

/// An X.509 extension.
pub(super) fn extension(oid: &[u8], critical: Critical, value: &[u8]) -> Vec<u8> {
    let critical = match critical {
        Critical::No => Vec::new(),
        Critical::Yes => tlv(BOOLEAN, &[&[0xff]]),
    };
    sequence(&[&tlv(OID, &[oid]), &critical, &tlv(OCTET_STRING, &[value])])
}

/// Whether a verifier that does not know an extension must refuse the certificate.
#[derive(Clone, Copy)]
pub(super) enum Critical {
    No,
    Yes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(tlv(OCTET_STRING, &[b"ab", b"c"]), b"\x04\x03abc");
        assert_eq!(
            tlv(OCTET_STRING, &[&[0; 127]]).get(..2),
            Some(&[4, 127][..])
        );
        assert_eq!(
            tlv(OCTET_STRING, &[&[0; 128]]).get(..3),
            Some(&[4, 0x81, 128][..])
        );
        assert_eq!(
            tlv(OCTET_STRING, &[&[0; 256]]).get(..4),
            Some(&[4, 0x82, 1, 0][..])
        );
    }

    #[test]
    fn times() {
        assert_eq!(time(0), b"\x17\x0d700101000000Z");
        assert_eq!(time(1_795_219_200), b"\x17\x0d261121000000Z");
        assert_eq!(time(2_524_607_999), b"\x17\x0d491231235959Z");
        assert_eq!(time(2_524_608_000), b"\x18\x0f20500101000000Z");
    }

    #[test]
    fn names() {
        assert_eq!(name(None, None), b"\x30\x00");
        assert_eq!(
            name(None, Some("x")),
            b"\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x"
        );
    }
}
