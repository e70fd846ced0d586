//! Authority keys whose private half is public, so that whoever has it can sign for our clients.
//!
//! A proxy that people copy ships one, and test keys of well-known projects end up in places where they were not meant to
//! be. Each entry is the SHA-256 of the `SubjectPublicKeyInfo`; it was computed from the published key itself:
//! `openssl pkey -in KEY -pubout -outform DER | sha256sum`.

/// The hash of a published key, and whose it is.
pub(super) type Known = (&'static str, &'static str);

pub(super) const PUBLISHED: &[Known] = &[
    (
        "c012de113a81789eb5c392c0580156bbc281f9f93e07f08cafa3329672e6993b",
        "the default authority of the goproxy library",
    ),
    (
        "475ca7b1ba8d3a6658570733d036e963c20d791ea94e34f5b15ff15ff296dd71",
        "the default authority of older versions of the goproxy library",
    ),
    (
        "40fb1f885ed7a28f505aa0616076068fbaae3b9dbfc6b87d8ce0b5f14d04c00b",
        "the server key of the first versions of the goproxy library",
    ),
    (
        "162e83bb06293ce6e0238a5f25fc7190ddfae4a1f7c0bb67a19e6244ef998eb8",
        "the test authority of the gRPC repository",
    ),
    (
        "ed16d4174a530cb03bb00ceda9c8e3d7f9aa85d8e4187d9946fda44778a1fef1",
        "the test authority of the Envoy repository",
    ),
];

/// Whose published key this is, if it is one.
pub(super) fn owner(spki: &[u8], published: &[Known]) -> Option<&'static str> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki);
    let digest = super::certificate::hex(digest.as_ref(), 32);
    published
        .iter()
        .find(|(hash, _)| *hash == digest)
        .map(|(_, owner)| *owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_sha256() {
        for (hash, owner) in PUBLISHED {
            assert_eq!(hash.len(), 64, "{owner}");
            assert!(hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
    }
}
