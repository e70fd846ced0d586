//! One CA, one origin certificate, and configurations that never resume: each handshake is whole.

use crate::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_hours(24);

/// X25519 alone, so that every proxy sees the same exchange.
fn provider() -> Arc<CryptoProvider> {
    let mut p = aws_lc_rs::default_provider();
    p.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    Arc::new(p)
}

/// What the origin serves with.
pub(crate) struct Servers {
    /// Neither ALPN nor tickets
    pub(crate) plain: Arc<ServerConfig>,
    /// HTTP/2 and HTTP/1.1, with tickets
    pub(crate) https: Arc<ServerConfig>,
    /// HTTP/1.1, without tickets
    pub(crate) once: Arc<ServerConfig>,
}

fn issuer(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 365 * DAY).into();
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Makes a CA, writes its certificate to `ca`, and returns servers for `*.origin.test`.
pub(crate) fn servers(ca: &Path) -> Result<Servers> {
    let issuer = issuer("bench CA")?;
    std::fs::write(ca, issuer.pem())?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["*.origin.test".into()])?;
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 90 * DAY).into();
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, &issuer)?;
    let server = |alpn: &[&[u8]], tickets| -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der())?,
            )?;
        config.send_tls13_tickets = tickets;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    };
    Ok(Servers {
        plain: server(&[], 0)?,
        https: server(&[b"h2", b"http/1.1"], 2)?,
        once: server(&[b"http/1.1"], 0)?,
    })
}

#[derive(clap::Args)]
pub(crate) struct Authority {
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
}

pub(crate) fn authority(o: &Authority) -> Result<()> {
    let issuer = issuer("bench proxy CA")?;
    std::fs::write(&o.cert, issuer.pem())?;
    std::fs::write(&o.key, issuer.key().serialize_pem())?;
    Ok(())
}

pub(crate) fn client(ca: &Path, trust: Option<&Path>, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for file in std::iter::once(ca).chain(trust) {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    Ok(Arc::new(config))
}
