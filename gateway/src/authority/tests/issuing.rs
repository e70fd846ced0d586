//! The issuing CA of a gateway, and the exchange of authorities.

use super::*;

#[tokio::test]
async fn the_issuing_ca_is_short_lived_and_constrained() {
    let time = Time::at(NOW);
    let (authority, _folder) = per_gateway(&time, &["x.io", "api.y.io"]);
    let leaf = authority
        .leaf(&name("a.x.io"), LeafKey::Ecdsa)
        .await
        .unwrap();
    assert_eq!(leaf.cert.len(), 2, "leaf and issuing CA, without the root");
    let issuing = parse(&leaf.cert[1]);
    let basic = issuing.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = issuing.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
    let validity = issuing.validity();
    assert!(validity.not_after.timestamp() - validity.not_before.timestamp() <= 86_400);
    let constraints = issuing.name_constraints().unwrap().unwrap();
    assert!(constraints.critical);
    let permitted: Vec<_> = constraints
        .value
        .permitted_subtrees
        .as_ref()
        .unwrap()
        .iter()
        .map(|s| s.base.clone())
        .collect();
    assert_eq!(
        permitted,
        [
            GeneralName::DNSName("api.y.io"),
            GeneralName::DNSName("x.io")
        ]
    );
    let excluded: Vec<_> = constraints
        .value
        .excluded_subtrees
        .as_ref()
        .unwrap()
        .iter()
        .map(|s| s.base.clone())
        .collect();
    assert_eq!(
        excluded,
        [
            GeneralName::IPAddress(&[0; 8]),
            GeneralName::IPAddress(&[0; 32])
        ]
    );
    let parsed = parse(&leaf.cert[0]);
    assert_eq!(issuer_key_id_of(&parsed), key_id_of(&issuing));
    assert!(parsed.validity().not_after.timestamp() <= validity.not_after.timestamp());
    assert!(parsed.validity().not_before.timestamp() >= validity.not_before.timestamp());
}

#[tokio::test]
async fn a_name_that_is_not_covered_is_pending_until_the_update() {
    let time = Time::at(NOW);
    let (authority, _folder) = per_gateway(&time, &["x.io"]);
    let id = authority.id();
    let ask = |text: &'static str| {
        let authority = authority.clone();
        async move {
            authority
                .leaf(&name(text), LeafKey::Ecdsa)
                .await
                .map(|_| ())
        }
    };
    assert_eq!(ask("y.io").await, Err(LeafError::Pending));
    // Removals and what is covered already issue nothing.
    authority.update(bounded(&["a.x.io"]));
    assert_eq!(authority.id(), id);
    authority.update(bounded(&["x.io", "y.io"]));
    assert_ne!(authority.id(), id);
    assert_eq!(ask("y.io").await, Ok(()));
    assert_eq!(authority.stats().changes, 1);
}

/// Whoever steals the issuing CA's key signs with it for another name: the constraint is what is left.
#[test]
fn clients_refuse_what_the_issuing_ca_may_not_sign() {
    let root = root();
    let key = key::CaKey::from_pem(root.key_pem.as_bytes()).unwrap();
    let source = load::Source::new(&[first(&root.certificate_pem)], key, 1, NOW).unwrap();
    let validity = Validity {
        not_before: NOW - 60,
        not_after: NOW + 3_600,
    };
    let only = constraints::Constraints::only(["x.io"], []);
    let issuing = source
        .ca
        .issue(key::CaKey::generate_ecdsa().unwrap(), &only, validity)
        .unwrap();
    for (text, accepted) in [
        ("a.x.io", true),
        ("x.io", true),
        ("y.io", false),
        ("ax.io", false),
    ] {
        let request = LeafRequest {
            name: name(text),
            key: LeafKey::Ecdsa,
            spki: key::CaKey::generate_ecdsa().unwrap().spki().into(),
            validity,
        };
        let leaf = issuing.leaf(&request).unwrap();
        assert_eq!(source.accepts(&leaf, text, NOW).is_ok(), accepted, "{text}");
    }
}

#[tokio::test]
async fn with_nothing_to_inspect_nothing_is_signed() {
    let time = Time::at(NOW);
    let (authority, _folder) = per_gateway(&time, &[]);
    let found = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await;
    assert_eq!(found.map(|_| ()), Err(LeafError::Pending));
    authority.update(bounded(&["x.io"]));
    assert!(authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.is_ok());
}

#[tokio::test]
async fn unbounded_names_are_signed_leaf_by_leaf() {
    let time = Time::at(NOW);
    let many: Vec<String> = (0..101).map(|i| format!("x{i}.io")).collect();
    for names in [Names::Unbounded, Names::Bounded(many)] {
        let (authority, _folder) = per_gateway(&time, &["x.io"]);
        authority.update(names);
        let leaf = authority
            .leaf(&name("any.test"), LeafKey::Ecdsa)
            .await
            .unwrap();
        assert_eq!(leaf.cert.len(), 1, "no CA of the gateway's own");
        assert_eq!(authority.status().effective, Custody::PerLeaf);
    }
}

