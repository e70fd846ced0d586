//! The shape of a record line.

mod json;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use exitgate_policy::decide::RuleRef;
use exitgate_policy::evidence::{Entry, TlsVersion};
use exitgate_runtime::build;

use super::{Class, Fields, VerdictLabel};
use crate::origin::{Certificate, Verification};
use json::{Json, key};

/// Longest text from a peer that a record repeats; what is cut is marked.
const TEXT_LIMIT: usize = 1024;
const CUT_MARK: &str = "…[truncated]";

/// Bytes from a peer as text: bounded, invalid UTF-8 replaced. Control characters are escaped where it is written.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match bytes.get(..TEXT_LIMIT) {
        Some(head) if bytes.len() > TEXT_LIMIT => {
            Cow::Owned(format!("{}{CUT_MARK}", String::from_utf8_lossy(head)))
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

/// The policy's full name as records and refusals show it: `EgressPolicy pay/billing`.
pub(crate) fn policy_name(rule: &RuleRef) -> String {
    match &rule.namespace {
        Some(namespace) => format!("{} {namespace}/{}", rule.kind, rule.policy),
        None => format!("{} {}", rule.kind, rule.policy),
    }
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

/// Appends one line, with its line feed.
pub(super) fn render(fields: &Fields, out: &mut Vec<u8>) {
    let duration = u64::try_from(fields.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    write(fields, duration, out);
}

fn write(fields: &Fields, duration: u64, out: &mut Vec<u8>) {
    let (activity_id, action_id, disposition_id, status_id) = ids(fields);
    let (class_uid, class_name): (u16, _) = match fields.class {
        Class::Http => (4002, "HTTP Activity"),
        Class::Network => (4001, "Network Activity"),
    };
    let severity_id: u8 = if fields.verdict == VerdictLabel::Deny {
        3
    } else {
        1
    };
    let json = &mut Json::new(out);
    json.open();
    json.number(key!("class_uid"), class_uid);
    json.word(key!("class_name"), class_name);
    json.number(key!("category_uid"), 4_u8);
    json.number(key!("activity_id"), activity_id);
    json.number(
        key!("type_uid"),
        u32::from(class_uid) * 100 + u32::from(activity_id),
    );
    json.number(key!("severity_id"), severity_id);
    json.number(key!("time"), fields.time);
    json.number(key!("duration"), duration);
    json.object(key!("metadata"));
    json.word(key!("version"), "1.6.0");
    json.object(key!("product"));
    json.word(key!("name"), build::PRODUCT);
    json.word(key!("version"), build::VERSION);
    json.close();
    json.id(key!("uid"), fields.id);
    json.close();
    json.number(key!("action_id"), action_id);
    json.number(key!("disposition_id"), disposition_id);
    json.number(key!("status_id"), status_id);
    let alerts = fields
        .decision
        .as_ref()
        .is_some_and(|d| !d.alerts.is_empty());
    json.flag(key!("is_alert"), alerts);
    transport(json, fields);
    exitgate(json, fields);
    json.close();
    out.push(b'\n');
}

/// Where it came from, where it went, and what was exchanged.
fn transport(json: &mut Json<'_>, fields: &Fields) {
    let host = fields.host.as_deref().map(|host| text(host.as_bytes()));
    json.object(key!("src_endpoint"));
    json.address(key!("ip"), fields.source.ip().to_canonical());
    json.number(key!("port"), fields.source.port());
    json.close();
    json.object(key!("dst_endpoint"));
    if let Some(host) = &host {
        json.text(key!("hostname"), host);
    }
    if let Some(address) = fields.address {
        json.address(key!("ip"), address);
    }
    if let Some(port) = fields.port {
        json.number(key!("port"), port);
    }
    json.close();
    if let Some(hello) = &fields.hello {
        json.object(key!("tls"));
        if let Some(sni) = &hello.sni {
            json.text(key!("sni"), sni.as_str());
        }
        json.word(key!("version"), version_name(hello.version));
        json.text(key!("ja4"), &hello.ja4);
        json.flag(key!("ech"), hello.ech);
        json.close();
    }
    if let Some(request) = &fields.request {
        json.object(key!("http_request"));
        json.text(key!("http_method"), &request.method);
        json.object(key!("url"));
        if let Some(host) = &host {
            json.text(key!("hostname"), host);
        }
        json.text(key!("path"), &text(&request.path));
        if let Some(port) = fields.port {
            json.number(key!("port"), port);
        }
        json.word(key!("scheme"), request.scheme);
        json.close();
        if let Some(agent) = &request.user_agent {
            json.text(key!("user_agent"), &text(agent));
        }
        json.close();
    }
    if let Some(code) = fields.status {
        json.object(key!("http_response"));
        json.number(key!("code"), code);
        json.close();
    }
    json.object(key!("traffic"));
    json.number(key!("bytes_in"), fields.bytes_down);
    json.number(key!("bytes_out"), fields.bytes_up);
    json.close();
}

/// What no class of OCSF has a place for.
fn exitgate(json: &mut Json<'_>, fields: &Fields) {
    let decision = fields.decision.as_ref();
    json.object(key!("exitgate"));
    json.word(key!("entry"), entry_name(fields.entry));
    if let Some(workload) = &fields.workload {
        json.object(key!("workload"));
        json.text(key!("namespace"), &workload.namespace);
        json.text(key!("name"), &workload.name);
        if let Some(account) = &workload.service_account {
            json.text(key!("service_account"), account);
        }
        json.close();
    }
    json.word(key!("verdict"), fields.verdict.as_str());
    json.word(key!("reason"), fields.reason.code());
    if let Some(detail) = &fields.detail {
        json.text(key!("detail"), &text(detail.as_bytes()));
    }
    if let Some(phase) = fields.phase {
        json.word(key!("phase"), phase);
    }
    if let Some(rule) = decision.and_then(|d| d.rule.as_ref()) {
        matched(json, rule);
        json.word(key!("tier"), rule.tier.as_str());
    }
    if let Some(decision) = decision {
        json.word(key!("assurance"), decision.assurance);
        json.list(key!("alerts"), &decision.alerts, |json, rule| {
            json.open();
            matched(json, rule);
            json.close();
        });
        if let Some(shadow) = &decision.shadow {
            json.object(key!("shadow"));
            json.word(key!("kind"), shadow.kind.as_str());
            if let Some(rule) = &shadow.rule {
                matched(json, rule);
            }
            json.close();
        }
    }
    if let Some(revision) = &fields.revision {
        json.text(key!("revision"), revision.get(..12).unwrap_or(revision));
    }
    json.list(key!("resolved"), &fields.resolved, |json, address| {
        json.address_item(*address);
    });
    json.list(key!("cname_chain"), &fields.chain, |json, name| {
        json.item(name.as_str());
    });
    json.list(key!("injected"), &fields.injected, |json, credential| {
        json.item(credential);
    });
    if fields.opened {
        json.flag(key!("intercepted"), true);
    }
    if let Some(certificate) = &fields.origin {
        shown(json, certificate);
    }
    json.word(key!("stage"), fields.stage.as_str());
    if let Some(by) = fields.closed_by {
        json.word(key!("closed_by"), by.as_str());
    }
    json.close();
}

/// The certificate of an origin that the gateway spoke TLS with.
fn shown(json: &mut Json<'_>, certificate: &Certificate) {
    let (verification, ignored) = match certificate.verification {
        Verification::Verified => ("verified", None),
        Verification::Skipped => ("skipped", None),
        Verification::Ignored(reason) => ("ignored", Some(reason.code())),
    };
    json.object(key!("origin_certificate"));
    json.text(key!("issuer"), &certificate.issuer);
    json.number(key!("names"), certificate.names as u64);
    json.signed(key!("not_after"), certificate.not_after);
    json.hex(key!("sha256"), &certificate.fingerprint.0);
    json.word(key!("staple"), certificate.staple.as_str());
    json.word(key!("verification"), verification);
    if let Some(ignored) = ignored {
        json.word(key!("ignored"), ignored);
    }
    json.close();
}

/// A rule, by its policy's full name and its own.
fn matched(json: &mut Json<'_>, rule: &RuleRef) {
    match &rule.namespace {
        Some(namespace) => {
            json.joined(
                key!("policy"),
                &[rule.kind, " ", namespace, "/", &rule.policy],
            );
        }
        None => json.joined(key!("policy"), &[rule.kind, " ", &rule.policy]),
    }
    json.text(key!("rule"), &rule.rule);
}
