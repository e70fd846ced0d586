//! The stream of one gateway.

use std::sync::Arc;
use std::time::Duration;

use exitgate_proto::control as proto;
use exitgate_proto::control::controller_message::Message as Sent;
use exitgate_proto::control::gateway_message::Message as Received;
use exitgate_runtime::clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep_until, timeout, timeout_at};
use tonic::{Status, Streaming};

use super::Controller;
use super::acks::{Entry, GatewayRow};
use super::limits::{Doing, Place};
use super::session::{Answered, Session};
use super::wire::{self, Greeting};
use crate::index::{Manifests, Position};
use crate::trust::{Identity, Role};

/// What waits to be read by the gateway: one message, and one that is being made.
const WAITING: usize = 1;

/// What a gateway reads.
pub(super) type Outgoing = mpsc::Receiver<Result<proto::ControllerMessage, Status>>;

type Out = mpsc::Sender<Result<proto::ControllerMessage, Status>>;

/// Why a stream ends.
#[derive(Debug)]
enum End {
    /// The gateway ended it.
    Left,
    /// It was told to go elsewhere.
    Sent,
    /// It reads nothing.
    Slow,
    Refused(Status),
}

impl End {
    fn label(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Sent => "sent-away",
            Self::Slow => "slow",
            Self::Refused(_) => "refused",
        }
    }
}

/// One stream.
struct Follow {
    controller: Controller,
    identity: Identity,
    session: Session,
    manifests: Manifests,
    entry: Entry,
    out: Out,
    /// When the certificate ends.
    ends: Instant,
    answer_by: Option<Instant>,
    reported: Option<Instant>,
    _place: Place,
}

/// Reads the hello, and starts the stream as a task. It ends when nobody reads what it sends.
pub(super) async fn begin(
    controller: Controller,
    identity: Identity,
    not_after: u64,
    mut inbound: Streaming<proto::GatewayMessage>,
) -> Result<Outgoing, Status> {
    let shared = &controller.0;
    let place = shared.entries.enter(&identity, Doing::Follow)?;
    may_follow(&controller, &identity)?;
    let Greeting {
        instance,
        version,
        held,
        position,
    } = hello(&mut inbound, shared.limits.hello).await?;
    let now = clock::unix_seconds();
    let ours = shared.index.lock().position().clone();
    tell_if_ahead(&identity, &ours, &position);
    let entry = shared.acks.enter(GatewayRow {
        identity: identity.clone(),
        instance,
        version,
        since: now,
        connected: true,
        last_seen: now,
        revision: String::new(),
        applied: None,
        refused: Vec::new(),
        position,
    });
    let (out, outgoing) = mpsc::channel(WAITING);
    let left = Duration::from_secs(not_after.saturating_sub(now));
    let follow = Follow {
        manifests: shared.index.subscribe(identity.scope()),
        session: Session::new(held),
        identity,
        entry,
        out,
        ends: Instant::now() + left,
        answer_by: None,
        reported: None,
        _place: place,
        controller,
    };
    // Ends with the gateway's side, with silence, or with the certificate: nothing has to wait for it.
    tokio::spawn(follow.run(inbound));
    Ok(outgoing)
}

