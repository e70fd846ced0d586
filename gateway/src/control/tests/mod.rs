#![allow(clippy::unwrap_used, reason = "tests")]

mod controller;

use std::path::Path;
use std::sync::Arc;

use controller::{Controller, Folder, PATIENCE};
use exitgate_policy::{
    CredentialResource, EgressPolicySpec, Feature, NameSet, PolicyResource, Resource, SetContent,
    SetResource, Workload,
};
use exitgate_proto::control as proto;
use exitgate_proto::control::controller_message::Message as Said;
use exitgate_proto::control::gateway_message::Message as Heard;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::live::State;
use crate::metrics::Metrics;

/// Puts everything in force for real, and tells what happened.
struct Place {
    state: State,
    told: watch::Sender<Result<String, String>>,
    puts: mpsc::Sender<usize>,
}

impl Target for Place {
    fn put(&self, snapshot: Snapshot, revision: &str, secrets: &Secrets) -> Result<(), PutError> {
        self.state.apply_as(snapshot, Some(revision), secrets)?;
        self.puts.try_send(secrets.len()).unwrap();
        drop(self.told.send_replace(Ok(revision.to_owned())));
        Ok(())
    }

    fn withdraw(&self, why: &str) {
        self.state.withdraw();
        drop(self.told.send_replace(Err(why.to_owned())));
    }
}

struct Gateway {
    place: Arc<Place>,
    told: watch::Receiver<Result<String, String>>,
    puts: mpsc::Receiver<usize>,
    metrics: Metrics,
    client: Client,
}

impl Gateway {
    fn start(config: Config) -> Self {
        let (puts, heard) = mpsc::channel(64);
        let place = Arc::new(Place {
            state: State::new(Path::new("/")),
            told: watch::Sender::new(Err("nothing yet".to_owned())),
            puts,
        });
        let metrics = Metrics::new();
        Self {
            told: place.told.subscribe(),
            puts: heard,
            client: Client::start(config, place.clone(), &metrics).unwrap(),
            place,
            metrics,
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Result<String, String>) -> bool) {
        let told = tokio::time::timeout(PATIENCE, self.told.wait_for(wanted));
        drop(told.await.unwrap().unwrap());
    }

    fn metric(&self, name: &str) -> String {
        let text = self.metrics.render(0);
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.unwrap_or_default().to_owned()
    }
}

fn policy(name: &str) -> PolicyResource {
    PolicyResource::Namespaced {
        namespace: "pay".to_owned(),
        name: name.to_owned(),
        spec: EgressPolicySpec::default(),
    }
}

fn snapshot(policies: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot {
        gateway: "default".to_owned(),
        policies: policies.iter().map(|name| policy(name)).collect(),
        workloads: vec![Workload {
            namespace: "pay".to_owned(),
            name: "billing".to_owned(),
            addresses: vec!["192.0.2.7".parse().unwrap()],
            ..Workload::default()
        }],
        ..Snapshot::default()
    };
    snapshot.settings.dns.servers = vec!["192.0.2.53:53".to_owned()];
    snapshot
}

#[tokio::test]
async fn an_update_is_put_in_force_and_acked_and_the_next_stream_begins_where_it_ended() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let mut gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    assert!(session.hello.held.is_empty() && session.hello.position.is_none());
    let update = controller.script.snapshot(1, &snapshot(&["a", "b"]));
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    let ack = session.ack().await;
    assert_eq!((ack.nonce, &ack.revision), (1, &revision));
    assert!(ack.refusals.is_empty());
    gateway.until(|told| *told == Ok(revision.clone())).await;
    assert_eq!(gateway.metric("exitgate_control_connected"), "1");

    // A difference.
    let mut second = controller.script.snapshot(2, &snapshot(&["a"]));
    second.upserts.clear();
    second.removals = vec!["policy/pay/b".to_owned()];
    second.complete = false;
    let wanted = second.revision.clone();
    session.say(Said::Update(second)).await;
    assert_eq!(session.ack().await.revision, wanted);
    let live = gateway.place.state.current().unwrap();
    assert_eq!(
        (live.snapshot.policies.len(), &*live.revision),
        (1, &*wanted)
    );

    // The stream breaks; what is held is told, and nothing of it is sent again.
    drop(session);
    let mut session = controller.session().await;
    assert_eq!(session.hello.held.len(), 4);
    assert_eq!(
        session.hello.position.as_ref().unwrap().sources["directory"],
        2
    );
    let mut same = controller.script.snapshot(3, &snapshot(&["a"]));
    same.upserts.clear();
    session.say(Said::Update(same)).await;
    assert_eq!(session.ack().await.revision, wanted);
    assert!(
        controller
            .script
            .tokens
            .lock()
            .iter()
            .all(|token| token == "good")
    );
    gateway.client.stop().await;
}

