//! What is written into the status of objects, and when.
//!
//! [`next`] is pure: the status that follows from the stored one and a report. [`Statuses`] decides what is due: a transition
//! at once, mere counts at most once in [`PERIOD`] for each object, nothing where nothing changed. [`write_statuses`] writes.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use exitgate_policy::Severity;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::event::{ObjectKey, Watched};
use super::watch::resource;
use crate::crd::status::{AcceptedForm, Condition, ConditionStatus, GatewayCount, ObjectStatus};
use crate::source::Finding;

/// Writes of one object lie at least this far apart, transitions excepted.
pub const PERIOD: Duration = Duration::from_secs(30);
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// The definition bounds the field.
const MAX_MESSAGE: usize = 4_096;

/// What holds for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Such as `Accepted`.
    pub kind: &'static str,
    pub status: ConditionStatus,
    /// One word in CamelCase.
    pub reason: String,
    pub message: String,
}

impl Statement {
    /// `Accepted`, from what was found wrong.
    pub fn accepted(findings: &[Finding]) -> Self {
        let errors: Vec<String> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        let is_good = errors.is_empty();
        Self {
            kind: "Accepted",
            status: if is_good {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: if is_good { "Accepted" } else { "Invalid" }.to_owned(),
            message: errors.join("\n"),
        }
    }
}

/// What the controller says about an object now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub generation: i64,
    pub statements: Vec<Statement>,
    pub revision: Option<String>,
    pub gateways: Option<GatewayCount>,
    pub accepted: Option<AcceptedForm>,
}

/// The status that a report makes of the stored one. `now` is RFC 3339. A condition keeps the time of its last transition
/// as long as its status stays the same; a condition that the report does not name is gone.
pub fn next(stored: &ObjectStatus, report: &Report, now: &str) -> ObjectStatus {
    let conditions = report
        .statements
        .iter()
        .map(|statement| {
            let before = stored
                .conditions
                .iter()
                .find(|old| old.kind == statement.kind);
            let since = before
                .filter(|old| old.status == statement.status)
                .map_or(now, |old| &old.last_transition_time);
            Condition {
                kind: statement.kind.to_owned(),
                status: statement.status,
                observed_generation: Some(report.generation),
                last_transition_time: since.to_owned(),
                reason: statement.reason.clone(),
                message: shorten(&statement.message),
            }
        })
        .collect();
    ObjectStatus {
        observed_generation: Some(report.generation),
        conditions,
        revision: report.revision.clone(),
        gateways: report.gateways.clone(),
        accepted: report.accepted.clone(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let head: String = text.chars().take(MAX_MESSAGE - 4).collect();
    format!("{head} ...")
}

/// Whether somebody waits for this change: a condition changed its status or reason, another generation was seen, another
/// form was accepted. Counts and texts can wait.
fn is_transition(old: &ObjectStatus, new: &ObjectStatus) -> bool {
    let told = |status: &ObjectStatus| -> Vec<(String, ConditionStatus, String)> {
        let conditions = status.conditions.iter();
        conditions
            .map(|one| (one.kind.clone(), one.status, one.reason.clone()))
            .collect()
    };
    let accepted = |status: &ObjectStatus| {
        let form = status.accepted.as_ref();
        form.map(|form| (form.generation, form.digest.clone()))
    };
    old.observed_generation != new.observed_generation
        || told(old) != told(new)
        || accepted(old) != accepted(new)
}

/// What is stored, what should be, and when it is written. Its size is that of the set of objects.
#[derive(Debug, Default)]
pub struct Statuses {
    objects: HashMap<ObjectKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: String,
    stored: ObjectStatus,
    wanted: Option<ObjectStatus>,
    last_write: Option<Instant>,
    due: Option<Instant>,
}

impl Statuses {
    pub fn new() -> Self {
        Self::default()
    }

    /// The object as it is stored now, from the watch.
    pub fn observe(&mut self, key: &ObjectKey, uid: &str, stored: &ObjectStatus) {
        match self.objects.get_mut(key) {
            Some(entry) if entry.uid == uid => {
                // While a write is under way the watch may still show what was before; the writer says when it is done.
                if entry.wanted.is_none() {
                    entry.stored = stored.clone();
                }
            }
            _ => {
                let entry = Entry {
                    uid: uid.to_owned(),
                    stored: stored.clone(),
                    wanted: None,
                    last_write: None,
                    due: None,
                };
                self.objects.insert(key.clone(), entry);
            }
        }
    }

    /// The object is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
    }

    /// What is to be said about an object that was observed.
    pub fn report(&mut self, key: &ObjectKey, report: &Report, now: Instant, wall: &str) {
        let Some(entry) = self.objects.get_mut(key) else {
            return;
        };
        let new = next(&entry.stored, report, wall);
        if new == entry.stored {
            entry.wanted = None;
            entry.due = None;
            return;
        }
        let earliest = if is_transition(&entry.stored, &new) {
            now
        } else {
            entry
                .last_write
                .map_or(now, |last| (last + PERIOD).max(now))
        };
        entry.due = Some(entry.due.map_or(earliest, |due| due.min(earliest)));
        entry.wanted = Some(new);
    }

    /// When the next write is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.objects.values().filter_map(|entry| entry.due).min()
    }

    /// The writes that are due, at most `limit`, the longest waiting first.
    pub fn due(&self, now: Instant, limit: usize) -> Vec<(ObjectKey, String, ObjectStatus)> {
        let mut due: Vec<(Instant, &ObjectKey, &Entry)> = self
            .objects
            .iter()
            .filter_map(|(key, entry)| Some((entry.due.filter(|due| *due <= now)?, key, entry)))
            .collect();
        due.sort_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)));
        due.into_iter()
            .take(limit)
            .filter_map(|(_, key, entry)| {
                Some((key.clone(), entry.uid.clone(), entry.wanted.clone()?))
            })
            .collect()
    }

    /// A write is done, or failed and is tried again.
    pub fn written(
        &mut self,
        key: &ObjectKey,
        uid: &str,
        status: ObjectStatus,
        is_done: bool,
        now: Instant,
    ) {
        let Some(entry) = self.objects.get_mut(key).filter(|entry| entry.uid == uid) else {
            return;
        };
        if !is_done {
            entry.due = Some(now + RETRY);
            return;
        }
        entry.last_write = Some(now);
        entry.due = match &entry.wanted {
            // Something newer was said in the meantime.
            Some(wanted) if *wanted != status => Some(if is_transition(&status, wanted) {
                now
            } else {
                now + PERIOD
            }),
            _ => {
                entry.wanted = None;
                None
            }
        };
        entry.stored = status;
    }
}

