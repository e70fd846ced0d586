//! Credentials that are added to requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret and the destinations it may be added for. Rules of the same namespace refer to it by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialSpec {
    /// The header that is set or replaced, such as `Authorization`.
    pub header: String,
    /// Text before the secret, such as `"Bearer "`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Host patterns: the secret is never sent anywhere else, whatever a rule matches.
    pub hosts: Vec<String>,
    /// Where the secret is.
    pub value_from: CredentialSource,
}

/// Where a secret is: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialSource {
    /// A file that holds the secret and nothing else, relative to the document's folder. A line break at its end is left
    /// out. Directory source only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// An environment variable of the process that reads the documents. Directory source only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// A Secret of the same namespace. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// One entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}