#[tokio::test]
async fn a_restart_begins_with_what_was_stored() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    let update = controller.script.snapshot(1, &snapshot(&["a"]));
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    session.ack().await;
    gateway.client.stop().await;
    drop(session);

    // Without any controller.
    let mut alone = controller.config(&folder);
    alone.addresses = vec!["https://127.0.0.1:1".to_owned()];
    let mut gateway = Gateway::start(alone.clone());
    gateway.until(|told| *told == Ok(revision.clone())).await;
    assert_eq!(gateway.metric("exitgate_control_connected"), "0");
    gateway.client.stop().await;

    // Too old.
    let file = folder.0.join("state/snapshot");
    let old = std::fs::File::options().append(true).open(&file).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    let aged = Config {
        max_age: Some(Duration::from_hours(1)),
        ..alone.clone()
    };
    let mut gateway = Gateway::start(aged);
    gateway
        .until(|told| told.as_ref().is_err_and(|why| why.contains("seconds old")))
        .await;
    gateway.client.stop().await;

    // A byte that changed, anywhere.
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    let mut gateway = Gateway::start(alone.clone());
    gateway
        .until(|told| told.as_ref().is_err_and(|why| why.contains("checksum")))
        .await;
    assert!(gateway.place.state.current().is_none());
    gateway.client.stop().await;

    // Written by somebody else.
    std::fs::write(&file, &good).unwrap();
    let other = Controller::start().await;
    let key = aws_lc_rs::signature::KeyPair::public_key(&other.script.manifest_key);
    let store = store::Store::open(&folder.0.join("state")).unwrap();
    store.save_keys(&[key.as_ref().to_vec()]).unwrap();
    let mut gateway = Gateway::start(alone);
    gateway
        .until(|told| told.as_ref().is_err_and(|why| why.contains("verifies")))
        .await;
    gateway.client.stop().await;

    // The controller helps out of it.
    let mut gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    assert!(session.hello.held.is_empty());
    let update = controller.script.snapshot(1, &snapshot(&["a"]));
    session.say(Said::Update(update)).await;
    session.ack().await;
    gateway.until(|told| *told == Ok(revision.clone())).await;
    gateway.client.stop().await;
}

#[tokio::test]
async fn a_refused_resource_is_named_and_the_rest_applied() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    let mut resources = snapshot(&["a", "b"]).resources();
    for one in &mut resources {
        if one.name.to_string() == "policy/pay/b" {
            one.needs.push(Feature("novelty".to_owned()));
        }
    }
    let update = controller.script.update(1, &resources);
    let sent = update.revision.clone();
    session.say(Said::Update(update)).await;
    let ack = session.ack().await;
    assert_ne!(ack.revision, sent);
    let refused: Vec<_> = ack.refusals.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(refused, ["policy/pay/b"]);
    assert!(ack.refusals[0].reason.contains("novelty"));
    let live = gateway.place.state.current().unwrap();
    assert_eq!(live.snapshot.stand_ins.len(), 1);
    assert_eq!(gateway.metric("exitgate_control_resources_refused"), "1");
    gateway.client.stop().await;
}

