//! The form of each object that counts: the newest that could be accepted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::content;
use super::event::{AcceptedSpec, Document, Invalid, ObjectKey, Watched};
use crate::source::{Finding, Spec};

/// What counts of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is as it is written.
    Accepted,
    /// It was never accepted, and its subject is isolated.
    Isolates,
    /// An earlier form.
    Kept {
        /// The generation of that form.
        generation: i64,
    },
    /// It was never accepted and is as if it were not there.
    Nothing,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The generation that this is about.
    pub generation: i64,
    pub effect: Effect,
    /// Why the newest form is not accepted; empty where it is.
    pub errors: Vec<Finding>,
}

/// An object with the form that counts.
#[derive(Debug)]
pub(super) struct Entry {
    uid: String,
    form: Option<(i64, Spec)>,
    /// What can be read of an object that was never accepted.
    written: Value,
    pub(super) report: Report,
}

impl Entry {
    /// The form that counts.
    pub(super) fn form(&self) -> Result<&Spec, &Value> {
        self.form
            .as_ref()
            .map(|(_, spec)| spec)
            .ok_or(&self.written)
    }

    fn new(
        before: Option<Entry>,
        uid: String,
        generation: i64,
        now: Result<Spec, Vec<Finding>>,
        written: Value,
        kept: impl FnOnce() -> Option<(i64, Spec)>,
        isolates: impl FnOnce(&Value) -> bool,
    ) -> Self {
        let (form, effect, errors) = match now {
            Ok(spec) => (Some((generation, spec)), Effect::Accepted, Vec::new()),
            Err(errors) => {
                // An object that was removed and made anew has no earlier form.
                let form = before
                    .filter(|entry| entry.uid == uid)
                    .and_then(|entry| entry.form)
                    .or_else(kept);
                let effect = match &form {
                    Some((generation, _)) => Effect::Kept {
                        generation: *generation,
                    },
                    None if isolates(&written) => Effect::Isolates,
                    None => Effect::Nothing,
                };
                (form, effect, errors)
            }
        };
        Self {
            uid,
            written: if form.is_some() { Value::Null } else { written },
            form,
            report: Report {
                generation,
                effect,
                errors,
            },
        }
    }
}

/// All objects of our kinds.
#[derive(Debug, Default)]
pub(super) struct Documents(BTreeMap<ObjectKey, Entry>);

impl Documents {
    pub(super) fn apply(&mut self, document: Document) -> ObjectKey {
        let Document {
            key,
            uid,
            generation,
            spec,
            written,
            accepted,
            ..
        } = document;
        let errors = content::errors(&key, &spec);
        let now = if errors.is_empty() {
            Ok(spec)
        } else {
            Err(errors)
        };
        self.put(key, uid, generation, now, written, accepted)
    }

    pub(super) fn invalid(&mut self, invalid: Invalid) -> ObjectKey {
        let Invalid {
            key,
            uid,
            generation,
            findings,
            written,
            accepted,
            ..
        } = invalid;
        self.put(key, uid, generation, Err(findings), written, accepted)
    }

    fn put(
        &mut self,
        key: ObjectKey,
        uid: String,
        generation: i64,
        now: Result<Spec, Vec<Finding>>,
        written: Value,
        accepted: Option<AcceptedSpec>,
    ) -> ObjectKey {
        let before = self.0.remove(&key);
        // A form in a status was written by someone who may change statuses: it is judged like any other.
        let kept = || {
            let form = accepted?;
            content::errors(&key, &form.spec)
                .is_empty()
                .then_some((form.generation, form.spec))
        };
        let isolates = |written: &Value| {
            key.watched == Watched::Document(crate::api::Kind::EgressPolicy)
                && content::fallback(&key, written).is_some()
        };
        let entry = Entry::new(before, uid, generation, now, written, kept, isolates);
        self.0.insert(key.clone(), entry);
        key
    }

    pub(super) fn delete(&mut self, key: &ObjectKey) -> bool {
        self.0.remove(key).is_some()
    }

    pub(super) fn entry(&self, key: &ObjectKey) -> Option<&Entry> {
        self.0.get(key)
    }

    pub(super) fn keys_of(&self, watched: Watched) -> Vec<ObjectKey> {
        self.0
            .keys()
            .filter(|key| key.watched == watched)
            .cloned()
            .collect()
    }
}
