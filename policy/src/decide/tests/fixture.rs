//! Policies from JSON, and flows.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::{Value, json};

use crate::*;

pub(super) fn admin(name: &str, priority: i64, rules: Value) -> PolicyResource {
    cluster(
        name,
        json!({"tier": "Admin", "priority": priority, "rules": rules}),
    )
}

pub(super) fn baseline(name: &str, rules: Value) -> PolicyResource {
    cluster(name, json!({"tier": "Baseline", "rules": rules}))
}

pub(super) fn cluster(name: &str, spec: Value) -> PolicyResource {
    PolicyResource::Cluster {
        name: name.to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

pub(super) fn policy(name: &str, rules: Value) -> PolicyResource {
    namespaced(name, json!({"rules": rules}))
}

pub(super) fn audit(name: &str, rules: Value) -> PolicyResource {
    namespaced(name, json!({"mode": "Audit", "rules": rules}))
}

pub(super) fn namespaced(name: &str, spec: Value) -> PolicyResource {
    PolicyResource::Namespaced {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
    }
}

pub(super) fn snapshot(policies: impl IntoIterator<Item = PolicyResource>) -> Snapshot {
    Snapshot {
        policies: policies.into_iter().collect(),
        standalone: true,
        ..Snapshot::default()
    }
}

pub(super) fn workload() -> Workload {
    Workload {
        namespace: "default".to_owned(),
        name: "local".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "x".to_owned())]),
        ..Workload::default()
    }
}

pub(super) fn compiled(snapshot: &Snapshot) -> PolicySet {
    let (set, problems) = compile(snapshot);
    set.unwrap_or_else(|| panic!("{problems:#?}"))
}

pub(super) fn view(policies: impl IntoIterator<Item = PolicyResource>) -> Arc<View> {
    compiled(&snapshot(policies)).view(&workload())
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A flow that owns what evidence borrows.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) entry: Entry,
    pub(super) port: u16,
    pub(super) name: Attr<Name>,
    pub(super) literal: Option<IpAddr>,
    pub(super) address: Attr<IpAddr>,
    pub(super) protocol: Attr<Protocol>,
    pub(super) hello: Attr<Hello>,
    pub(super) request: Attr<(
        String,
        RequestPath,
        Option<Authority>,
        Vec<(String, Vec<u8>)>,
    )>,
    pub(super) response: Attr<(u16, Option<u64>, Vec<(String, Vec<u8>)>)>,
    pub(super) inspected: bool,
}

/// CONNECT to a name, nothing more known.
pub(super) fn connect(host: &str) -> Flow {
    Flow {
        entry: Entry::Connect,
        port: 443,
        name: Attr::Known(name(host)),
        literal: None,
        address: Attr::Pending,
        protocol: Attr::Pending,
        hello: Attr::Pending,
        request: Attr::Pending,
        response: Attr::Pending,
        inspected: false,
    }
}

/// CONNECT to an address, nothing more known.
pub(super) fn literal(addr: &str) -> Flow {
    Flow {
        name: Attr::Pending,
        literal: Some(ip(addr)),
        ..connect("x.test")
    }
}

impl Flow {
    pub(super) fn at(mut self, addr: &str) -> Self {
        self.address = Attr::Known(ip(addr));
        self
    }

    pub(super) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(super) fn unnamed(mut self) -> Self {
        self.name = Attr::Absent;
        self.address = Attr::Known(self.literal.unwrap());
        self
    }

    pub(super) fn raw(mut self) -> Self {
        self.protocol = Attr::Known(Protocol::Tcp);
        self.hello = Attr::Absent;
        self
    }

    pub(super) fn tls(mut self, sni: Option<&str>) -> Self {
        self.protocol = Attr::Known(Protocol::Tls);
        self.hello = Attr::Known(Hello {
            sni: sni.map(name),
            alpn: vec![b"h2"[..].into(), b"http/1.1"[..].into()],
            version: TlsVersion::Tls13,
            ech: false,
            ja4: "t13d1516h2_8daaf6152771_02713d6af862".to_owned(),
        });
        self
    }

    pub(super) fn http(mut self, method: &str, path: &str, host: &str) -> Self {
        if self.protocol.is_pending() {
            self.protocol = Attr::Known(Protocol::Http);
            self.hello = Attr::Absent;
        }
        self.request = Attr::Known((
            method.to_owned(),
            RequestPath::parse(path.as_bytes()).unwrap(),
            Some(Authority::parse(host.as_bytes()).unwrap()),
            Vec::new(),
        ));
        self
    }

    pub(super) fn header(mut self, header: &str, value: &str) -> Self {
        if let Attr::Known((.., headers)) = &mut self.request {
            headers.push((header.to_owned(), value.as_bytes().to_vec()));
        }
        self
    }

    pub(super) fn inspected(mut self) -> Self {
        self.inspected = true;
        self
    }

    pub(super) fn response(
        mut self,
        status: u16,
        length: Option<u64>,
        headers: &[(&str, &str)],
    ) -> Self {
        let headers = headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        self.response = Attr::Known((status, length, headers));
        self
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&Evidence<'_>) -> R) -> R {
        fn lines(headers: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
            headers
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()))
                .collect()
        }
        fn each<'a, T, U>(attr: &'a Attr<T>, f: impl FnOnce(&'a T) -> U) -> Attr<U> {
            match attr {
                Attr::Known(value) => Attr::Known(f(value)),
                Attr::Absent => Attr::Absent,
                Attr::Hidden => Attr::Hidden,
                Attr::Pending => Attr::Pending,
            }
        }
        let request_lines = self
            .request
            .known()
            .map(|(.., headers)| lines(headers))
            .unwrap_or_default();
        let response_lines = self
            .response
            .known()
            .map(|(.., headers)| lines(headers))
            .unwrap_or_default();
        let head = self.request.known().map_or("GET", |(method, ..)| method);
        f(&Evidence {
            entry: self.entry,
            port: self.port,
            source: Some(ip("192.0.2.9")),
            name: each(&self.name, |name| name),
            literal: self.literal,
            address: self.address,
            protocol: self.protocol,
            hello: each(&self.hello, |hello| hello),
            request: each(&self.request, |(method, path, authority, _)| RequestHead {
                method,
                path,
                authority: authority.as_ref(),
                headers: &request_lines,
                content_length: None,
            }),
            response: each(&self.response, |(status, length, _)| ResponseHead {
                status: *status,
                headers: &response_lines,
                content_length: *length,
                bodiless: head == "HEAD" || matches!(status, 204 | 304),
            }),
            inspected: self.inspected,
        })
    }

    pub(super) fn decide(&self, view: &View) -> Decision {
        self.with(|evidence| view.decide(evidence, 1_800_000_000))
    }

    /// Verdict and reason in one word each.
    pub(super) fn says(&self, view: &View) -> String {
        let decision = self.decide(view);
        match decision.verdict {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Undecided => "undecided".to_owned(),
            Verdict::Deny => format!("deny {}", decision.reason),
        }
    }
}
