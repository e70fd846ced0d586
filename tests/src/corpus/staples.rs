//! Stapled status.

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use super::issue::{self, Ca};
use super::staple::{Says, Staple};
use super::{Corpus, Expected, HOST, refused};

fn accepted(staple: &'static str) -> Expected {
    Expected::Accepted { staple }
}

pub(super) fn add(corpus: &mut Corpus) {
    let issuer = corpus.root.below("Issuer with a responder");
    let chain = [issuer.der()];
    let leaf = issuer.leaf(HOST);
    let other = issuer.leaf(HOST);
    let strict = issuer.leaf_with(HOST, |params| {
        params.custom_extensions = vec![issue::must_staple()];
    });
    let delegated = |ca: &Ca, usage: ExtendedKeyUsagePurpose| {
        ca.leaf_with("responder.test", |params| {
            params.extended_key_usages = vec![usage];
        })
    };
    let delegate = delegated(&issuer, ExtendedKeyUsagePurpose::OcspSigning);
    let server = delegated(&issuer, ExtendedKeyUsagePurpose::ServerAuth);
    let foreign = delegated(&corpus.root, ExtendedKeyUsagePurpose::OcspSigning);
    let key = KeyPair::generate().unwrap();
    let about = |says| Staple::new(&issuer, &leaf, says);
    let revoked = refused("revoked");

    let mut cases: Vec<(&'static str, Expected, Vec<u8>)> = vec![
        ("staple: good", accepted("good"), about(Says::Good).build()),
        (
            "staple: good, by SHA-256",
            accepted("good"),
            about(Says::Good).with_sha256().build(),
        ),
        (
            "staple: good, by a delegate",
            accepted("good"),
            about(Says::Good).by(&delegate).build(),
        ),
        (
            "staple: unknown",
            accepted("unknown"),
            about(Says::Unknown).build(),
        ),
        ("staple: revoked", revoked, about(Says::Revoked).build()),
        (
            "staple: revoked, by a delegate",
            revoked,
            about(Says::Revoked).by(&delegate).build(),
        ),
        (
            "staple: revoked, outdated",
            accepted("invalid"),
            about(Says::Revoked).outdated().build(),
        ),
        (
            "staple: revoked, from the future",
            accepted("invalid"),
            about(Says::Revoked).from_the_future().build(),
        ),
        (
            "staple: revoked, forged",
            accepted("invalid"),
            about(Says::Revoked).forged(&key).build(),
        ),
        (
            "staple: revoked, by a server's certificate",
            accepted("invalid"),
            about(Says::Revoked).by(&server).build(),
        ),
        (
            "staple: revoked, by another issuer's delegate",
            accepted("invalid"),
            about(Says::Revoked).by(&foreign).build(),
        ),
        (
            "staple: revoked, about another certificate",
            accepted("invalid"),
            Staple::new(&issuer, &other, Says::Revoked).build(),
        ),
        (
            "staple: not one",
            accepted("invalid"),
            vec![0x30, 3, 0x0a, 1, 6],
        ),
        ("staple: cut off", accepted("invalid"), {
            let mut staple = about(Says::Revoked).build();
            staple.truncate(staple.len() / 2);
            staple
        }),
    ];
    for (name, expected, staple) in cases.drain(..) {
        corpus.add_stapled(name, expected, &leaf, &chain, staple);
    }

    let missing = refused("staple-missing");
    let about = |says| Staple::new(&issuer, &strict, says);
    let cases = vec![
        ("must staple: none", missing, Vec::new()),
        (
            "must staple: good",
            accepted("good"),
            about(Says::Good).build(),
        ),
        (
            "must staple: outdated",
            missing,
            about(Says::Good).outdated().build(),
        ),
        (
            "must staple: forged",
            missing,
            about(Says::Good).forged(&key).build(),
        ),
        (
            "must staple: unknown",
            missing,
            about(Says::Unknown).build(),
        ),
        (
            "must staple: revoked",
            revoked,
            about(Says::Revoked).build(),
        ),
    ];
    for (name, expected, staple) in cases {
        corpus.add_stapled(name, expected, &strict, &chain, staple);
    }

    let leaf = corpus.root.leaf(HOST);
    let root = &corpus.root;
    let staples = [
        (
            "staple: good, by the root",
            accepted("good"),
            Staple::new(root, &leaf, Says::Good).build(),
        ),
        (
            "staple: revoked, by the root",
            revoked,
            Staple::new(root, &leaf, Says::Revoked).build(),
        ),
    ];
    for (name, expected, staple) in staples {
        corpus.add_stapled(name, expected, &leaf, &[], staple);
    }
}
