//! What the controller reports on an object: the `status` of every kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller and the gateways made of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStatus {
    /// The generation of the object that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds for the object: Accepted, ResolvedRefs, Programmed, for policies also Enforcing and Overridden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The digest of what gateways are to apply for this object; it changes with its content only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How many gateways apply the revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<GatewayCount>,
    /// The last form that was accepted. It stays in force while a newer one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedForm>,
}

/// One statement about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the statement is about, such as Accepted.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The generation of the object that the statement is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when the statement has held, or not held (RFC 3339).
    pub last_transition_time: String,
    /// Why, in one word for machines.
    pub reason: String,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
}

/// Whether a statement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does not hold.
    False,
    /// It holds.
    True,
    /// Nobody can say.
    Unknown,
}

/// How many gateways apply an object's revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayCount {
    /// How many apply it.
    pub applied: u32,
    /// How many have a workload that the object is about.
    pub expected: u32,
    /// Some that do not apply it yet, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingGateway>,
}

/// A gateway that does not apply the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingGateway {
    /// The gateway: its fleet and its node or instance.
    pub name: String,
    /// Why it does not.
    pub reason: String,
}

/// The last form of an object that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedForm {
    /// The generation that it was.
    pub generation: i64,
    /// SHA-256 of its spec in canonical JSON.
    pub digest: String,
    /// Its spec: JSON, compressed with gzip, in base64.
    pub form: String,
}
