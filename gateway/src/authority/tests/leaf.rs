//! What a leaf says, and how long it is kept.

use super::*;

/// Rows 169, 170 and 172: the leaf has exactly the requested name, its own key, a random serial, and dates within bounds.
#[tokio::test]
async fn a_leaf_says_what_it_must_and_nothing_else() {
    let (authority, _folder, root) = development(&Time::at(NOW));
    let root = first(&root.certificate_pem);
    let root = parse(&root);
    let leaf = authority
        .leaf(&name("api.x.io"), LeafKey::Ecdsa)
        .await
        .unwrap();
    assert_eq!(leaf.cert.len(), 1, "the root is not sent");
    let parsed = parse(&leaf.cert[0]);
    assert_eq!(parsed.subject().to_string(), "CN=api.x.io");
    assert_eq!(parsed.issuer().as_raw(), root.subject().as_raw());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::DNSName("api.x.io")]
    );
    assert!(!names.critical);
    let basic = parsed.basic_constraints().unwrap().unwrap();
    assert!(!basic.value.ca && basic.critical);
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.flags == 1, "digitalSignature");
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any);
    assert_eq!(issuer_key_id_of(&parsed), key_id_of(&root));
    assert_eq!(parsed.extensions().len(), 5, "no AIA, CRL, SCT, policies");
    assert_eq!(parsed.raw_serial().len(), 17, "128 random bits and a sign");
    assert_ne!(
        parsed.public_key().subject_public_key.data,
        root.public_key().subject_public_key.data
    );
    let (from, to) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    let now = i64::try_from(NOW).unwrap();
    assert!(
        now - from >= 1_800,
        "a client clock 30 min slow still works"
    );
    assert!(now - from <= 3_600);
    assert!(to - from <= 7 * 86_400 && to <= root.validity().not_after.timestamp());
    assert!(leaf.keys_match().is_ok());
}

#[tokio::test]
async fn a_long_name_leaves_the_subject_empty() {
    let (authority, _folder, _root) = development(&Time::at(NOW));
    let long = format!("{}.{}.x.io", "a".repeat(60), "b".repeat(60));
    let leaf = authority.leaf(&name(&long), LeafKey::Ecdsa).await.unwrap();
    let parsed = parse(&leaf.cert[0]);
    assert_eq!(parsed.subject().to_string(), "");
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
}

/// Row 169: serials are unique.
#[tokio::test]
async fn serials_differ() {
    let (authority, _folder, _root) = development(&Time::at(NOW));
    let mut serials = std::collections::BTreeSet::new();
    for i in 0..100 {
        let leaf = authority
            .leaf(&name(&format!("n{i}.x{i}.io")), LeafKey::Ecdsa)
            .await
            .unwrap();
        assert!(serials.insert(parse(&leaf.cert[0]).raw_serial().to_vec()));
    }
}

#[tokio::test]
async fn the_second_time_it_comes_from_the_cache() {
    let time = Time::at(NOW);
    let (authority, _folder, _root) = development(&time);
    let ask = || async {
        let leaf = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.unwrap();
        leaf.cert[0].clone()
    };
    let one = ask().await;
    assert_eq!(one, ask().await);
    assert_eq!(authority.stats().minted, 1);
    assert_eq!(authority.stats().cached, 1);
    // At most half of the leaf's life.
    let end = u64::try_from(parse(&one).validity().not_after.timestamp()).unwrap();
    time.set(NOW + (end - NOW) / 2 - 1);
    assert_eq!(one, ask().await);
    time.set(NOW + (end - NOW) / 2);
    assert_ne!(one, ask().await);
}

#[test]
fn the_key_changes_with_the_day() {
    let keys = LeafKeys::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let spki = |now| {
        runtime
            .block_on(keys.pair(LeafKey::Ecdsa, now, leaf_keys::RsaAuthorities::None))
            .unwrap()
            .spki
    };
    let midnight = NOW - NOW % 86_400;
    assert_eq!(spki(midnight), spki(midnight + 86_399));
    assert_ne!(spki(midnight), spki(midnight + 86_400));
}
