//! A problem and the place in the text that it comes from.

use std::fmt;
use std::path::PathBuf;

use exitgate_policy::{ObjectRef, Severity};
use serde::Serialize;

use super::document::Position;

/// One problem, shown as `file:line: error: spec.rules[0].to.hosts[0]: what is wrong`.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Absent for a problem of the source as a whole.
    pub file: Option<PathBuf>,
    pub position: Option<Position>,
    pub object: Option<ObjectRef>,
    /// The field path inside the object; empty for a problem of the whole.
    pub path: String,
    pub message: String,
}

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn word(&self) -> &'static str {
        if self.is_error() { "error" } else { "warning" }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(position) = self.position {
                write!(f, "{}:", position.line)?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.word())?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", self.word())?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("line", &self.position.map(|position| position.line))?;
        map.serialize_entry("column", &self.position.map(|position| position.column))?;
        map.serialize_entry(
            "kind",
            &self.object.as_ref().map(|object| object.kind.to_string()),
        )?;
        map.serialize_entry(
            "namespace",
            &self
                .object
                .as_ref()
                .and_then(|object| object.namespace.clone()),
        )?;
        map.serialize_entry(
            "name",
            &self.object.as_ref().map(|object| object.name.clone()),
        )?;
        map.serialize_entry("path", &self.path)?;
        map.serialize_entry("message", &self.message)?;
        map.end()
    }
}

/// How many errors and warnings there are.
pub fn count(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .count();
    (errors, diagnostics.len() - errors)
}
