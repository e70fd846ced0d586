//! One stream with a controller, from the hello to its end.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use exitgate_policy::Digest;
use exitgate_proto::control as proto;
use exitgate_proto::control::control_client::ControlClient;
use exitgate_proto::control::controller_message::Message as Received;
use exitgate_proto::control::gateway_message::Message as Sent;
use exitgate_runtime::clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;

use super::artifacts::Wanted;
use super::client::{Shared, wait};
use super::enrol::{self, Identity};
use super::held::{NotTaken, Update};
use super::keeper::{Keeper, Told};
use super::metrics::Counts;
use super::{Config, brief, wire};

/// Most bytes of one message of the controller. A first manifest is one message, its large resources apart.
const MAX_MESSAGE: usize = 64 << 20;
/// How long the last answer may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Messages that wait to be sent.
const QUEUE: usize = 16;

/// How a stream ended.
pub(super) enum End {
    /// The controller goes; another one is to be found.
    GoAway(String),
    /// There is a new certificate to connect with.
    Renewed(Identity),
    /// It broke.
    Failed {
        reason: String,
        /// The controller had spoken before.
        heard: bool,
    },
}

/// What a stream works with.
pub(super) struct Follow<'a> {
    pub(super) config: &'a Config,
    pub(super) keeper: &'a Shared,
    pub(super) counts: &'a Counts,
    pub(super) instance: &'a str,
    pub(super) renew_at: u64,
}

/// An update that waits for its artifacts.
struct Pending {
    update: proto::Update,
    missing: usize,
    deadline: Instant,
}

/// What one stream has on its way.
struct Work<'a> {
    follow: &'a Follow<'a>,
    client: ControlClient<Channel>,
    out: mpsc::Sender<proto::GatewayMessage>,
    pending: Option<Pending>,
    fetches: JoinSet<(Digest, Vec<u8>)>,
    fetched: HashMap<Digest, Vec<u8>>,
    /// Resources whose artifacts came too late for their update.
    late: HashMap<Digest, (proto::Resource, u64)>,
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

impl Follow<'_> {
    pub(super) async fn run(&self, channel: Channel) -> End {
        let mut heard = false;
        match self.follow(channel, &mut heard).await {
            Ok(end) => end,
            Err(reason) => {
                if !heard {
                    self.counts.connect("failed");
                }
                End::Failed { reason, heard }
            }
        }
    }

    async fn follow(&self, channel: Channel, heard: &mut bool) -> Result<End, String> {
        let pace = self.config.pace;
        let mut client = ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (out, queue) = mpsc::channel(QUEUE);
        let instance = self.instance.to_owned();
        let hello = self
            .keeper
            .with(move |keeper| wire::hello(&mut keeper.held, &instance))
            .await
            .ok_or("what is held cannot be told")?;
        let mut work = Work {
            follow: self,
            client: client.clone(),
            out,
            pending: None,
            fetches: JoinSet::new(),
            fetched: HashMap::new(),
            late: HashMap::new(),
        };
        work.send(Sent::Hello(hello)).await?;
        let mut queue = queue;
        let messages = futures_util::stream::poll_fn(move |context| queue.poll_recv(context));
        let mut inbound = timeout(pace.connect, client.follow(messages))
            .await
            .map_err(|_| format!("no answer within {:?}", pace.connect))?
            .map_err(|status| brief(&status))?
            .into_inner();
        let mut beats = tokio::time::interval_at(Instant::now() + pace.heartbeat, pace.heartbeat);
        let silence = pace.heartbeat * 3;
        let mut silent_at = Instant::now() + silence;
        let now = clock::unix_seconds();
        let mut renew_at = Instant::now() + Duration::from_secs(self.renew_at.saturating_sub(now));
        loop {
            let deadline = work.pending.as_ref().map(|pending| pending.deadline);
            tokio::select! {
                message = inbound.message(), if work.pending.is_none() => {
                    let message = message.map_err(|status| brief(&status))?
                        .ok_or("the controller has ended the stream")?;
                    silent_at = Instant::now() + silence;
                    if !*heard {
                        *heard = true;
                        self.counts.connect("connected");
                        self.counts.connected.set(1);
                    }
                    let Some(message) = message.message else { continue };
                    match work.received(message).await {
                        Ok(None) => {}
                        Ok(Some(end)) => return Ok(end),
                        Err(reason) => {
                            // The last answer says why; it should arrive.
                            drop(work);
                            drop(timeout(LAST_WORDS, inbound.message()).await);
                            return Err(reason);
                        }
                    }
                }
                Some(Ok((digest, bytes))) = work.fetches.join_next() => {
                    self.counts.artifact(true);
                    work.arrived(digest, bytes).await?;
                    silent_at = Instant::now() + silence;
                }
                () = at(deadline) => {
                    work.proceed().await?;
                    silent_at = Instant::now() + silence;
                }
                _ = beats.tick() => work.beat().await?,
                () = sleep_until(silent_at), if work.pending.is_none() => {
                    return Err(format!("the controller has said nothing for {silence:?}"));
                }
                () = sleep_until(renew_at) => {
                    match enrol::renew(self.config, work.client.clone()).await {
                        Ok(identity) => return Ok(End::Renewed(identity)),
                        Err(reason) => {
                            tracing::warn!(reason, "the client certificate is not renewed; it is tried again");
                            renew_at = Instant::now() + pace.longest_wait;
                        }
                    }
                }
            }
        }
    }
}

