//! The shape of a record line.

use serde::Serialize;
use std::borrow::Cow;

use exitgate_policy::decide::RuleRef;
use exitgate_policy::evidence::{Entry, TlsVersion};
use exitgate_runtime::build;

use super::{Class, Fields, VerdictLabel};

/// Longest text from a peer that a record repeats; what is cut is marked.
const TEXT_LIMIT: usize = 1024;
const CUT_MARK: &str = "…[truncated]";

/// Bytes from a peer as text: bounded, invalid UTF-8 replaced. JSON escapes the control characters.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match bytes.get(..TEXT_LIMIT) {
        Some(head) if bytes.len() > TEXT_LIMIT => {
            Cow::Owned(format!("{}{CUT_MARK}", String::from_utf8_lossy(head)))
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

fn name_of(rule: &RuleRef) -> String {
    match &rule.namespace {
        Some(namespace) => format!("{} {namespace}/{}", rule.kind, rule.policy),
        None => format!("{} {}", rule.kind, rule.policy),
    }
}

/// The policy's full name as records and refusals show it: `EgressPolicy pay/billing`.
pub(crate) fn policy_name(rule: &RuleRef) -> String {
    name_of(rule)
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Metadata {
    version: &'static str,
    product: Product,
    uid: String,
}

#[derive(Serialize)]
struct Source {
    ip: String,
    port: u16,
}

#[derive(Serialize)]
struct Destination<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
struct Tls<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<&'a str>,
    version: &'static str,
    ja4: &'a str,
    ech: bool,
}

#[derive(Serialize)]
struct Url<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Cow<'a, str>>,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    scheme: &'static str,
}

#[derive(Serialize)]
struct HttpRequest<'a> {
    http_method: &'a str,
    url: Url<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct HttpResponse {
    code: u16,
}

#[derive(Serialize)]
struct Traffic {
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Serialize)]
struct WorkloadFields<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<&'a str>,
}

#[derive(Serialize)]
struct Match<'a> {
    policy: String,
    rule: &'a str,
}

#[derive(Serialize)]
struct ShadowFields<'a> {
    kind: &'static str,
    #[serde(flatten)]
    rule: Option<Match<'a>>,
}

#[derive(Serialize)]
struct Exitgate<'a> {
    entry: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadFields<'a>>,
    verdict: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<Match<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<ShadowFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resolved: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cname_chain: Vec<&'a str>,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_by: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'a> {
    class_uid: u16,
    class_name: &'static str,
    category_uid: u8,
    activity_id: u8,
    type_uid: u32,
    severity_id: u8,
    time: u64,
    duration: u64,
    metadata: Metadata,
    action_id: u8,
    disposition_id: u8,
    status_id: u8,
    is_alert: bool,
    src_endpoint: Source,
    dst_endpoint: Destination<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_response: Option<HttpResponse>,
    traffic: Traffic,
    exitgate: Exitgate<'a>,
}

fn entry_name(entry: Entry) -> &'static str {
    match entry {
        Entry::Connect => "connect",
        Entry::Dns => "dns",
        Entry::Forward => "forward",
        Entry::Redirected => "redirected",
    }
}

fn version_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Ssl3 => "3.0",
        TlsVersion::Tls10 => "1.0",
        TlsVersion::Tls11 => "1.1",
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

/// OCSF ids: (activity, action, disposition, status).
fn ids(fields: &Fields) -> (u8, u8, u8, u8) {
    let observed = fields
        .decision
        .as_ref()
        .is_some_and(|d| d.denied && !d.enforced);
    let http = fields.class == Class::Http;
    match fields.verdict {
        // HTTP activity 99: the method is in http_request. Network activity 2: close.
        VerdictLabel::Allow if observed => (if http { 99 } else { 2 }, 3, 17, 1),
        VerdictLabel::Allow => (if http { 99 } else { 2 }, 1, 1, 1),
        VerdictLabel::Deny => (if http { 99 } else { 5 }, 2, 2, 2),
        VerdictLabel::Error => (if http { 99 } else { 4 }, 1, 27, 2),
    }
}

