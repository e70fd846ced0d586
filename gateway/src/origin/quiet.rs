//! Whether a connection that waits is still as it was left.

use std::io::{self, Read};

use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Records that may wait unread: tickets and key updates, a few. More is a peer that talks without being asked.
const READS: usize = 16;

/// Whether the peer has neither closed nor sent anything but what TLS does by itself. Asks the kernel, not the runtime: what
/// arrived a moment ago counts, and a task's budget does not.
pub(super) fn is_quiet(stream: &mut TlsStream<TcpStream>) -> bool {
    let (tcp, session) = stream.get_mut();
    for _ in 0..READS {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            Ok(_) | Err(_) => return false,
        }
        match session.read_tls(&mut Unread(tcp)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => {
                return error.kind() == io::ErrorKind::WouldBlock && !session.wants_write();
            }
        }
    }
    false
}

/// Reads what is there; sockets of the runtime do not block.
struct Unread<'a>(&'a TcpStream);

impl Read for Unread<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _) = recv(self.0, buffer, RecvFlags::empty())?;
        Ok(read)
    }
}
