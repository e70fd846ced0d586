//! Flows: everything that will ever be known about one, and what is known at each step.

use std::net::IpAddr;

use exitgate_policy::{
    Attr, Authority, Entry, Evidence, Hello, Name, Protocol, RequestHead, RequestPath,
    ResponseHead, TlsVersion,
};
use proptest::{collection::vec, option::weighted, prelude::*, sample::select};

const NAMES: &[&str] = &[
    "ok.test",
    "a.wild.test",
    "b.a.wild.test",
    "wild.test",
    "bad.test",
    "api.other.example",
];
const ADDRESSES: &[&str] = &[
    "93.184.216.34",
    "93.184.216.34",
    "93.184.216.200",
    "8.8.8.8",
    "8.8.8.8",
    "2606:2800::1",
    "10.1.2.3",
    "10.1.0.9",
    "10.2.0.1",
    "198.19.0.7",
    "::ffff:8.8.8.8",
    "::ffff:10.2.0.1",
    "64:ff9b::808:808",
    "64:ff9b::a02:1",
    "2002:a02:1::1",
    "169.254.169.254",
    "127.0.0.1",
    "168.63.129.16",
    "fd00::5",
    "224.0.0.1",
];
const PATHS: &[&str] = &[
    "/",
    "/v2",
    "/v2/cards",
    "/v2/7/items",
    "/v2/../admin",
    "/v2/%2e%2e/admin",
    "/v2/..%2fadmin",
    "/v2%2Fcards",
    "//v2/cards",
    "/v2\\cards",
    "/admin",
    "/%61dmin",
    "/other/v2/cards",
];

/// How much is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What was requested.
    Asked,
    /// And one of: the address, for a flow that names its target; the first bytes, for one that does not.
    Half,
    /// Address and first bytes.
    Both,
    /// And, where TLS is opened, the request inside.
    Inside,
    /// And the response.
    Answered,
}

impl Stage {
    pub const ALL: [Self; 5] = [
        Self::Asked,
        Self::Half,
        Self::Both,
        Self::Inside,
        Self::Answered,
    ];
}

/// Everything that will ever be known about a flow.
#[derive(Clone, Debug)]
pub struct Flow {
    pub entry: Entry,
    pub port: u16,
    pub source: Option<IpAddr>,
    pub target: Target,
    pub address: IpAddr,
    pub inside: Inside,
    pub request_first: bool,
}

#[derive(Clone, Debug)]
pub enum Target {
    Named(Name),
    /// And whether a shown name is passed over: the flow is judged as the address.
    Literal(IpAddr, bool),
}

#[derive(Clone, Debug)]
pub enum Inside {
    Http(Request, Answer),
    Tcp,
    /// And what is said inside.
    Tls(Hello, Request, Answer),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: RequestPath,
    pub authority: Option<Authority>,
    pub headers: Vec<(&'static str, &'static [u8])>,
    pub length: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static [u8])>,
    pub length: u64,
    pub bodiless: bool,
}

fn name() -> BoxedStrategy<Name> {
    prop_oneof![select(NAMES), select(vec!["ok.test", "a.wild.test"])]
        .prop_map(|text| Name::parse(text.as_bytes()).unwrap())
        .boxed()
}

