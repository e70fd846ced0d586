//! The origin's side of an opened connection: reached over verified TLS, kept for later requests of the same workload.

use std::net::SocketAddr;
use std::sync::Arc;

use exitgate_policy::evidence::Attr;
use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;
use tokio::time::Instant;

use super::exchange::Upstream;
use crate::enforce::{self, Standing};
use crate::live::{Interception, Live};
use crate::net::OriginIo;
use crate::origin::{OriginStream, PoolKey};
use crate::reason::Reason;
use crate::record::{Record, Stage};

pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// How the origin of an opened connection is reached.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) interception: Arc<Interception>,
    pub(super) key: PoolKey,
    /// What the origin may choose from; empty where the client did not negotiate.
    pub(super) offers: Vec<&'static [u8]>,
}

impl Route {
    pub(super) fn new(
        interception: Arc<Interception>,
        standing: &Standing,
        name: &Name,
        offers: Vec<&'static [u8]>,
    ) -> Self {
        let workload = &standing.member.workload;
        let key = interception
            .origins
            .key(workload, name, standing.facts.port);
        Self {
            interception,
            key,
            offers,
        }
    }

    /// The same under the settings in force now: whom to trust and who we are may have changed.
    pub(super) fn under(&self, live: &Live, workload: &Workload) -> Self {
        let Some(interception) = &live.interception else {
            return self.clone();
        };
        let key = interception
            .origins
            .key(workload, self.key.host(), self.key.port());
        Self {
            interception: interception.clone(),
            key,
            offers: self.offers.clone(),
        }
    }

    /// Whether the client offered what a connection speaks.
    pub(super) fn takes(&self, protocol: Option<&[u8]>) -> bool {
        match protocol {
            Some(HTTP2) => self.offers.contains(&HTTP2),
            _ => self.offers.is_empty() || self.offers.contains(&HTTP1),
        }
    }

    /// Whether a connection that another client left speaks what the origin would have chosen for this one. A client
    /// that offers HTTP/2 is not held to what one that did not came to.
    pub(super) fn suits(&self, reached: &Reached) -> bool {
        let chosen = reached.protocol();
        if !self.offers.contains(&HTTP2) || chosen == Some(HTTP2) {
            return self.takes(chosen);
        }
        let memory = self.interception.origins.alpn_of(&self.key);
        self.takes(chosen) && memory.is_some_and(|known| known.as_deref() == chosen)
    }

    /// Puts a connection by for other clients of the same workload.
    pub(super) fn keep(self, address: SocketAddr, upstream: Upstream) {
        if let OriginIo::Tls(stream) = upstream.stream {
            let origins = &self.interception.origins;
            origins.put(self.key, *stream, address, upstream.made);
        }
    }
}

/// A verified connection with what the origin chose to speak.
pub(super) struct Reached {
    pub(super) address: SocketAddr,
    pub(super) stream: OriginStream,
    pub(super) used: bool,
}

impl Reached {
    /// What ALPN settled on with the origin, for the client's side to repeat.
    pub(super) fn protocol(&self) -> Option<&'static [u8]> {
        let chosen = self.stream.alpn()?;
        [HTTP1, HTTP2].into_iter().find(|known| *known == chosen)
    }

    /// Puts the connection by unused.
    pub(super) fn leave(self, route: Route) {
        if self.protocol() != Some(HTTP2) {
            let (address, upstream) = self.into_upstream();
            route.keep(address, upstream);
        }
    }

    pub(super) fn into_upstream(self) -> (SocketAddr, Upstream) {
        let made = self.stream.made();
        let mut upstream = Upstream::new(OriginIo::Tls(Box::new(self.stream.into_io())));
        upstream.made = made;
        upstream.used = self.used;
        (self.address, upstream)
    }
}

/// A kept connection that the policy still lets this flow use.
pub(super) fn kept(route: &Route, standing: &mut Standing, record: &mut Record) -> Option<Reached> {
    while let Some((stream, address)) = route.interception.origins.take(&route.key) {
        let before = standing.facts.address;
        standing.facts.address = Attr::Known(address.ip());
        let decision = standing.facts.judge_connection(&standing.member);
        if enforce::may_go_on(&decision) {
            record.decided(&decision);
            record.fields.address = Some(address.ip());
            record.fields.origin = Some(stream.certificate().clone());
            record.reached(Stage::Dialled);
            return Some(Reached {
                address,
                stream,
                used: true,
            });
        }
        standing.facts.address = before;
    }
    None
}

/// A connection for the next request: a kept one, or a new one.
pub(super) async fn reach(
    route: &Route,
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<(SocketAddr, Upstream), Reason> {
    if let Some(reached) = kept(route, standing, record) {
        return Ok(reached.into_upstream());
    }
    dial(route, live, standing, record).await
}

/// A new connection that speaks what the client offered, to an address that is judged now.
pub(super) async fn anew(
    route: &Route,
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<Reached, Reason> {
    let (address, tcp) = connect(live, standing, record).await?;
    secure(route, tcp, address, &route.offers, live, record).await
}

/// A new connection for the next request. It must speak what the client's side speaks: HTTP/1.1.
pub(super) async fn dial(
    route: &Route,
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<(SocketAddr, Upstream), Reason> {
    let (address, tcp) = connect(live, standing, record).await?;
    let offers = if route.offers.is_empty() {
        &[][..]
    } else {
        &[HTTP1][..]
    };
    let reached = secure(route, tcp, address, offers, live, record).await?;
    Ok(reached.into_upstream())
}

async fn connect(
    live: &Live,
    standing: &mut Standing,
    record: &mut Record,
) -> Result<(SocketAddr, Upstream), Reason> {
    let member = standing.member.clone();
    let addresses =
        enforce::addresses(live, &member, &mut standing.facts, Attr::Pending, record).await?;
    let (address, tcp) = super::forward::dial(live, &addresses, record).await?;
    standing.facts.address = Attr::Known(address.ip());
    Ok((address, tcp))
}

/// Makes the TCP connection that the tunnel was granted with a verified one.
pub(super) async fn handshake(
    route: &Route,
    upstream: Upstream,
    standing: &Standing,
    live: &Live,
    record: &mut Record,
) -> Result<Reached, Reason> {
    let Attr::Known(address) = standing.facts.address else {
        return Err(Reason::NoAddress);
    };
    let address = SocketAddr::new(address, standing.facts.port);
    secure(route, upstream, address, &route.offers, live, record).await
}

pub(super) async fn secure(
    route: &Route,
    upstream: Upstream,
    address: SocketAddr,
    offers: &[&[u8]],
    live: &Live,
    record: &mut Record,
) -> Result<Reached, Reason> {
    let OriginIo::Tcp(tcp) = upstream.stream else {
        return Err(Reason::UpstreamReset);
    };
    let deadline = Instant::now() + live.settings.dial;
    let handshake = route
        .interception
        .origins
        .handshake(tcp, &route.key, offers, deadline);
    match handshake.await {
        Ok(stream) => {
            record.fields.origin = Some(stream.certificate().clone());
            Ok(Reached {
                address,
                stream,
                used: false,
            })
        }
        Err(failure) => {
            record.fields.detail = Some(failure.to_string());
            Err(failure.reason())
        }
    }
}
