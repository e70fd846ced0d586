//! Issuing certificates of every kind, wrong ones included.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::der::{OCTETS, OID, SEQUENCE, SET, UTF8, tlv};

/// An issuer.
pub struct Ca {
    pub name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    pub key: KeyPair,
    /// The content of its serial number.
    pub serial: Vec<u8>,
}

impl Issued {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial());
    params
}

fn serial() -> SerialNumber {
    // The hash of a fresh key is as random as anything; its first bit must not make it negative.
    let key = KeyPair::generate().unwrap();
    let mut octets = key.public_key_raw()[1..17].to_vec();
    octets[0] = octets[0] & 0x7f | 0x40;
    SerialNumber::from(octets)
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(name);
        change(&mut params);
        Self {
            name: name.to_owned(),
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    /// An issuer that this one certifies.
    pub fn below(&self, name: &str) -> Self {
        self.below_with(name, |_| {})
    }

    pub fn below_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.certify(name, KeyPair::generate().unwrap(), change)
    }

    /// Another certificate for the issuer `other`, by this one.
    pub fn cross(&self, other: &Self) -> Self {
        let key = KeyPair::try_from(other.issuer.key().serialize_der()).unwrap();
        self.certify(&other.name, key, |_| {})
    }

    fn certify(
        &self,
        name: &str,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = authority(name);
        change(&mut params);
        Self {
            name: name.to_owned(),
            issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap(),
        }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// Its subject, as DER.
    pub fn subject(&self) -> Vec<u8> {
        let name = tlv(UTF8, &[self.name.as_bytes()]);
        let common_name = tlv(OID, &[&[0x55, 4, 3]]);
        let attribute = tlv(SEQUENCE, &[&common_name, &name]);
        tlv(SEQUENCE, &[&tlv(SET, &[&attribute])])
    }

    /// A server's certificate as it should be.
    pub fn leaf(&self, host: &str) -> Issued {
        self.leaf_with(host, |_| {})
    }

    pub fn leaf_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = server(host, change);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        issued(&certificate, key, &params)
    }
}

/// A server's certificate that issued itself.
pub(super) fn self_signed(host: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let key = KeyPair::generate().unwrap();
    let params = server(host, change);
    let certificate = params.self_signed(&key).unwrap();
    issued(&certificate, key, &params)
}

fn issued(certificate: &rcgen::Certificate, key: KeyPair, params: &CertificateParams) -> Issued {
    Issued {
        certificate: certificate.der().clone(),
        key,
        serial: params.serial_number.as_ref().unwrap().to_bytes(),
    }
}

fn server(host: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, host);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(serial());
    change(&mut params);
    params
}

/// A name as it stands in a certificate, sensible or not.
pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// RFC 7633: to be refused without a stapled status.
pub(super) fn must_staple() -> CustomExtension {
    let features = tlv(SEQUENCE, &[&[2, 1, 5]]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], features)
}

/// Where the issuer's certificate can be fetched, as in all certificates of the public web.
pub(super) fn issuer_location() -> CustomExtension {
    let method = tlv(OID, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 2]]);
    let location = tlv(0x86, &[b"http://ca.test/issuer.der"]);
    let access = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&method, &location])]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)
}

/// An extension of so many octets that nobody knows.
pub(super) fn padding(size: usize) -> CustomExtension {
    let content = tlv(OCTETS, &[&vec![0; size]]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], content)
}