fn address() -> BoxedStrategy<IpAddr> {
    prop_oneof![select(ADDRESSES), select(vec!["8.8.8.8", "93.184.216.34"])]
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

fn headers() -> BoxedStrategy<Vec<(&'static str, &'static [u8])>> {
    let line: Vec<(&'static str, &'static [u8])> = vec![
        ("x-key", b"one"),
        ("x-key", b"two"),
        ("x-key", b"other"),
        ("x-other", b"one"),
        ("content-type", b"application/json; charset=utf-8"),
        ("content-type", b"Text/HTML"),
        ("user-agent", b"curl/8.5.0"),
        ("user-agent", b"a scanner"),
    ];
    vec(select(line), 0..=4).boxed()
}

fn inside(near: &Name) -> BoxedStrategy<Inside> {
    let shown = || prop_oneof![6 => Just(near.clone()), 1 => name()];
    let host =
        (shown(), weighted(0.15, select(vec![80_u16, 443, 8080]))).prop_map(|(name, port)| {
            let text = port.map_or_else(|| name.to_string(), |port| format!("{name}:{port}"));
            Authority::parse(text.as_bytes()).unwrap()
        });
    let literal = select(vec!["8.8.8.8", "93.184.216.34"])
        .prop_map(|text| Authority::parse(text.as_bytes()).unwrap());
    let request = (
        select(vec!["GET", "POST", "HEAD"]),
        select(PATHS),
        prop_oneof![16 => host.prop_map(Some), 1 => literal.prop_map(Some), 2 => Just(None)],
        headers(),
        // An undeclared length is counted by the gateway, and not a matter of one decision.
        select(vec![0_u64, 50, 100, 5000]).prop_map(Some),
    )
        .prop_map(|(method, path, authority, headers, length)| Request {
            method,
            path: RequestPath::parse(path.as_bytes()).unwrap(),
            authority,
            headers,
            length,
        });
    let answer = (
        select(vec![200_u16, 204, 404, 503]),
        headers(),
        select(vec![0_u64, 50, 100, 5000]),
        any::<bool>(),
    )
        .prop_map(|(status, headers, length, head)| Answer {
            status,
            headers,
            length,
            bodiless: head || status == 204,
        });
    let hello = (
        prop_oneof![6 => shown().prop_map(Some), 1 => Just(None)],
        select(vec![
            vec![],
            vec!["h2", "http/1.1"],
            vec!["http/1.1"],
            vec!["ssh"],
        ]),
        select(vec![
            TlsVersion::Tls10,
            TlsVersion::Tls12,
            TlsVersion::Tls13,
        ]),
        select(vec![
            "t13d1516h2_8daaf6152771_e5627efa2ab1",
            "t12d0101_bbbb_aaaa",
        ]),
    )
        .prop_map(|(sni, alpn, version, ja4)| Hello {
            sni,
            alpn: alpn
                .into_iter()
                .map(|offer| offer.as_bytes().into())
                .collect(),
            version,
            ech: false,
            ja4: ja4.to_owned(),
        });
    let said = (request, answer).boxed();
    prop_oneof![
        4 => said.clone().prop_map(|(request, answer)| Inside::Http(request, answer)),
        1 => Just(Inside::Tcp),
        5 => (hello, said).prop_map(|(hello, (request, answer))| Inside::Tls(hello, request, answer)),
    ]
    .boxed()
}

/// A flow like any other, or one of the plain kind whose TLS may well be opened.
pub fn flow() -> BoxedStrategy<Flow> {
    prop_oneof![2 => any_flow(), 1 => plain_flow()].boxed()
}

fn plain_flow() -> BoxedStrategy<Flow> {
    (
        any_flow(),
        any_flow(),
        select(vec!["ok.test", "a.wild.test"]),
    )
        .prop_filter_map("TLS", |(flow, other, text)| {
            let name = Name::parse(text.as_bytes()).unwrap();
            let inside = [flow.inside.clone(), other.inside]
                .into_iter()
                .find_map(|inside| match inside {
                    Inside::Tls(hello, request, answer) => {
                        let hello = Hello {
                            sni: Some(name.clone()),
                            ..hello
                        };
                        let request = Request {
                            authority: Some(Authority::parse(text.as_bytes()).unwrap()),
                            ..request
                        };
                        Some(Inside::Tls(hello, request, answer))
                    }
                    Inside::Http(..) | Inside::Tcp => None,
                })?;
            Some(Flow {
                entry: Entry::Connect,
                port: 443,
                target: Target::Named(name),
                address: "8.8.8.8".parse().unwrap(),
                inside,
                ..flow
            })
        })
        .boxed()
}

fn any_flow() -> BoxedStrategy<Flow> {
    (
        prop_oneof![
            4 => Just(Entry::Connect), 3 => Just(Entry::Forward), 2 => Just(Entry::Redirected),
        ],
        select(vec![80_u16, 443, 443, 5432, 8080, 3128]),
        weighted(0.8, select(vec!["192.0.2.9", "10.9.9.9", "2001:db8::7"])),
        name(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        address(),
        address(),
        any::<bool>(),
    )
        .prop_flat_map(
            |(
                entry,
                port,
                source,
                name,
                is_literal,
                address_only,
                literal,
                resolved,
                request_first,
            )| {
                inside(&name).prop_map(move |inside| {
                    let target = if is_literal || entry == Entry::Redirected {
                        Target::Literal(literal, address_only)
                    } else {
                        Target::Named(name.clone())
                    };
                    let inside = match (entry, inside) {
                        // An absolute-form request is cleartext HTTP.
                        (Entry::Forward, Inside::Tcp | Inside::Tls(..)) => Inside::Http(
                            Request {
                                method: "GET",
                                path: RequestPath::parse(b"/v2/cards").unwrap(),
                                authority: None,
                                headers: Vec::new(),
                                length: Some(0),
                            },
                            Answer {
                                status: 200,
                                headers: Vec::new(),
                                length: 0,
                                bodiless: false,
                            },
                        ),
                        (_, inside) => inside,
                    };
                    Flow {
                        entry,
                        port,
                        source: source.map(|text| text.parse().unwrap()),
                        target,
                        address: resolved,
                        inside,
                        request_first,
                    }
                })
            },
        )
        .boxed()
}

impl Flow {
    pub fn is_tls(&self) -> bool {
        matches!(self.inside, Inside::Tls(..))
    }

    /// The name that the flow itself shows, where its target is an address.
    fn shown(&self) -> Option<&Name> {
        match &self.inside {
            Inside::Http(request, _) => {
                request
                    .authority
                    .as_ref()
                    .and_then(|authority| match &authority.host {
                        exitgate_policy::Host::Name(name) => Some(name),
                        exitgate_policy::Host::Addr(_) => None,
                    })
            }
            Inside::Tcp => None,
            Inside::Tls(hello, ..) => hello.sni.as_ref(),
        }
    }

    /// Hands the evidence of a stage to a question. `over`: what is missing by then will never come. `opened`: its TLS, if
    /// it is TLS, was opened once the address and the hello were there.
    pub fn at<T>(
        &self,
        (stage, over): (Stage, bool),
        opened: bool,
        ask: impl FnOnce(&Evidence<'_>) -> T,
    ) -> T {
        let literal_first = matches!(self.target, Target::Literal(..))
            || (self.entry == Entry::Forward && self.request_first);
        let bytes = stage
            >= if literal_first {
                Stage::Half
            } else {
                Stage::Both
            };
        let resolved = stage
            >= if literal_first {
                Stage::Both
            } else {
                Stage::Half
            };
        let answered = stage >= Stage::Answered;
        let (name, literal, address) = match &self.target {
            Target::Named(name) => (Attr::Known(name), None, self.address),
            Target::Literal(literal, address_only) => {
                let shown = self.shown().filter(|_| !address_only);
                let name = match shown {
                    _ if !bytes && !address_only => Attr::Pending,
                    Some(name) => Attr::Known(name),
                    None => Attr::Absent,
                };
                (
                    name,
                    Some(*literal),
                    if shown.is_some() {
                        self.address
                    } else {
                        *literal
                    },
                )
            }
        };
        let (protocol, hello, said) = match &self.inside {
            Inside::Tcp => (Protocol::Tcp, Attr::Absent, None),
            Inside::Tls(hello, request, answer) => {
                (Protocol::Tls, Attr::Known(hello), Some((request, answer)))
            }
            Inside::Http(request, answer) => {
                (Protocol::Http, Attr::Absent, Some((request, answer)))
            }
        };
        let inspected = opened && protocol == Protocol::Tls && stage >= Stage::Inside;
        // What is inside TLS that was not opened in time is never seen.
        let relayed = protocol == Protocol::Tls && !inspected && stage >= Stage::Inside;
        let seen = protocol != Protocol::Tls || inspected;
        let request = match said {
            None => Attr::Absent,
            Some(_) if relayed => Attr::Hidden,
            Some((request, _)) if seen => Attr::Known(RequestHead {
                method: request.method,
                path: &request.path,
                authority: request.authority.as_ref(),
                headers: &request.headers,
                content_length: request.length,
            }),
            Some(_) => unknown(over),
        };
        let response = match said {
            None => Attr::Absent,
            Some(_) if relayed => Attr::Hidden,
            Some((_, answer)) if seen && answered => Attr::Known(ResponseHead {
                status: answer.status,
                headers: &answer.headers,
                content_length: Some(answer.length),
                bodiless: answer.bodiless,
            }),
            Some(_) => unknown(over),
        };
        let evidence = Evidence {
            entry: self.entry,
            port: self.port,
            source: self.source,
            name,
            literal,
            address: if resolved {
                Attr::Known(address)
            } else {
                Attr::Pending
            },
            protocol: if bytes {
                Attr::Known(protocol)
            } else {
                unknown(over)
            },
            hello: if bytes { hello } else { unknown(over) },
            request: if bytes { request } else { unknown(over) },
            response: if bytes { response } else { unknown(over) },
            inspected,
        };
        ask(&evidence)
    }
}

fn unknown<T>(over: bool) -> Attr<T> {
    if over { Attr::Hidden } else { Attr::Pending }
}
