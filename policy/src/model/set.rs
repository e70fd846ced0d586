//! Domain sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The content of an EgressDomainSet: a reusable list of names and address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainSetSpec {
    /// Host patterns: `x.io` is that name only, `*.x.io` every name below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Address ranges in CIDR form, for use through `cidrSets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Permits patterns that cover a public or shared-hosting suffix, such as `*.co.uk` or `*.github.io`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_broad: bool,
}

/// The content of a ClusterEgressDomainSet: like EgressDomainSet, and it may take its names from a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterDomainSetSpec {
    /// Host patterns: `x.io` is that name only, `*.x.io` every name below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Address ranges in CIDR form, for use through `cidrSets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Permits patterns that cover a public or shared-hosting suffix, such as `*.co.uk` or `*.github.io`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_broad: bool,
    /// Where a long list of names comes from. Its names are added to `hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
}

/// Where a long list of names comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Feed {
    /// A file with one name per line (`x.io` or `*.x.io`, `#` starts a comment), relative to the document's folder.
    pub file: String,
}
