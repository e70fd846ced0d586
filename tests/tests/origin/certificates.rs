//! Every certificate of the corpus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use exitgate_gateway::origin::Verification;
use exitgate_tests::corpus::{Ca, Case, Corpus, Expected, HOST, Says, Staple, server_config};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt;

use super::scene::{Folder, origins, server, shake, upstream};

/// What was received in the clear by all servers of a run.
type Received = Arc<AtomicUsize>;

async fn serve(case: &Case, received: &Received) -> std::net::SocketAddr {
    let received = Arc::clone(received);
    server(case.config.clone(), move |mut tls| {
        let received = Arc::clone(&received);
        async move {
            let mut all = Vec::new();
            drop(tls.read_to_end(&mut all).await);
            received.fetch_add(all.len(), Ordering::SeqCst);
        }
    })
    .await
}

async fn run(corpus: &Corpus) {
    let folder = Folder::new();
    let origins = origins(&folder, &corpus.roots, Vec::new());
    let received = Received::default();
    let mut wrong = Vec::new();
    for case in &corpus.cases {
        let address = serve(case, &received).await;
        // Twice: what was remembered of the first time must not change the answer.
        for _ in 0..2 {
            let started = Instant::now();
            let found = match shake(&origins, address, case.host).await {
                Ok(stream) => {
                    let certificate = stream.certificate();
                    assert_eq!(certificate.verification, Verification::Verified);
                    format!("accepted, staple {}", certificate.staple.as_str())
                }
                Err(failure) => {
                    assert_eq!(failure.reason().status(), 502, "{}", case.name);
                    failure.reason().code().to_owned()
                }
            };
            let expected = match case.expected {
                Expected::Accepted { staple } => format!("accepted, staple {staple}"),
                Expected::Refused(reason) => reason.to_owned(),
            };
            if found != expected {
                wrong.push(format!("{}: {found} instead of {expected}", case.name));
            }
            let took = started.elapsed();
            assert!(took < Duration::from_secs(2), "{}: {took:?}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(received.load(Ordering::SeqCst), 0, "nothing was asked for");
}

#[tokio::test]
async fn the_corpus_over_tls_1_3() {
    run(&Corpus::speaking(&[&TLS13])).await;
}

#[tokio::test]
async fn the_corpus_over_tls_1_2() {
    run(&Corpus::speaking(&[&TLS12])).await;
}

#[tokio::test]
async fn every_reason_has_words_of_its_own() {
    let corpus = Corpus::new();
    let folder = Folder::new();
    let origins = origins(&folder, &corpus.roots, Vec::new());
    let received = Received::default();
    for (case, words) in [
        ("expired", "expired on 2021-01-01"),
        ("not yet valid", "valid from 2119-01-01"),
        ("wrong host", "the certificate is for: another.test"),
        ("common name only", "its common name does not count"),
        ("unknown root", "CN=Unknown root is no trusted root"),
        (
            "missing intermediate",
            "the certificate of CN=Issuer was not sent",
        ),
        ("self-signed", "CN=bad.wild.test issued itself"),
        ("RSA of 1024 bits", "an RSA key of 1024 bits"),
        (
            "issuer with RSA of 1024 bits",
            "an RSA key of 1024 bits, of the issuer CN=Corpus weak issuer",
        ),
        ("signed over SHA-1", "MD5 or SHA-1"),
        ("staple: revoked", "revoked on 2020-01-01"),
        ("must staple: outdated", "it is out of date"),
        ("10,000 names", "over 64 KiB"),
        ("root of a known name with another key", "with another key"),
        ("too many issuers", "60 certificates beside its own"),
    ] {
        let case = corpus.case(case);
        let address = serve(case, &received).await;
        let failure = shake(&origins, address, case.host).await.err().unwrap();
        assert!(
            failure.to_string().contains(words),
            "{}: {failure}",
            case.name
        );
    }
}

/// `insecureSkipVerify` takes all of them, says so, and says what is wrong; another host is verified as ever.
#[tokio::test]
async fn row_164_insecure_for_one_host_only() {
    let corpus = Corpus::new();
    let folder = Folder::new();
    let mut insecure = upstream("bad.wild.test");
    insecure.insecure_skip_verify = true;
    let origins = origins(&folder, &corpus.roots, vec![insecure]);
    let received = Received::default();
    for case in &corpus.cases {
        let address = serve(case, &received).await;
        let result = shake(&origins, address, case.host).await;
        if case.host != "bad.wild.test" || case.reason().is_some() && is_too_large(case) {
            let failure = result.err().map(|failure| failure.reason().code());
            assert_eq!(failure, case.reason(), "{}", case.name);
            continue;
        }
        let stream = result.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        match (stream.certificate().verification, case.reason()) {
            (Verification::Skipped, None) => {}
            (Verification::Ignored(found), Some(expected)) => {
                assert_eq!(found.code(), expected, "{}", case.name);
            }
            other => panic!("{}: {other:?}", case.name),
        }
    }
    assert!(origins.counts().unverified.get() > 50);
}

/// What the TLS library does not even hand over.
fn is_too_large(case: &Case) -> bool {
    ["10,000 names", "a chain of 100 KiB"].contains(&case.name)
}

#[tokio::test]
async fn facts_of_a_certificate() {
    let corpus = Corpus::new();
    let folder = Folder::new();
    let origins = origins(&folder, &corpus.roots, Vec::new());
    let received = Received::default();
    let case = corpus.case("2,000 names");
    let address = serve(case, &received).await;
    let stream = shake(&origins, address, case.host).await.unwrap();
    let certificate = stream.certificate();
    assert_eq!(certificate.issuer, "CN=Corpus root");
    assert_eq!(certificate.names, 2_001);
    assert!(certificate.not_after > 4_000_000_000);
    let fingerprint = certificate.fingerprint.to_string();
    assert_eq!(fingerprint.len(), 64);
    assert!(
        fingerprint
            .bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    );
}

/// No change of a single bit turns one status into another, or brings the reader down.
#[tokio::test]
async fn a_staple_with_a_wrong_bit_says_nothing() {
    let root = Ca::root("Root");
    let leaf = root.leaf(HOST);
    let folder = Folder::new();
    let origins = origins(&folder, &root.pem(), Vec::new());
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&leaf.private_key()).unwrap();
    let received = Received::default();
    for (says, itself) in [(Says::Good, "good"), (Says::Revoked, "revoked")] {
        let staple = Staple::new(&root, &leaf, says).build();
        for at in 0..staple.len() {
            let mut wrong = staple.clone();
            wrong[at] ^= 1 << (at % 8);
            let chain = vec![leaf.certificate.clone()];
            let case = Case {
                name: "a wrong bit",
                host: HOST,
                expected: Expected::Accepted { staple: "invalid" },
                config: server_config(chain, key.clone(), wrong, &[&TLS13]),
            };
            let address = serve(&case, &received).await;
            let found = match shake(&origins, address, HOST).await {
                Ok(stream) => stream.certificate().staple.as_str(),
                Err(failure) => match failure.reason().code() {
                    "upstream-certificate-revoked" => "revoked",
                    other => panic!("{other}: {failure}"),
                },
            };
            assert!(
                found == "invalid" || found == itself,
                "bit of octet {at}: {found}"
            );
        }
    }
}
