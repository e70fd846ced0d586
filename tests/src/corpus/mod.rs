//! Origins whose certificates are wrong in every way that a verifier must notice, and right in the ways that it must not
//! mind.
//!
//! ```no_run
//! # use exitgate_tests::corpus::Corpus;
//! # use exitgate_tests::origin::Origin;
//! # async fn row() {
//! let corpus = Corpus::new();
//! // `corpus.roots` is the PEM file to trust; every case says for which host it is and what it must lead to.
//! for case in &corpus.cases {
//!     let origin = Origin::https("127.1.0.1", case.config.clone()).await;
//!     # drop(origin);
//! }
//! # }
//! ```

mod certificates;
mod der;
mod issue;
mod serve;
mod staple;
mod staples;

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, SignatureAlgorithm, SupportedProtocolVersion};

pub use issue::{Ca, Issued};
pub use serve::config as server_config;
pub use staple::{Says, Staple};

/// The host that all cases are for that do not say otherwise.
pub const HOST: &str = "bad.wild.test";

/// What a verifier must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is accepted, and this is what is noted about its stapled status.
    Accepted { staple: &'static str },
    /// It is refused with this reason.
    Refused(&'static str),
}

/// One server.
pub struct Case {
    pub name: &'static str,
    pub host: &'static str,
    pub expected: Expected,
    pub config: Arc<ServerConfig>,
}

impl Case {
    /// The reason that the case must be refused with.
    pub fn reason(&self) -> Option<&'static str> {
        match self.expected {
            Expected::Accepted { .. } => None,
            Expected::Refused(reason) => Some(reason),
        }
    }
}

/// All of them.
pub struct Corpus {
    /// The roots to trust, PEM.
    pub roots: String,
    pub cases: Vec<Case>,
    root: Ca,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Default for Corpus {
    fn default() -> Self {
        Self::new()
    }
}

impl Corpus {
    pub fn new() -> Self {
        Self::speaking(rustls::ALL_VERSIONS)
    }

    /// Servers that speak these versions only.
    pub fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let root = Ca::root("Corpus root");
        let mut corpus = Self {
            roots: format!("{}{}", root.pem(), include_str!("fixtures/rsa-root.pem")),
            cases: Vec::new(),
            root,
            versions: versions.to_vec(),
        };
        certificates::add(&mut corpus);
        staples::add(&mut corpus);
        corpus.add_fixtures();
        corpus
    }

    /// The case of this name.
    pub fn case(&self, name: &str) -> &Case {
        let found = self.cases.iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("the corpus has no case {name:?}"))
    }

    fn add(
        &mut self,
        name: &'static str,
        expected: Expected,
        leaf: &Issued,
        issuers: &[CertificateDer<'static>],
    ) -> &mut Case {
        self.add_stapled(name, expected, leaf, issuers, Vec::new())
    }

    fn add_stapled(
        &mut self,
        name: &'static str,
        expected: Expected,
        leaf: &Issued,
        issuers: &[CertificateDer<'static>],
        staple: Vec<u8>,
    ) -> &mut Case {
        let chain = std::iter::once(&leaf.certificate)
            .chain(issuers)
            .cloned()
            .collect();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&leaf.private_key()).unwrap();
        let config = serve::config(chain, key, staple, &self.versions);
        self.cases.push(Case {
            name,
            host: HOST,
            expected,
            config,
        });
        self.cases.last_mut().unwrap()
    }

    fn add_fixtures(&mut self) {
        const ECDSA: SignatureAlgorithm = SignatureAlgorithm::ECDSA;
        const RSA: SignatureAlgorithm = SignatureAlgorithm::RSA;
        let fixtures = [
            (
                "signed over SHA-1",
                "weak-signature",
                include_str!("fixtures/sha1.pem"),
                ECDSA,
            ),
            (
                "signed over MD5",
                "weak-signature",
                include_str!("fixtures/md5.pem"),
                ECDSA,
            ),
            (
                "issuer signed over SHA-1",
                "weak-signature",
                include_str!("fixtures/sha1-of-issuer.pem"),
                ECDSA,
            ),
            (
                "RSA of 1024 bits",
                "weak-key",
                include_str!("fixtures/rsa1024.pem"),
                RSA,
            ),
            (
                "issuer with RSA of 1024 bits",
                "weak-key",
                include_str!("fixtures/rsa1024-issuer.pem"),
                ECDSA,
            ),
            (
                "curve of 224 bits",
                "weak-key",
                include_str!("fixtures/p224.pem"),
                ECDSA,
            ),
        ];
        for (name, problem, pem, key) in fixtures {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
                .map(Result::unwrap)
                .collect();
            let key = Arc::new(serve::LostKey(key));
            self.cases.push(Case {
                name,
                host: HOST,
                expected: refused(problem),
                config: serve::config(chain, key, Vec::new(), &self.versions),
            });
        }
    }
}

fn refused(problem: &str) -> Expected {
    Expected::Refused(match problem {
        "ca-as-leaf" => "upstream-certificate-ca-as-leaf",
        "expired" => "upstream-certificate-expired",
        "incomplete-chain" => "upstream-certificate-incomplete-chain",
        "invalid" => "upstream-certificate-invalid",
        "name-constraints" => "upstream-certificate-name-constraints",
        "not-yet-valid" => "upstream-certificate-not-yet-valid",
        "purpose" => "upstream-certificate-purpose",
        "revoked" => "upstream-certificate-revoked",
        "self-signed" => "upstream-certificate-self-signed",
        "staple-missing" => "upstream-certificate-staple-missing",
        "unknown-issuer" => "upstream-certificate-unknown-issuer",
        "weak-key" => "upstream-certificate-weak-key",
        "weak-signature" => "upstream-certificate-weak-signature",
        "wrong-name" => "upstream-certificate-wrong-name",
        other => panic!("{other} is no reason"),
    })
}

const ACCEPTED: Expected = Expected::Accepted { staple: "none" };
