//! Signatures for intercepted connections.

use std::sync::Arc;

use exitgate_policy::{InspectedNames, Inspection, Name};
use exitgate_proto::control::{
    IssueAuthorityRequest, IssueAuthorityResponse, SignLeafRequest, SignLeafResponse,
    signing_server,
};
use exitgate_runtime::clock;
use tonic::{Request, Response, Status};

use super::Controller;
use super::connection::identity;
use super::names::Known;
use crate::trust::{
    Authority, Identity, Interception, InterceptionError, NameLimits, RequestedKey, Role,
};

pub(super) struct Signing(pub(super) Controller);

#[tonic::async_trait]
impl signing_server::Signing for Signing {
    async fn issue_authority(
        &self,
        request: Request<IssueAuthorityRequest>,
    ) -> Result<Response<IssueAuthorityResponse>, Status> {
        let (identity, _) = identity(&request, clock::unix_seconds())?;
        let done = self.0.authority(&identity, &request.get_ref().csr).await;
        self.0.0.metrics.signature(done.is_ok());
        let (authority, names) = done?;
        tracing::info!(gateway = %identity, names = names.len(), "issuing authority signed");
        Ok(Response::new(IssueAuthorityResponse {
            chain: chain(&authority),
            names,
        }))
    }

    async fn sign_leaf(
        &self,
        request: Request<SignLeafRequest>,
    ) -> Result<Response<SignLeafResponse>, Status> {
        let (identity, _) = identity(&request, clock::unix_seconds())?;
        let request = request.get_ref();
        let done = self.0.leaf(&identity, &request.name, &request.csr).await;
        self.0.0.metrics.signature(done.is_ok());
        Ok(Response::new(SignLeafResponse {
            chain: chain(&done?),
        }))
    }
}

fn chain(authority: &Authority) -> Vec<bytes::Bytes> {
    let chain = authority.chain.iter();
    chain.map(|der| der.to_vec().into()).collect()
}

fn refused(error: &InterceptionError) -> Status {
    match error {
        InterceptionError::Nothing
        | InterceptionError::PathLength
        | InterceptionError::Unbounded => Status::failed_precondition(error.to_string()),
        InterceptionError::Certificate(_)
        | InterceptionError::Ended(_)
        | InterceptionError::Key(_)
        | InterceptionError::Mismatch
        | InterceptionError::NotACa
        | InterceptionError::Sign(_)
        | InterceptionError::Subject => Status::internal(error.to_string()),
    }
}

impl Controller {
    fn signer(&self) -> Result<Arc<dyn Interception>, Status> {
        self.0.interception.clone().ok_or_else(|| {
            Status::failed_precondition("this controller has no interception authority")
        })
    }

    /// What the gateway can need to look into.
    async fn known(&self, identity: &Identity) -> Result<Arc<Known>, Status> {
        let manifest = self.manifest(identity).await?;
        let known = self.0.names.of(manifest).await?;
        if known.snapshot.settings.tls.inspection == Inspection::Off {
            return Err(Status::failed_precondition(
                "its EgressGateway has inspection Off",
            ));
        }
        Ok(known)
    }

    async fn authority(
        &self,
        identity: &Identity,
        csr: &[u8],
    ) -> Result<(Authority, Vec<String>), Status> {
        if identity.role == Role::Sidecar {
            let message = "a sidecar never gets an authority; ask for leaves";
            return Err(Status::permission_denied(message));
        }
        let signer = self.signer()?;
        let now = clock::unix_seconds();
        self.0.entries.sign(identity, now)?;
        let key = requested(csr)?;
        let known = self.known(identity).await?;
        let settings = &known.snapshot.settings;
        let limits = NameLimits::new(settings, &known.names).map_err(|error| refused(&error))?;
        let signed = signer.authority(&key, &limits, now);
        Ok((signed.map_err(|error| refused(&error))?, limits.permitted()))
    }

    async fn leaf(&self, identity: &Identity, name: &str, csr: &[u8]) -> Result<Authority, Status> {
        let signer = self.signer()?;
        let now = clock::unix_seconds();
        self.0.entries.sign(identity, now)?;
        let name = Name::parse(name.as_bytes())
            .map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
        let key = requested(csr)?;
        let known = self.known(identity).await?;
        let covered = match &known.names {
            InspectedNames::Bounded(names) => names.iter().any(|one| one.contains(&name)),
            InspectedNames::Unbounded => true,
        };
        if !covered {
            return Err(Status::permission_denied(format!(
                "no rule for {identity} can need to look into {name}"
            )));
        }
        let signed = signer.leaf(&key, &name, now);
        signed.map_err(|error| refused(&error))
    }
}

fn requested(csr: &[u8]) -> Result<RequestedKey, Status> {
    RequestedKey::parse(csr).map_err(|error| Status::invalid_argument(error.to_string()))
}
