//! Certificates for those who can prove who they are.

use exitgate_policy::Scope as FleetScope;
use exitgate_proto::control::enrolment_server;
use exitgate_proto::control::{EnrolRequest, EnrolResponse, RenewRequest};
use exitgate_runtime::clock;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::Controller;
use crate::index::Index;
use crate::trust::{Claims, Identity, RequestedKey, Role, TokenRefused};

/// The service for callers without a certificate.
pub(super) struct Enrolment(pub(super) Controller);

#[tonic::async_trait]
impl enrolment_server::Enrolment for Enrolment {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        let done = self.0.enrol(&request).await;
        self.0.0.metrics.enrolment(done.is_ok());
        done.map(Response::new)
    }
}

impl Controller {
    async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolResponse, Status> {
        let _place = self.0.entries.enrol()?;
        let role = Role::of_message(request.role())
            .ok_or_else(|| Status::invalid_argument("role is required: node, pool or sidecar"))?;
        let key = key(&request.csr)?;
        let claims = self.claims(&request.token).await?;
        let identity = self.0.index.change(|index| {
            let gateway = gateway(index, role, &claims, &request.gateway)?;
            identity(index, role, &claims, &gateway)
        })?;
        self.certificate(&identity, &key)
    }

    /// A new certificate for who has one. The token must prove the same again.
    pub(super) async fn renew(
        &self,
        known: &Identity,
        request: &RenewRequest,
    ) -> Result<EnrolResponse, Status> {
        let _place = self.0.entries.enrol()?;
        let key = key(&request.csr)?;
        let claims = self.claims(&request.token).await?;
        let identity = self
            .0
            .index
            .change(|index| identity(index, known.role, &claims, &known.gateway))?;
        if identity != *known {
            return Err(Status::permission_denied(format!(
                "the token proves {identity}, and the certificate is for {known}"
            )));
        }
        self.certificate(&identity, &key)
    }

    async fn claims(&self, token: &str) -> Result<Claims, Status> {
        let limit = self.0.limits.enrolment;
        let verified = timeout(limit, self.0.tokens.verify(token)).await;
        match verified {
            Ok(Ok(claims)) => Ok(claims),
            Ok(Err(TokenRefused::Refused(reason))) => Err(Status::unauthenticated(reason)),
            Ok(Err(TokenRefused::Unavailable(reason))) => Err(Status::unavailable(reason)),
            Err(_) => Err(Status::unavailable(format!(
                "nobody could say within {limit:?} what the token proves"
            ))),
        }
    }

    fn certificate(
        &self,
        identity: &Identity,
        key: &RequestedKey,
    ) -> Result<EnrolResponse, Status> {
        let trust = &self.0.trust;
        let issued = trust
            .issue(identity, key, clock::unix_seconds())
            .map_err(|error| {
                tracing::error!(%error, %identity, "no certificate is issued");
                Status::internal("no certificate can be issued; the controller's log says why")
            })?;
        tracing::info!(%identity, "certificate issued");
        let der = |list: &[rustls::pki_types::CertificateDer<'static>]| {
            let list = list.iter();
            list.map(|der| der.to_vec().into()).collect()
        };
        Ok(EnrolResponse {
            chain: der(&issued.chain),
            roots: der(&trust.roots()),
            identity: identity.to_string(),
            renew_at: issued.renew_at,
            manifest_keys: trust.manifest_keys().into_iter().map(Into::into).collect(),
        })
    }
}

fn key(csr: &[u8]) -> Result<RequestedKey, Status> {
    RequestedKey::parse(csr).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The EgressGateway that a caller belongs to, where it leaves that to us.
fn gateway(index: &Index, role: Role, claims: &Claims, named: &str) -> Result<String, Status> {
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let found = match role {
        Role::Node => first(index, FleetScope::Node),
        Role::Pool => first(index, FleetScope::Fleet),
        Role::Sidecar => index.pod(&claims.pod_uid).and_then(|pod| pod.gateway),
    };
    found.ok_or_else(|| {
        Status::failed_precondition(format!(
            "there is no EgressGateway for a {role} gateway yet"
        ))
    })
}

fn first(index: &Index, scope: FleetScope) -> Option<String> {
    let mut gateways = index.gateways();
    gateways
        .find(|(_, spec)| spec.scope == scope)
        .map(|(name, _)| name.to_owned())
}

/// Who the caller is, if it may be that.
fn identity(index: &Index, role: Role, claims: &Claims, gateway: &str) -> Result<Identity, Status> {
    if !claims.roles.contains(&role) {
        return Err(Status::permission_denied(format!(
            "the service account {}/{} may not be a {role} gateway",
            claims.namespace, claims.service_account
        )));
    }
    let scope = index.gateway(gateway).map(|spec| spec.scope);
    let unknown = || {
        let shown: String = gateway.chars().take(253).collect();
        Status::failed_precondition(format!("there is no EgressGateway {shown:?}"))
    };
    let other = |scope: &str| {
        Status::failed_precondition(format!(
            "EgressGateway {gateway:?} has scope {scope}, to which no {role} gateway belongs"
        ))
    };
    let subject = match (role, scope.ok_or_else(unknown)?) {
        (Role::Node, FleetScope::Fleet) => return Err(other("Fleet")),
        (Role::Pool, FleetScope::Node) => return Err(other("Node")),
        (Role::Node, FleetScope::Node) => &claims.node,
        (Role::Pool, FleetScope::Fleet) => &claims.pod,
        (Role::Sidecar, _) => {
            may_be_sidecar(index, claims, gateway)?;
            &claims.pod_uid
        }
    };
    Identity::new(&claims.namespace, role, subject, gateway)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A sidecar is a pod that is there, and belongs to this EgressGateway.
fn may_be_sidecar(index: &Index, claims: &Claims, gateway: &str) -> Result<(), Status> {
    let place = format!("{}/{}", claims.namespace, claims.pod);
    let pod = index
        .pod(&claims.pod_uid)
        .filter(|pod| pod.namespace == claims.namespace && pod.name == claims.pod)
        .ok_or_else(|| {
            Status::unavailable(format!("the pod {place} is not known yet; try again"))
        })?;
    if pod.gateway.as_deref() != Some(gateway) {
        return Err(Status::permission_denied(format!(
            "the pod {place} does not belong to EgressGateway {gateway:?}"
        )));
    }
    Ok(())
}