impl Work<'_> {
    async fn send(&self, message: Sent) -> Result<(), String> {
        let limit = self.follow.config.pace.connect;
        let message = proto::GatewayMessage {
            message: Some(message),
        };
        timeout(limit, self.out.send(message))
            .await
            .map_err(|_| format!("the controller has read nothing for {limit:?}"))?
            .map_err(|_| "the stream has ended".to_owned())
    }

    async fn beat(&self) -> Result<(), String> {
        let revision = self.with(|keeper| keeper.told().revision).await?;
        self.send(Sent::Heartbeat(proto::Heartbeat {
            time: clock::unix_seconds(),
            revision,
        }))
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Result<T, String> {
        let done = self.follow.keeper.with(work).await;
        done.ok_or_else(|| "the update could not be worked on".to_owned())
    }

    async fn received(&mut self, message: Received) -> Result<Option<End>, String> {
        match message {
            Received::Update(update) => self.update(update).await?,
            Received::Heartbeat(beat) => {
                self.with(move |keeper| keeper.heartbeat(&beat.revision))
                    .await?;
            }
            Received::Secrets(secrets) => {
                let secrets = wire::secrets(secrets);
                self.with(move |keeper| keeper.secrets(secrets)).await?;
            }
            Received::GoAway(go) => return Ok(Some(End::GoAway(brief(&go.reason)))),
        }
        Ok(None)
    }

    /// Takes an update, or has its artifacts fetched first.
    async fn update(&mut self, update: proto::Update) -> Result<(), String> {
        let folder = self.with(|keeper| keeper.artifacts()).await?;
        let mut missing = 0;
        for resource in update.upserts.iter().filter(|one| wire::is_artifact(one)) {
            let digest = Digest::from_slice(&resource.digest).map_err(|error| brief(&error))?;
            missing += 1;
            let wanted = Wanted {
                digest,
                bytes: resource.artifact_bytes,
                folder: folder.clone(),
            };
            self.fetches.spawn(persist(
                wanted,
                self.client.clone(),
                self.follow.config.pace,
                self.follow.counts.clone(),
            ));
        }
        self.pending = Some(Pending {
            update,
            missing,
            deadline: Instant::now() + self.follow.config.pace.artifact,
        });
        if missing == 0 {
            self.proceed().await?;
        }
        Ok(())
    }

    /// Applies the update that waits, with what is there.
    async fn proceed(&mut self) -> Result<(), String> {
        let Some(Pending { update, .. }) = self.pending.take() else {
            return Ok(());
        };
        let nonce = update.nonce;
        let mut upserts = Vec::with_capacity(update.upserts.len());
        for resource in update.upserts {
            let digest = Digest::from_slice(&resource.digest).ok();
            let bytes = digest.and_then(|digest| self.fetched.get(&digest).cloned());
            if let Some(digest) = digest
                && bytes.is_none()
                && wire::is_artifact(&resource)
            {
                self.late.insert(digest, (resource.clone(), nonce));
            }
            upserts.push(wire::upsert(resource, bytes.map(Ok)));
        }
        self.fetched.clear();
        let made = upserts
            .into_iter()
            .collect::<Result<_, _>>()
            .map(|upserts| Update {
                position: wire::position(update.position),
                revision: update.revision,
                upserts,
                removals: update.removals,
                complete: update.complete,
            });
        let signature = update.signature;
        let done = match made {
            Ok(made) => {
                self.with(move |keeper| keeper.update(made, &signature))
                    .await?
            }
            Err(error) => Err(error),
        };
        self.answer(nonce, done).await
    }

    async fn answer(&self, nonce: u64, done: Result<Told, NotTaken>) -> Result<(), String> {
        match done {
            Ok(told) => {
                let ack = wire::ack(nonce, &told.revision, told.refusals);
                self.send(Sent::Ack(ack)).await
            }
            Err(error) => {
                let told = self.with(|keeper| keeper.told()).await?;
                let mut ack = wire::ack(nonce, &told.revision, Vec::new());
                ack.refusals.push(proto::Refusal {
                    reason: error.to_string(),
                    ..proto::Refusal::default()
                });
                self.send(Sent::Ack(ack)).await?;
                Err(error.to_string())
            }
        }
    }

    /// Artifact bytes: for the update that waits, or for one that could not wait any longer.
    async fn arrived(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), String> {
        if let Some((resource, nonce)) = self.late.remove(&digest) {
            let upsert =
                wire::upsert(resource, Some(Ok(bytes))).map_err(|error| error.to_string())?;
            let done = self.with(move |keeper| keeper.late(upsert)).await?;
            return match done {
                Some(done) => self.answer(nonce, done).await,
                None => Ok(()),
            };
        }
        self.fetched.insert(digest, bytes);
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 {
            self.proceed().await?;
        }
        Ok(())
    }
}

/// Fetches until it is there.
async fn persist(
    wanted: Wanted,
    client: ControlClient<Channel>,
    pace: super::Pace,
    counts: Counts,
) -> (Digest, Vec<u8>) {
    let mut failures = 0;
    loop {
        match wanted.clone().fetch(client.clone()).await {
            Ok(bytes) => return (wanted.digest, bytes),
            Err(reason) => {
                counts.artifact(false);
                failures += 1;
                tracing::warn!(digest = %wanted.digest, reason, "a large resource is not here; it is tried again");
                tokio::time::sleep(wait(&pace, failures)).await;
            }
        }
    }
}
