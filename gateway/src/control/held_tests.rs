#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use exitgate_policy::{Severity, compile};
use proptest::prelude::*;

use super::*;

/// How a version of a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// A field that this build does not know.
    Unknown,
    /// It can be read, and does not compile.
    Wrong,
    /// Its bytes did not come.
    Missing,
}

type Manifest = BTreeMap<String, (u32, Kind)>;

fn settings() -> Upsert {
    upsert("settings/default", b"{}", Ok(()))
}

fn upsert(name: &str, body: &[u8], here: Result<(), &str>) -> Upsert {
    Upsert {
        name: name.to_owned(),
        digest: Digest::of(body),
        body: here.map(|()| Body::from(body)).map_err(str::to_owned),
        artifact: false,
        needs: Vec::new(),
        stand_in: Vec::new(),
    }
}

fn policy(name: &str, version: u32, kind: Kind) -> Upsert {
    let rule = |host: &str| {
        format!(
            r#"{{"rules":[{{"name":"r","action":"Allow","to":{{"hosts":["{host}"]}},"reason":"{version}"}}]}}"#
        )
    };
    let body = match kind {
        Kind::Good => rule("a.test"),
        Kind::Wrong => rule("**"),
        Kind::Unknown => format!(r#"{{"novelty":{version}}}"#),
        Kind::Missing => format!(r#"{{"replaces":"{version}","mode":"Audit"}}"#),
    };
    let here = if kind == Kind::Missing {
        Err("did not come")
    } else {
        Ok(())
    };
    upsert(name, body.as_bytes(), here)
}

fn put(snapshot: Option<Snapshot>, _: &str) -> Result<(), Vec<Fault>> {
    let Some(snapshot) = snapshot else {
        return Ok(());
    };
    let (set, problems) = compile(&snapshot);
    if set.is_some() {
        return Ok(());
    }
    let faults = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| Fault {
            name: ResourceName::of_object(&problem.object),
            reason: problem.to_string(),
        });
    Err(faults.collect())
}

/// The controller as the protocol describes it.
#[derive(Default)]
struct Controller {
    manifest: Manifest,
    clock: u64,
    /// What the gateway on this stream has been sent, or said that it holds.
    sent: Option<BTreeMap<String, Digest>>,
}

impl Controller {
    fn wanted(&self) -> Vec<Upsert> {
        let policies = self
            .manifest
            .iter()
            .map(|(name, (version, kind))| policy(name, *version, *kind));
        policies.chain([settings()]).collect()
    }

    fn position(&self) -> Position {
        Position {
            epoch: 1,
            sources: [("EgressPolicy".to_owned(), self.clock)].into(),
        }
    }

    fn update(&mut self, complete: bool) -> Update {
        let wanted = self.wanted();
        let sent = self.sent.clone().unwrap_or_default();
        let now: BTreeMap<_, _> = wanted
            .iter()
            .map(|one| (one.name.clone(), one.digest))
            .collect();
        let lines = now.iter().map(|(name, digest)| format!("{name} {digest}"));
        let update = Update {
            position: self.position(),
            revision: resource::revision_of_lines(lines.collect()),
            upserts: wanted
                .into_iter()
                .filter(|one| sent.get(&one.name) != Some(&one.digest))
                .collect(),
            removals: sent
                .keys()
                .filter(|name| !now.contains_key(*name))
                .cloned()
                .collect(),
            complete,
        };
        self.sent = Some(now);
        update
    }

    /// A new stream; the answer to the hello may be lost with it.
    fn connect(&mut self, held: &mut Held, lost: bool) {
        self.sent = Some(held.hello().into_iter().collect());
        let update = self.update(true);
        if lost {
            self.sent = None;
        } else {
            held.apply(update, put).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u32, Kind),
    Delete(u8),
    Push,
    /// The stream ends with an update on its way.
    Drop,
    Connect,
    /// A stream whose first update is lost.
    ConnectInVain,
    /// Another replica that has seen less.
    Stale,
    /// The process starts anew from its disk.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        4 => Just(Kind::Good),
        1 => Just(Kind::Unknown),
        1 => Just(Kind::Wrong),
        1 => Just(Kind::Missing),
    ];
    prop_oneof![
        6 => (0..4_u8, 0..3_u32, kind).prop_map(|(n, version, kind)| Op::Set(n, version, kind)),
        2 => (0..4_u8).prop_map(Op::Delete),
        5 => Just(Op::Push),
        1 => Just(Op::Drop),
        2 => Just(Op::Connect),
        1 => Just(Op::ConnectInVain),
        1 => Just(Op::Stale),
        1 => Just(Op::Restart),
    ]
}

fn name(number: u8) -> String {
    match number {
        0 => "cluster-policy/guard".to_owned(),
        n => format!("policy/pay/p{n}"),
    }
}

/// What the gateway should use: the version that was good when it was last offered.
type Used = BTreeMap<String, Option<Digest>>;

fn offered(used: &mut Used, manifest: &Manifest) {
    used.retain(|name, _| manifest.contains_key(name));
    for (name, (version, kind)) in manifest {
        let digest = policy(name, *version, *kind).digest;
        let slot = used.entry(name.clone()).or_default();
        if *kind == Kind::Good {
            *slot = Some(digest);
        }
    }
}

fn possible(name: &str, kind: Kind) -> Kind {
    // A ClusterEgressPolicy needs a tier, which these do not have.
    if name.starts_with("cluster") && matches!(kind, Kind::Good | Kind::Wrong) {
        return Kind::Unknown;
    }
    kind
}

fn in_use(held: &Held) -> Used {
    held.entries
        .iter()
        .filter(|(name, _)| !is_settings(name))
        .map(|(name, entry)| (name.clone(), entry.used.as_ref().map(|used| used.digest)))
        .collect()
}

fn check(held: &Held, used: &Used, manifest: &Manifest) {
    assert_eq!(in_use(held), *used);
    let (snapshot, revision) = held.in_use();
    let snapshot = snapshot.unwrap();
    assert_eq!(held.revision(), Some(revision.as_str()));
    let without = used.values().filter(|digest| digest.is_none()).count();
    assert_eq!(snapshot.stand_ins.len(), without);
    let refused: Vec<_> = held.refusals().into_iter().map(|r| r.name).collect();
    let expected: Vec<_> = manifest
        .iter()
        .filter(|(_, (_, kind))| *kind != Kind::Good)
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(refused, expected);
    assert!(compile(&snapshot).0.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_way_leads_to_what_a_fresh_gateway_has(ops in proptest::collection::vec(op(), 1..40)) {
        let mut controller = Controller::default();
        let mut held = Held::default();
        let mut used = Used::new();
        let mut disk = Held::default();
        for op in ops {
            match op {
                Op::Set(n, version, kind) => {
                    let name = name(n);
                    let kind = possible(&name, kind);
                    controller.manifest.insert(name, (version, kind));
                    controller.clock += 1;
                }
                Op::Delete(n) => {
                    controller.manifest.remove(&name(n));
                    controller.clock += 1;
                }
                Op::Push => {
                    if controller.sent.is_some() {
                        let update = controller.update(false);
                        held.apply(update, put).unwrap();
                        offered(&mut used, &controller.manifest);
                        check(&held, &used, &controller.manifest);
                    }
                }
                Op::Drop => {
                    if controller.sent.is_some() {
                        drop(controller.update(false));
                    }
                    controller.sent = None;
                }
                Op::Connect => {
                    controller.connect(&mut held, false);
                    offered(&mut used, &controller.manifest);
                    check(&held, &used, &controller.manifest);
                }
                Op::ConnectInVain => controller.connect(&mut held, true),
                Op::Stale => {
                    let before = (in_use(&held), held.position().cloned());
                    let mut other = Controller::default();
                    let update = other.update(true);
                    if before.1.as_ref().is_some_and(|position| position.sources.values().any(|n| *n > 0)) {
                        let result = held.apply(update, put);
                        prop_assert!(matches!(result, Err(NotTaken::Stale(_))), "{:?}", result);
                        prop_assert_eq!(before, (in_use(&held), held.position().cloned()));
                    }
                }
                Op::Restart => {
                    disk.entries.clone_from(&held.entries);
                    disk.position.clone_from(&held.position);
                    disk.revision.clone_from(&held.revision);
                    held = std::mem::take(&mut disk);
                    controller.sent = None;
                }
            }
        }
        controller.connect(&mut held, false);
        offered(&mut used, &controller.manifest);
        check(&held, &used, &controller.manifest);

        // Where nothing is refused, no history shows.
        for (version, kind) in controller.manifest.values_mut() {
            *version += 10;
            *kind = Kind::Good;
        }
        controller.manifest.retain(|name, _| !name.starts_with("cluster"));
        controller.clock += 1;
        let update = controller.update(false);
        held.apply(update, put).unwrap();
        let mut fresh = Held::default();
        controller.connect(&mut fresh, false);
        prop_assert_eq!(in_use(&held), in_use(&fresh));
        prop_assert_eq!(held.revision(), fresh.revision());
        prop_assert!(held.refusals().is_empty());
    }
}

fn complete(upserts: Vec<Upsert>) -> Update {
    let lines = upserts
        .iter()
        .map(|one| format!("{} {}", one.name, one.digest));
    Update {
        position: Position::default(),
        revision: resource::revision_of_lines(lines.collect()),
        upserts,
        removals: Vec::new(),
        complete: true,
    }
}

#[test]
fn the_first_update_is_complete_and_the_revision_is_what_was_announced() {
    let mut held = Held::default();
    let mut update = complete(vec![settings()]);
    update.complete = false;
    let result = held.apply(update.clone(), put);
    assert!(matches!(result, Err(NotTaken::OutOfStep(_))));
    update.complete = true;
    update.revision = "other".to_owned();
    let result = held.apply(update, put);
    assert!(matches!(result, Err(NotTaken::OutOfStep(_))));
    assert!(held.in_use().0.is_none() && held.revision().is_none());
}

#[test]
fn settings_that_cannot_be_used_leave_the_earlier_ones() {
    let mut held = Held::default();
    held.apply(complete(vec![settings()]), put).unwrap();
    let before = held.revision().unwrap().to_owned();
    let refuse = |snapshot: Option<Snapshot>, _: &str| {
        if snapshot.is_some_and(|snapshot| !snapshot.settings.dns.strict_answers) {
            return Ok(());
        }
        Err(vec![Fault {
            name: Some(ResourceName::Settings("default".to_owned())),
            reason: "not here".to_owned(),
        }])
    };
    let strict = upsert(
        "settings/default",
        br#"{"dns":{"strictAnswers":true}}"#,
        Ok(()),
    );
    held.apply(
        complete(vec![strict, policy("policy/a/b", 1, Kind::Good)]),
        refuse,
    )
    .unwrap();
    assert_eq!(held.refusals()[0].reason, "not here");
    assert!(held.revision() != Some(&before) && held.in_use().0.is_some());

    // Nothing to go back to: nothing changes.
    let refuse = |_: Option<Snapshot>, _: &str| {
        Err(vec![Fault {
            name: Some(ResourceName::Settings("default".to_owned())),
            reason: "not here".to_owned(),
        }])
    };
    let mut fresh = Held::default();
    let result = fresh.apply(complete(vec![settings()]), refuse);
    assert_eq!(result, Err(NotTaken::Unusable("not here".to_owned())));
    assert!(fresh.in_use().0.is_none());
}

#[test]
fn a_second_gateway_and_a_name_of_no_resource_are_refused_alone() {
    let mut held = Held::default();
    let update = complete(vec![
        settings(),
        upsert("settings/other", b"{}", Ok(())),
        upsert("novelty/x", b"{}", Ok(())),
        policy("policy/a/b", 1, Kind::Good),
    ]);
    held.apply(update, put).unwrap();
    let refused: Vec<_> = held.refusals().into_iter().map(|r| r.name).collect();
    assert_eq!(refused, ["novelty/x", "settings/other"]);
    assert_eq!(held.in_use().0.unwrap().policies.len(), 1);
}

#[test]
fn without_settings_nothing_is_in_force() {
    let mut held = Held::default();
    held.apply(complete(vec![settings()]), put).unwrap();
    let mut update = complete(Vec::new());
    update.removals = vec!["settings/default".to_owned()];
    let mut withdrawn = false;
    held.apply(update, |snapshot, _| {
        withdrawn = snapshot.is_none();
        Ok(())
    })
    .unwrap();
    assert!(withdrawn);
}

#[test]
fn a_position_never_goes_back() {
    let position = |epoch, number| Position {
        epoch,
        sources: [("EgressPolicy".to_owned(), number)].into(),
    };
    assert!(position(1, 5).behind(&position(1, 5)).is_none());
    assert!(position(1, 4).behind(&position(1, 5)).is_some());
    assert!(position(2, 1).behind(&position(1, 5)).is_none());
    assert!(position(1, 9).behind(&position(2, 1)).is_some());
    let bare = Position {
        epoch: 1,
        ..Position::default()
    };
    assert!(bare.behind(&position(1, 5)).is_some());
    assert!(position(1, 5).behind(&bare).is_none());
}