async fn hello(
    inbound: &mut Streaming<proto::GatewayMessage>,
    limit: Duration,
) -> Result<Greeting, Status> {
    let first = timeout(limit, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no hello came within {limit:?}")))??;
    match first.and_then(|message| message.message) {
        Some(Received::Hello(hello)) => wire::greeting(hello),
        Some(Received::Ack(_) | Received::Heartbeat(_) | Received::Report(_)) | None => Err(
            Status::invalid_argument("the first message of a gateway must be its hello"),
        ),
    }
}

fn may_follow(controller: &Controller, identity: &Identity) -> Result<(), Status> {
    let gone = identity.role == Role::Sidecar && {
        let index = controller.0.index.lock();
        index.is_listed() && index.pod(&identity.subject).is_none()
    };
    if gone {
        let uid = &identity.subject;
        return Err(Status::permission_denied(format!(
            "the pod {uid} of this sidecar is not there any more"
        )));
    }
    Ok(())
}

fn tell_if_ahead(identity: &Identity, ours: &Position, theirs: &Position) {
    let behind = ours.behind(theirs);
    if !behind.is_empty() {
        tracing::warn!(gateway = %identity, kinds = behind.join(" "), "a gateway was told newer things than this controller knows; it keeps them until the source has caught up");
    }
}

impl Follow {
    async fn run(mut self, mut inbound: Streaming<proto::GatewayMessage>) {
        let end = self.follow(&mut inbound).await;
        self.controller.0.metrics.stream_ended(end.label());
        tracing::debug!(gateway = %self.identity, ?end, "a stream has ended");
        if let End::Refused(status) = end {
            // Nobody may be there to read it.
            self.out.try_send(Err(status)).ok();
        }
    }

    async fn follow(&mut self, inbound: &mut Streaming<proto::GatewayMessage>) -> End {
        let limits = self.controller.0.limits.clone();
        let mut draining = self.controller.0.draining.subscribe();
        let mut heartbeat = interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
        let mut heard = Instant::now();
        loop {
            if let Err(end) = self.send_what_is_due().await {
                return end;
            }
            let answer_by = self.answer_by.unwrap_or(self.ends);
            tokio::select! {
                message = timeout_at(heard + limits.silence, inbound.message()) => {
                    heard = Instant::now();
                    if let Err(end) = self.received(message) {
                        return end;
                    }
                }
                changed = self.manifests.changed() => {
                    if changed.is_err() {
                        return End::Refused(Status::unavailable("the controller ends"));
                    }
                    if let Err(status) = may_follow(&self.controller, &self.identity) {
                        return End::Refused(status);
                    }
                }
                _ = heartbeat.tick() => {
                    let revision = self.revision();
                    let time = clock::unix_seconds();
                    let beat = Sent::Heartbeat(proto::Heartbeat { time, revision });
                    if let Err(end) = self.send(beat).await {
                        return end;
                    }
                }
                () = sleep_until(answer_by), if self.session.waits() => {
                    let limit = limits.applying;
                    return End::Refused(Status::deadline_exceeded(format!(
                        "the update was not answered within {limit:?}"
                    )));
                }
                () = is_draining(&mut draining) => {
                    return self.leave(inbound, "this controller ends; another one is there").await;
                }
                () = sleep_until(self.ends) => {
                    return self.leave(inbound, "the certificate of this stream has ended").await;
                }
            }
        }
    }

    /// The revision that this gateway is to have.
    fn revision(&self) -> String {
        let manifest = self.manifests.borrow();
        manifest
            .as_ref()
            .map(|manifest| manifest.revision.to_string())
            .unwrap_or_default()
    }

    async fn send_what_is_due(&mut self) -> Result<(), End> {
        let Some(manifest) = self.manifests.borrow_and_update().clone() else {
            return Ok(());
        };
        // Before the policies that need them.
        if let Some(secrets) = self.session.secrets(&manifest) {
            self.send(wire::secrets(&secrets)).await?;
        }
        if let Some(next) = self.session.next(&manifest) {
            let shared = Arc::clone(&self.controller.0);
            let update = wire::update(next, &shared.limits, &shared.trust).map_err(|error| {
                tracing::error!(%error, "an update cannot be signed");
                End::Refused(Status::internal("the update cannot be signed"))
            })?;
            self.send(update).await?;
            shared.metrics.update();
            self.answer_by = Some(Instant::now() + shared.limits.applying);
        }
        Ok(())
    }

    async fn send(&self, message: Sent) -> Result<(), End> {
        let message = proto::ControllerMessage {
            message: Some(message),
        };
        let limit = self.controller.0.limits.reading;
        match timeout(limit, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::Slow),
        }
    }

    fn received(
        &mut self,
        message: Result<Result<Option<proto::GatewayMessage>, Status>, tokio::time::error::Elapsed>,
    ) -> Result<(), End> {
        let silence = self.controller.0.limits.silence;
        let message = match message {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None) | Err(_)) => return Err(End::Left),
            Err(_) => {
                return Err(End::Refused(Status::deadline_exceeded(format!(
                    "nothing was heard for {silence:?}"
                ))));
            }
        };
        let now = clock::unix_seconds();
        match message.message {
            Some(Received::Ack(ack)) => match self.session.answered(ack.nonce) {
                Answered::Applied | Answered::Again => {
                    if let Some(manifest) = self.session.sent() {
                        self.entry.answered(&ack, manifest, now);
                    }
                    Ok(())
                }
                Answered::Unknown => Err(End::Refused(Status::invalid_argument(format!(
                    "the answer {} is to nothing that was sent",
                    ack.nonce
                )))),
            },
            Some(Received::Heartbeat(_)) => {
                self.entry.seen(now);
                Ok(())
            }
            Some(Received::Report(report)) => {
                self.entry.seen(now);
                let early = self
                    .reported
                    .is_some_and(|last| last.elapsed() < MIN_BETWEEN_REPORTS);
                if !early {
                    self.reported = Some(Instant::now());
                    self.entry.report(report);
                }
                Ok(())
            }
            Some(Received::Hello(_)) => Err(End::Refused(Status::invalid_argument(
                "there is one hello, the first message",
            ))),
            // Something that a newer gateway says.
            None => Ok(()),
        }
    }

    /// Tells the gateway to go elsewhere and waits until it has.
    async fn leave(&mut self, inbound: &mut Streaming<proto::GatewayMessage>, reason: &str) -> End {
        if let Err(end) = self.send(wire::go_away(reason)).await {
            return end;
        }
        let until = Instant::now() + self.controller.0.limits.leaving;
        while let Ok(Ok(Some(message))) = timeout_at(until, inbound.message()).await {
            // An answer that was on its way still counts.
            if self.received(Ok(Ok(Some(message)))).is_err() {
                break;
            }
        }
        End::Sent
    }
}

async fn is_draining(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_err() {
        // Nobody can ask for it any more.
        std::future::pending::<()>().await;
    }
}

/// A gateway gathers for ten seconds.
const MIN_BETWEEN_REPORTS: Duration = Duration::from_secs(5);
