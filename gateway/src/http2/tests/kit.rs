//! A client, our side, and an origin, over pipes.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exitgate_policy::evidence::{Attr, Entry, Hello, Protocol, TlsVersion};
use exitgate_policy::name::{Host, Name};
use exitgate_policy::snapshot::{PolicyResource, Snapshot};
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::super::{Opened, Redial, Upstream, serve};
use crate::dial::DialError;
use crate::enforce::{Facts, Standing};
use crate::live::Secrets;
use crate::reason::Reason;
use crate::record::{Class, Overflow, SinkConfig, Target};
use crate::server::Shared;

pub(super) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(93, 184, 216, 34));
const PIPE: usize = 64 * 1024;

/// A policy that the tests share: what is let through hangs on each part of a head.
pub(super) fn rules() -> Value {
    json!([
        {"name": "read", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"methods": ["GET", "HEAD"], "paths": ["/open/**"]}},
        {"name": "call", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"paths": ["/api/**", "/pkg.Service/*"]}},
        {"name": "typed", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"paths": ["/typed"]},
         "response": {"contentTypes": ["application/json"]}},
        {"name": "bounded", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"paths": ["/bounded"]},
         "response": {"contentLength": {"max": 10}}},
        {"name": "cookie", "action": "Allow", "to": {"hosts": ["ok.test"]}, "http": {"paths": ["/cookie"],
         "headers": {"cookie": {"exact": ["a=1; b=2"]}}}},
        {"name": "also", "action": "Allow", "to": {"hosts": ["also.test"]}},
    ])
}

pub(super) fn snapshot(rules: &Value) -> Snapshot {
    let settings = json!({"timeouts": {"idle": "60s", "total": "2h", "recheckGrace": "5s"}});
    Snapshot {
        settings: serde_json::from_value(settings).unwrap(),
        policies: vec![PolicyResource::Namespaced {
            namespace: "default".to_owned(),
            name: "p".to_owned(),
            spec: serde_json::from_value(json!({ "rules": rules })).unwrap(),
        }],
        standalone: true,
        ..Snapshot::default()
    }
}

/// What the gateway knows, and its records.
pub(super) struct World {
    pub(super) shared: Arc<Shared>,
    records: PathBuf,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(&rules())
    }

    pub(super) fn with(rules: &Value) -> Self {
        let base = std::env::temp_dir().join(format!("exitgate-h2-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&base).unwrap();
        let records = base.join("records");
        let sink = SinkConfig {
            target: Target::File {
                path: records.clone(),
                max_bytes: 1 << 30,
                keep: 1,
            },
            classes: vec![Class::Http, Class::Network],
            verdicts: Vec::new(),
            overflow: Overflow::Drop,
        };
        let shared = Shared::for_tests(snapshot(rules), vec![sink], &base);
        Self { shared, records }
    }

    /// Puts other rules in force.
    pub(super) fn apply(&self, rules: &Value) {
        let secrets = Secrets::default();
        self.shared.state.apply(snapshot(rules), &secrets).unwrap();
    }

    /// Everything that was recorded, in order; no more is written.
    pub(super) fn records(&self) -> Vec<Value> {
        self.shared.recorder.close(Duration::from_secs(5));
        let text = std::fs::read_to_string(&self.records).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn standing(&self) -> Standing {
        let name = Name::parse(b"ok.test").unwrap();
        let source = IpAddr::from([127, 0, 0, 1]);
        let mut facts = Facts::new(Entry::Connect, source, &Host::Name(name.clone()), 443);
        facts.address = Attr::Known(ADDRESS);
        facts.protocol = Attr::Known(Protocol::Tls);
        facts.hello = Attr::Known(Box::new(Hello {
            sni: Some(name),
            alpn: vec![b"h2"[..].into()],
            version: TlsVersion::Tls13,
            ech: false,
            ja4: String::new(),
        }));
        facts.inspected = true;
        let live = self.shared.state.current().unwrap();
        Standing {
            facts,
            member: live.identities.place(source, &[], None).unwrap(),
            sans: Arc::new([]),
            user: None,
            upgraded: None,
        }
    }

    /// Our side between a client and an origin that is already reached.
    pub(super) fn serve(
        &self,
        upstream: Upstream,
        redial: Option<Redial>,
    ) -> (DuplexStream, JoinHandle<()>) {
        let (near, serving) = self.lend(Arc::new(upstream), redial);
        (near, tokio::spawn(async move { drop(serving.await) }))
    }

    /// The same with a connection to the origin that is given back.
    pub(super) fn lend(
        &self,
        upstream: Arc<Upstream>,
        redial: Option<Redial>,
    ) -> (DuplexStream, JoinHandle<Arc<Upstream>>) {
        let (near, far) = tokio::io::duplex(PIPE);
        let peer = "127.0.0.1:40000".parse().unwrap();
        let mut tunnel = self
            .shared
            .recorder
            .begin(Class::Network, Entry::Connect, peer);
        tunnel.fields.host = Some("ok.test".to_owned());
        let opened = Opened {
            client: far,
            peer,
            standing: self.standing(),
            upstream,
            redial,
            tunnel,
        };
        (near, tokio::spawn(serve(self.shared.clone(), opened)))
    }

    /// A client of an origin that answers with `handler`.
    pub(super) async fn client<H, F>(&self, handler: H) -> Client
    where
        H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.client_of(&server::Builder::new(), handler).await
    }

    pub(super) async fn client_of<H, F>(&self, builder: &server::Builder, handler: H) -> Client
    where
        H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let upstream = upstream(origin(builder, handler)).await;
        let (io, gateway) = self.serve(upstream, None);
        Client::over(io, gateway).await
    }
}

