#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use exitgate_policy::{Name, PolicySet, Snapshot};
use exitgate_proto::control::Position;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

const NOW: u64 = 1_795_000_000;

fn tended(now: u64) -> Keyring {
    let mut keyring = Keyring::default();
    assert!(keyring.tend(now).unwrap());
    keyring
}

fn request(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(["evil.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().der().to_vec()
}

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn trusts(roots: &[CertificateDer<'static>], leaf: &CertificateDer<'static>, at: u64) -> bool {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(store.into(), provider)
        .build()
        .unwrap()
        .verify_client_cert(leaf, &[], time(at))
        .is_ok()
}

#[test]
fn a_gateway_gets_a_certificate_of_its_identity_and_nothing_it_asked_for() {
    let keyring = tended(NOW);
    let trust = Trust::new(&keyring, vec!["controller.example".into()], NOW).unwrap();
    let identity = Identity::new("exitgate", Role::Node, "worker-1", "nodes").unwrap();
    let key = KeyPair::generate().unwrap();
    let requested = RequestedKey::parse(&request(&key)).unwrap();
    let issued = trust.issue(&identity, &requested, NOW).unwrap();
    let leaf = &issued.chain[0];
    assert_eq!(Identity::of_certificate(leaf).unwrap(), identity);
    assert!(trusts(&trust.roots(), leaf, NOW));
    assert!(!trusts(&trust.roots(), leaf, NOW + 24 * HOUR + 1));
    assert_eq!(issued.renew_at - NOW, 24 * HOUR * 7 / 10);
    let (_, read) = X509Certificate::from_der(leaf).unwrap();
    assert!(!read.is_ca());
    assert_eq!(
        read.validity().not_after.timestamp(),
        i64::try_from(NOW + 24 * HOUR).unwrap()
    );
    assert_eq!(
        *read.public_key().subject_public_key.data,
        *key.public_key_raw()
    );
    assert!(!String::from_utf8_lossy(leaf).contains("evil.example"));
    // Another installation's roots do not vouch for it.
    assert!(!trusts(&tended(NOW).roots().unwrap(), leaf, NOW));
    // What serves is no client.
    let serving = trust.serving().borrow().clone();
    assert!(!trusts(&trust.roots(), &serving.chain[0], NOW));
}

#[test]
fn requests_of_others_keys_and_weak_ones_are_refused() {
    let key = KeyPair::generate().unwrap();
    let mut der = request(&key);
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(
        RequestedKey::parse(&der).unwrap_err(),
        RequestError::Signature
    );
    assert!(matches!(
        RequestedKey::parse(b"no request").unwrap_err(),
        RequestError::Unreadable(_)
    ));
    assert!(matches!(
        RequestedKey::parse(&vec![0x30; 20_000]).unwrap_err(),
        RequestError::TooLong(20_000)
    ));
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert_eq!(
        RequestedKey::parse(&request(&key)).unwrap_err(),
        RequestError::Key
    );
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        RequestedKey::parse(&request(&key)).unwrap();
    }
}

#[test]
fn identities_are_read_strictly() {
    let good = "spiffe://exitgate/ns/pay/sidecar/6a1f/gateway/pool";
    assert_eq!(Identity::parse(good).unwrap().to_string(), good);
    for bad in [
        "spiffe://other/ns/pay/sidecar/6a1f/gateway/pool",
        "spiffe://exitgate/ns/pay/root/6a1f/gateway/pool",
        "spiffe://exitgate/ns/pay/sidecar/6a1f/gateway/pool/more",
        "spiffe://exitgate/ns/pay/sidecar//gateway/pool",
        "spiffe://exitgate/ns/pay/sidecar/../gateway/pool",
        "spiffe://exitgate/ns/pay/sidecar/a%2fb/gateway/pool",
        "",
    ] {
        assert!(Identity::parse(bad).is_err(), "{bad}");
    }
    assert!(Identity::new("pay", Role::Pool, "a/b", "pool").is_err());
    assert!(Identity::new("pay", Role::Pool, &"a".repeat(254), "pool").is_err());
}

#[test]
fn manifests_are_signed_with_a_key_that_was_handed_out() {
    let keyring = tended(NOW);
    let trust = Trust::new(&keyring, vec!["localhost".into()], NOW).unwrap();
    let position = Position {
        epoch: 1,
        sources: [("EgressPolicy".to_owned(), 7)].into(),
    };
    let signature = trust.sign_manifest("abc", &position).unwrap();
    let keys = trust.manifest_keys();
    assert_eq!(keys.len(), 1);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &keys[0]);
    let text = exitgate_proto::signed_text("abc", &position);
    assert!(key.verify(&text, &signature).is_ok());
    let other = exitgate_proto::signed_text("abd", &position);
    assert!(key.verify(&other, &signature).is_err());
}

#[test]
fn what_is_new_is_published_before_it_is_used() {
    let mut keyring = tended(NOW);
    assert!(!keyring.tend(NOW + 100 * DAY).unwrap());
    let trust = Trust::new(&keyring, vec!["localhost".into()], NOW).unwrap();
    let old = keyring.issuing(NOW).unwrap().0;
    let due = NOW + 488 * DAY;
    assert!(keyring.tend(due).unwrap());
    assert_eq!(keyring.roots().unwrap().len(), 2);
    assert_eq!(keyring.issuing(due + 6 * DAY).unwrap().0, old);
    let first = trust.serving().borrow().clone();
    trust.refresh(&keyring, due).unwrap();
    assert_eq!(trust.roots().len(), 2);
    let second = trust.serving().borrow().clone();
    assert_ne!(first.chain, second.chain, "it is older than 60 days");
    trust.refresh(&keyring, due + DAY).unwrap();
    assert_eq!(trust.serving().borrow().chain, second.chain);
    let new = keyring.issuing(due + 7 * DAY).unwrap().0;
    assert_ne!(new, old);
    trust.refresh(&keyring, due + 7 * DAY).unwrap();
    assert_ne!(
        trust.serving().borrow().chain,
        second.chain,
        "another root issues"
    );
    assert!(keyring.tend(NOW + 731 * DAY).unwrap());
    assert_eq!(keyring.roots().unwrap(), [new]);
    // A year later there are two keys for manifests, and both are handed out.
    let mut keyring = tended(NOW);
    keyring.tend(NOW + 360 * DAY).unwrap();
    assert_eq!(keyring.manifest_keys().unwrap().len(), 2);
}

#[test]
fn a_keyring_is_stored_and_read() {
    let keyring = tended(NOW);
    let read = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
    assert_eq!(read.roots().unwrap(), keyring.roots().unwrap());
    assert_eq!(
        read.manifest_keys().unwrap(),
        keyring.manifest_keys().unwrap()
    );
    assert!(
        keyring
            .roots_pem()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----\n")
    );
    for bad in [
        &b"{}x"[..],
        b"{\"roots\": 1}",
        b"{\"roots\": [], \"manifestKeys\": [], \"x\": 1}",
    ] {
        assert!(Keyring::from_bytes(bad).is_err());
    }
    assert!(!format!("{keyring:?}").contains("key\":"));
}

#[tokio::test]
async fn one_token_is_known() {
    let verifier = StaticToken::generate().unwrap();
    let claims = verifier.verify(verifier.token()).await.unwrap();
    assert_eq!(claims.roles, [Role::Pool]);
    for bad in ["", "x", &verifier.token()[1..]] {
        assert!(verifier.verify(bad).await.is_err());
    }
    let nothing = StaticToken::new(String::new(), claims);
    assert!(nothing.verify("").await.is_err());
}

fn interception(path_length: Option<u8>) -> (InterceptionRoot, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = date(NOW - DAY);
    params.not_after = date(NOW + 3650 * DAY);
    params.is_ca = rcgen::IsCa::Ca(match path_length {
        None => rcgen::BasicConstraints::Unconstrained,
        Some(length) => rcgen::BasicConstraints::Constrained(length),
    });
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key).unwrap();
    let read =
        InterceptionRoot::from_pem(root.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    (read, root.der().clone())
}

fn inspecting() -> PolicySet {
    let snapshot: Snapshot = serde_json::from_value(serde_json::json!({
        "gateway": "g", "standalone": false, "sets": [], "workloads": [],
        "settings": {"tls": {"inspection": "On", "authority": {"certFile": "c", "keyFile": "k"}}},
        "policies": [{"namespaced": {"namespace": "pay", "name": "a", "spec": {"rules": [
            {"name": "a", "action": "Allow", "to": {"hosts": ["*.a.io"]}, "http": {"methods": ["GET"]}}]}}}]
    }))
    .unwrap();
    let (set, problems) = exitgate_policy::compile(&snapshot);
    set.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn serves(root: &CertificateDer<'static>, chain: &[CertificateDer<'static>], name: &str) -> bool {
    let mut store = rustls::RootCertStore::empty();
    store.add(root.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(store.into(), provider)
            .build()
            .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*verifier,
        &chain[0],
        &chain[1..],
        &name,
        &[],
        time(NOW),
    )
    .is_ok()
}

#[test]
fn an_issuing_authority_signs_the_names_of_the_rules_and_no_other() {
    let (root, root_der) = interception(Some(1));
    let names = inspecting().inspected_names();
    let limits = NameLimits::new(&exitgate_policy::EgressGatewaySpec::default(), &names).unwrap();
    assert_eq!(limits.permitted(), ["a.io"]);
    let key = KeyPair::generate().unwrap();
    let requested = RequestedKey::parse(&request(&key)).unwrap();
    let authority = root.authority(&requested, &limits, NOW).unwrap();
    assert_eq!(authority.not_after, NOW + 24 * HOUR);
    let issuer = rcgen::Issuer::from_ca_cert_der(&authority.chain[0], key).unwrap();
    for (name, accepted) in [("x.a.io", true), ("b.io", false), ("198.19.0.1", false)] {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date(NOW);
        params.not_after = date(NOW + HOUR);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let chain = [leaf.der().clone(), authority.chain[0].clone()];
        assert_eq!(serves(&root_der, &chain, name), accepted, "{name}");
    }
    assert_eq!(
        NameLimits::new(
            &exitgate_policy::EgressGatewaySpec::default(),
            &exitgate_policy::InspectedNames::Unbounded
        ),
        Err(InterceptionError::Unbounded)
    );
}

#[test]
fn leaves_are_for_one_name_and_end_with_their_issuer() {
    let (root, root_der) = interception(Some(0));
    let key = KeyPair::generate().unwrap();
    let requested = RequestedKey::parse(&request(&key)).unwrap();
    let name = Name::parse(b"x.a.io").unwrap();
    let leaf = root.leaf(&requested, &name, NOW).unwrap();
    assert!(serves(&root_der, &leaf.chain, "x.a.io"));
    assert!(!serves(&root_der, &leaf.chain, "y.a.io"));
    let late = NOW + 3650 * DAY - HOUR;
    assert_eq!(
        root.leaf(&requested, &name, late).unwrap().not_after,
        NOW + 3650 * DAY
    );
    assert!(matches!(
        root.leaf(&requested, &name, late + HOUR),
        Err(InterceptionError::Ended(_))
    ));
    let names = inspecting().inspected_names();
    let limits = NameLimits::new(&exitgate_policy::EgressGatewaySpec::default(), &names).unwrap();
    assert_eq!(
        root.authority(&requested, &limits, NOW),
        Err(InterceptionError::PathLength)
    );
}
