//! One document as one object: kind, identity and typed content, or every reason why it is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exitgate_policy::{
    ClusterDomainSetSpec, ClusterEgressPolicySpec, CredentialSpec, DomainSetSpec,
    EgressGatewaySpec, EgressPolicySpec, ObjectRef, Severity,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{Data, Node, Position};
use super::report::Diagnostic;
use super::schema::{self, closest};
use crate::api::{GROUP, Kind, VERSION};

/// An object that could be identified; `spec` is absent where its content is not valid.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) spec: Option<Spec>,
    pub(super) file: Arc<Path>,
    pub(super) node: Node,
}

/// The content of an object, by kind.
#[derive(Clone, Debug)]
pub enum Spec {
    ClusterPolicy(ClusterEgressPolicySpec),
    ClusterSet(ClusterDomainSetSpec),
    Credential(CredentialSpec),
    Gateway(Box<EgressGatewaySpec>),
    Policy(EgressPolicySpec),
    Set(DomainSetSpec),
}

/// The schemas of all kinds, generated once for a run over many documents.
pub(super) struct Schemas(Vec<(Kind, Value)>);

impl Schemas {
    pub(super) fn new() -> Self {
        Self(
            Kind::ALL
                .into_iter()
                .map(|kind| (kind, kind.schema()))
                .collect(),
        )
    }

    fn of(&self, kind: Kind) -> &Value {
        self.0
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or(&Value::Null, |(_, schema)| schema)
    }
}

