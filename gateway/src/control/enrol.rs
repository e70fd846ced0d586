//! A client certificate for a token. The key is made here and stays in memory.

use std::path::Path;
use std::time::Duration;

use exitgate_proto::control::control_client::ControlClient;
use exitgate_proto::control::enrolment_client::EnrolmentClient;
use exitgate_proto::control::{EnrolRequest, EnrolResponse, RenewRequest};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};
use zeroize::Zeroizing;

use super::{Config, Roots, brief};
use crate::authority::certificate_pem;

const MAX_TOKEN: u64 = 64 << 10;
const MAX_ROOTS: u64 = 1 << 20;
/// Most certificates, and most keys, of one answer.
const MAX_LIST: usize = 16;

/// Who this gateway is to the controller.
pub(super) struct Identity {
    chain: String,
    key: Zeroizing<String>,
    /// Roots that come into use.
    roots: String,
    /// Seconds since 1970.
    pub(super) renew_at: u64,
    pub(super) manifest_keys: Vec<Vec<u8>>,
}

/// A key with the request that it signs.
struct Request {
    key: Zeroizing<String>,
    csr: Vec<u8>,
}

fn request() -> Result<Request, String> {
    let key = KeyPair::generate().map_err(|error| brief(&error))?;
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .map_err(|error| brief(&error))?;
    Ok(Request {
        key: Zeroizing::new(key.serialize_pem()),
        csr: csr.der().to_vec(),
    })
}

/// Files are small and local: they are read where we stand.
fn token(path: &Path) -> Result<String, String> {
    let bytes = super::store::read(path, MAX_TOKEN)
        .map_err(|error| format!("the token: {error}"))?
        .ok_or_else(|| format!("the token: {} does not exist", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| "the token is no text".to_owned())?;
    Ok(text.trim().to_owned())
}

fn roots(config: &Config) -> Result<Vec<u8>, String> {
    match &config.roots {
        Roots::Pem(pem) => Ok(pem.clone()),
        Roots::File(path) => super::store::read(path, MAX_ROOTS)
            .map_err(|error| format!("the roots: {error}"))?
            .ok_or_else(|| format!("the roots: {} does not exist", path.display())),
    }
}

/// Where and how to connect.
pub(super) fn endpoint(
    config: &Config,
    address: &str,
    identity: Option<&Identity>,
) -> Result<Endpoint, String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(roots(config)?))
        .timeout(config.pace.connect);
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name);
    }
    if let Some(identity) = identity {
        if !identity.roots.is_empty() {
            tls = tls.ca_certificate(Certificate::from_pem(&identity.roots));
        }
        tls = tls.identity(TlsIdentity::from_pem(&identity.chain, &*identity.key));
    }
    let endpoint = Endpoint::from_shared(address.to_owned())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| chain(&error))?;
    Ok(endpoint
        .connect_timeout(config.pace.connect)
        .tcp_nodelay(true))
}

/// Connects to a controller.
pub(super) async fn connect(endpoint: Endpoint, limit: Duration) -> Result<Channel, String> {
    timeout(limit, endpoint.connect())
        .await
        .map_err(|_| format!("no connection within {limit:?}"))?
        .map_err(|error| chain(&error))
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    brief(&text)
}

/// Enrols with the token.
pub(super) async fn enrol(config: &Config, address: &str) -> Result<Identity, String> {
    let token = token(&config.token)?;
    let channel = connect(endpoint(config, address, None)?, config.pace.connect).await?;
    let Request { key, csr } = request()?;
    let asked = EnrolRequest {
        token,
        csr: csr.into(),
        role: config.role.into(),
        gateway: config.gateway.clone(),
    };
    let mut client = EnrolmentClient::new(channel);
    let answer = within(config.pace.connect, client.enrol(asked)).await?;
    identity(&answer, key)
}

/// Renews the certificate, with another key.
pub(super) async fn renew(
    config: &Config,
    mut client: ControlClient<Channel>,
) -> Result<Identity, String> {
    let token = token(&config.token)?;
    let Request { key, csr } = request()?;
    let asked = RenewRequest {
        csr: csr.into(),
        token,
    };
    let answer = within(config.pace.connect, client.renew(asked)).await?;
    identity(&answer, key)
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    timeout(limit, call)
        .await
        .map_err(|_| format!("no answer within {limit:?}"))?
        .map(tonic::Response::into_inner)
        .map_err(|status| brief(&status))
}

fn identity(answer: &EnrolResponse, key: Zeroizing<String>) -> Result<Identity, String> {
    let lists = [&answer.chain, &answer.roots, &answer.manifest_keys];
    if lists.iter().any(|list| list.len() > MAX_LIST) {
        return Err(format!("the answer has a list of more than {MAX_LIST}"));
    }
    if answer.chain.is_empty() {
        return Err("the answer has no certificate".to_owned());
    }
    let pem = |list: &[bytes::Bytes]| {
        list.iter()
            .map(|der| certificate_pem(&CertificateDer::from(der.as_ref())))
            .collect()
    };
    Ok(Identity {
        chain: pem(&answer.chain),
        key,
        roots: pem(&answer.roots),
        renew_at: answer.renew_at,
        manifest_keys: answer
            .manifest_keys
            .iter()
            .map(|key| key.to_vec())
            .collect(),
    })
}
