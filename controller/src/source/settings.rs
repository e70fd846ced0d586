//! The settings of a gateway as far as they are about this machine: listen addresses, servers, files.
//!
//! What decisions depend on (ranges, source addresses of workloads, exempt hosts) is the policy compiler's to check.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use exitgate_policy::{Authority, EgressGatewaySpec, Severity, SinkType};

/// A problem in the settings: how bad, where, what.
pub(super) type Finding = (Severity, String, String);

/// Checks the settings and makes the paths in them start at `folder`, the document's.
pub(super) fn prepare(spec: &mut EgressGatewaySpec, folder: &Path) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.addresses(spec);
    findings.values(spec);
    findings.files(spec, folder);
    findings.0
}

/// Checks what of the settings is about no machine in particular.
pub(super) fn check(spec: &EgressGatewaySpec) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.addresses(spec);
    findings.values(spec);
    findings.0
}

/// Files whose change is a change of how TLS is opened, under settings that are prepared.
pub(super) fn tls_files(spec: &EgressGatewaySpec) -> Vec<PathBuf> {
    let tls = &spec.tls;
    let authority = tls.authority.iter().flat_map(|authority| {
        [&authority.cert_file, &authority.key_file]
            .into_iter()
            .chain(&authority.trust_files)
    });
    let upstreams = tls.upstreams.iter().flat_map(|upstream| {
        let own = upstream.client_certificate.iter();
        let own = own.flat_map(|pair| [&pair.cert_file, &pair.key_file]);
        upstream.ca_file.iter().chain(own)
    });
    authority
        .chain(upstreams)
        .chain(&tls.system_roots_file)
        .map(PathBuf::from)
        .collect()
}

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: &str, message: String) {
        self.0.push((Severity::Error, path.to_owned(), message));
    }

    fn addresses(&mut self, spec: &EgressGatewaySpec) {
        let listeners = &spec.listeners;
        let tls = listeners
            .proxy_tls
            .as_ref()
            .map_or(&[][..], |tls| &tls.addresses);
        for (field, addresses) in [
            ("proxy", listeners.proxy.as_slice()),
            ("proxyTls.addresses", tls),
            ("ready", &listeners.ready),
            ("metrics", &listeners.metrics),
            ("admin", &listeners.admin),
        ] {
            for (index, text) in addresses.iter().enumerate() {
                let path = format!("spec.listeners.{field}[{index}]");
                match text.parse::<SocketAddr>() {
                    Err(_) => {
                        self.error(
                            &path,
                            format!(
                                "{text:?} is not ADDRESS:PORT; write for example 127.0.0.1:3128"
                            ),
                        );
                    }
                    Ok(address) if field == "admin" && !address.ip().is_loopback() => {
                        let message = "the admin port changes the gateway and asks for no credential; \
                                       listen on a loopback address";
                        self.0.push((Severity::Warning, path, message.to_owned()));
                    }
                    Ok(_) => {}
                }
            }
        }
        for (index, text) in spec.dns.servers.iter().enumerate() {
            if text.parse::<SocketAddr>().is_err() && text.parse::<IpAddr>().is_err() {
                let path = format!("spec.dns.servers[{index}]");
                self.error(
                    &path,
                    format!("{text:?} is not an address; write for example 192.0.2.53:53"),
                );
            }
        }
        if let Some(parent) = &spec.parent {
            let port = Authority::parse(parent.address.as_bytes())
                .ok()
                .and_then(|authority| authority.port);
            if port.is_none() {
                let message = format!(
                    "{:?} is not HOST:PORT; write for example 192.0.2.10:3128 or proxy.example:3128",
                    parent.address
                );
                self.error("spec.parent.address", message);
            }
        }
    }

    fn values(&mut self, spec: &EgressGatewaySpec) {
        if spec.dns.min_ttl() > spec.dns.max_ttl() {
            let message = "is longer than maxTtlSeconds (5 and 300 unless set)";
            self.error("spec.dns.minTtlSeconds", message.to_owned());
        }
        for (index, sink) in spec.records.iter().flatten().enumerate() {
            let path = format!("spec.records[{index}].path");
            match (sink.kind, &sink.path) {
                (SinkType::File, None) => {
                    self.error(&path, "is required where type is File".to_owned());
                }
                (SinkType::Stdout, Some(_)) => {
                    self.error(&path, "has no meaning where type is Stdout".to_owned());
                }
                (SinkType::File, Some(_)) | (SinkType::Stdout, None) => {}
            }
        }
    }

    /// Where a file that is needed is missing here, it may well exist where the gateway will run: a warning.
    fn files(&mut self, spec: &mut EgressGatewaySpec, folder: &Path) {
        let mut anchor = |path: &str, file: &mut String, needed: bool| {
            let anchored = folder.join(&*file);
            if needed && let Err(error) = std::fs::metadata(&anchored) {
                let message = format!("{}: {error}", anchored.display());
                self.0.push((Severity::Warning, path.to_owned(), message));
            }
            *file = anchored.to_string_lossy().into_owned();
        };
        if let Some(file) = &mut spec.dns.hosts_file {
            anchor("spec.dns.hostsFile", file, true);
        }
        if let Some(tls) = &mut spec.listeners.proxy_tls {
            anchor("spec.listeners.proxyTls.certFile", &mut tls.cert_file, true);
            anchor("spec.listeners.proxyTls.keyFile", &mut tls.key_file, true);
            if let Some(file) = &mut tls.client_ca_file {
                anchor("spec.listeners.proxyTls.clientCaFile", file, true);
            }
        }
        let tls = &mut spec.tls;
        if let Some(file) = &mut tls.system_roots_file {
            anchor("spec.tls.systemRootsFile", file, true);
        }
        if let Some(authority) = &mut tls.authority {
            let path = "spec.tls.authority";
            anchor(&format!("{path}.certFile"), &mut authority.cert_file, true);
            anchor(&format!("{path}.keyFile"), &mut authority.key_file, true);
            for (index, file) in authority.trust_files.iter_mut().enumerate() {
                anchor(&format!("{path}.trustFiles[{index}]"), file, true);
            }
        }
        for (index, entry) in tls.upstreams.iter_mut().enumerate() {
            let path = format!("spec.tls.upstreams[{index}]");
            if let Some(file) = &mut entry.ca_file {
                anchor(&format!("{path}.caFile"), file, true);
            }
            if let Some(own) = &mut entry.client_certificate {
                let path = format!("{path}.clientCertificate");
                anchor(&format!("{path}.certFile"), &mut own.cert_file, true);
                anchor(&format!("{path}.keyFile"), &mut own.key_file, true);
            }
        }
        for (index, mapping) in spec.workloads.iter_mut().enumerate() {
            if let Some(user) = &mut mapping.user {
                let path = format!("spec.workloads[{index}].user.passwordHashFile");
                anchor(&path, &mut user.password_hash_file, true);
            }
        }
        for (index, sink) in spec.records.iter_mut().flatten().enumerate() {
            if let Some(file) = &mut sink.path {
                anchor(&format!("spec.records[{index}].path"), file, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn found(spec: serde_json::Value) -> Vec<String> {
        let mut spec: EgressGatewaySpec = serde_json::from_value(spec).unwrap();
        let findings = prepare(&mut spec, Path::new("/nowhere"));
        findings
            .into_iter()
            .map(|(severity, path, message)| format!("{severity:?} {path}: {message}"))
            .collect()
    }

    #[test]
    fn defaults_are_fine() {
        assert_eq!(found(serde_json::json!({})), [""; 0]);
    }

    #[test]
    fn each_bad_value_is_named() {
        let all = found(serde_json::json!({
            "listeners": {
                "proxy": ["127.0.0.1:3128", "localhost"],
                "proxyTls": {"addresses": ["1.2.3.4"], "certFile": "c", "keyFile": "/k"},
                "admin": ["0.0.0.0:9000"],
            },
            "dns": {"servers": ["9.9.9.9", "dns.example"], "minTtlSeconds": 400, "hostsFile": "hosts"},
            "parent": {"address": "proxy.example"},
            "records": [{"type": "File"}, {"type": "Stdout", "path": "x"}],
            "workloads": [{"name": "w", "user": {"name": "u", "passwordHashFile": "p"}}],
            "tls": {
                "systemRootsFile": "roots",
                "authority": {"certFile": "c", "keyFile": "k"},
                "upstreams": [
                    {"name": "u", "hosts": ["a.io"], "caFile": "/c", "clientCertificate": {"certFile": "x", "keyFile": "y"}},
                ],
            },
        }));
        for start in [
            "Error spec.listeners.proxy[1]: \"localhost\" is not ADDRESS:PORT",
            "Error spec.listeners.proxyTls.addresses[0]: \"1.2.3.4\" is not ADDRESS:PORT",
            "Warning spec.listeners.admin[0]: the admin port",
            "Error spec.dns.servers[1]: \"dns.example\" is not an address",
            "Error spec.dns.minTtlSeconds: is longer",
            "Error spec.parent.address: \"proxy.example\" is not HOST:PORT",
            "Error spec.records[0].path: is required",
            "Error spec.records[1].path: has no meaning",
            "Warning spec.listeners.proxyTls.certFile: /nowhere/c:",
            "Warning spec.listeners.proxyTls.keyFile: /k:",
            "Warning spec.dns.hostsFile: /nowhere/hosts:",
            "Warning spec.workloads[0].user.passwordHashFile: /nowhere/p:",
            "Warning spec.tls.systemRootsFile: /nowhere/roots:",
            "Warning spec.tls.authority.certFile: /nowhere/c:",
            "Warning spec.tls.authority.keyFile: /nowhere/k:",
            "Warning spec.tls.upstreams[0].caFile: /c:",
            "Warning spec.tls.upstreams[0].clientCertificate.certFile: /nowhere/x:",
            "Warning spec.tls.upstreams[0].clientCertificate.keyFile: /nowhere/y:",
        ] {
            assert!(
                all.iter().any(|found| found.starts_with(start)),
                "{start} missing from {all:#?}"
            );
        }
        assert_eq!(all.len(), 18, "{all:#?}");
    }

    #[test]
    fn files_that_tls_rests_on_are_watched() {
        let mut spec: EgressGatewaySpec = serde_json::from_value(serde_json::json!({
            "tls": {
                "systemRootsFile": "roots",
                "authority": {"certFile": "c", "keyFile": "k", "trustFiles": ["old"]},
                "upstreams": [
                    {"name": "u", "hosts": ["a.io"], "caFile": "/ca", "clientCertificate": {"certFile": "x", "keyFile": "y"}},
                ],
            },
        }))
        .unwrap();
        prepare(&mut spec, Path::new("/d"));
        let files: Vec<String> = tls_files(&spec)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            files,
            ["/d/c", "/d/k", "/d/old", "/ca", "/d/x", "/d/y", "/d/roots"]
        );
    }
}
