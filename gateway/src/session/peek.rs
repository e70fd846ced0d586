//! The first bytes of a tunnel: TLS, cleartext HTTP, another protocol, or silence.

use exitgate_policy::evidence::{Attr, Hello, Protocol};
use tokio::time::Instant;

use super::conn::{Conn, ReadEnd};
use crate::evidence::{Guess, HelloError, HelloReader, Progress, sniff, sniff_at_end};
use crate::live::Live;
use crate::reason::Reason;

/// What the first bytes showed.
pub(super) enum Peeked {
    Hello(Box<Hello>),
    Http,
    /// Neither TLS nor HTTP, or nothing at all; the text is for the record.
    Other(&'static str),
}

impl Peeked {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Hello(_) => Protocol::Tls,
            Self::Http => Protocol::Http,
            Self::Other(_) => Protocol::Tcp,
        }
    }

    pub(super) fn hello(self) -> Attr<Box<Hello>> {
        match self {
            Self::Hello(hello) => Attr::Known(hello),
            Self::Http | Self::Other(_) => Attr::Absent,
        }
    }
}

/// Reads until it is clear what the client speaks. The bytes stay in the buffer.
pub(super) async fn first_bytes(conn: &mut Conn, live: &Live) -> Result<Peeked, (Reason, String)> {
    let deadline = Instant::now() + live.settings.peek;
    loop {
        match sniff(&conn.buf) {
            Guess::Http | Guess::Http2Prior => return Ok(Peeked::Http),
            Guess::Other(what) => return Ok(Peeked::Other(what)),
            Guess::Tls => return hello(conn, live, deadline).await,
            Guess::NeedMore => {}
        }
        match conn.fill(deadline).await {
            Ok(()) => {}
            Err(ReadEnd::Late) => {
                return match sniff_at_end(&conn.buf) {
                    // A client that stays silent is judged as such: its protocol may let the server speak first.
                    Guess::Other(what) => Ok(Peeked::Other(what)),
                    Guess::Http | Guess::Http2Prior | Guess::NeedMore | Guess::Tls => Err((
                        Reason::HelloTimeout,
                        "the first bytes did not come in time".to_owned(),
                    )),
                };
            }
            Err(ReadEnd::Eof) if !conn.buf.is_empty() => return Ok(Peeked::Other("tcp")),
            Err(ReadEnd::Eof | ReadEnd::Broken) => {
                return Err((Reason::ClientGone, "no byte came".to_owned()));
            }
        }
    }
}

async fn hello(
    conn: &mut Conn,
    live: &Live,
    deadline: Instant,
) -> Result<Peeked, (Reason, String)> {
    let mut reader = HelloReader::new(live.settings.hello_bytes);
    loop {
        match reader.push(&conn.buf) {
            Ok(Progress::Complete(hello)) => return Ok(Peeked::Hello(Box::new(hello))),
            Ok(Progress::NeedMore) => {}
            Err(error @ HelloError::TlsVersion) => {
                return Err((Reason::TlsVersion, error.to_string()));
            }
            Err(error) => return Err((Reason::BadHello, error.to_string())),
        }
        match conn.fill(deadline).await {
            Ok(()) => {}
            Err(ReadEnd::Late) => {
                return Err((
                    Reason::HelloTimeout,
                    "the ClientHello did not come in time".to_owned(),
                ));
            }
            Err(ReadEnd::Eof | ReadEnd::Broken) => {
                return Err((
                    Reason::ClientGone,
                    "the client left before its ClientHello was whole".to_owned(),
                ));
            }
        }
    }
}