#[tokio::test]
async fn an_older_manifest_ends_the_stream_and_changes_nothing() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    let update = controller.script.snapshot(5, &snapshot(&["a"]));
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    session.ack().await;
    session
        .say(Said::Update(controller.script.snapshot(4, &snapshot(&[]))))
        .await;
    let ack = session.ack().await;
    assert_eq!(ack.revision, revision);
    assert!(ack.refusals[0].reason.contains("directory 4 is before 5"));
    assert!(session.hear().await.is_none());
    let session = controller.session().await;
    assert_eq!(session.hello.position.unwrap().sources["directory"], 5);
    let live = gateway.place.state.current().unwrap();
    assert_eq!(&*live.revision, &*revision);
    gateway.client.stop().await;
}

fn with_set() -> (Snapshot, Resource) {
    let names: Vec<_> = (0..500).map(|n| format!("h{n}.example.test")).collect();
    let set = SetResource {
        namespace: None,
        name: "feed".to_owned(),
        content: SetContent::Artifact {
            names: Arc::new(NameSet::from_lines(names.join("\n").as_bytes()).unwrap()),
            cidrs: Vec::new(),
        },
    };
    let resource = Resource::set(&set);
    let mut given = snapshot(&["a"]);
    given.sets.push(set);
    (given, resource)
}

#[tokio::test]
async fn an_artifact_goes_on_where_it_stopped_and_is_fetched_once() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let (given, set) = with_set();
    let artifact = (set.body.to_vec(), Some(2000));
    controller
        .script
        .artifacts
        .lock()
        .insert(set.digest, artifact);
    let gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    let update = controller.script.snapshot(1, &given);
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    let ack = session.ack().await;
    assert_eq!(ack.revision, revision, "{:?}", ack.refusals);
    assert_eq!(controller.offsets.recv().await, Some(0));
    assert_eq!(controller.offsets.recv().await, Some(2000));
    gateway.client.stop().await;
    drop(session);

    let mut alone = controller.config(&folder);
    alone.addresses = vec!["https://127.0.0.1:1".to_owned()];
    let mut gateway = Gateway::start(alone);
    gateway.until(|told| *told == Ok(revision.clone())).await;
    assert!(controller.offsets.try_recv().is_err());
    gateway.client.stop().await;
}

#[tokio::test]
async fn an_update_does_not_wait_for_ever_and_the_artifact_is_used_when_it_comes() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let (given, set) = with_set();
    let mut config = controller.config(&folder);
    config.pace.artifact = Duration::from_millis(30);
    let gateway = Gateway::start(config);
    let mut session = controller.session().await;
    let update = controller.script.snapshot(1, &given);
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    let ack = session.ack().await;
    assert_eq!(ack.refusals[0].name, "set//feed");
    assert!(gateway.place.state.current().is_some());
    let artifact = (set.body.to_vec(), None);
    controller
        .script
        .artifacts
        .lock()
        .insert(set.digest, artifact);
    let ack = session.ack().await;
    assert_eq!((ack.nonce, ack.revision), (1, revision));
    assert!(ack.refusals.is_empty());
    gateway.client.stop().await;
}

#[tokio::test]
async fn secrets_stay_in_memory() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let mut gateway = Gateway::start(controller.config(&folder));
    let mut session = controller.session().await;
    let mut given = snapshot(&["a"]);
    given.credentials.push(CredentialResource {
        namespace: "pay".to_owned(),
        name: "key".to_owned(),
        header: "Authorization".to_owned(),
        prefix: None,
        hosts: vec!["a.test".to_owned()],
    });
    session
        .say(Said::Update(controller.script.snapshot(1, &given)))
        .await;
    session.ack().await;
    assert_eq!(gateway.puts.recv().await, Some(0));
    let secret = proto::Secret {
        namespace: "pay".to_owned(),
        name: "key".to_owned(),
        value: b"s3cret-value"[..].into(),
    };
    session
        .say(Said::Secrets(proto::Secrets {
            secrets: vec![secret],
        }))
        .await;
    assert_eq!(gateway.puts.recv().await, Some(1));
    let live = gateway.place.state.current().unwrap();
    let value = live.credentials.value("pay", "key").unwrap();
    assert_eq!(value.expose(), b"s3cret-value");
    session.say(Said::Secrets(proto::Secrets::default())).await;
    assert_eq!(gateway.puts.recv().await, Some(0));
    let live = gateway.place.state.current().unwrap();
    assert!(live.credentials.value("pay", "key").is_none());
    gateway.client.stop().await;
    let stored = std::fs::read(folder.0.join("state/snapshot")).unwrap();
    assert!(!String::from_utf8_lossy(&stored).contains("s3cret"));
}