#[tokio::test]
async fn exclusions_only() {
    let folder = Folder::new();
    let root = root();
    let mut settings = folder.settings(Custody::PerGateway, &root.certificate_pem, &root.key_pem);
    settings.bounds = Bounds::ExclusionsOnly(vec!["bank.test".to_owned()]);
    let time = Time::at(NOW);
    let authority = Authority::load_at(&settings, Names::Unbounded, time.clock()).unwrap();
    let leaf = authority
        .leaf(&name("any.test"), LeafKey::Ecdsa)
        .await
        .unwrap();
    assert_eq!(leaf.cert.len(), 2);
    let excluded = authority.leaf(&name("my.bank.test"), LeafKey::Ecdsa).await;
    assert_eq!(excluded.map(|_| ()), Err(LeafError::NotPermitted));
}

#[tokio::test]
async fn the_issuing_ca_is_renewed_before_its_end() {
    let time = Time::at(NOW);
    let (authority, _folder) = per_gateway(&time, &["x.io"]);
    let ask = || async {
        let leaf = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.unwrap();
        leaf.cert[1].clone()
    };
    let id = authority.id();
    let issuing = ask().await;
    time.set(NOW + 12 * 3_600);
    assert_eq!(ask().await, issuing);
    time.set(NOW + 16 * 3_600);
    assert_ne!(ask().await, issuing);
    assert_ne!(authority.id(), id);
}

#[tokio::test]
async fn after_the_roots_end_nothing_is_signed() {
    let time = Time::at(NOW);
    for authority in [development(&time).0, per_gateway(&time, &["x.io"]).0] {
        time.set(NOW + 366 * 86_400);
        let found = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await;
        assert_eq!(found.map(|_| ()), Err(LeafError::Expired));
        time.set(NOW);
    }
}

/// Row 175: both roots are published during the overlap, and new leaves come from the new one.
#[tokio::test]
async fn rotation_publishes_both_switches_and_removes() {
    let time = Time::at(NOW);
    let (authority, _folder, old) = development(&time);
    let before = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.unwrap();
    let new = root();
    let folder = Folder::new();
    let settings = folder.settings(Custody::Development, &new.certificate_pem, &new.key_pem);
    let id = authority.id();
    authority.reload(&settings, Names::Unbounded).unwrap();
    assert_ne!(authority.id(), id);
    let bundle = authority.bundle_pem();
    assert!(bundle.contains(&old.certificate_pem) && bundle.contains(&new.certificate_pem));
    let after = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.unwrap();
    let new_root = first(&new.certificate_pem);
    assert_eq!(
        parse(&after.cert[0]).issuer().as_raw(),
        parse(&new_root).subject().as_raw()
    );
    // Whoever holds the leaf of before goes on with it.
    assert!(before.keys_match().is_ok());
    // The same authority once more changes nothing in what is published, and does not prolong the old one.
    time.set(NOW + 6 * 86_400);
    authority.reload(&settings, Names::Unbounded).unwrap();
    assert!(authority.bundle_pem().contains(&old.certificate_pem));
    time.set(NOW + 8 * 86_400);
    assert_eq!(authority.bundle_pem(), new.certificate_pem);
}

#[tokio::test]
async fn a_failed_reload_changes_nothing() {
    let (authority, folder, old) = development(&Time::at(NOW));
    let id = authority.id();
    let settings = folder.settings(Custody::Development, "nothing", &old.key_pem);
    assert!(authority.reload(&settings, Names::Unbounded).is_err());
    assert_eq!(authority.id(), id);
    assert!(authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.is_ok());
}

#[tokio::test]
async fn an_rsa_root_gives_an_rsa_chain_to_those_without_ecdsa() {
    let folder = Folder::new();
    let root = create_root(Some("RSA root"), KeyKind::Rsa, 365, NOW).unwrap();
    let settings = folder.settings(Custody::PerGateway, &root.certificate_pem, &root.key_pem);
    let authority =
        Authority::load_at(&settings, bounded(&["x.io"]), Time::at(NOW).clock()).unwrap();
    let rsa = x509_parser::oid_registry::OID_PKCS1_SHA256WITHRSA;
    let leaf = authority.leaf(&name("x.io"), LeafKey::Rsa).await.unwrap();
    assert_eq!(leaf.key.algorithm(), rustls::SignatureAlgorithm::RSA);
    for certificate in &leaf.cert {
        assert_eq!(parse(certificate).signature_algorithm.algorithm, rsa);
    }
    // Those who can do ECDSA get the cheaper one.
    let leaf = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await.unwrap();
    assert_eq!(leaf.key.algorithm(), rustls::SignatureAlgorithm::ECDSA);
    assert_ne!(parse(&leaf.cert[0]).signature_algorithm.algorithm, rsa);
}
