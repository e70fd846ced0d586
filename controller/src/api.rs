//! The kinds of `exitgate.dev/v1alpha1` as Kubernetes holds them.
//!
//! The content of each kind is a type of the policy crate, which knows nothing of Kubernetes; the types here add what the
//! API server needs: names, scope, printer columns.

#![allow(
    clippy::duplicated_attributes,
    reason = "two printer columns of one type are not a repetition"
)]

use exitgate_policy::{
    ClusterDomainSetSpec, ClusterEgressPolicySpec, CredentialSpec, DomainSetSpec,
    EgressGatewaySpec, EgressPolicySpec,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::status::ObjectStatus;

/// The API group of every kind.
pub const GROUP: &str = "exitgate.dev";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";

/// Where the selected workloads of a namespace may connect.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "EgressPolicy",
    namespaced,
    plural = "egresspolicies",
    shortname = "egp",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "Where the selected workloads of this namespace may connect.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Replaces",
        type_ = "string",
        json_path = ".spec.replaces",
        priority = "1"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Enforcing",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforcing\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct EgressPolicyContent(pub EgressPolicySpec);

/// Guardrails above, and defaults below, the policies of the namespaces.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "ClusterEgressPolicy",
    plural = "clusteregresspolicies",
    shortname = "cegp",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "Guardrails above, and defaults below, the policies of the namespaces.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Enforcing",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforcing\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct ClusterEgressPolicyContent(pub ClusterEgressPolicySpec);

/// A secret and the destinations it may be added to requests for.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "EgressCredential",
    namespaced,
    plural = "egresscredentials",
    shortname = "egc",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "A secret and the destinations it may be added to requests for.",
    printcolumn(name = "Header", type_ = "string", json_path = ".spec.header"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct EgressCredentialContent(pub CredentialSpec);

/// A reusable list of names and address ranges for the policies of one namespace.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "EgressDomainSet",
    namespaced,
    plural = "egressdomainsets",
    shortname = "eds",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "A reusable list of names and address ranges for the policies of one namespace.",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct EgressDomainSetContent(pub DomainSetSpec);

/// A reusable list of names and address ranges for all policies; it may take its names from a feed.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "ClusterEgressDomainSet",
    plural = "clusteregressdomainsets",
    shortname = "ceds",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "A reusable list of names and address ranges for all policies; it may take its names from a feed.",
    printcolumn(name = "Feed", type_ = "string", json_path = ".spec.feed.file"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct ClusterEgressDomainSetContent(pub ClusterDomainSetSpec);

/// Settings of one fleet of gateways.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "exitgate.dev",
    version = "v1alpha1",
    kind = "EgressGateway",
    plural = "egressgateways",
    shortname = "egw",
    category = "exitgate",
    status = "ObjectStatus",
    doc = "Settings of one fleet of gateways.",
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope"),
    printcolumn(name = "Default", type_ = "string", json_path = ".spec.defaultAction"),
    printcolumn(
        name = "Enforcement",
        type_ = "string",
        json_path = ".spec.enforcement.mode"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct EgressGatewayContent(pub EgressGatewaySpec);

/// A kind that a document can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    ClusterEgressDomainSet,
    ClusterEgressPolicy,
    EgressCredential,
    EgressDomainSet,
    EgressGateway,
    EgressPolicy,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::ClusterEgressDomainSet,
        Self::ClusterEgressPolicy,
        Self::EgressCredential,
        Self::EgressDomainSet,
        Self::EgressGateway,
        Self::EgressPolicy,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterEgressDomainSet => "ClusterEgressDomainSet",
            Self::ClusterEgressPolicy => "ClusterEgressPolicy",
            Self::EgressCredential => "EgressCredential",
            Self::EgressDomainSet => "EgressDomainSet",
            Self::EgressGateway => "EgressGateway",
            Self::EgressPolicy => "EgressPolicy",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    pub fn is_namespaced(self) -> bool {
        match self {
            Self::EgressCredential | Self::EgressDomainSet | Self::EgressPolicy => true,
            Self::ClusterEgressDomainSet | Self::ClusterEgressPolicy | Self::EgressGateway => false,
        }
    }

    /// The JSON schema of the kind's `spec`.
    pub fn schema(self) -> serde_json::Value {
        let generator = || schemars::generate::SchemaSettings::draft2020_12().into_generator();
        match self {
            Self::ClusterEgressDomainSet => {
                generator().into_root_schema_for::<ClusterDomainSetSpec>()
            }
            Self::ClusterEgressPolicy => {
                generator().into_root_schema_for::<ClusterEgressPolicySpec>()
            }
            Self::EgressCredential => generator().into_root_schema_for::<CredentialSpec>(),
            Self::EgressDomainSet => generator().into_root_schema_for::<DomainSetSpec>(),
            Self::EgressGateway => generator().into_root_schema_for::<EgressGatewaySpec>(),
            Self::EgressPolicy => generator().into_root_schema_for::<EgressPolicySpec>(),
        }
        .to_value()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use kube::CustomResourceExt;

    use super::*;

    #[test]
    fn definitions_are_structural_and_described() {
        let definitions = [
            ClusterEgressDomainSet::crd(),
            ClusterEgressPolicy::crd(),
            EgressCredential::crd(),
            EgressDomainSet::crd(),
            EgressGateway::crd(),
            EgressPolicy::crd(),
        ];
        for (definition, kind) in definitions.iter().zip(Kind::ALL) {
            assert_eq!(definition.spec.names.kind, kind.as_str());
            assert_eq!(definition.spec.group, GROUP);
            assert_eq!(definition.spec.versions[0].name, VERSION);
            assert_eq!(definition.spec.scope == "Namespaced", kind.is_namespaced());
            let text = serde_json::to_string(definition).unwrap();
            assert!(
                !text.contains("$ref"),
                "{} has a recursive type",
                kind.as_str()
            );
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let spec =
                &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            described(spec, "spec");
        }
    }

    /// Every field has a text for `kubectl explain`.
    fn described(schema: &serde_json::Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(
                field["description"].is_string(),
                "{path} has no description"
            );
            described(field, &path);
            described(&field["items"], &path);
        }
    }

    #[test]
    fn objects_read_and_write_their_content_in_place() {
        let document = serde_json::json!({
            "apiVersion": "exitgate.dev/v1alpha1", "kind": "EgressPolicy",
            "metadata": {"name": "billing", "namespace": "pay"},
            "spec": {"mode": "Audit", "subject": {}, "rules": [{"name": "a", "action": "Allow"}]}
        });
        let object: EgressPolicy = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(object.spec.0.rules[0].name, "a");
        assert_eq!(serde_json::to_value(&object).unwrap(), document);
    }
}
