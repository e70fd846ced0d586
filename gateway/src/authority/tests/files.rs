//! What may be an authority, and what is refused.

use super::*;

/// Row 176: each mistake refuses to start, in words that name it.
#[test]
fn what_cannot_be_an_authority_is_refused() {
    let good = root();
    let other = root();
    let old = create_root(None, KeyKind::Ecdsa, 30, NOW - 31 * 86_400).unwrap();
    let young = create_root(None, KeyKind::Ecdsa, 30, NOW + 86_400).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        params.self_signed(&key).unwrap().pem()
    };
    let leaf = made(&|p| p.is_ca = rcgen::IsCa::ExplicitNoCa);
    let no_usage = made(&|p| p.key_usages = Vec::new());
    let wrong_usage = made(&|p| p.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign]);
    let no_room = made(&|p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)));
    let key = key.serialize_pem();
    for (certificate, key, expected) in [
        (&old.certificate_pem, &old.key_pem, "expired"),
        (&young.certificate_pem, &young.key_pem, "not valid before"),
        (
            &good.certificate_pem,
            &other.key_pem,
            "not the one of the private key",
        ),
        (&leaf, &key, "not a certificate authority"),
        (&no_usage, &key, "keyCertSign"),
        (&wrong_usage, &key, "keyCertSign"),
        (&no_room, &key, "custody PerLeaf"),
        (&"nothing".to_owned(), &key, "no certificate in it"),
        (
            &good.certificate_pem,
            &"nothing".to_owned(),
            "no private key",
        ),
    ] {
        for custody in [Custody::Development, Custody::PerGateway] {
            let folder = Folder::new();
            let settings = folder.settings(custody, certificate, key);
            let error = Authority::load_at(&settings, Names::Unbounded, Time::at(NOW).clock())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
    // Path length 0 signs leaves one by one.
    let folder = Folder::new();
    let settings = folder.settings(Custody::PerLeaf, &no_room, &key);
    Authority::load_at(&settings, Names::Unbounded, Time::at(NOW).clock()).unwrap();
}

/// Row 176: no subject key identifier. rcgen always writes one, so it is renamed here to an extension that nobody knows.
#[test]
fn an_authority_without_key_identifier_is_refused() {
    let root = root();
    let mut der = first(&root.certificate_pem).to_vec();
    let at = der
        .windows(5)
        .position(|bytes| bytes == [0x06, 0x03, 0x55, 29, 14])
        .unwrap();
    der[at + 4] = 99;
    let pem = pem::certificate(&CertificateDer::from(der));
    let folder = Folder::new();
    let settings = folder.settings(Custody::Development, &pem, &root.key_pem);
    let error = Authority::load_at(&settings, Names::Unbounded, Time::at(NOW).clock());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("subject key identifier")
    );
}

/// Row 176: a key that is public.
#[test]
fn a_published_key_is_refused() {
    let root = root();
    let key = key::CaKey::from_pem(root.key_pem.as_bytes()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.spki());
    let hash: &'static str = certificate::hex(digest.as_ref(), 32).leak();
    let chain = [first(&root.certificate_pem)];
    let found = check::check(&chain, &key, 1, NOW, &[(hash, "a test")]);
    assert_eq!(found.unwrap_err(), CaProblem::PublishedKey("a test"));
    assert!(check::check(&chain, &key, 1, NOW, known::PUBLISHED).is_ok());
}

/// The next root is published ahead of its use with `trustFiles`.
#[test]
fn trust_files_are_published() {
    let folder = Folder::new();
    let (now, next) = (root(), root());
    let mut settings = folder.settings(Custody::Development, &now.certificate_pem, &now.key_pem);
    settings.trust = vec![folder.write("next.pem", &next.certificate_pem)];
    let authority = Authority::load_at(&settings, Names::Unbounded, Time::at(NOW).clock()).unwrap();
    let bundle = authority.bundle_pem();
    assert_eq!(bundle, now.certificate_pem + &next.certificate_pem);
}

#[test]
fn a_folder_can_be_gone() {
    let settings = Settings {
        custody: Custody::Development,
        certificates: PathBuf::from("/nonexistent/ca.pem"),
        key: PathBuf::from("/nonexistent/ca-key.pem"),
        trust: Vec::new(),
        bounds: Bounds::Auto,
        lifetime: Duration::from_hours(24),
    };
    let error = Authority::load(&settings, Names::Unbounded)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("keyFile") && error.contains("exitgate ca init"),
        "{error}"
    );
}
