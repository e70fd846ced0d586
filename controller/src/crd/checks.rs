//! What a schema can say about fields that belong together, in the words of `exitgate check`.
//!
//! These checks are a part of what the policy compiler refuses: the part that holds without knowing other objects and that
//! the API server can bound in cost. Whoever writes an object learns of them even where the controller does not run. The
//! compiler stays the judge.

use serde_json::{Value, json};

use super::bounds;
use crate::api::Kind;

/// One check: where it stands, what must hold, what is said where it does not.
struct Check {
    at: &'static str,
    rule: &'static str,
    say: Say,
    /// The field below `at` that the problem is shown at.
    field: Option<&'static str>,
}

enum Say {
    Text(&'static str),
    /// A CEL expression for a text that quotes the value.
    Expression(&'static str),
}

const fn check(at: &'static str, rule: &'static str, text: &'static str) -> Check {
    Check {
        at,
        rule,
        say: Say::Text(text),
        field: None,
    }
}

const fn quoting(at: &'static str, rule: &'static str, expression: &'static str) -> Check {
    Check {
        at,
        rule,
        say: Say::Expression(expression),
        field: None,
    }
}

const fn shown(
    at: &'static str,
    field: &'static str,
    rule: &'static str,
    text: &'static str,
) -> Check {
    Check {
        at,
        rule,
        say: Say::Text(text),
        field: Some(field),
    }
}

/// Adds the checks of a kind to the schema of its `spec`.
pub(super) fn apply(spec: &mut Value, kind: Kind) -> Result<(), String> {
    let parts: &[&[Check]] = match kind {
        Kind::ClusterEgressDomainSet | Kind::EgressDomainSet => &[SET],
        Kind::ClusterEgressPolicy => &[RULES, CLUSTER_POLICY],
        Kind::EgressCredential => &[CREDENTIAL],
        Kind::EgressGateway => &[GATEWAY],
        Kind::EgressPolicy => &[RULES, POLICY],
    };
    for check in parts.iter().copied().flatten() {
        let schema = bounds::at(spec, check.at).ok_or_else(|| format!("no field {}", check.at))?;
        let mut value = json!({ "rule": check.rule });
        let (key, text) = match check.say {
            Say::Text(text) => ("message", text),
            Say::Expression(text) => ("messageExpression", text),
        };
        super::set(&mut value, key, json!(text));
        if let Some(field) = check.field {
            super::set(&mut value, "fieldPath", json!(field));
        }
        bounds::add_checks(schema, vec![value]);
    }
    Ok(())
}

const EMPTY_TO: &str =
    "is empty, which means anywhere; name hosts, cidrs, ports or a protocol, or leave it out";
const EMPTY: &str = "is empty, so it asks for nothing; write a condition or leave it out";
const TWO_FORMS: &str = r#"'"' + self + '" is not a host pattern: write "' + self.substring(self.startsWith('.') ? 1 : 3) + '" for that name only, or "*.' + self.substring(self.startsWith('.') ? 1 : 3) + '" for every name below it'"#;
const PATTERN: &str = "!self.startsWith('.') && !self.startsWith('**.')";
const PORT: &str = "type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[0-9]{1,5}( *- *[0-9]{1,5})?$')";
const NOT_A_PORT: &str = r#"'"' + string(self) + '" is not a port; write a number from 1 to 65535 or a range such as "1-65535"'"#;
const STATUS: &str = "type(self) == int ? self >= 100 && self <= 999 : self.matches('^([0-9]{3}( *- *[0-9]{3})?|[1-9](xx|XX))$')";
const NOT_A_STATUS: &str = r#"'"' + string(self) + '" is not a status; write a number from 100 to 999, a class such as 2xx or a range such as "100-999"'"#;
const HEADER: &str = "has(self.exact) || has(self.prefix) || has(self.glob) || has(self.present)";
const NO_HEADER: &str = "say how the header must look: exact, prefix, glob or present";
const VALUELESS: &str = "!has(self.present) || self.present || !(has(self.exact) || has(self.prefix) || has(self.glob))";
const HAS_VALUE: &str = "a header that is not present has no value; this rule could never match";
const LENGTH: &str = "has(self.min) || has(self.max)";
const NO_LENGTH: &str = "give min, max or both";
const ORDERED: &str = "!has(self.min) || !has(self.max) || self.min <= self.max";
// The numbers would cost more in a message than the API server grants.
const NO_SUCH_LENGTH: &str =
    "no length is at least min and at most max, which is smaller; this rule could never match";
const UDP: &str = "UDP is not supported in v1alpha1; write HTTP, TLS or TCP";
const TO: &str = "has(self.hosts) || has(self.hostSets) || has(self.cidrs) || has(self.cidrSets) || has(self.ports) || has(self.protocol)";
const HTTP: &str = "has(self.methods) || has(self.paths) || has(self.headers) || has(self.contentTypes) || has(self.userAgents) || has(self.contentLength)";
const RESPONSE: &str =
    "has(self.status) || has(self.contentTypes) || has(self.headers) || has(self.contentLength)";
const TLS: &str = "has(self.sni) || has(self.alpn) || has(self.minVersion) || has(self.ja4)";
const ON_TCP: &str = "the rule has protocol: TCP, where no HTTP is seen, so it could never match; leave out protocol, or write HTTP or TLS";

/// Rules of both kinds of policies.
const RULES: &[Check] = &[
    check("rules[].to", TO, EMPTY_TO),
    check("rules[].http", HTTP, EMPTY),
    check("rules[].response", RESPONSE, EMPTY),
    check(
        "rules[].tls",
        "has(self.mode) || has(self.sni) || has(self.alpn) || has(self.minVersion) || has(self.ja4)",
        EMPTY,
    ),
    check("rules[].not.to", TO, EMPTY),
    check("rules[].not.http", HTTP, EMPTY),
    check("rules[].not.response", RESPONSE, EMPTY),
    check("rules[].not.tls", TLS, EMPTY),
    check(
        "rules[].not",
        "has(self.to) || has(self.from) || has(self.tls) || has(self.http) || has(self.response) || has(self.when)",
        "an empty not wraps what always holds, so the rule could never match",
    ),
    quoting("rules[].to.hosts[]", PATTERN, TWO_FORMS),
    quoting("rules[].not.to.hosts[]", PATTERN, TWO_FORMS),
    quoting("rules[].to.ports[]", PORT, NOT_A_PORT),
    quoting("rules[].not.to.ports[]", PORT, NOT_A_PORT),
    quoting("rules[].response.status[]", STATUS, NOT_A_STATUS),
    quoting("rules[].not.response.status[]", STATUS, NOT_A_STATUS),
    check("rules[].to.protocol", "self != 'UDP'", UDP),
    check("rules[].not.to.protocol", "self != 'UDP'", UDP),
    check("rules[].http.headers{}", HEADER, NO_HEADER),
    check("rules[].http.headers{}", VALUELESS, HAS_VALUE),
    check("rules[].response.headers{}", HEADER, NO_HEADER),
    check("rules[].response.headers{}", VALUELESS, HAS_VALUE),
    check("rules[].not.http.headers{}", HEADER, NO_HEADER),
    check("rules[].not.response.headers{}", HEADER, NO_HEADER),
    check("rules[].http.contentLength", LENGTH, NO_LENGTH),
    check("rules[].http.contentLength", ORDERED, NO_SUCH_LENGTH),
    check("rules[].response.contentLength", LENGTH, NO_LENGTH),
    check("rules[].response.contentLength", ORDERED, NO_SUCH_LENGTH),
    quoting(
        "rules[].expiresAt",
        "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$')",
        r#"'"' + self + '" is not a point in time; write for example 2027-01-31T00:00:00Z'"#,
    ),
    shown(
        "rules[]",
        ".http",
        "!has(self.http) || !has(self.to) || !has(self.to.protocol) || self.to.protocol != 'TCP'",
        ON_TCP,
    ),
    shown(
        "rules[]",
        ".response",
        "!has(self.response) || has(self.http) || !has(self.to) || !has(self.to.protocol) || self.to.protocol != 'TCP'",
        ON_TCP,
    ),
    shown(
        "rules[]",
        ".tls",
        "!has(self.tls) || !has(self.to) || !has(self.to.protocol) || self.to.protocol != 'HTTP' || !(has(self.tls.sni) || has(self.tls.alpn) || has(self.tls.minVersion) || has(self.tls.ja4))",
        "the rule has protocol: HTTP, which is cleartext, so it could never match; write protocol: TLS",
    ),
    shown(
        "rules[]",
        ".tls",
        "!has(self.tls) || !has(self.to) || !has(self.to.protocol) || self.to.protocol != 'TCP' || !(self.action in ['Deny', 'Alert']) || !(has(self.tls.sni) || has(self.tls.alpn) || has(self.tls.minVersion) || has(self.tls.ja4))",
        "in a Deny or Alert protocol: TCP is what is not TLS, so the rule could never match; write protocol: TLS",
    ),
    shown(
        "rules[]",
        ".tls.mode",
        "!has(self.tls) || !has(self.tls.mode) || self.tls.mode != 'Passthrough' || !(has(self.http) || has(self.response) || has(self.inject) || (has(self.not) && (has(self.not.http) || has(self.not.response))))",
        "Passthrough never looks inside, so it cannot stand beside http, response, inject or a when that asks for them",
    ),
    shown(
        "rules[]",
        ".tls.mode",
        "!has(self.tls) || !has(self.tls.mode) || self.tls.mode == 'Auto' || (self.tls.mode == 'Inspect' ? self.action != 'Deny' : self.action in ['Allow', 'Next', 'Pass'])",
        "a mode acts on Allow, Pass and Next (Inspect also on Alert); leave it out here",
    ),
];

const REPLACES: &str = "!has(self.replaces) || (has(self.mode) && self.mode == 'Audit')";
const ONLY_AUDIT: &str = "only a policy in mode Audit replaces another one; set mode: Audit";
const NO_FROM: &str =
    "only cluster policies have from; an EgressPolicy selects its workloads through spec.subject";

const POLICY: &[Check] = &[
    quoting(
        "rules[].action",
        "!(self in ['Next', 'Pass'])",
        "self + ' exists only in a ClusterEgressPolicy; write Allow, Deny or Alert'",
    ),
    shown("rules[]", ".from", "!has(self.from)", NO_FROM),
    shown("rules[].not", ".from", "!has(self.from)", NO_FROM),
    shown(
        "rules[]",
        ".inject",
        "!has(self.inject) || self.action == 'Allow'",
        "only an Allow injects a credential",
    ),
    shown("", ".replaces", REPLACES, ONLY_AUDIT),
];

const ECS: &str = "nothing that this source knows is an Amazon ECS task; write namespaces, podSelector, serviceAccounts or cidrs";

const CLUSTER_POLICY: &[Check] = &[
    shown(
        "rules[]",
        ".inject",
        "!has(self.inject)",
        "a credential belongs to a namespace; only an EgressPolicy injects one",
    ),
    shown(
        "",
        ".rules",
        "self.tier != 'Baseline' || !has(self.rules) || self.rules.all(rule, rule.action != 'Pass')",
        "Pass exists only in tier Admin, there is nothing to skip to; write Allow, Deny, Alert or Next",
    ),
    shown("rules[].from", ".ecs", "!has(self.ecs)", ECS),
    shown("rules[].not.from", ".ecs", "!has(self.ecs)", ECS),
    shown("", ".replaces", REPLACES, ONLY_AUDIT),
];

const CREDENTIAL: &[Check] = &[
    check(
        "hosts",
        "self.size() > 0",
        "is empty: name the hosts that may receive the secret",
    ),
    quoting("hosts[]", PATTERN, TWO_FORMS),
    check(
        "valueFrom",
        "has(self.secretRef) && !has(self.file) && !has(self.env)",
        "file and env exist only where documents are read from files; in Kubernetes write secretRef with name and key",
    ),
];

const SET: &[Check] = &[quoting("hosts[]", PATTERN, TWO_FORMS)];

const GATEWAY: &[Check] = &[
    shown(
        "tls",
        ".authority",
        "!has(self.inspection) || self.inspection != 'On' || has(self.authority)",
        "is required where inspection is On",
    ),
    shown(
        "tls.authority",
        ".excluded",
        "!has(self.excluded) || (has(self.constraints) && self.constraints == 'ExclusionsOnly')",
        "has a meaning only beside constraints: ExclusionsOnly",
    ),
    check(
        "tls.upstreams[].hosts",
        "self.size() > 0",
        "is empty, so the entry is for no host; name them",
    ),
];
