//! HTTP/2 inside TLS that we opened: every stream is judged, recorded and refused on its own, and passed on to the origin's
//! HTTP/2 connection as it comes, nothing held but what the windows allow.
//!
//! The library keeps the protocol's rules on both sides; what it leaves open is closed in [`head`] (what a request is) and
//! [`wire`] (what a peer may do to its connection).

mod answer;
mod connection;
mod exchange;
mod head;
mod limits;
mod pump;
mod stream;
mod told;
mod unseen;
mod upgraded;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use connection::serve;
pub(crate) use told::tell;
pub(crate) use upstream::{Parked, Upstream};

use crate::dial::DialError;
use crate::enforce::Standing;
use crate::live::Live;
use crate::record::Record;

/// Reaches the origin anew, at an address that was judged.
pub(crate) type Redial = Box<dyn Fn(Arc<Live>) -> Dialling + Send + Sync>;
/// An origin that is being reached.
pub(crate) type Dialling =
    Pin<Box<dyn Future<Output = Result<Arc<Upstream>, DialError>> + Send + 'static>>;

/// A client's connection whose TLS was opened, and the origin's that belongs to it.
pub(crate) struct Opened<I> {
    /// Both ends of the handshake agreed on `h2`.
    pub(crate) client: I,
    pub(crate) peer: SocketAddr,
    pub(crate) standing: Standing,
    pub(crate) upstream: Arc<Upstream>,
    /// Used when the origin says goodbye; without it the client is told to come back on a new connection.
    pub(crate) redial: Option<Redial>,
    /// The tunnel's record. It is written only where no request was made.
    pub(crate) tunnel: Record,
}
