//! A controller in this process, and gateways that speak the protocol with it through pipes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use exitgate_policy::Digest;
use exitgate_proto::control as proto;
use exitgate_proto::control::control_client::ControlClient;
use exitgate_proto::control::controller_message::Message;
use exitgate_proto::control::enrolment_client::EnrolmentClient;
use exitgate_proto::control::gateway_message::Message as Said;
use exitgate_runtime::clock;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::index::tests::{map, node, nodes_fleet};
use crate::index::{Event, Origin, SharedIndex, Sink as _, Watched};
use crate::serve::{Controller, Limits, Metrics, Parts, ServeError};
use crate::trust::{
    Claims, Interception, Keyring, Role, TokenRefused, TokenVerifier, Trust, Verified,
};

/// Tokens of the form `ROLE[+ROLE] NAMESPACE POD NODE`.
struct Tokens;

impl TokenVerifier for Tokens {
    fn verify<'a>(&'a self, token: &'a str) -> Verified<'a> {
        Box::pin(async move {
            let parts: Vec<&str> = token.split(' ').collect();
            let [roles, namespace, pod, node] = parts.as_slice() else {
                if token == "nobody knows" {
                    std::future::pending::<()>().await;
                }
                return Err(TokenRefused::Refused("not a token".to_owned()));
            };
            let role = |text: &str| match text {
                "node" => Role::Node,
                "pool" => Role::Pool,
                _ => Role::Sidecar,
            };
            Ok(Claims {
                roles: roles.split('+').map(role).collect(),
                namespace: (*namespace).to_owned(),
                service_account: "gateway".to_owned(),
                pod: (*pod).to_owned(),
                pod_uid: format!("uid-{namespace}-{pod}"),
                node: (*node).to_owned(),
            })
        })
    }
}

pub(super) struct World {
    pub(super) controller: Controller,
    pub(super) index: SharedIndex,
    pub(super) trust: Arc<Trust>,
    connections: mpsc::Sender<io::Result<DuplexStream>>,
    pub(super) server: JoinHandle<Result<(), ServeError>>,
}

pub(super) fn trust() -> Arc<Trust> {
    let now = clock::unix_seconds();
    let mut keyring = Keyring::default();
    keyring.tend(now).unwrap();
    Arc::new(Trust::new(&keyring, vec!["controller.example".to_owned()], now).unwrap())
}

impl World {
    /// A cluster of these objects, beside a fleet `nodes` and the nodes `one` and `two`.
    pub(super) fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self::with(events, Limits::default(), None)
    }

    pub(super) fn with(
        events: impl IntoIterator<Item = Event>,
        limits: Limits,
        interception: Option<Arc<dyn Interception>>,
    ) -> Self {
        let mut index = SharedIndex::new(Origin::Cluster);
        let basic = [nodes_fleet(), node("one"), node("two")];
        for event in basic.into_iter().chain(events) {
            index.event(event);
        }
        let documents = crate::api::Kind::ALL.map(Watched::Document);
        let others = [Watched::Namespace, Watched::Node, Watched::Pod];
        for watched in documents.into_iter().chain(others) {
            index.event(Event::Synced(watched));
        }
        let publisher = index.clone();
        tokio::spawn(async move { publisher.publish(|_, _| ()).await });
        let trust = trust();
        let controller = Controller::new(Parts {
            index: index.clone(),
            trust: Arc::clone(&trust),
            tokens: Arc::new(Tokens),
            interception,
            metrics: Metrics::default(),
            limits,
        });
        let (connections, accepted) = mpsc::channel(16);
        let accepted = stream::unfold(accepted, |mut accepted| async move {
            let connection = accepted.recv().await?;
            Some((connection, accepted))
        });
        let serving = controller.clone();
        let server = tokio::spawn(async move { serving.run_with(accepted).await });
        Self {
            controller,
            index,
            trust,
            connections,
            server,
        }
    }

    pub(super) fn event(&self, event: Event) {
        self.index.clone().event(event);
    }

    /// A channel of a caller, with a certificate or without.
    pub(super) async fn channel(&self, caller: Option<&Caller>) -> Channel {
        self.try_channel(caller, &self.trust.roots()).await.unwrap()
    }

    pub(super) async fn try_channel(
        &self,
        caller: Option<&Caller>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Channel, tonic::transport::Error> {
        let mut store = rustls::RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store);
        let mut config = match caller {
            None => config.with_no_client_auth(),
            Some(caller) => config
                .with_client_auth_cert(caller.chain.clone(), caller.key.clone_key())
                .unwrap(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = Connector {
            connections: self.connections.clone(),
            tls: TlsConnector::from(Arc::new(config)),
        };
        Endpoint::from_static("http://controller.example")
            .connect_with_connector(connector)
            .await
    }

    /// Enrols with a token of [`Tokens`].
    pub(super) async fn enrol(
        &self,
        token: &str,
        role: proto::Role,
        gateway: &str,
    ) -> Result<Caller, Status> {
        let key = KeyPair::generate().unwrap();
        let request = proto::EnrolRequest {
            token: token.to_owned(),
            csr: request(&key).into(),
            role: role.into(),
            gateway: gateway.to_owned(),
        };
        let mut client = EnrolmentClient::new(self.channel(None).await);
        let answer = client.enrol(request).await?.into_inner();
        Ok(Caller::new(answer, &key))
    }

    pub(super) async fn node(&self, name: &str) -> Caller {
        let token = format!("node+pool exitgate gateway-{name} {name}");
        self.enrol(&token, proto::Role::Node, "nodes")
            .await
            .unwrap()
    }

    pub(super) async fn control(&self, caller: &Caller) -> ControlClient<Channel> {
        ControlClient::new(self.channel(Some(caller)).await)
    }

    /// A stream of a gateway that holds nothing.
    pub(super) async fn follow(&self, caller: &Caller) -> Gateway {
        let hello = proto::Hello {
            instance: "first".to_owned(),
            ..proto::Hello::default()
        };
        self.follow_with(caller, hello).await.unwrap()
    }

    pub(super) async fn follow_with(
        &self,
        caller: &Caller,
        hello: proto::Hello,
    ) -> Result<Gateway, Status> {
        let (out, said) = mpsc::channel(16);
        let said = stream::unfold(said, |mut said| async move {
            let message: proto::GatewayMessage = said.recv().await?;
            Some((message, said))
        });
        let mut client = self.control(caller).await;
        out.send(proto::GatewayMessage {
            message: Some(Said::Hello(hello)),
        })
        .await
        .unwrap();
        let inbound = client.follow(Request::new(said)).await?.into_inner();
        Ok(Gateway {
            inbound,
            out,
            held: HashMap::new(),
        })
    }
}

pub(super) fn request(key: &KeyPair) -> Vec<u8> {
    let request = CertificateParams::default().serialize_request(key).unwrap();
    request.der().to_vec()
}

/// A gateway with its certificate.
pub(super) struct Caller {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) answer: proto::EnrolResponse,
}

