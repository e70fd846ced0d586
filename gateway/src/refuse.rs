//! What a client is told when something is refused or fails, in HTTP/1.

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

/// RFC 9457 problem document with the status line and fields of the refusal. The connection closes after it.
pub(crate) fn render(
    record: &Record,
    reason: Reason,
    status: Option<u16>,
    delivered: bool,
) -> Vec<u8> {
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
        Reason::Policy(_) | Reason::PolicyChanged | Reason::ProtocolNotAllowed => format!(
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
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Refused",
    }
}
