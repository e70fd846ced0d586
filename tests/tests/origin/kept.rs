//! Connections that wait for their next request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use exitgate_gateway::origin::{Origins, PoolKey, Shared};
use exitgate_tests::pki::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, pause};
use tokio_rustls::server::TlsStream;

use super::scene::{Folder, echo, name, origins, ping, server, shake, workload};

const HOST: &str = "kept.test";

struct Scene {
    origins: Origins,
    address: SocketAddr,
    key: PoolKey,
    _folder: Folder,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|tls| async move { echo(tls).await }).await
    }

    async fn with<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let folder = Folder::new();
        let origins = origins(&folder, &authority.pem(), Vec::new());
        let address = server(authority.server_config(&[HOST], &["http/1.1"]), serve).await;
        let key = origins.key(&workload("apps", "web"), &name(HOST), address.port());
        Self {
            origins,
            address,
            key,
            _folder: folder,
        }
    }

    /// Makes a connection, uses it, and puts it by.
    async fn keep(&self) {
        let stream = shake(&self.origins, self.address, HOST).await.unwrap();
        let made = stream.made();
        let mut io = stream.into_io();
        ping(&mut io).await;
        self.origins.put(self.key.clone(), io, self.address, made);
    }

    fn take(&self) -> bool {
        self.origins.take(&self.key).is_some()
    }
}

#[tokio::test]
async fn a_connection_is_used_again_by_its_own_workload() {
    let scene = Scene::new().await;
    scene.keep().await;
    assert_eq!(scene.origins.idle(), 1);
    for (namespace, workload_name) in [("apps", "db"), ("pay", "web")] {
        let stranger = workload(namespace, workload_name);
        let key = scene
            .origins
            .key(&stranger, &name(HOST), scene.address.port());
        assert!(scene.origins.take(&key).is_none());
    }
    let web = workload("apps", "web");
    for (host, port) in [("other.test", scene.address.port()), (HOST, 1)] {
        assert!(
            scene
                .origins
                .take(&scene.origins.key(&web, &name(host), port))
                .is_none()
        );
    }
    let (stream, address) = scene.origins.take(&scene.key).unwrap();
    assert_eq!(address, scene.address);
    assert_eq!(stream.certificate().issuer, "CN=Test root");
    assert_eq!(stream.alpn(), Some(&b"http/1.1"[..]));
    ping(&mut stream.into_io()).await;
    assert!(!scene.take());
    assert_eq!(scene.origins.idle(), 0);
    assert_eq!(scene.origins.counts().reused.get(), 1);
}

/// Attack row 131: what the origin closed or talked on is never handed out, not even a moment later.
#[tokio::test]
async fn row_131_only_quiet_connections_are_handed_out() {
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Alert,
        Close,
        Reset,
        Talk,
    }
    for then in [Then::Alert, Then::Close, Then::Reset, Then::Talk] {
        let (go_tx, go_rx) = mpsc::channel::<()>(1);
        let (done_tx, mut done_rx) = mpsc::channel::<TlsStream<TcpStream>>(1);
        let go_rx = Arc::new(tokio::sync::Mutex::new(go_rx));
        let scene = Scene::with(move |mut tls| {
            let (go_rx, done_tx) = (Arc::clone(&go_rx), done_tx.clone());
            async move {
                let mut bytes = [0; 4];
                tls.read_exact(&mut bytes).await.unwrap();
                tls.write_all(&bytes).await.unwrap();
                go_rx.lock().await.recv().await.unwrap();
                match then {
                    Then::Alert => tls.shutdown().await.unwrap(),
                    Then::Close => tls.get_mut().0.shutdown().await.unwrap(),
                    Then::Reset => tls.get_ref().0.set_zero_linger().unwrap(),
                    Then::Talk => {
                        tls.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                            .await
                            .unwrap();
                        tls.flush().await.unwrap();
                    }
                }
                match then {
                    Then::Reset => drop(tls),
                    Then::Alert | Then::Close | Then::Talk => done_tx.send(tls).await.unwrap(),
                }
            }
        })
        .await;
        scene.keep().await;
        assert_eq!(scene.origins.idle(), 1, "{then:?}");
        go_tx.send(()).await.unwrap();
        // Loopback delivers at once: when the server's call has returned, the bytes are here.
        let server_half = match then {
            Then::Reset => {
                while scene.origins.idle() > 0 {
                    scene.origins.sweep();
                    tokio::task::yield_now().await;
                }
                None
            }
            Then::Alert | Then::Close | Then::Talk => done_rx.recv().await,
        };
        assert!(!scene.take(), "{then:?}");
        assert_eq!(scene.origins.idle(), 0, "{then:?}");
        drop(server_half);
    }
}

