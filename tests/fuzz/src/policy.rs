//! Policy files: text, documents, compiler, decision.

use std::{net::IpAddr, path::PathBuf};

use exitgate_controller::source::{Options, load};
use exitgate_policy::{
    Attr, Authority, Entry, Evidence, Hello, Name, PolicySet, Protocol, RequestHead, RequestPath,
    ResponseHead, Snapshot, TlsVersion, Verdict, Workload,
};

/// The text ends at the first NUL; what follows makes the flow.
pub fn policy_file(data: &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (text, rest) = data.split_at(end);
    let mut bytes = Bytes(rest.get(1..).unwrap_or_default());
    let Some((snapshot, set)) = compiled(text) else {
        return;
    };
    let workload = snapshot
        .workloads
        .first()
        .cloned()
        .unwrap_or_else(|| Workload {
            namespace: "default".to_owned(),
            name: "local".to_owned(),
            ..Workload::default()
        });
    judge(&set, &workload, &mut bytes);
}

/// Feeds and other named files are not what is fuzzed, and a found path must not be read.
fn compiled(text: &[u8]) -> Option<(Snapshot, PolicySet)> {
    if text
        .windows(4)
        .any(|window| window.eq_ignore_ascii_case(b"file"))
    {
        return None;
    }
    let path = file();
    std::fs::write(&path, text).ok()?;
    let mut loaded = load(std::slice::from_ref(&path), &Options::default()).ok()?;
    // Every problem can be shown.
    let set = loaded.compile();
    for diagnostic in &loaded.diagnostics {
        assert!(!format!("{diagnostic:?}").is_empty());
    }
    set.map(|set| (loaded.snapshot, set))
}

fn file() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let thread = std::thread::current().id();
    folder.join(format!(
        "exitgate-fuzz-{}-{thread:?}.yaml",
        std::process::id()
    ))
}

/// A flow, told step by step: what is decided stays decided.
fn judge(set: &PolicySet, workload: &Workload, bytes: &mut Bytes<'_>) {
    let names = ["ok.test", "a.wild.test", "bad.test", "x.example.com"]
        .map(|text| Name::parse(text.as_bytes()).ok());
    let names: Vec<Name> = names.into_iter().flatten().collect();
    let (Some(name), Some(shown)) = (bytes.pick(&names), bytes.pick(&names)) else {
        return;
    };
    let addresses: [IpAddr; 6] = [
        [93, 184, 216, 34].into(),
        [10, 1, 2, 3].into(),
        [169, 254, 169, 254].into(),
        [127, 0, 0, 1].into(),
        [0x2606, 0x2800, 0, 0, 0, 0, 0, 1].into(),
        [0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, 1].into(),
    ];
    let address = bytes
        .pick(&addresses)
        .copied()
        .unwrap_or([93, 184, 216, 34].into());
    let literal = (bytes.next() & 3 == 0).then_some(address);
    let hello = Hello {
        sni: (bytes.next() & 7 != 0).then(|| shown.clone()),
        alpn: vec![b"h2".as_slice().into()],
        version: TlsVersion::Tls13,
        ech: false,
        ja4: "t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned(),
    };
    let paths = ["/", "/v1/items", "/v1/%2e%2e/admin", "/a%2fb"]
        .map(|path| RequestPath::parse(path.as_bytes()).ok());
    let paths: Vec<RequestPath> = paths.into_iter().flatten().collect();
    let Some(path) = bytes.pick(&paths) else {
        return;
    };
    let authority = Authority::parse(shown.as_str().as_bytes()).ok();
    let value = [bytes.next(), bytes.next()];
    let headers: [(&str, &[u8]); 3] = [
        ("user-agent", b"curl/8"),
        ("x-fuzz", &value),
        ("content-type", b"application/json"),
    ];
    let request = RequestHead {
        method: if bytes.next() & 1 == 0 { "GET" } else { "POST" },
        path,
        authority: authority.as_ref(),
        headers: &headers,
        content_length: (bytes.next() & 1 == 0).then_some(100),
    };
    let response = ResponseHead {
        status: 100 + u16::from(bytes.next()) * 2,
        headers: &headers,
        content_length: (bytes.next() & 1 == 0).then_some(100),
        bodiless: bytes.next() & 3 == 0,
    };
    let (protocol, hello, request, response) = match bytes.next() % 3 {
        0 => (
            Protocol::Http,
            Attr::Absent,
            Attr::Known(request),
            Attr::Known(response),
        ),
        1 => (
            Protocol::Tls,
            Attr::Known(&hello),
            Attr::Hidden,
            Attr::Hidden,
        ),
        _ => (Protocol::Tcp, Attr::Absent, Attr::Absent, Attr::Absent),
    };
    let last = Evidence {
        entry: Entry::Connect,
        port: if bytes.next() & 1 == 0 { 443 } else { 80 },
        source: Some([192, 0, 2, bytes.next()].into()),
        name: if literal.is_some() {
            Attr::Absent
        } else {
            Attr::Known(name)
        },
        literal,
        address: Attr::Known(address),
        protocol: Attr::Known(protocol),
        hello,
        request,
        response,
        inspected: false,
    };
    let third = Evidence {
        response: if protocol == Protocol::Http {
            Attr::Pending
        } else {
            last.response
        },
        ..last.clone()
    };
    let second = Evidence {
        protocol: Attr::Pending,
        hello: Attr::Pending,
        request: Attr::Pending,
        response: Attr::Pending,
        ..third.clone()
    };
    let first = Evidence {
        address: Attr::Pending,
        ..second.clone()
    };
    let view = set.view(workload);
    let end = view.decide(&last, NOW);
    assert_ne!(
        end.verdict,
        Verdict::Undecided,
        "everything is known: {end:?}"
    );
    for evidence in [&first, &second, &third] {
        let early = view.decide(evidence, NOW);
        assert!(
            early.verdict == Verdict::Undecided || early.verdict == end.verdict,
            "{early:?}\nthen {end:?}"
        );
    }
    let explained = view.explain(&last, NOW);
    assert_eq!(explained.decision.verdict, end.verdict);
}

const NOW: u64 = 1_800_000_000;

/// Bytes to choose by; zero when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        let index = usize::from(self.next());
        from.get(index % from.len().max(1))
    }
}
