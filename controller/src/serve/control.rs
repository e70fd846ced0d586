//! The service for gateways that have a certificate.

use exitgate_proto::control::{
    ArtifactChunk, ControllerMessage, EnrolResponse, FetchArtifactRequest, GatewayMessage,
    RenewRequest, control_server,
};
use exitgate_runtime::clock;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::connection::identity;
use super::{Controller, artifact, follow};

pub(super) struct Control(pub(super) Controller);

#[tonic::async_trait]
impl control_server::Control for Control {
    type FollowStream = BoxStream<'static, Result<ControllerMessage, Status>>;
    type FetchArtifactStream = BoxStream<'static, Result<ArtifactChunk, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<GatewayMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (identity, not_after) = identity(&request, clock::unix_seconds())?;
        let controller = self.0.clone();
        let outgoing = follow::begin(controller, identity, not_after, request.into_inner()).await?;
        let stream = stream::unfold(outgoing, |mut outgoing| async move {
            let message = outgoing.recv().await?;
            Some((message, outgoing))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn fetch_artifact(
        &self,
        request: Request<FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let (identity, _) = identity(&request, clock::unix_seconds())?;
        let chunks = artifact::fetch(&self.0, &identity, request.get_ref()).await?;
        Ok(Response::new(stream::iter(chunks).boxed()))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let (identity, _) = identity(&request, clock::unix_seconds())?;
        let done = self.0.renew(&identity, request.get_ref()).await;
        self.0.0.metrics.enrolment(done.is_ok());
        done.map(Response::new)
    }
}
