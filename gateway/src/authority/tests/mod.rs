//! The authority as a whole; attack rows are named where one is shown here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod files;
mod issuing;
mod leaf;
mod signer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use exitgate_policy::Name;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// 2026-11-21.
const NOW: u64 = 1_795_219_200;

/// A folder of its own for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "exitgate-authority-{}-{number}",
            std::process::id()
        ));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn settings(&self, custody: Custody, certificate: &str, key: &str) -> Settings {
        Settings {
            custody,
            certificates: self.write("ca.pem", certificate),
            key: self.write("ca-key.pem", key),
            trust: Vec::new(),
            bounds: Bounds::Auto,
            lifetime: Duration::from_hours(24),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A clock that the test sets.
#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn at(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Box::new(move || time.load(Ordering::Relaxed))
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn bounded(names: &[&str]) -> Names {
    Names::Bounded(names.iter().map(ToString::to_string).collect())
}

fn root() -> NewCa {
    create_root(None, KeyKind::Ecdsa, 365, NOW).unwrap()
}

fn development(time: &Time) -> (Authority, Folder, NewCa) {
    let folder = Folder::new();
    let root = root();
    let settings = folder.settings(Custody::Development, &root.certificate_pem, &root.key_pem);
    let authority = Authority::load_at(&settings, Names::Unbounded, time.clock()).unwrap();
    (authority, folder, root)
}

fn per_gateway(time: &Time, names: &[&str]) -> (Authority, Folder) {
    let folder = Folder::new();
    let root = root();
    let settings = folder.settings(Custody::PerGateway, &root.certificate_pem, &root.key_pem);
    let authority = Authority::load_at(&settings, bounded(names), time.clock()).unwrap();
    (authority, folder)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(der).unwrap().1
}

fn key_id_of(certificate: &X509Certificate<'_>) -> Vec<u8> {
    certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
        .unwrap()
}

fn issuer_key_id_of(certificate: &X509Certificate<'_>) -> Vec<u8> {
    certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                assert!(id.authority_cert_issuer.is_none() && id.authority_cert_serial.is_none());
                Some(id.key_identifier.as_ref().unwrap().0.to_vec())
            }
            _ => None,
        })
        .unwrap()
}

fn first(pem: &str) -> CertificateDer<'static> {
    load::parse_certificates(pem.as_bytes()).unwrap().remove(0)
}
