//! The bytes of large resources.

use std::sync::Arc;

use exitgate_policy::Digest;
use exitgate_proto::control::{ArtifactChunk, FetchArtifactRequest};
use tonic::Status;

use super::Controller;
use super::limits::{Doing, Place};
use crate::index::Part;
use crate::trust::Identity;

const CHUNK: usize = 64 << 10;

/// An artifact on its way: chunks are cut as they are read, none waits.
pub(super) struct Chunks {
    part: Arc<Part>,
    offset: usize,
    controller: Controller,
    _place: Place,
}

impl Iterator for Chunks {
    type Item = Result<ArtifactChunk, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.part.resource.body.get(self.offset..)?;
        let chunk = rest.get(..CHUNK.min(rest.len()))?;
        if chunk.is_empty() {
            return None;
        }
        self.offset += chunk.len();
        self.controller.0.metrics.artifact(chunk.len());
        Some(Ok(ArtifactChunk {
            data: chunk.to_vec().into(),
        }))
    }
}

/// An artifact of the caller's own manifest. There is no other for it.
pub(super) async fn fetch(
    controller: &Controller,
    identity: &Identity,
    request: &FetchArtifactRequest,
) -> Result<Chunks, Status> {
    let place = controller.0.entries.enter(identity, Doing::Artifact)?;
    let digest = Digest::from_slice(&request.digest)
        .map_err(|error| Status::invalid_argument(format!("digest: {error}")))?;
    let manifest = controller.manifest(identity).await?;
    let mut resources = manifest.resources.iter();
    let part = resources
        .find(|part| part.resource.digest == digest)
        .ok_or_else(|| {
            Status::not_found(format!(
                "nothing that is for {identity} has the digest {digest}"
            ))
        })?;
    let size = part.resource.body.len();
    let offset = usize::try_from(request.offset)
        .ok()
        .filter(|&offset| offset <= size)
        .ok_or_else(|| {
            Status::out_of_range(format!(
                "offset {} lies behind the end; the artifact has {size} bytes",
                request.offset
            ))
        })?;
    Ok(Chunks {
        part: Arc::clone(part),
        offset,
        controller: controller.clone(),
        _place: place,
    })
}
