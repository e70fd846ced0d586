//! The values of credentials. They live in memory only, apart from everything that is shown, stored or hashed.

use std::collections::{BTreeMap, HashMap};

use exitgate_policy::SecretValue;
use exitgate_policy::snapshot::CredentialResource;

/// Secrets by namespace and name of their credential.
pub type Secrets = BTreeMap<(String, String), SecretValue>;

/// Header values that are ready to be sent: prefix and secret.
#[derive(Default)]
pub(crate) struct Credentials(HashMap<String, HashMap<String, SecretValue>>);

impl Credentials {
    /// A credential without a secret, or with one that no header can carry, has no value: its requests are refused.
    pub(super) fn build(resources: &[CredentialResource], secrets: &Secrets) -> Self {
        let mut built = Self::default();
        for resource in resources {
            let key = (resource.namespace.clone(), resource.name.clone());
            let Some(secret) = secrets.get(&key) else {
                continue;
            };
            let mut bytes = resource.prefix.clone().unwrap_or_default().into_bytes();
            bytes.extend_from_slice(secret.expose());
            if let Ok(value) = SecretValue::parse(bytes) {
                built.0.entry(key.0).or_default().insert(key.1, value);
            }
        }
        built
    }

    /// The whole header value of a credential.
    pub(crate) fn value(&self, namespace: &str, name: &str) -> Option<&SecretValue> {
        self.0.get(namespace)?.get(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_value_has_its_prefix_and_belongs_to_one_namespace() {
        let resource = |namespace: &str, name: &str, prefix: Option<&str>| CredentialResource {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            header: "Authorization".to_owned(),
            prefix: prefix.map(str::to_owned),
            hosts: Vec::new(),
        };
        let secrets = Secrets::from([(
            ("pay".to_owned(), "key".to_owned()),
            SecretValue::parse(b"s3cret".to_vec()).unwrap(),
        )]);
        let resources = [
            resource("pay", "key", Some("Bearer ")),
            resource("pay", "lost", None),
            resource("other", "key", None),
        ];
        let built = Credentials::build(&resources, &secrets);
        let value = |namespace, name| built.value(namespace, name).map(SecretValue::expose);
        assert_eq!(value("pay", "key"), Some(&b"Bearer s3cret"[..]));
        assert_eq!(value("pay", "lost"), None);
        assert_eq!(value("other", "key"), None);
    }
}