/// One line, with its line feed.
pub(super) fn render(fields: &Fields) -> Vec<u8> {
    let (activity_id, action_id, disposition_id, status_id) = ids(fields);
    let (class_uid, class_name) = match fields.class {
        Class::Http => (4002, "HTTP Activity"),
        Class::Network => (4001, "Network Activity"),
    };
    let decision = fields.decision.as_ref();
    let rule = decision.and_then(|d| d.rule.as_ref());
    let hostname = || fields.host.as_ref().map(|h| text(h.as_bytes()));
    let line = Line {
        class_uid,
        class_name,
        category_uid: 4,
        activity_id,
        type_uid: u32::from(class_uid) * 100 + u32::from(activity_id),
        severity_id: if fields.verdict == VerdictLabel::Deny {
            3
        } else {
            1
        },
        time: fields.time,
        duration: u64::try_from(fields.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        metadata: Metadata {
            version: "1.6.0",
            product: Product {
                name: build::PRODUCT,
                version: build::VERSION,
            },
            uid: fields.id.to_string(),
        },
        action_id,
        disposition_id,
        status_id,
        is_alert: decision.is_some_and(|d| !d.alerts.is_empty()),
        src_endpoint: Source {
            ip: fields.source.ip().to_canonical().to_string(),
            port: fields.source.port(),
        },
        dst_endpoint: Destination {
            hostname: hostname(),
            ip: fields.address.map(|a| a.to_string()),
            port: fields.port,
        },
        tls: fields.hello.as_ref().map(|hello| Tls {
            sni: hello.sni.as_ref().map(exitgate_policy::name::Name::as_str),
            version: version_name(hello.version),
            ja4: &hello.ja4,
            ech: hello.ech,
        }),
        http_request: fields.request.as_ref().map(|request| HttpRequest {
            http_method: &request.method,
            url: Url {
                hostname: hostname(),
                path: text(&request.path),
                port: fields.port,
                scheme: request.scheme,
            },
            user_agent: request.user_agent.as_deref().map(text),
        }),
        http_response: fields.status.map(|code| HttpResponse { code }),
        traffic: Traffic {
            bytes_in: fields.bytes_down,
            bytes_out: fields.bytes_up,
        },
        exitgate: Exitgate {
            entry: entry_name(fields.entry),
            workload: fields.workload.as_ref().map(|w| WorkloadFields {
                namespace: &w.namespace,
                name: &w.name,
                service_account: w.service_account.as_deref(),
            }),
            verdict: fields.verdict.as_str(),
            reason: fields.reason.code(),
            detail: fields.detail.as_ref().map(|d| text(d.as_bytes())),
            phase: fields.phase,
            policy: rule.map(name_of),
            rule: rule.map(|r| &*r.rule),
            tier: rule.map(|r| r.tier.as_str()),
            assurance: decision.map(|d| d.assurance),
            alerts: decision
                .map(|d| d.alerts.iter().map(as_match).collect())
                .unwrap_or_default(),
            shadow: decision
                .and_then(|d| d.shadow.as_ref())
                .map(|s| ShadowFields {
                    kind: s.kind.as_str(),
                    rule: s.rule.as_ref().map(as_match),
                }),
            revision: fields.revision.as_deref().map(|r| r.get(..12).unwrap_or(r)),
            resolved: fields.resolved.iter().map(ToString::to_string).collect(),
            cname_chain: fields
                .chain
                .iter()
                .map(exitgate_policy::name::Name::as_str)
                .collect(),
            stage: fields.stage.as_str(),
            closed_by: fields.closed_by.map(super::ClosedBy::as_str),
        },
    };
    let mut out = Vec::with_capacity(1024);
    if serde_json::to_writer(&mut out, &line).is_err() {
        // Writing strings and numbers into memory cannot fail; an empty line would still be a broken record.
        out.clear();
        out.extend_from_slice(b"{\"class_uid\":0}");
    }
    let mut out = escape_controls(out);
    out.push(b'\n');
    out
}

/// JSON escapes the C0 controls only. DEL and the C1 controls steer terminals too, so a line that has one is
/// written again with them escaped.
fn escape_controls(line: Vec<u8>) -> Vec<u8> {
    let risky = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if memchr::memchr2(0x7f, 0xc2, &line).is_none() {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 64);
    for c in String::from_utf8_lossy(&line).chars() {
        if risky(c) {
            out.push_str("\\u00");
            for nibble in [u32::from(c) >> 4, u32::from(c) & 15] {
                out.extend(char::from_digit(nibble, 16));
            }
        } else {
            out.push(c);
        }
    }
    out.into_bytes()
}

fn as_match(rule: &RuleRef) -> Match<'_> {
    Match {
        policy: name_of(rule),
        rule: &rule.rule,
    }
}