#[tokio::test]
async fn the_controller_may_go_and_certificates_are_renewed() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    let mut config = controller.config(&folder);
    config.pace.heartbeat = Duration::from_secs(1);
    let gateway = Gateway::start(config);
    let mut session = controller.session().await;
    let update = controller.script.snapshot(1, &snapshot(&["a"]));
    let revision = update.revision.clone();
    session.say(Said::Update(update)).await;
    session.ack().await;
    assert_eq!(session.heartbeat().await.revision, revision);
    session
        .say(Said::GoAway(proto::GoAway {
            reason: "an update of the controller".to_owned(),
        }))
        .await;
    let _session = controller.session().await;
    assert_eq!(controller.script.tokens.lock().len(), 1, "no need to enrol");
    assert!(gateway.place.state.current().is_some());
    gateway.client.stop().await;

    // Silence: it is taken for gone.
    let mut config = controller.config(&folder);
    config.pace.heartbeat = Duration::from_millis(20);
    let gateway = Gateway::start(config);
    let mut session = controller.session().await;
    assert!(session.hear().await.is_none());
    let _session = controller.session().await;
    assert!(gateway.place.state.current().is_some());
    gateway.client.stop().await;

    *controller.script.renew_in.lock() = 1;
    let gateway = Gateway::start(controller.config(&folder));
    let _old = controller.session().await;
    let _new = controller.session().await;
    assert_eq!(*controller.script.renewals.lock(), 1);
    gateway.client.stop().await;
}

#[tokio::test]
async fn the_token_is_read_anew_each_time() {
    let (mut controller, folder) = (Controller::start().await, Folder::new());
    std::fs::write(folder.0.join("token"), "bad").unwrap();
    let mut gateway = Gateway::start(controller.config(&folder));
    gateway
        .until(|told| {
            told.as_ref()
                .is_err_and(|why| why.contains("no controller"))
        })
        .await;
    while controller.script.tokens.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    std::fs::write(folder.0.join("token"), "good").unwrap();
    let mut session = controller.session().await;
    session
        .say(Said::Update(controller.script.snapshot(1, &snapshot(&[]))))
        .await;
    assert!(matches!(session.hear().await, Some(Heard::Ack(_))));
    gateway.client.stop().await;
}

#[test]
fn a_config_says_what_is_missing() {
    let config = Config {
        addresses: vec!["http://controller.test".to_owned()],
        server_name: None,
        roots: Roots::Pem(Vec::new()),
        token: "/token".into(),
        role: Role::Unspecified,
        gateway: String::new(),
        state: None,
        max_age: None,
        pace: Pace::default(),
    };
    let place = Arc::new(Place {
        state: State::new(Path::new("/")),
        told: watch::Sender::new(Err(String::new())),
        puts: mpsc::channel(1).0,
    });
    let start = |config: Config| {
        let error = Client::start(config, place.clone(), &Metrics::new()).err();
        error.unwrap().to_string()
    };
    assert!(start(config.clone()).contains("http://controller.test"));
    let good = vec!["https://controller.test".to_owned()];
    assert!(
        start(Config {
            addresses: good,
            ..config.clone()
        })
        .contains("role")
    );
    let none = Config {
        addresses: Vec::new(),
        ..config
    };
    assert!(start(none).contains("https://"));
}
