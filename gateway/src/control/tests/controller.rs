//! A controller that does what a test says.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use exitgate_policy::resource::{self, Resource};
use exitgate_policy::{Digest, Snapshot};
use exitgate_proto::control as proto;
use exitgate_proto::control::control_server::{Control, ControlServer};
use exitgate_proto::control::controller_message::Message as Said;
use exitgate_proto::control::enrolment_server::{Enrolment, EnrolmentServer};
use exitgate_proto::control::gateway_message::Message as Heard;
use exitgate_runtime::clock;
use futures_util::Stream;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything here takes; a test that waits for it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

type Artifacts = HashMap<Digest, (Vec<u8>, Option<usize>)>;

/// One stream of a gateway.
pub(super) struct Session {
    pub(super) hello: proto::Hello,
    inbound: Streaming<proto::GatewayMessage>,
    out: mpsc::Sender<Result<proto::ControllerMessage, Status>>,
}

impl Session {
    pub(super) async fn say(&self, message: Said) {
        let message = proto::ControllerMessage {
            message: Some(message),
        };
        self.out.send(Ok(message)).await.unwrap();
    }

    /// The next message that is no heartbeat; none at the end.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.inbound.message());
            match next.await.unwrap().ok().flatten()?.message? {
                Heard::Heartbeat(_) => {}
                other => return Some(other),
            }
        }
    }

    pub(super) async fn ack(&mut self) -> proto::Ack {
        match self.hear().await {
            Some(Heard::Ack(ack)) => ack,
            other => panic!("an ack, not {other:?}"),
        }
    }

    pub(super) async fn heartbeat(&mut self) -> proto::Heartbeat {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.inbound.message());
            if let Some(Heard::Heartbeat(beat)) = next.await.unwrap().unwrap().unwrap().message {
                return beat;
            }
        }
    }
}

/// What the services share with the test.
pub(super) struct Script {
    ca: Issuer<'static, KeyPair>,
    ca_der: Vec<u8>,
    pub(super) manifest_key: EcdsaKeyPair,
    sessions: mpsc::Sender<Session>,
    pub(super) tokens: Mutex<Vec<String>>,
    pub(super) renewals: Mutex<usize>,
    pub(super) renew_in: Mutex<u64>,
    /// Bytes, and after how many of them the first transfer breaks off.
    pub(super) artifacts: Mutex<Artifacts>,
    pub(super) offsets: mpsc::Sender<u64>,
}

pub(super) struct Controller {
    pub(super) script: Arc<Script>,
    pub(super) address: String,
    pub(super) root: Vec<u8>,
    sessions: mpsc::Receiver<Session>,
    pub(super) offsets: mpsc::Receiver<u64>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Service(Arc<Script>);

impl Script {
    fn answer(&self, csr: &[u8]) -> proto::EnrolResponse {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let leaf = request.signed_by(&self.ca).unwrap();
        proto::EnrolResponse {
            chain: vec![leaf.der().to_vec().into()],
            roots: vec![self.ca_der.clone().into()],
            identity: "spiffe://exitgate/ns/exitgate/node/n1".to_owned(),
            renew_at: clock::unix_seconds() + *self.renew_in.lock(),
            manifest_keys: vec![self.manifest_key.public_key().as_ref().to_vec().into()],
        }
    }

    pub(super) fn sign(&self, update: &mut proto::Update) {
        let position = update.position.clone().unwrap_or_default();
        let text = exitgate_proto::signed_text(&update.revision, &position);
        let signature = self.manifest_key.sign(&SystemRandom::new(), &text).unwrap();
        update.signature = signature.as_ref().to_vec().into();
    }

    /// A signed update of resources.
    pub(super) fn update(&self, number: u64, resources: &[Resource]) -> proto::Update {
        let lines = resources.iter().map(|one| (&one.name, &one.digest));
        let mut update = proto::Update {
            nonce: number,
            position: Some(proto::Position {
                epoch: 1,
                sources: [("directory".to_owned(), number)].into(),
            }),
            revision: resource::revision(lines),
            upserts: resources.iter().map(on_wire).collect(),
            removals: Vec::new(),
            complete: true,
            signature: bytes::Bytes::new(),
        };
        self.sign(&mut update);
        update
    }