#[tokio::test]
async fn a_connection_with_something_unread_is_not_kept() {
    let scene = Scene::with(|mut tls| async move {
        tls.write_all(b"pingmore").await.unwrap();
        tls.flush().await.unwrap();
        drop(tls.read_to_end(&mut Vec::new()).await);
    })
    .await;
    scene.keep().await;
    assert_eq!(scene.origins.idle(), 0);
}

#[tokio::test]
async fn few_are_kept_and_not_for_long() {
    let scene = Scene::new().await;
    for _ in 0..40 {
        scene.keep().await;
    }
    assert_eq!(scene.origins.idle(), 32);
    pause();
    advance(Duration::from_secs(61)).await;
    assert!(!scene.take());
    scene.origins.sweep();
    assert_eq!(scene.origins.idle(), 0);
}

#[tokio::test]
async fn what_is_used_again_and_again_ends_with_its_age() {
    let scene = Scene::new().await;
    scene.keep().await;
    pause();
    let started = Instant::now();
    while let Some((stream, address)) = scene.origins.take(&scene.key) {
        let made = stream.made();
        scene
            .origins
            .put(scene.key.clone(), stream.into_io(), address, made);
        advance(Duration::from_secs(30)).await;
    }
    let lived = started.elapsed();
    assert!(
        (Duration::from_secs(570)..=Duration::from_secs(630)).contains(&lived),
        "{lived:?}"
    );
}

#[tokio::test]
async fn sweeping_closes_what_the_origin_closed() {
    let (done_tx, mut done_rx) = mpsc::channel(1);
    let scene = Scene::with(move |mut tls| {
        let done_tx = done_tx.clone();
        async move {
            let mut bytes = [0; 4];
            tls.read_exact(&mut bytes).await.unwrap();
            tls.write_all(&bytes).await.unwrap();
            tls.shutdown().await.unwrap();
            done_tx.send(()).await.unwrap();
            drop(tls.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
    scene.keep().await;
    done_rx.recv().await.unwrap();
    scene.origins.sweep();
    assert_eq!(scene.origins.idle(), 0);
}

#[tokio::test]
async fn shared_handles() {
    let scene = Scene::new().await;
    let key = |host: &str| {
        scene
            .origins
            .key(&workload("apps", "web"), &name(host), 443)
    };
    let shared = Shared::new(2);
    assert!(shared.is_empty());
    assert_eq!(shared.insert(key("a.test"), 1), None);
    assert_eq!(shared.insert(key("b.test"), 2), None);
    assert_eq!(shared.get(&key("a.test"), |_| true), Some(1));
    assert_eq!(shared.insert(key("c.test"), 3), Some(2));
    assert_eq!(shared.get(&key("b.test"), |_| true), None);
    assert_eq!(shared.get(&key("a.test"), |_| false), None);
    assert_eq!(shared.get(&key("a.test"), |_| true), None);
    assert_eq!(shared.remove(&key("c.test"), |handle| *handle == 4), None);
    assert_eq!(
        shared.remove(&key("c.test"), |handle| *handle == 3),
        Some(3)
    );
    shared.insert(key("d.test"), 4);
    shared.sweep(|handle| *handle != 4);
    assert_eq!(shared.len(), 0);
}
