//! Messages of the protocol from and into what the controller works with.

use exitgate_proto::control as proto;
use exitgate_proto::control::controller_message::Message;
use tonic::Status;

use super::limits::Limits;
use super::session::{Held, Next};
use crate::index::{Part, Position, Secret};
use crate::trust::{IssueError, Trust};

const MAX_TEXT: usize = 256;
const MAX_NAME: usize = 600;
const MAX_HELD: usize = 200_000;
const MAX_SOURCES: usize = 64;

pub(super) fn position(position: &Position) -> proto::Position {
    proto::Position {
        epoch: position.epoch,
        sources: position.sources.clone().into_iter().collect(),
    }
}

/// A text of a gateway, no longer than it may be.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// What a gateway says of itself.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) instance: String,
    pub(super) version: String,
    pub(super) held: Held,
    pub(super) position: Position,
}

pub(super) fn greeting(hello: proto::Hello) -> Result<Greeting, Status> {
    let refused = |message: String| Status::invalid_argument(message);
    if hello.instance.is_empty() || hello.instance.len() > MAX_TEXT {
        return Err(refused(format!(
            "hello.instance must have 1 to {MAX_TEXT} bytes, unique for each process"
        )));
    }
    if hello.held.len() > MAX_HELD {
        let count = hello.held.len();
        return Err(refused(format!(
            "hello.held has {count} resources; at most {MAX_HELD} are read"
        )));
    }
    let mut held = Held::with_capacity(hello.held.len());
    for version in hello.held {
        let digest = <[u8; 32]>::try_from(version.digest.as_ref());
        match digest {
            Ok(digest) if version.name.len() <= MAX_NAME => held.insert(version.name, digest),
            Ok(_) | Err(_) => {
                let name = cut(&version.name, MAX_TEXT);
                return Err(refused(format!(
                    "hello.held: {name:?} must have a name of at most {MAX_NAME} bytes and a digest of 32"
                )));
            }
        };
    }
    let position = hello.position.unwrap_or_default();
    if position.sources.len() > MAX_SOURCES {
        return Err(refused(format!(
            "hello.position has more than {MAX_SOURCES} sources"
        )));
    }
    Ok(Greeting {
        instance: hello.instance,
        version: cut(&hello.version, MAX_TEXT),
        held,
        position: Position {
            epoch: position.epoch,
            sources: position
                .sources
                .into_iter()
                .map(|(source, number)| (cut(&source, MAX_TEXT), number))
                .collect(),
        },
    })
}

/// A resource in an update: with its bytes while there is room, else to be fetched.
fn resource(part: &Part, limits: &Limits, room: &mut usize) -> proto::Resource {
    let resource = &part.resource;
    let bytes = resource.body.len();
    let inline = bytes <= limits.body && bytes <= *room;
    if inline {
        *room -= bytes;
    }
    proto::Resource {
        name: part.name().to_owned(),
        digest: resource.digest.0.to_vec().into(),
        body: if inline {
            resource.body.to_vec().into()
        } else {
            Vec::new().into()
        },
        artifact_bytes: if inline { 0 } else { bytes as u64 },
        needs: resource
            .needs
            .iter()
            .map(|feature| feature.0.clone())
            .collect(),
        stand_in: resource
            .stand_in
            .as_ref()
            .map(exitgate_policy::StandIn::to_bytes)
            .unwrap_or_default()
            .into(),
    }
}

pub(super) fn update(next: Next, limits: &Limits, trust: &Trust) -> Result<Message, IssueError> {
    let position = position(&next.manifest.position);
    let revision = next.manifest.revision.to_string();
    let signature = trust.sign_manifest(&revision, &position)?;
    let mut room = limits.bodies;
    Ok(Message::Update(proto::Update {
        nonce: next.nonce,
        position: Some(position),
        revision,
        upserts: next
            .upserts
            .iter()
            .map(|part| resource(part, limits, &mut room))
            .collect(),
        removals: next.removals,
        complete: next.complete,
        signature: signature.into(),
    }))
}

pub(super) fn secrets(secrets: &[Secret]) -> Message {
    let secret = |secret: &Secret| proto::Secret {
        namespace: secret.namespace.clone(),
        name: secret.name.clone(),
        value: secret.value.expose().to_vec().into(),
    };
    Message::Secrets(proto::Secrets {
        secrets: secrets.iter().map(secret).collect(),
    })
}

pub(super) fn go_away(reason: &str) -> Message {
    Message::GoAway(proto::GoAway {
        reason: reason.to_owned(),
    })
}