impl Caller {
    pub(super) fn new(answer: proto::EnrolResponse, key: &KeyPair) -> Self {
        let chain = answer.chain.iter();
        Self {
            chain: chain
                .map(|der| CertificateDer::from(der.to_vec()))
                .collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            answer,
        }
    }
}

/// A gateway's end of its stream.
pub(super) struct Gateway {
    pub(super) inbound: Streaming<proto::ControllerMessage>,
    pub(super) out: mpsc::Sender<proto::GatewayMessage>,
    pub(super) held: HashMap<String, Digest>,
}

impl Gateway {
    pub(super) async fn message(&mut self) -> Result<Message, Status> {
        let message = self.inbound.message().await?;
        let message = message.ok_or_else(|| Status::ok("the stream has ended"))?;
        Ok(message.message.unwrap())
    }

    /// The next update, whatever else comes before.
    pub(super) async fn update(&mut self) -> proto::Update {
        loop {
            if let Message::Update(update) = self.message().await.unwrap() {
                return update;
            }
        }
    }

    /// Takes the next update as a gateway does, and answers. What is held then makes the revision that was announced.
    pub(super) async fn take(&mut self) -> proto::Update {
        let update = self.update().await;
        self.apply(&update);
        self.ack(update.nonce, &update.revision, &[]).await;
        update
    }

    pub(super) fn apply(&mut self, update: &proto::Update) {
        for name in &update.removals {
            assert!(self.held.remove(name).is_some(), "{name} was not held");
        }
        for resource in &update.upserts {
            let digest = Digest::from_slice(&resource.digest).unwrap();
            self.held.insert(resource.name.clone(), digest);
        }
        let lines = self
            .held
            .iter()
            .map(|(name, digest)| format!("{name} {digest}"));
        assert_eq!(
            exitgate_policy::resource::revision_of_lines(lines.collect()),
            update.revision
        );
    }

    pub(super) async fn ack(&self, nonce: u64, revision: &str, refused: &[&str]) {
        let refusal = |name: &&str| proto::Refusal {
            name: (*name).to_owned(),
            reason: "too new".to_owned(),
            ..proto::Refusal::default()
        };
        self.say(Said::Ack(proto::Ack {
            nonce,
            revision: revision.to_owned(),
            refusals: refused.iter().map(refusal).collect(),
        }))
        .await;
    }

    pub(super) async fn say(&self, message: Said) {
        let message = Some(message);
        self.out
            .send(proto::GatewayMessage { message })
            .await
            .unwrap();
    }

    /// Why the stream ends, after whatever still comes.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.message().await {
                return status;
            }
        }
    }
}

pub(super) fn names(update: &proto::Update) -> Vec<&str> {
    let upserts = update.upserts.iter();
    upserts.map(|resource| resource.name.as_str()).collect()
}

pub(super) fn pool_fleet() -> Event {
    crate::index::tests::object(
        &crate::index::tests::key(crate::api::Kind::EgressGateway, None, "a-pool"),
        1,
        serde_json::json!({"namespaceSelector": {"matchLabels": map(&[("team", "pool")])}}),
    )
}

#[derive(Clone)]
struct Connector {
    connections: mpsc::Sender<io::Result<DuplexStream>>,
    tls: TlsConnector,
}

type Connecting =
    Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<DuplexStream>>>> + Send>>;

impl Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<DuplexStream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Connecting {
        let connector = self.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            connector.connections.send(Ok(theirs)).await.ok();
            let name = ServerName::try_from("controller.example").unwrap();
            let stream = connector.tls.connect(name, ours).await?;
            Ok(TokioIo::new(stream))
        })
    }
}
