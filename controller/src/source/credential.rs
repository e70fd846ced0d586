//! The values of credentials, from files and environment variables.

use std::path::{Path, PathBuf};

use exitgate_policy::{CredentialSource, SecretValue, Severity};

use super::files::read_capped;

/// What a source leads to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) value: Option<SecretValue>,
    /// The file that was, or should have been, read.
    pub(super) file: Option<PathBuf>,
    /// How bad, which field, what.
    pub(super) problem: Option<(Severity, String, String)>,
}

/// Reads the value of one credential. A value that is not there now may be there where and when the gateway runs, so that
/// is a warning; one that is there and cannot be used is an error.
pub(super) fn read(source: &CredentialSource, folder: &Path) -> Found {
    read_from(source, folder, |name| {
        #[expect(
            clippy::disallowed_methods,
            reason = "the document names the variable, and its value must not stand in a document"
        )]
        std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes)
    })
}

fn read_from(
    source: &CredentialSource,
    folder: &Path,
    variable: impl Fn(&str) -> Option<Vec<u8>>,
) -> Found {
    const FIELD: &str = "spec.valueFrom";
    let error = |field: String, message: String| Found {
        problem: Some((Severity::Error, field, message)),
        ..Found::default()
    };
    let (field, place, bytes, file) = match (&source.file, &source.env, &source.secret_ref) {
        (None, None, Some(_)) => {
            let message = "a Secret exists only in Kubernetes; write file or env";
            return error(format!("{FIELD}.secretRef"), message.to_owned());
        }
        (Some(file), None, None) => {
            let path = folder.join(file);
            let bytes = read_capped(&path, MAX_FILE);
            (
                format!("{FIELD}.file"),
                path.display().to_string(),
                bytes,
                Some(path),
            )
        }
        (None, Some(name), None) => {
            let known = !name.is_empty() && !name.contains(['=', '\0']);
            if !known {
                let message = format!("{name:?} is not the name of an environment variable");
                return error(format!("{FIELD}.env"), message);
            }
            let bytes = variable(name).ok_or_else(|| "is not set".to_owned());
            (format!("{FIELD}.env"), format!("${name}"), bytes, None)
        }
        _ => {
            let message = "give exactly one of file and env";
            return error(FIELD.to_owned(), message.to_owned());
        }
    };
    let (value, problem) = match bytes {
        Err(message) => {
            let message = format!(
                "{place} {message}; requests that need the credential are refused (credential-unavailable)"
            );
            (None, Some((Severity::Warning, field, message)))
        }
        Ok(bytes) => match SecretValue::parse(bytes) {
            Ok(value) => (Some(value), None),
            Err(problem) => {
                let message = format!("the value in {place} cannot be used: {problem}");
                (None, Some((Severity::Error, field, message)))
            }
        },
    };
    Found {
        value,
        file,
        problem,
    }
}

const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::source::testing::Folder;

    fn source(text: serde_json::Value) -> CredentialSource {
        serde_json::from_value(text).unwrap()
    }

    fn variable(name: &str) -> Option<Vec<u8>> {
        (name == "SET").then(|| b"value".to_vec())
    }

    #[test]
    fn files_and_variables() {
        let folder = Folder::new(&[("key", "s3cret\n"), ("bad", "two\nlines\n")]);
        let read = |text| read_from(&source(text), folder.path(), variable);
        let found = read(serde_json::json!({"file": "key"}));
        assert_eq!(found.value.unwrap().expose(), b"s3cret");
        assert_eq!(found.file.unwrap(), folder.path().join("key"));
        let found = read(serde_json::json!({"env": "SET"}));
        assert_eq!(found.value.unwrap().expose(), b"value");
        for (text, severity, path, message) in [
            (
                serde_json::json!({"file": "bad"}),
                Severity::Error,
                "spec.valueFrom.file",
                "cannot be used: it has a line break",
            ),
            (
                serde_json::json!({"file": "none"}),
                Severity::Warning,
                "spec.valueFrom.file",
                "none cannot be read",
            ),
            (
                serde_json::json!({"env": "UNSET"}),
                Severity::Warning,
                "spec.valueFrom.env",
                "$UNSET is not set",
            ),
            (
                serde_json::json!({"env": "A=B"}),
                Severity::Error,
                "spec.valueFrom.env",
                "not the name of",
            ),
            (
                serde_json::json!({}),
                Severity::Error,
                "spec.valueFrom",
                "exactly one",
            ),
            (
                serde_json::json!({"file": "key", "env": "SET"}),
                Severity::Error,
                "spec.valueFrom",
                "exactly one",
            ),
            (
                serde_json::json!({"secretRef": {"name": "a", "key": "b"}}),
                Severity::Error,
                "spec.valueFrom.secretRef",
                "only in Kubernetes",
            ),
        ] {
            let found = read(text);
            assert!(found.value.is_none());
            let problem = found.problem.unwrap();
            assert_eq!((problem.0, problem.1.as_str()), (severity, path));
            assert!(problem.2.contains(message), "{}", problem.2);
        }
    }
}