/// Reads the objects of one document: itself, or the items of a list as `kubectl get -o yaml` writes it.
pub(super) fn read(
    node: Node,
    file: &Arc<Path>,
    schemas: &Schemas,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Object> {
    let is_list = node.get("kind").and_then(Node::as_str) == Some("List")
        && node.get("apiVersion").and_then(Node::as_str) == Some("v1");
    if !is_list {
        return Reader {
            file,
            schemas,
            problems,
        }
        .object(node)
        .into_iter()
        .collect();
    }
    let Data::Mapping(entries) = node.data else {
        return Vec::new();
    };
    let items = entries
        .into_iter()
        .find(|entry| entry.key == "items")
        .map(|entry| entry.value.data);
    let Some(Data::Sequence(items)) = items else {
        return Vec::new();
    };
    items
        .into_iter()
        .filter_map(|item| {
            Reader {
                file,
                schemas,
                problems: &mut *problems,
            }
            .object(item)
        })
        .collect()
}

impl Object {
    pub(super) fn reference(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.as_str(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    pub(super) fn is(&self, reference: &ObjectRef) -> bool {
        self.kind.as_str() == reference.kind
            && self.namespace == reference.namespace
            && self.name == reference.name
    }

    pub(super) fn problem(&self, severity: Severity, path: &str, message: String) -> Diagnostic {
        Diagnostic {
            severity,
            file: Some(self.file.to_path_buf()),
            position: Some(self.node.locate(path)),
            object: Some(self.reference()),
            path: path.to_owned(),
            message,
        }
    }

    /// The folder that relative paths in this document start from.
    pub(super) fn folder(&self) -> PathBuf {
        self.file
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default()
    }
}

struct Reader<'a> {
    file: &'a Arc<Path>,
    schemas: &'a Schemas,
    problems: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn object(mut self, node: Node) -> Option<Object> {
        let Data::Mapping(entries) = &node.data else {
            self.report(
                node.position,
                "",
                "a document must be a mapping with apiVersion, kind, metadata and spec".into(),
            );
            return None;
        };
        let kind = self.kind(&node);
        for entry in entries {
            if !FIELDS.contains(&entry.key.as_str()) {
                let message = unknown_field(&entry.key, &FIELDS);
                self.report(entry.key_position, &entry.key, message);
            }
        }
        let (namespace, name) = self.metadata(&node, kind)?;
        let kind = kind?;
        let mut object = Object {
            kind,
            namespace,
            name,
            spec: None,
            file: Arc::clone(self.file),
            node,
        };
        object.spec = self.spec(&object);
        Some(object)
    }

    fn kind(&mut self, node: &Node) -> Option<Kind> {
        let expected = format!("{GROUP}/{VERSION}");
        let mut known_version = false;
        match node
            .get("apiVersion")
            .map(|version| (version, version.as_str()))
        {
            None => self.report(
                node.position,
                "apiVersion",
                format!("is required; write {expected}"),
            ),
            Some((_, Some(text))) if text == expected => known_version = true,
            Some((version, text)) => {
                let found = text.map_or_else(|| "this".to_owned(), |text| format!("{text:?}"));
                self.report(
                    version.position,
                    "apiVersion",
                    format!("{found} is not known; write {expected}"),
                );
            }
        }
        let names = Kind::ALL.map(Kind::as_str);
        let Some(kind_node) = node.get("kind") else {
            self.report(
                node.position,
                "kind",
                format!("is required: one of {}", names.join(", ")),
            );
            return None;
        };
        let text = kind_node.as_str().unwrap_or_default();
        let kind = Kind::parse(text);
        // Under a foreign apiVersion the kind is foreign too; one problem says it.
        if kind.is_none() && known_version {
            let message = match closest(text, names.into_iter()) {
                Some(name) => format!("unknown kind {text:?}; did you mean {name:?}?"),
                None => format!("unknown kind {text:?}; known: {}", names.join(", ")),
            };
            self.report(kind_node.position, "kind", message);
        }
        kind.filter(|_| known_version)
    }

    fn metadata(&mut self, node: &Node, kind: Option<Kind>) -> Option<(Option<String>, String)> {
        let Some(metadata) = node.get("metadata") else {
            self.report(node.position, "metadata.name", "is required".into());
            return None;
        };
        let Data::Mapping(entries) = &metadata.data else {
            self.report(
                metadata.position,
                "metadata",
                "must be a mapping with a name".into(),
            );
            return None;
        };
        for entry in entries {
            if !METADATA.contains(&entry.key.as_str()) {
                let message = unknown_field(&entry.key, &METADATA);
                self.report(
                    entry.key_position,
                    &format!("metadata.{}", entry.key),
                    message,
                );
            }
        }
        let name = match metadata.get("name").map(|name| (name, name.as_str())) {
            None => {
                self.report(metadata.position, "metadata.name", "is required".into());
                None
            }
            Some((_, Some(text))) if is_object_name(text) => Some(text.to_owned()),
            Some((at, _)) => {
                let message = "must be lower-case letters, digits, '-' and '.', at most 253 characters, \
                               beginning and ending with a letter or digit";
                self.report(at.position, "metadata.name", message.into());
                None
            }
        };
        let namespace = match (metadata.get("namespace"), kind.map(Kind::is_namespaced)) {
            (None, Some(true)) => Some("default".to_owned()),
            (None, _) => None,
            (Some(at), Some(false)) => {
                let kind = kind.map_or("", Kind::as_str);
                self.report(
                    at.position,
                    "metadata.namespace",
                    format!("{kind} belongs to the cluster; remove it"),
                );
                return None;
            }
            (Some(at), _) => match at.as_str() {
                Some(text) if is_label(text) => Some(text.to_owned()),
                _ => {
                    let message =
                        "must be lower-case letters, digits and '-', at most 63 characters";
                    self.report(at.position, "metadata.namespace", message.into());
                    return None;
                }
            },
        };
        Some((namespace, name?))
    }

    fn spec(&mut self, object: &Object) -> Option<Spec> {
        let Some(entry) = object.node.entry("spec") else {
            self.report(object.node.position, "spec", "is required".into());
            return None;
        };
        if matches!(entry.value.data, Data::Scalar(Value::Null)) {
            self.report(
                entry.key_position,
                "spec",
                "has no value; an empty one is written as {}".into(),
            );
            return None;
        }
        let schema = self.schemas.of(object.kind);
        let mismatches = schema::validate(schema, schema, &entry.value, "spec");
        let json = entry.value.to_json();
        let typed = match object.kind {
            Kind::ClusterEgressDomainSet => typed(json).map(Spec::ClusterSet),
            Kind::ClusterEgressPolicy => typed(json).map(Spec::ClusterPolicy),
            Kind::EgressCredential => typed(json).map(Spec::Credential),
            Kind::EgressDomainSet => typed(json).map(Spec::Set),
            Kind::EgressGateway => typed(json).map(Box::new).map(Spec::Gateway),
            Kind::EgressPolicy => typed(json).map(Spec::Policy),
        };
        let accepted = typed.is_ok();
        let found = self.problems.len();
        for mismatch in mismatches
            .into_iter()
            .filter(|mismatch| !(accepted && mismatch.lenient))
        {
            self.problems
                .push(object.problem(Severity::Error, &mismatch.path, mismatch.message));
        }
        let valid = self.problems.len() == found;
        match typed {
            Ok(spec) => valid.then_some(spec),
            // The walk explains better, but only what it can see; what it cannot must not pass.
            Err(message) if valid => {
                self.problems
                    .push(object.problem(Severity::Error, "spec", message));
                None
            }
            Err(_) => None,
        }
    }

    fn report(&mut self, position: Position, path: &str, message: String) {
        self.problems.push(Diagnostic {
            severity: Severity::Error,
            file: Some(self.file.to_path_buf()),
            position: Some(position),
            object: None,
            path: path.to_owned(),
            message,
        });
    }
}

fn typed<T: DeserializeOwned>(json: Value) -> Result<T, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

fn unknown_field(field: &str, known: &[&str]) -> String {
    match closest(field, known.iter().copied()) {
        Some(name) => format!("unknown field; did you mean {name:?}?"),
        None => "unknown field".to_owned(),
    }
}

fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label_of_any_length)
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| plain(byte) || byte == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// What the API server knows, so that a document it wrote can be checked as it is.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
