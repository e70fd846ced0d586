//! What a client is told when something is refused or fails, in HTTP/1.

use exitgate_policy::Reason as PolicyReason;
use exitgate_policy::decide::RuleRef;
use serde::Serialize;

use crate::reason::Reason;
use crate::record::Record;

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    #[serde(rename = "decisionId")]
    decision_id: String,
    policy: Option<String>,
    rule: Option<&'a str>,
    phase: Option<&'a str>,
    reason: &'a str,
    detail: String,
    ask: String,
}

/// What a refusal says, whatever protocol carries it.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// One line for people.
    pub(crate) detail: String,
    /// RFC 9457 problem document.
    pub(crate) body: Vec<u8>,
}

/// Puts a refusal into words. `delivered`: the origin has the request.
pub(crate) fn explain(
    record: &Record,
    reason: Reason,
    status: Option<u16>,
    delivered: bool,
) -> Refusal {
    let fields = &record.fields;
    let rule = fields.decision.as_ref().and_then(|d| d.rule.as_ref());
    let status = status.unwrap_or(match reason {
        Reason::Limit if fields.workload.is_some() => 429,
        other => other.status(),
    });
    let target = target(record);
    let problem = Problem {
        kind: format!("https://exitgate.dev/reasons/{}", reason.code()),
        title: reason.title(),
        status,
        decision_id: record.id().to_string(),
        policy: rule.map(crate::record::policy_name),
        rule: rule.map(|r| &*r.rule),
        phase: fields.phase.filter(|_| matches!(reason, Reason::Policy(_))),
        reason: reason.code(),
        detail: detail(record, reason, rule, &target, delivered),
        ask: ask(record, reason, &target),
    };
    let mut body = serde_json::to_vec(&problem).unwrap_or_default();
    body.push(b'\n');
    Refusal {
        status,
        detail: problem.detail,
        body,
    }
}

/// The refusal as an HTTP/1 response. The connection closes after it.
pub(crate) fn render(
    record: &Record,
    reason: Reason,
    status: Option<u16>,
    delivered: bool,
) -> Vec<u8> {
    let Refusal { status, body, .. } = explain(record, reason, status, delivered);
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nCache-Control: no-store\r\nExitgate-Reason: {}\r\nExitgate-Decision: {}\r\n",
        phrase(status),
        body.len(),
        reason.code(),
        record.id(),
    );
    match reason {
        Reason::ProxyAuthRequired => {
            head.push_str("Proxy-Authenticate: Basic realm=\"Exitgate\", charset=\"UTF-8\"\r\n");
        }
        Reason::Limit | Reason::NotReady | Reason::Draining => head.push_str("Retry-After: 5\r\n"),
        _ => {}
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut out = head.into_bytes();
    out.extend_from_slice(&body);
    out
}

fn target(record: &Record) -> String {
    let host = record.fields.host.as_deref().unwrap_or("the destination");
    match record.fields.port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn detail(
    record: &Record,
    reason: Reason,
    rule: Option<&RuleRef>,
    target: &str,
    delivered: bool,
) -> String {
    let mut text = match (reason, rule) {
        (Reason::Policy(_), Some(rule)) => {
            format!(
                "{target}: refused by rule {:?} of {}",
                rule.rule,
                crate::record::policy_name(rule)
            )
        }
        (Reason::Policy(_), None) => format!("{target}: refused ({})", reason.code()),
        _ => match &record.fields.detail {
            Some(detail) => format!("{target}: {detail}"),
            None => format!("{target}: {}", reason.title()),
        },
    };
    if delivered {
        text.push_str("; the request was delivered");
    }
    text
}

fn ask(record: &Record, reason: Reason, target: &str) -> String {
    let who = record.fields.workload.as_ref().map_or_else(
        || "this workload".to_owned(),
        |w| format!("{}/{}", w.namespace, w.name),
    );
    match reason {
        Reason::Policy(reason) => ask_about(record, reason, &who, target),
        Reason::PolicyChanged | Reason::ProtocolNotAllowed => format!(
            "Ask whoever owns the egress policies of {who} for an Allow rule that covers {target}, and quote decision {}.",
            record.id()
        ),
        Reason::IdentityUnknown | Reason::IdentityConflict => format!(
            "Ask the platform team to map {} in EgressGateway.spec.workloads, and quote decision {}.",
            record.fields.source.ip(),
            record.id()
        ),
        Reason::ProxyAuthRequired => {
            "Send Proxy-Authorization with the credential of this workload.".to_owned()
        }
        Reason::Limit | Reason::NotReady | Reason::Draining => "Try again later.".to_owned(),
        _ => format!("Quote decision {} when you ask for help.", record.id()),
    }
}

/// What would help against a verdict of the policy; nothing is promised that no rule can give.
fn ask_about(record: &Record, reason: PolicyReason, who: &str, target: &str) -> String {
    let id = record.id();
    let rule = record
        .fields
        .decision
        .as_ref()
        .and_then(|d| d.rule.as_ref());
    match (reason, rule) {
        (PolicyReason::RuleDenied, Some(rule)) => format!(
            "Ask whoever owns {} about its rule {:?}, and quote decision {id}.",
            crate::record::policy_name(rule),
            rule.rule
        ),
        (
            PolicyReason::LinkLocal
            | PolicyReason::Metadata
            | PolicyReason::Multicast
            | PolicyReason::SelfAddress
            | PolicyReason::Unspecified,
            _,
        ) => format!("Nothing: no rule can open {target}. The decision is {id}."),
        (PolicyReason::EmbeddedIpv4, _) => format!(
            "Connect to the IPv4 address itself; no rule can open it in this form. The decision is {id}."
        ),
        (PolicyReason::ClusterInternal | PolicyReason::Loopback | PolicyReason::NonPublic, _) => {
            format!(
                "Ask the platform team for an Admin rule whose cidrs open the address of {target}, and quote decision {id}."
            )
        }
        (PolicyReason::NameMismatch | PolicyReason::PortMismatch | PolicyReason::SniMissing, _) => {
            format!(
                "Let the client show the same name and port in CONNECT, TLS and Host; the decision is {id}."
            )
        }
        (
            PolicyReason::CredentialUnavailable
            | PolicyReason::InjectConflict
            | PolicyReason::InjectImpossible
            | PolicyReason::PolicyError
            | PolicyReason::PolicyUnsupported
            | PolicyReason::SetUnavailable
            | PolicyReason::Uninspectable
            | PolicyReason::UnresolvedAddress,
            _,
        ) => format!(
            "Quote decision {id} to whoever owns the egress policies of {who}: {} says what to correct.",
            reason.code()
        ),
        (
            PolicyReason::Allowed
            | PolicyReason::DefaultDeny
            | PolicyReason::NoRule
            | PolicyReason::RuleDenied,
            _,
        ) => format!(
            "Ask whoever owns the egress policies of {who} for an Allow rule that covers {target}, and quote decision {id}."
        ),
    }
}

/// The reason phrase of a status that we send ourselves.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Refused",
    }
}
