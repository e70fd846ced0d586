//! Credentials, without their values.

use std::{collections::HashMap, sync::Arc};

use super::{At, Compiler, ObjectRef, values};
use crate::{matcher::Patterns, snapshot::CredentialResource};

/// A credential without its value.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// In lower case.
    pub(crate) header: Arc<str>,
    /// Where it may be sent.
    pub(crate) hosts: Patterns,
}

/// Headers that say where a message ends, whom it is for or what happens to the connection: what a secret is put into is
/// none of these.
const RESERVED: [&str; 16] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const MAX_HEADER: usize = 128;
const MAX_PREFIX: usize = 128;

impl Compiler {
    pub(super) fn credentials(&mut self, resources: &[CredentialResource]) {
        let mut known: HashMap<(String, String), Arc<Credential>> = HashMap::new();
        for resource in resources {
            let object = ObjectRef {
                kind: "EgressCredential",
                namespace: Some(resource.namespace.clone()),
                name: resource.name.clone(),
            };
            let at = At::new(object, "spec");
            let credential = self.credential(&at, resource);
            let key = (resource.namespace.clone(), resource.name.clone());
            if known.insert(key, Arc::new(credential)).is_some() {
                let at = At {
                    path: "metadata.name".to_owned(),
                    ..at
                };
                self.error(&at, "another document defines the same credential");
            }
        }
        self.credentials = known;
    }

    fn credential(&mut self, at: &At, resource: &CredentialResource) -> Credential {
        let header = resource.header.to_ascii_lowercase();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if header.is_empty() || header.len() > MAX_HEADER || !header.bytes().all(token) {
            let message = format!(
                "\"{}\" is not the name of a header; write for example Authorization",
                resource.header
            );
            self.error(&at.field("header"), message);
        } else if RESERVED.contains(&header.as_str()) || header.starts_with("sec-websocket-") {
            let message = format!(
                "{} belongs to the connection or the message, and a secret has no place in it",
                resource.header
            );
            self.error(&at.field("header"), message);
        }
        let prefix = resource.prefix.as_deref().unwrap_or_default();
        if prefix.len() > MAX_PREFIX
            || prefix.starts_with(' ')
            || !prefix.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            let message = format!(
                "a prefix has at most {MAX_PREFIX} printable ASCII characters and does not begin with a space; write for example \"Bearer \""
            );
            self.error(&at.field("prefix"), message);
        }
        let hosts = at.field("hosts");
        if resource.hosts.is_empty() {
            self.error(
                &hosts,
                "is empty: name the hosts that may receive the secret",
            );
        }
        let patterns = self.hosts(&hosts, &resource.hosts, false);
        Credential {
            namespace: resource.namespace.as_str().into(),
            name: resource.name.as_str().into(),
            header: header.into(),
            hosts: values::patterns(patterns),
        }
    }
}
