//! The definitions that a cluster gets: the schemas of the API types, bounded, closed, and with what they can check.
//!
//! The types in [`crate::api`] say what a document may contain. A cluster needs three things more: a bound on every list,
//! text and map (the API server refuses rules whose cost it cannot bound), rules on fields that belong together
//! ([`checks`]), and the status that the controller writes ([`status`]).

mod bounds;
mod checks;
pub mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::api::{self, Kind};

/// A definition could not be made; only a change of the API types can cause that.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {kind} cannot be made: {message}")]
pub struct DefinitionError {
    kind: &'static str,
    message: String,
}

/// The definition of one kind.
pub fn definition(kind: Kind) -> Result<CustomResourceDefinition, DefinitionError> {
    let made = match kind {
        Kind::ClusterEgressDomainSet => api::ClusterEgressDomainSet::crd(),
        Kind::ClusterEgressPolicy => api::ClusterEgressPolicy::crd(),
        Kind::EgressCredential => api::EgressCredential::crd(),
        Kind::EgressDomainSet => api::EgressDomainSet::crd(),
        Kind::EgressGateway => api::EgressGateway::crd(),
        Kind::EgressPolicy => api::EgressPolicy::crd(),
    };
    let failed = |message: String| DefinitionError {
        kind: kind.as_str(),
        message,
    };
    let mut value = serde_json::to_value(made).map_err(|error| failed(error.to_string()))?;
    let version = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let properties = value
        .pointer_mut(version)
        .ok_or_else(|| failed("it has no schema".to_owned()))?;
    for part in ["spec", "status"] {
        let schema = properties
            .get_mut(part)
            .ok_or_else(|| failed(format!("it has no {part}")))?;
        bounds::apply(schema, part);
    }
    if let Some(spec) = properties.get_mut("spec") {
        checks::apply(spec, kind).map_err(failed)?;
    }
    if let Some(schema) = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        // A name becomes part of records, metrics and file names.
        set(schema, "required", json!(["spec"]));
    }
    if let Some(metadata) = value.get_mut("metadata") {
        // Removing the definitions would remove every policy with them: that takes a decision of its own.
        set(
            metadata,
            "annotations",
            json!({"helm.sh/resource-policy": "keep"}),
        );
        set(
            metadata,
            "labels",
            json!({"app.kubernetes.io/part-of": "exitgate"}),
        );
    }
    serde_json::from_value(value).map_err(|error| failed(error.to_string()))
}

/// All definitions, in the order of their kinds' names.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, DefinitionError> {
    Kind::ALL.into_iter().map(definition).collect()
}

/// A definition as the YAML that `kubectl apply` takes.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, DefinitionError> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, definition, options).map_err(|error| {
        DefinitionError {
            kind: "a kind",
            message: error.to_string(),
        }
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// The name of the file that holds a kind's definition in the chart.
pub fn file_name(kind: Kind) -> String {
    format!("{}.yaml", kind.as_str().to_lowercase())
}

/// Sets a field of an object; anything else stays as it is.
fn set(target: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = target {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