pub(super) async fn upstream(io: DuplexStream) -> Upstream {
    Upstream::open(io, SocketAddr::new(ADDRESS, 443), Duration::from_secs(5))
        .await
        .unwrap()
}

/// Origins to be reached one after the other.
pub(super) fn redial(ios: Vec<DuplexStream>) -> Redial {
    let ios = Arc::new(Mutex::new(VecDeque::from(ios)));
    Box::new(move |_| {
        let next = ios.lock().pop_front();
        Box::pin(async move {
            match next {
                Some(io) => Ok(Arc::new(upstream(io).await)),
                None => Err(DialError {
                    reason: Reason::DialFailed,
                    detail: "nobody there".to_owned(),
                }),
            }
        })
    })
}

/// An origin that answers with `handler`, and the other end of its connection.
pub(super) fn origin<H, F>(builder: &server::Builder, handler: H) -> DuplexStream
where
    H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(PIPE);
    let handshake = builder.handshake::<_, Bytes>(far);
    tokio::spawn(async move {
        let Ok(mut connection) = handshake.await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(handler.clone()(request, respond));
        }
    });
    near
}

/// The client's end.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) send: SendRequest<Bytes>,
    pub(super) tasks: Arc<Tasks>,
}

/// Our side of the connection, and what drives the client's.
type Tasks = (JoinHandle<()>, JoinHandle<Result<(), h2::Error>>);

/// A response in full.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    pub(super) async fn over(io: DuplexStream, gateway: JoinHandle<()>) -> Self {
        let (send, connection) = client::Builder::new().handshake(io).await.unwrap();
        let tasks = Arc::new((gateway, tokio::spawn(connection)));
        Self { send, tasks }
    }

    pub(super) async fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Got, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut upload) = send.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            upload.send_data(Bytes::copy_from_slice(body), true)?;
        }
        read(response.await?).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Got, h2::Error> {
        self.ask(get(path), b"").await
    }
}

pub(super) fn get(path: &str) -> Request<()> {
    Request::get(format!("https://ok.test{path}"))
        .body(())
        .unwrap()
}

pub(super) fn post(path: &str) -> Request<()> {
    Request::post(format!("https://ok.test{path}"))
        .body(())
        .unwrap()
}

pub(super) async fn read(response: Response<RecvStream>) -> Result<Got, h2::Error> {
    let (parts, mut content) = response.into_parts();
    let (body, _) = drain(&mut content).await?;
    Ok(Got {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

pub(super) async fn drain(content: &mut RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = content.data().await {
        let data = data?;
        content.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body, content.trailers().await?.unwrap_or_default()))
}

/// Answers with what was asked: the request's fields as JSON lines, then its content.
pub(super) async fn mirror(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut content) = request.into_parts();
    let (body, trailers) = drain(&mut content).await.unwrap_or_default();
    let fields: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let text = json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "fields": fields,
        "body": String::from_utf8_lossy(&body),
        "trailers": trailers.keys().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(text.to_string().into(), true).unwrap();
}

pub(super) fn json_of(got: &Got) -> Value {
    serde_json::from_slice(&got.body).unwrap()
}