/// Writes what is due, until the future is dropped. Only the holder of the Lease runs it.
///
/// `statuses` gives access for the length of one call, `changed` completes when a report may have come in.
pub async fn write_statuses<F, C>(
    client: Client,
    statuses: impl Fn(&mut dyn FnMut(&mut Statuses)),
    changed: F,
) where
    F: Fn() -> C,
    C: Future<Output = ()>,
{
    const BATCH: usize = 16;
    loop {
        let mut due = Vec::new();
        let mut wake = None;
        statuses(&mut |all| {
            due = all.due(Instant::now(), BATCH);
            wake = all.next_due();
        });
        if due.is_empty() {
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = changed() => {}
            }
            continue;
        }
        for (key, uid, status) in due {
            let outcome = write(&client, &key, &uid, &status).await;
            if let Err(error) = &outcome {
                tracing::warn!(object = %key, %error, "the status cannot be written, trying again");
            }
            let is_done = outcome.is_ok();
            statuses(&mut |all| {
                all.written(&key, &uid, status.clone(), is_done, Instant::now());
            });
        }
    }
}

async fn write(
    client: &Client,
    key: &ObjectKey,
    uid: &str,
    status: &ObjectStatus,
) -> Result<(), kube::Error> {
    let Watched::Document(kind) = key.watched else {
        return Ok(());
    };
    let resource = resource(kind);
    let api: Api<DynamicObject> = match &key.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    // Built from values that serialise; an error would be a change of the patch format.
    let operations = serde_json::from_value(patch(uid, status)).map_err(kube::Error::SerdeError)?;
    match api
        .patch_status(
            &key.name,
            &PatchParams::default(),
            &Patch::Json::<()>(operations),
        )
        .await
    {
        // It is gone; the watch tells.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        // Another object is there under its name: the watch tells. Or the definition does not take this status, and would
        // not take it the next time.
        Err(kube::Error::Api(answer)) if answer.code == 422 => {
            tracing::warn!(object = %key, message = answer.message, "the status is not taken");
            Ok(())
        }
        outcome => outcome.map(|_| ()),
    }
}

/// The whole status, for this object only: the server compares the id in the same step, which it does not do for an id in
/// a merge.
fn patch(uid: &str, status: &ObjectStatus) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status", "value": status},
    ])
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
