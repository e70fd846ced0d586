//! One handshake with an origin.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{self, Asked, OriginFailure};
use super::slot::{self, Slot};
use crate::reason::Reason;

/// How much longer than the handshake itself an origin may take to refuse a client that showed no certificate.
const SETTLE_FACTOR: u32 = 2;
const SETTLE_LEAST: Duration = Duration::from_millis(100);
const SETTLE_MOST: Duration = Duration::from_millis(500);

/// Does the handshake. The findings are in `slot`.
pub(super) async fn run(
    config: Arc<ClientConfig>,
    tcp: TcpStream,
    name: ServerName<'static>,
    alpn: &[&[u8]],
    slot: &Arc<Slot>,
    can_answer: bool,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, OriginFailure> {
    let started = Instant::now();
    let connector = TlsConnector::from(config);
    let offers = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connect = connector.with_alpn(offers).connect(name, tcp);
    let result = timeout_at(deadline, slot::run(slot.clone(), connect)).await;
    let asked = || match slot.asked.load(Ordering::Relaxed) {
        false => Asked::No,
        true if can_answer => Asked::Answered,
        true => Asked::Unanswered,
    };
    let mut stream = match result {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let verdict = slot.verdict.lock().take();
            return Err(match verdict {
                Some(Err(refusal)) => refusal,
                Some(Ok(_)) | None => failure::of_handshake(&error, asked()),
            });
        }
        Err(_) => {
            return Err(OriginFailure::new(
                Reason::DialTimeout,
                "the origin did not finish its TLS handshake in time",
            ));
        }
    };
    let version = stream.get_ref().1.protocol_version();
    if asked() == Asked::Unanswered && version == Some(ProtocolVersion::TLSv1_3) {
        let patience = (started.elapsed() * SETTLE_FACTOR).clamp(SETTLE_LEAST, SETTLE_MOST);
        let until = deadline.min(Instant::now() + patience);
        // Without a word until then it is taken as it is: what it reads later may still end in an alert.
        if let Ok(Err(error)) =
            timeout_at(until, slot::run(slot.clone(), settle(&mut stream, slot))).await
        {
            return Err(failure::of_handshake(&error, Asked::Unanswered));
        }
    }
    Ok(stream)
}

/// With TLS 1.3 a client has finished before the server can say that it wants a certificate after all. Waits for that, or
/// for a ticket or data. What is read stays in the session.
async fn settle(stream: &mut TlsStream<TcpStream>, slot: &Slot) -> io::Result<()> {
    loop {
        let (tcp, session) = stream.get_mut();
        tcp.readable().await?;
        match session.read_tls(&mut Available(tcp)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let state = session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if state.peer_has_closed() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if slot.ticket.load(Ordering::Relaxed) || state.plaintext_bytes_to_read() > 0 {
            return Ok(());
        }
    }
}

struct Available<'a>(&'a TcpStream);

impl io::Read for Available<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

/// Whether the connection continues an earlier session.
pub(super) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}
