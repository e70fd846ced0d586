//! Worlds in which the gateway opens TLS: a root for the gateway, another for the origins, and clients that trust the
//! first only.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

use crate::client::Wire;
use crate::frames::Frames;
use crate::gateway::Folder;
use crate::http2;
use crate::origin::{Answered, Manners, Origin, Reply, Request};
use crate::pki::Authority;
use crate::tunnel;
use crate::world::{Plan, Reached, World};

/// What a world needs to open TLS.
pub struct Opened {
    /// Signs for the gateway; clients trust it alone.
    pub gateway: Authority,
    /// Signs for the origins; the gateway trusts it alone.
    pub origins: Authority,
    folder: Folder,
    spec: String,
}

impl Default for Opened {
    fn default() -> Self {
        Self::new()
    }
}

impl Opened {
    pub fn new() -> Self {
        let folder = Folder::new();
        let (gateway, origins) = (Authority::new(), Authority::new());
        folder.write("ca.pem", &gateway.pem());
        folder.write("ca-key.pem", &gateway.key_pem());
        folder.write("origins.pem", &origins.pem());
        Self {
            gateway,
            origins,
            folder,
            spec: String::new(),
        }
    }

    /// More lines of `EgressGateway.spec.tls`, indented by four.
    pub fn tls(mut self, lines: &str) -> Self {
        self.spec.push_str(lines);
        self
    }

    /// A file beside the CA's; returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        self.folder.write(name, content).display().to_string()
    }

    /// Replaces such a file, as a tool that renews it does.
    pub fn replace(&self, name: &str, content: &str) {
        self.folder.replace(name, content);
    }

    /// The settings; `spec` are further lines of `EgressGateway.spec`, indented by two.
    pub fn settings(&self, spec: &str) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "  tls:\n    inspection: On\n    authority: {{certFile: {}, keyFile: {}}}\n    systemRootsFile: {}\n{}{spec}",
            path("ca.pem"),
            path("ca-key.pem"),
            path("origins.pem"),
            self.spec,
        )
    }

    pub fn plan(&self, rules: &str) -> Plan {
        Plan::rules(rules).settings(&self.settings(""))
    }

    /// A client that trusts the gateway's root and nothing else.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.gateway.client_config(alpn)
    }

    /// A good certificate for the names of the world, and what is agreed on.
    pub fn certificate(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let names = ["ok.test", "also.test", "bad.test", "*.wild.test"];
        self.origins.server_config(&names, alpn)
    }

    /// An HTTP/1.1 origin with a good certificate for the names of the world.
    pub async fn origin(&self, ip: &str) -> Origin {
        Origin::https(ip, self.certificate(&["http/1.1"])).await
    }

    /// The same with answers of the row's own.
    pub async fn origin_with(
        &self,
        ip: &str,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Origin {
        Origin::https_with(ip, self.certificate(&["http/1.1"]), reply).await
    }

    /// An HTTP/2 origin with that certificate; it speaks HTTP/1.1 with nobody.
    pub async fn http2_origin(
        &self,
        ip: &str,
        manners: Manners,
        reply: impl Fn(&Request) -> Answered + Send + Sync + 'static,
    ) -> Origin {
        Origin::http2(ip, self.certificate(&["h2"]), manners, reply).await
    }

    /// CONNECT and a handshake for `name`.
    pub async fn open(&self, world: &World, name: &str, port: u16) -> Wire {
        self.open_as(world, name, port, &["http/1.1"]).await
    }

    pub async fn open_as(&self, world: &World, name: &str, port: u16, alpn: &[&str]) -> Wire {
        let tunnel = world.tunnel(&format!("{name}:{port}")).await;
        let opened = tunnel::handshake(tunnel, name, self.client(alpn)).await;
        opened
            .unwrap_or_else(|error| panic!("TLS to {name}: {error}"))
            .0
    }

    /// CONNECT, a handshake that agrees on `h2`, and frames by hand.
    pub async fn frames(
        &self,
        world: &World,
        name: &str,
        port: u16,
        settings: &[(u16, u32)],
    ) -> Frames {
        Frames::open(self.open_as(world, name, port, &["h2"]).await, settings).await
    }

    /// The same with a client that keeps the protocol.
    pub async fn http2(&self, world: &World, name: &str, port: u16) -> http2::Client {
        http2::Client::over(self.open_as(world, name, port, &["h2", "http/1.1"]).await).await
    }

    /// A world with one good HTTP/2 origin; returns its port.
    pub async fn http2_world(&self, rules: &str, ip: &str, reached: Reached) -> (World, u16) {
        let origin = self.http2_origin(ip, Manners::default(), |_| {
            Answered::ok("origin over HTTP/2")
        });
        self.world_of(rules, origin.await, reached).await
    }

    /// A world with this origin; returns its port.
    pub async fn world_of(&self, rules: &str, origin: Origin, reached: Reached) -> (World, u16) {
        let mut world = self.plan(rules).start().await;
        let port = origin.port();
        world.add(origin, reached);
        (world, port)
    }

    /// A world with one good origin; returns its port.
    pub async fn world(&self, rules: &str, ip: &str, reached: Reached) -> (World, u16) {
        self.world_of(rules, self.origin(ip).await, reached).await
    }
}

/// A request as an ordinary client sends it.
pub fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
