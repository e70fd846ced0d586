//! Section 9, what of it holds without interception: long streams and their ends.

use std::time::{Duration, Instant};

use exitgate_tests::client::{End, Wire};
use exitgate_tests::deadline::within_for;
use exitgate_tests::hello::Hello;
use exitgate_tests::log::Log;
use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WEB_SOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const RAW: &str = "  - {name: raw, action: Allow, to: {hosts: [ok.test], protocol: TCP}}\n";
const SIZE: u64 = 2 << 30;

rows! {
    async fn row_145_web_socket_to_a_refused_target() {
        let rule = "  - {name: chat, action: Allow, to: {hosts: [ok.test]}, http: {paths: [/chat]}}\n";
        let mut world = Plan::rules(rule).start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let to = |host: &str, path: &str| {
            format!("GET http://{host}:{port}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n{WEB_SOCKET}\r\n")
        };
        world.request_refused(to("bad.test", "/chat"), 403, &["no-rule"]).await.phase("preDns");
        world.request_refused(to("ok.test", "/other"), 403, &["no-rule"]).await;
        world.finish().await;
    }

    /// A raw tunnel; clients.rs moves the same amount over HTTP.
    async fn row_146_two_gib_each_way() {
        let mut world = Plan::rules(RAW).start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(1));
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let tunnel = world.tunnel(&target).await;
        let (mut reader, mut writer) = tokio::io::split(tunnel.into_stream());
        let sender = tokio::spawn(async move {
            let block = vec![0x2a; 1 << 20];
            for _ in 0..SIZE >> 20 {
                writer.write_all(&block).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        });
        let mut received = 0;
        let mut block = vec![0; 1 << 20];
        let mut early = 0;
        within_for(Duration::from_mins(5), "2 GiB to come back", async {
            loop {
                let length = reader.read(&mut block).await.unwrap();
                if length == 0 {
                    break;
                }
                received += length as u64;
                if early == 0 && received > 64 << 20 {
                    early = world.gateway.memory("VmHWM");
                }
            }
        })
        .await;
        sender.await.unwrap();
        assert_eq!(received, SIZE);
        let peak = world.gateway.memory("VmHWM");
        assert!(peak < early + 8 * 1024, "the gateway grew from {early} to {peak} KiB");
        world.allowed();
        let records = world.finish().await;
        assert_eq!((records[0].bytes_out(), records[0].bytes_in()), (SIZE, SIZE), "{records:#?}");
    }

    async fn row_148_resets() {
        // From the origin: the client gets a reset, not an orderly end.
        let mut world = World::start().await;
        let origin = Origin::resetting(ORIGIN).await;
        let origin = world.add(origin, Reached::Times(1));
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(Hello::for_name("ok.test").bytes()).await;
        assert_eq!(tunnel.rest().await.1, End::Reset);
        world.allowed();
        let records = world.finish().await;
        assert_eq!(records[0].closed_by(), "upstream", "{records:#?}");

        // From the client: the origin gets it.
        let mut world = World::start().await;
        let heard = Log::<End>::default();
        let told = heard.clone();
        let origin = Origin::scripted(ORIGIN, move |mut wire: Wire| {
            let told = told.clone();
            async move {
                wire.take(100).await;
                wire.send("seen").await;
                told.push(wire.rest().await.1);
            }
        });
        let origin = world.add(origin.await, Reached::Times(1));
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&target).await;
        tunnel.send(Hello::for_name("ok.test").bytes()).await;
        tunnel.take(4).await;
        tunnel.reset();
        world.allowed();
        let end = heard.wait("the origin to see the end", |ends| ends.first().copied()).await;
        assert_eq!(end, End::Reset);
        let records = world.finish().await;
        assert_eq!(records[0].closed_by(), "client", "{records:#?}");
    }

    async fn row_149_idle_limit() {
        let mut world = Plan::default().settings("  timeouts: {idle: 3s}\n").start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(1));
        let target = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&target).await;
        let hello = Hello::for_name("ok.test").bytes();
        tunnel.send(&hello).await;
        tunnel.take(hello.len()).await;
        tunnel.silent_for(Duration::from_secs(2)).await;
        tunnel.send("still here").await;
        assert_eq!(tunnel.take(10).await, b"still here");
        let silent = Instant::now();
        tunnel.closed().await;
        let waited = silent.elapsed();
        assert!((Duration::from_millis(2500)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
        world.closed_after_allow(&["idle"]);
        world.finish().await;
    }
}
