//! The line as `serde_json` writes it from a declared shape: what the hand-written one must equal byte for byte.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;
use std::net::IpAddr;

use exitgate_policy::decide::RuleRef;
use exitgate_runtime::build;
use serde::Serialize;

use super::super::{Class, ClosedBy, Fields, VerdictLabel};
use super::{entry_name, ids, policy_name as name_of, text, version_name};
use crate::origin::{Certificate, Verification};

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
    ip: IpAddr,
    port: u16,
}

#[derive(Serialize)]
struct Destination<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
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

/// The certificate of an origin that the gateway spoke TLS with.
#[derive(Serialize)]
struct OriginCertificate<'a> {
    issuer: &'a str,
    names: usize,
    not_after: i64,
    sha256: String,
    staple: &'static str,
    verification: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<&'static str>,
}

impl<'a> OriginCertificate<'a> {
    fn of(certificate: &'a Certificate) -> Self {
        let (verification, ignored) = match certificate.verification {
            Verification::Verified => ("verified", None),
            Verification::Skipped => ("skipped", None),
            Verification::Ignored(reason) => ("ignored", Some(reason.code())),
        };
        Self {
            issuer: &certificate.issuer,
            names: certificate.names,
            not_after: certificate.not_after,
            sha256: certificate.fingerprint.to_string(),
            staple: certificate.staple.as_str(),
            verification,
            ignored,
        }
    }
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resolved: &'a [IpAddr],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cname_chain: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    injected: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    intercepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_certificate: Option<OriginCertificate<'a>>,
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

/// One line, with its line feed.
pub(super) fn render(fields: &Fields, duration: u64) -> Vec<u8> {
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
        duration,
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
            ip: fields.source.ip().to_canonical(),
            port: fields.source.port(),
        },
        dst_endpoint: Destination {
            hostname: hostname(),
            ip: fields.address,
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
            resolved: &fields.resolved,
            cname_chain: fields
                .chain
                .iter()
                .map(exitgate_policy::name::Name::as_str)
                .collect(),
            injected: fields.injected.iter().map(String::as_str).collect(),
            intercepted: fields.opened,
            origin_certificate: fields.origin.as_deref().map(OriginCertificate::of),
            stage: fields.stage.as_str(),
            closed_by: fields.closed_by.map(ClosedBy::as_str),
        },
    };
    let out = serde_json::to_vec(&line).unwrap();
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
