//! A server, a folder of PEM files and the gateway's `Origins`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exitgate_gateway::origin::{Config, OriginFailure, OriginStream, Origins, Upstream};
use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A folder of its own for one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("origin-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn put(&self, file: &str, content: &str) {
        std::fs::write(self.0.join(file), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// `Origins` whose system roots are `roots`.
pub(crate) fn origins(folder: &Folder, roots: &str, upstreams: Vec<Upstream>) -> Origins {
    folder.put("roots.pem", roots);
    Origins::new(&config(upstreams), folder.path()).unwrap()
}

pub(crate) fn config(upstreams: Vec<Upstream>) -> Config {
    Config {
        system_roots_file: Some("roots.pem".to_owned()),
        upstreams,
    }
}

pub(crate) fn upstream(host: &str) -> Upstream {
    Upstream {
        name: format!("for {host}"),
        hosts: vec![host.to_owned()],
        ..Upstream::default()
    }
}

pub(crate) fn workload(namespace: &str, name: &str) -> Workload {
    Workload {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Workload::default()
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// Handles each connection that finished its handshake with `serve`.
pub(crate) async fn server<F>(
    config: Arc<ServerConfig>,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(config);
    let serve = Arc::new(serve);
    listen(move |tcp| {
        let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
        async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                serve(tls).await;
            }
        }
    })
    .await
}

/// Handles each connection with `serve`.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // So that what a test writes has arrived when the call returns.
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(serve(tcp));
        }
    });
    address
}

/// Echoes until the end.
pub(crate) async fn echo(mut tls: TlsStream<TcpStream>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = tls.read(&mut buffer).await {
        if tls.write_all(&buffer[..read]).await.is_err() || tls.flush().await.is_err() {
            return;
        }
    }
}

/// One line there and back; on the way tickets arrive.
pub(crate) async fn ping<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S) {
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

pub(crate) const H1: &[&[u8]] = &[b"http/1.1"];
pub(crate) const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A handshake of the workload `apps/web`.
pub(crate) async fn shake(
    origins: &Origins,
    address: SocketAddr,
    host: &str,
) -> Result<OriginStream, OriginFailure> {
    shake_as(origins, address, host, &workload("apps", "web"), H1).await
}

pub(crate) async fn shake_as(
    origins: &Origins,
    address: SocketAddr,
    host: &str,
    workload: &Workload,
    alpn: &[&[u8]],
) -> Result<OriginStream, OriginFailure> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let key = origins.key(workload, &name(host), address.port());
    let deadline = Instant::now() + Duration::from_secs(20);
    origins.handshake(tcp, &key, alpn, deadline).await
}
