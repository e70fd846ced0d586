//! Certificates and chains.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

use super::issue::{self, Ca, dns};
use super::{ACCEPTED, Corpus, HOST, refused};

pub(super) fn add(corpus: &mut Corpus) {
    dates(corpus);
    issuers(corpus);
    chains(corpus);
    names(corpus);
    sizes(corpus);
}

fn dates(corpus: &mut Corpus) {
    let leaf = corpus.root.leaf_with(HOST, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    corpus.add("expired", refused("expired"), &leaf, &[]);
    let leaf = corpus.root.leaf_with(HOST, |params| {
        params.not_before = date_time_ymd(2119, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
    });
    corpus.add("not yet valid", refused("not-yet-valid"), &leaf, &[]);
    let old = corpus.root.below_with("Expired issuer", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let leaf = old.leaf(HOST);
    corpus.add("issuer expired", refused("expired"), &leaf, &[old.der()]);
}

fn issuers(corpus: &mut Corpus) {
    let leaf = corpus.root.leaf(HOST);
    corpus.add("as it should be", ACCEPTED, &leaf, &[]);
    let leaf = issue::self_signed(HOST, |_| {});
    corpus.add("self-signed", refused("self-signed"), &leaf, &[]);
    let leaf = issue::self_signed(HOST, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    corpus.add("self-signed as a CA", refused("self-signed"), &leaf, &[]);

    let stranger = Ca::root("Unknown root");
    let leaf = stranger.leaf(HOST);
    let reason = refused("unknown-issuer");
    corpus.add("unknown root", reason, &leaf, &[stranger.der()]);
    corpus.add("unknown root, not sent", reason, &leaf, &[]);
    let between = stranger.below("Issuer below an unknown root");
    let leaf = between.leaf(HOST);
    corpus.add("unknown root two steps up", reason, &leaf, &[between.der()]);
    let impostor = Ca::root(&corpus.root.name);
    let leaf = impostor.leaf(HOST);
    corpus.add("root of a known name with another key", reason, &leaf, &[]);

    let leaf = corpus.root.leaf_with(HOST, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    corpus.add("CA as leaf", refused("ca-as-leaf"), &leaf, &[]);

    let reason = refused("invalid");
    let no_ca = corpus.root.below_with("Not a CA", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
    });
    corpus.add("issuer is no CA", reason, &no_ca.leaf(HOST), &[no_ca.der()]);
    let no_sign = corpus.root.below_with("Must not sign", |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let leaf = no_sign.leaf(HOST);
    corpus.add(
        "issuer must not sign certificates",
        reason,
        &leaf,
        &[no_sign.der()],
    );
    let last = corpus.root.below_with("Path length 0", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let below = last.below("Below path length 0");
    let leaf = below.leaf(HOST);
    corpus.add("path too long", reason, &leaf, &[below.der(), last.der()]);

    let purpose = |usage: Vec<ExtendedKeyUsagePurpose>| {
        move |params: &mut CertificateParams| params.extended_key_usages = usage
    };
    let reason = refused("purpose");
    let client = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = corpus.root.leaf_with(HOST, purpose(client.clone()));
    corpus.add("for clients only", reason, &leaf, &[]);
    let leaf = corpus.root.leaf_with(HOST, purpose(Vec::new()));
    corpus.add("for no purpose in particular", ACCEPTED, &leaf, &[]);
    let issuer = corpus
        .root
        .below_with("Issuer for clients", purpose(client));
    corpus.add(
        "issuer for clients only",
        reason,
        &issuer.leaf(HOST),
        &[issuer.der()],
    );
    let leaf = corpus.root.leaf_with(HOST, |params| {
        let mut unknown = issue::padding(8);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    corpus.add("unknown critical extension", refused("invalid"), &leaf, &[]);
}

fn chains(corpus: &mut Corpus) {
    let issuer = corpus.root.below("Issuer");
    let leaf = issuer.leaf_with(HOST, |params| {
        params.custom_extensions = vec![issue::issuer_location()];
    });
    corpus.add(
        "missing intermediate",
        refused("incomplete-chain"),
        &leaf,
        &[],
    );
    corpus.add("with its intermediate", ACCEPTED, &leaf, &[issuer.der()]);
    let root = corpus.root.der();
    corpus.add(
        "with its root too",
        ACCEPTED,
        &leaf,
        &[issuer.der(), root.clone()],
    );
    corpus.add("in disorder", ACCEPTED, &leaf, &[root, issuer.der()]);
    let stranger = Ca::root("Unknown root");
    let crossed = stranger.cross(&issuer);
    corpus.add(
        "cross-signed, one way to a known root",
        ACCEPTED,
        &leaf,
        &[stranger.der(), crossed.der(), issuer.der()],
    );

    let first = Ca::root("Loop");
    let second = first.below("Loop too");
    let circle = second.cross(&first);
    let leaf = first.leaf(HOST);
    let chain = [circle.der(), second.der()];
    corpus.add(
        "cross-signed in a loop",
        refused("unknown-issuer"),
        &leaf,
        &chain,
    );
    // Same name, other keys: each can be the issuer of each.
    let knots: Vec<Ca> = (0..8).map(|_| Ca::root("Knot")).collect();
    let mut chain = Vec::new();
    for (a, b) in knots.iter().zip(knots.iter().cycle().skip(1)) {
        chain.push(a.cross(b).der());
        chain.push(b.cross(a).der());
    }
    let leaf = knots[0].leaf(HOST);
    corpus.add(
        "a knot of cross-signatures",
        refused("invalid"),
        &leaf,
        &chain,
    );
    let chain: Vec<_> = chain.iter().cycle().take(60).cloned().collect();
    corpus.add("too many issuers", refused("invalid"), &leaf, &chain);
}

fn names(corpus: &mut Corpus) {
    let reason = refused("wrong-name");
    let leaf = corpus.root.leaf("another.test");
    corpus.add("wrong host", reason, &leaf, &[]);
    let leaf = corpus
        .root
        .leaf_with(HOST, |params| params.subject_alt_names = Vec::new());
    corpus.add("common name only", reason, &leaf, &[]);
    let named = [
        ("an address as a name", "127.1.0.1"),
        ("wildcard within a label", "b*.wild.test"),
        ("two wildcards", "*.*.test"),
        ("wildcard for a single label", "*.test"),
        ("wildcard not at the left", "bad.*.test"),
        ("a bare wildcard", "*"),
        ("with a root dot", "bad.wild.test."),
        ("a name below", "x.bad.wild.test"),
        ("the name above", "wild.test"),
    ];
    for (case, name) in named {
        let leaf = corpus
            .root
            .leaf_with(HOST, |params| params.subject_alt_names = vec![dns(name)]);
        corpus.add(case, reason, &leaf, &[]);
    }
    let leaf = corpus.root.leaf("*.test");
    corpus
        .add("wildcard for a whole zone", reason, &leaf, &[])
        .host = "ok.test";
    let leaf = corpus.root.leaf("*.wild.test");
    corpus.add("wildcard", ACCEPTED, &leaf, &[]);
    corpus
        .add("wildcard two labels up", reason, &leaf, &[])
        .host = "a.b.wild.test";

    let subtree = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
    let reason = refused("name-constraints");
    let issuer = corpus.root.below_with("Issuer for another zone", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: subtree("elsewhere.test"),
            excluded_subtrees: Vec::new(),
        });
    });
    corpus.add(
        "outside the permitted names",
        reason,
        &issuer.leaf(HOST),
        &[issuer.der()],
    );
    let issuer = corpus
        .root
        .below_with("Issuer not for this zone", |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: subtree("wild.test"),
            });
        });
    corpus.add(
        "inside the excluded names",
        reason,
        &issuer.leaf(HOST),
        &[issuer.der()],
    );
    let issuer = corpus.root.below_with("Issuer for this zone", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: subtree("wild.test"),
            excluded_subtrees: Vec::new(),
        });
    });
    corpus.add(
        "inside the permitted names",
        ACCEPTED,
        &issuer.leaf(HOST),
        &[issuer.der()],
    );
}

fn sizes(corpus: &mut Corpus) {
    let many = |count: usize| {
        move |params: &mut CertificateParams| {
            let names = (0..count).map(|n| dns(&format!("n{n}.wild.test")));
            params.subject_alt_names = names.chain([dns(HOST)]).collect();
            params.distinguished_name = DistinguishedName::new();
        }
    };
    let leaf = corpus.root.leaf_with(HOST, many(2_000));
    corpus.add("2,000 names", ACCEPTED, &leaf, &[]);
    let leaf = corpus.root.leaf_with(HOST, many(10_000));
    corpus.add("10,000 names", refused("invalid"), &leaf, &[]);
    let mut chain = Vec::new();
    let mut issuer = corpus.root.below("Padded issuer");
    chain.push(issuer.der());
    for _ in 0..10 {
        issuer = issuer.below_with("Padded issuer", |params| {
            params.custom_extensions = vec![issue::padding(10 * 1024)];
        });
        chain.insert(0, issuer.der());
    }
    let leaf = issuer.leaf(HOST);
    corpus.add("a chain of 100 KiB", refused("invalid"), &leaf, &chain);
}
