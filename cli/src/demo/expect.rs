//! The requests of the example and what must come of them.

use std::collections::BTreeMap;
use std::path::Path;

use exitgate_controller::source;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    requests: Vec<Row>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Row {
    pub(super) name: String,
    /// `http://` or `https://`, without a port.
    pub(super) url: String,
    #[serde(default = "get")]
    pub(super) method: String,
    #[serde(default)]
    pub(super) user_agent: Option<String>,
    /// The server name in the TLS handshake, where it is not the host of the URL.
    #[serde(default)]
    pub(super) sni: Option<String>,
    /// Whose certificate the client accepts, and nobody else's.
    #[serde(default)]
    pub(super) trusts: Trusts,
    pub(super) expect: Expect,
}

/// Whom the client takes for the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Trusts {
    /// The gateway, which has opened the connection.
    Gateway,
    /// The origin itself.
    #[default]
    Origin,
}

/// What must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// What the client must see. Not compared where it is absent, as the rule is not.
    #[serde(default)]
    pub(super) client: PerForm,
    pub(super) verdict: PerForm,
    pub(super) reason: PerForm,
    pub(super) phase: PerForm,
    #[serde(default)]
    pub(super) rule: PerForm,
    #[serde(default)]
    pub(super) alerts: Vec<String>,
    /// The credentials that must have been added.
    #[serde(default)]
    pub(super) injected: Vec<String>,
}

/// A value that is the same for all forms of the policy, or one for each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PerForm {
    Each(BTreeMap<String, String>),
    Same(String),
}

impl PerForm {
    pub(super) fn of(&self, form: &str) -> Option<&str> {
        match self {
            Self::Each(values) => values.get(form).map(String::as_str),
            Self::Same(value) => Some(value),
        }
    }
}

impl Default for PerForm {
    fn default() -> Self {
        Self::Each(BTreeMap::new())
    }
}

impl Row {
    /// Whether the gateway is to look into the TLS of the request.
    pub(super) fn is_opened(&self) -> bool {
        self.trusts == Trusts::Gateway
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.starts_with("https://")
    }

    pub(super) fn host(&self) -> &str {
        self.parts().0
    }

    pub(super) fn path(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let rest = self
            .url
            .split_once("://")
            .map_or(self.url.as_str(), |(_, rest)| rest);
        match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        }
    }
}

fn get() -> String {
    "GET".to_owned()
}

/// Reads the expectations; the error is a message.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let value = source::read_yaml(&text).map_err(|error| format!("{}:{error}", path.display()))?;
    let file: File =
        serde_json::from_value(value).map_err(|error| format!("{}: {error}", path.display()))?;
    for row in &file.requests {
        let known = row.url.starts_with("https://") || row.url.starts_with("http://");
        if !known || row.host().is_empty() || row.host().contains(':') {
            return Err(format!(
                "{}: {}: {:?} is not http(s)://HOST/PATH",
                path.display(),
                row.name,
                row.url
            ));
        }
    }
    Ok(file.requests)
}
