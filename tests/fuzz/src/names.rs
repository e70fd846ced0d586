//! Names, authorities, paths and host patterns.

use std::net::IpAddr;

use exitgate_policy::{
    Attr, Authority, EgressPolicySpec, Entry, Evidence, Hello, Host, Name, NameSetBuilder,
    PolicyResource, Protocol, RequestPath, Snapshot, TlsVersion, Verdict, Workload, compile,
};

#[path = "../../../policy/tests/naive/text.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "only the host patterns are used here"
)]
mod text;

/// One line is a pattern, the next a name.
pub fn host_pattern(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let pattern = lines.next().unwrap_or_default();
    let name = lines.next().unwrap_or_default();
    for bytes in [pattern, name] {
        canonical(bytes);
        if let Ok(path) = RequestPath::parse(bytes) {
            // The path of `http://x.test` is `/`.
            assert_eq!(path.raw(), if bytes.is_empty() { b"/" } else { bytes });
        }
    }
    if let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), Name::parse(name)) {
        matching(pattern, &name);
    }
}

/// A name has one form, and nothing is a name and an address.
fn canonical(bytes: &[u8]) {
    if let Ok(name) = Name::parse(bytes) {
        assert_eq!(
            Name::parse(name.as_str().as_bytes()).as_ref(),
            Ok(&name),
            "stable"
        );
        let text = name.as_str();
        assert!(text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len())));
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || b"-_.".contains(&byte)));
        assert!(text.parse::<IpAddr>().is_err());
    }
    if let Ok(host) = Host::parse(bytes) {
        match &host {
            Host::Name(name) => assert_eq!(Name::parse(bytes).as_ref(), Ok(name)),
            Host::Addr(IpAddr::V4(address)) => {
                // An IPv4-mapped address is its IPv4 address.
                let mapped = bytes.starts_with(b"[") && bytes.ends_with(b"]");
                assert!(
                    mapped || address.to_string().as_bytes() == bytes,
                    "canonical only"
                );
            }
            Host::Addr(IpAddr::V6(_)) => assert!(bytes.starts_with(b"[") && bytes.ends_with(b"]")),
        }
    }
    if let Ok(authority) = Authority::parse(bytes) {
        assert_ne!(authority.port, Some(0));
        let host = match &authority.host {
            Host::Name(name) => name.to_string(),
            Host::Addr(IpAddr::V4(address)) => address.to_string(),
            Host::Addr(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let text = authority
            .port
            .map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        assert_eq!(
            Authority::parse(text.as_bytes()).as_ref(),
            Ok(&authority),
            "stable"
        );
    }
}

/// The compiled pattern, the compact set and the naive comparison agree.
fn matching(pattern: &str, name: &Name) {
    let mut builder = NameSetBuilder::with_capacity(64);
    let in_set = match builder.add(pattern.as_bytes()) {
        Ok(()) => builder.finish().ok().map(|set| set.contains(name)),
        Err(_) => None,
    };
    let mut snapshot = Snapshot::default();
    let rule = exitgate_policy::Rule {
        name: "only".to_owned(),
        action: exitgate_policy::Action::Allow,
        to: Some(exitgate_policy::To {
            hosts: vec![pattern.to_owned()],
            allow_broad: true,
            ..exitgate_policy::To::default()
        }),
        from: None,
        tls: None,
        http: None,
        response: None,
        when: None,
        not: None,
        inject: None,
        expires_at: None,
        reason: None,
    };
    let workload = Workload {
        namespace: "default".to_owned(),
        name: "local".to_owned(),
        ..Workload::default()
    };
    snapshot.policies.push(PolicyResource::Namespaced {
        namespace: "default".to_owned(),
        name: "only".to_owned(),
        spec: EgressPolicySpec {
            rules: vec![rule],
            ..EgressPolicySpec::default()
        },
    });
    let (Some(set), _) = compile(&snapshot) else {
        return;
    };
    let hello = Hello {
        sni: Some(name.clone()),
        alpn: Vec::new(),
        version: TlsVersion::Tls13,
        ech: false,
        ja4: String::new(),
    };
    let evidence = Evidence {
        entry: Entry::Connect,
        port: 443,
        source: None,
        name: Attr::Known(name),
        literal: None,
        address: Attr::Known([93, 184, 216, 34].into()),
        protocol: Attr::Known(Protocol::Tls),
        hello: Attr::Known(&hello),
        request: Attr::Hidden,
        response: Attr::Hidden,
        inspected: false,
    };
    let allowed = set.view(&workload).decide(&evidence, 0).verdict == Verdict::Allow;
    // The floor refuses names of one's own loopback whatever a rule says.
    let open = !name.is_localhost();
    assert_eq!(
        in_set.map(|matches| matches && open),
        Some(allowed),
        "{pattern:?} on {name}"
    );
    // The naive comparison knows no IDNA.
    if pattern.is_ascii() && !pattern.to_ascii_lowercase().contains("xn--") {
        assert_eq!(
            in_set,
            Some(text::host_matches(pattern, name.as_str())),
            "{pattern:?} on {name}"
        );
    }
}
