//! Messages of the protocol from and into what the gateway works with.

use std::collections::BTreeMap;

use exitgate_policy::{Digest, Feature, SecretValue};
use exitgate_proto::control as proto;

use super::held::{Held, NotTaken, Position, Refusal, Upsert};
use crate::live::Secrets;

/// Most refusals of one answer.
const MAX_REFUSALS: usize = 1000;

pub(super) fn position(from: Option<proto::Position>) -> Position {
    let from = from.unwrap_or_default();
    Position {
        epoch: from.epoch,
        sources: from.sources.into_iter().collect::<BTreeMap<_, _>>(),
    }
}

/// Whether the bytes of a resource have to be fetched.
pub(super) fn is_artifact(resource: &proto::Resource) -> bool {
    resource.body.is_empty() && resource.artifact_bytes > 0
}

/// A resource, whose bytes may come from elsewhere.
pub(super) fn upsert(
    resource: proto::Resource,
    fetched: Option<Result<Vec<u8>, String>>,
) -> Result<Upsert, NotTaken> {
    let digest = Digest::from_slice(&resource.digest).map_err(|error| {
        NotTaken::OutOfStep(format!("{}: {error}", super::brief(&resource.name)))
    })?;
    let artifact = is_artifact(&resource);
    Ok(Upsert {
        body: match fetched {
            Some(fetched) => fetched.map(Into::into),
            None if artifact => Err("its bytes are not here yet".to_owned()),
            None => Ok(resource.body.to_vec().into()),
        },
        name: resource.name,
        digest,
        artifact,
        needs: resource.needs.into_iter().map(Feature).collect(),
        stand_in: resource.stand_in.to_vec(),
    })
}

pub(super) fn hello(held: &mut Held, instance: &str) -> proto::Hello {
    let version = |(name, digest): (String, Digest)| proto::ResourceVersion {
        name,
        digest: digest.0.to_vec().into(),
    };
    proto::Hello {
        instance: instance.to_owned(),
        version: exitgate_runtime::build::VERSION.to_owned(),
        features: exitgate_policy::resource::FEATURES
            .iter()
            .map(|&feature| feature.to_owned())
            .collect(),
        held: held.hello().into_iter().map(version).collect(),
        position: held.position().map(|position| proto::Position {
            epoch: position.epoch,
            sources: position.sources.clone().into_iter().collect(),
        }),
    }
}

pub(super) fn ack(nonce: u64, revision: &str, refusals: Vec<Refusal>) -> proto::Ack {
    let refusal = |refusal: Refusal| proto::Refusal {
        name: refusal.name,
        digest: refusal.digest.0.to_vec().into(),
        reason: refusal.reason,
    };
    proto::Ack {
        nonce,
        revision: revision.to_owned(),
        refusals: refusals
            .into_iter()
            .take(MAX_REFUSALS)
            .map(refusal)
            .collect(),
    }
}

/// The whole list of secrets. One that no header can carry is as if it were not there.
pub(super) fn secrets(from: proto::Secrets) -> Secrets {
    let secret = |secret: proto::Secret| {
        let key = (secret.namespace, secret.name);
        match SecretValue::parse(secret.value.to_vec()) {
            Ok(value) => Some((key, value)),
            Err(error) => {
                tracing::warn!(namespace = key.0, name = key.1, %error, "a secret cannot be used");
                None
            }
        }
    };
    from.secrets.into_iter().filter_map(secret).collect()
}