    pub(super) fn snapshot(&self, number: u64, snapshot: &Snapshot) -> proto::Update {
        self.update(number, &snapshot.resources())
    }
}

fn on_wire(from: &Resource) -> proto::Resource {
    proto::Resource {
        name: from.name.to_string(),
        digest: from.digest.0.to_vec().into(),
        body: if from.is_compiled_set() {
            bytes::Bytes::new()
        } else {
            from.body.to_vec().into()
        },
        artifact_bytes: if from.is_compiled_set() {
            from.body.len() as u64
        } else {
            0
        },
        needs: from.needs.iter().map(|need| need.0.clone()).collect(),
        stand_in: from
            .stand_in
            .as_ref()
            .map(|one| one.to_bytes().into())
            .unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(
        &self,
        request: Request<proto::EnrolRequest>,
    ) -> Result<Response<proto::EnrolResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.role(), proto::Role::Node);
        self.0.tokens.lock().push(request.token.clone());
        if request.token == "bad" {
            return Err(Status::unauthenticated("the token is not of our audience"));
        }
        Ok(Response::new(self.0.answer(&request.csr)))
    }
}

#[tonic::async_trait]
impl Control for Service {
    type FollowStream = Out<proto::ControllerMessage>;
    type FetchArtifactStream = Out<proto::ArtifactChunk>;

    async fn follow(
        &self,
        request: Request<Streaming<proto::GatewayMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        if request.peer_certs().is_none_or(|certs| certs.is_empty()) {
            return Err(Status::unauthenticated("no client certificate"));
        }
        let mut inbound = request.into_inner();
        let Some(Heard::Hello(hello)) = inbound.message().await?.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (out, mut queue) = mpsc::channel(16);
        let session = Session {
            hello,
            inbound,
            out,
        };
        drop(self.0.sessions.send(session).await);
        let stream = futures_util::stream::poll_fn(move |context| queue.poll_recv(context));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn fetch_artifact(
        &self,
        request: Request<proto::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let request = request.into_inner();
        self.0.offsets.send(request.offset).await.unwrap();
        let digest = Digest::from_slice(&request.digest).unwrap();
        let mut artifacts = self.0.artifacts.lock();
        let Some((bytes, breaks)) = artifacts.get_mut(&digest) else {
            return Err(Status::not_found("no such artifact"));
        };
        let from = usize::try_from(request.offset).unwrap();
        let end = breaks.take();
        let mut chunks: Vec<_> = bytes[from..end.unwrap_or(bytes.len())]
            .chunks(1000)
            .map(|chunk| {
                Ok(proto::ArtifactChunk {
                    data: chunk.to_vec().into(),
                })
            })
            .collect();
        if end.is_some() {
            chunks.push(Err(Status::unavailable("gone")));
        }
        Ok(Response::new(Box::pin(futures_util::stream::iter(chunks))))
    }

    async fn renew(
        &self,
        request: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::EnrolResponse>, Status> {
        *self.0.renewals.lock() += 1;
        *self.0.renew_in.lock() = 3600;
        Ok(Response::new(self.0.answer(&request.into_inner().csr)))
    }
}

impl Controller {
    pub(super) async fn start() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let (root, ca_der) = (ca.pem().into_bytes(), ca.der().to_vec());
        let ca = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["controller.test".to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(leaf.pem(), key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(&root))
            .client_auth_optional(true);
        let (told, sessions) = mpsc::channel(16);
        let (offsets_told, offsets) = mpsc::channel(64);
        let script = Arc::new(Script {
            ca,
            ca_der,
            manifest_key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            sessions: told,
            tokens: Mutex::default(),
            renewals: Mutex::default(),
            renew_in: Mutex::new(3600),
            artifacts: Mutex::default(),
            offsets: offsets_told,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = Service(script.clone());
        let server = tokio::spawn(async move {
            Server::builder()
                .tls_config(tls)
                .unwrap()
                .add_service(EnrolmentServer::new(service.clone()))
                .add_service(ControlServer::new(service))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            script,
            address,
            root,
            sessions,
            offsets,
            server,
        }
    }

    pub(super) async fn session(&mut self) -> Session {
        let next = tokio::time::timeout(PATIENCE, self.sessions.recv());
        next.await.unwrap().unwrap()
    }

    pub(super) fn config(&self, folder: &Folder) -> super::Config {
        super::Config {
            addresses: vec![self.address.clone()],
            server_name: Some("controller.test".to_owned()),
            roots: super::Roots::Pem(self.root.clone()),
            token: folder.0.join("token"),
            role: super::Role::Node,
            gateway: "default".to_owned(),
            state: Some(folder.0.join("state")),
            max_age: None,
            pace: super::Pace {
                first_wait: Duration::from_millis(5),
                longest_wait: Duration::from_millis(20),
                ..super::Pace::default()
            },
        }
    }
}

/// A folder with a token that goes with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("exitgate-control-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("token"), "good\n").unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
