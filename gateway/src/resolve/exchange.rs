//! Asking name servers.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use exitgate_policy::Name;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Counters, ResolveError,
    message::{Edns, Family, Kind, Question, Reply, Transport},
};

/// How long a server may be silent before the next one is asked as well; doubled with each round.
const PATIENCE: Duration = Duration::from_millis(400);
/// Questions that are under way for one family at a time.
const MAX_RUNNING: usize = 8;
/// How long a server that answered is preferred to those before it in the list, which did not.
const PREFERENCE: Duration = Duration::from_secs(30);
/// A server may answer with more than we announced.
const DATAGRAM: usize = 4096;

#[derive(Debug)]
pub(super) struct Exchange {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    attempts: u32,
    preferred: Mutex<Option<(usize, Instant)>>,
    counters: Arc<Counters>,
}

type Attempt<'a> = Pin<Box<dyn Future<Output = (usize, Result<Family, ResolveError>)> + Send + 'a>>;

impl Exchange {
    pub(super) fn new(
        servers: Vec<SocketAddr>,
        timeout: Duration,
        attempts: u32,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            servers,
            timeout,
            attempts: attempts.max(1),
            preferred: Mutex::new(None),
            counters,
        }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks the servers in turn until one knows. A silent server stays in the race while the next one is asked; a server that
    /// failed is not asked again.
    pub(super) async fn ask(&self, name: &Name, kind: Kind) -> Result<Family, ResolveError> {
        let deadline = Instant::now() + self.timeout;
        let first = self.first();
        let mut plan = self.plan(first);
        let mut running = Vec::<Attempt<'_>>::new();
        let mut failed = Vec::<usize>::new();
        let mut last_error = None;
        let mut next_at = Instant::now();
        loop {
            if running.is_empty() || Instant::now() >= next_at {
                match plan.find(|(_, server)| !failed.contains(server)) {
                    Some((round, index)) if running.len() < MAX_RUNNING => {
                        if last_error.is_some() || !running.is_empty() {
                            self.counters.retries.fetch_add(1, Ordering::Relaxed);
                        }
                        running.push(Box::pin(self.attempt(index, name, kind)));
                        next_at = Instant::now() + PATIENCE * (1 << round.min(4));
                    }
                    _ if running.is_empty() => {
                        return Err(last_error.unwrap_or(if self.servers.is_empty() {
                            ResolveError::NoServers
                        } else {
                            ResolveError::Timeout
                        }));
                    }
                    _ => next_at = deadline,
                }
            }
            let (index, result) = tokio::select! {
                done = any(&mut running) => done,
                () = sleep_until(next_at.min(deadline)) => {
                    if Instant::now() >= deadline {
                        return Err(ResolveError::Timeout);
                    }
                    continue;
                }
            };
            match result {
                Ok(family) => {
                    self.prefer(first, index);
                    return Ok(family);
                }
                Err(error) => {
                    last_error = Some(error);
                    failed.push(index);
                    next_at = Instant::now();
                }
            }
        }
    }

    /// Rounds of all servers, from the preferred one on.
    fn plan(&self, first: usize) -> impl Iterator<Item = (u32, usize)> + use<> {
        let count = self.servers.len();
        (0..self.attempts)
            .flat_map(move |round| (0..count).map(move |index| (round, (first + index) % count)))
    }

    fn first(&self) -> usize {
        let mut preferred = self.preferred.lock();
        match *preferred {
            Some((index, until)) if Instant::now() < until => index,
            _ => {
                *preferred = None;
                0
            }
        }
    }

    fn prefer(&self, first: usize, index: usize) {
        if index != first {
            *self.preferred.lock() = (index > 0).then(|| (index, Instant::now() + PREFERENCE));
        }
    }

    async fn attempt(
        &self,
        index: usize,
        name: &Name,
        kind: Kind,
    ) -> (usize, Result<Family, ResolveError>) {
        let Some(server) = self.servers.get(index) else {
            return (index, Err(ResolveError::NoServers));
        };
        // The caller's deadline comes first; this one ends attempts that outlive their use.
        let deadline = Instant::now() + self.timeout;
        let result = match timeout_at(deadline, self.converse(*server, name, kind)).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ResolveError::Unreachable),
            Err(_) => Err(ResolveError::Timeout),
        };
        (index, result)
    }

    /// One server: over UDP, without EDNS where it is not understood, over TCP where UDP is not enough.
    async fn converse(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: Kind,
    ) -> io::Result<Result<Family, ResolveError>> {
        let mut edns = Edns::On;
        loop {
            let question = question(name, kind, edns);
            let mut reply = over_udp(server, name, &question).await?;
            if reply == Reply::OverTcp {
                self.counters.tcp_fallbacks.fetch_add(1, Ordering::Relaxed);
                reply = over_tcp(server, name, &question).await?;
            }
            match reply {
                Reply::Answer(family) => return Ok(Ok(family)),
                Reply::Failed(error) => return Ok(Err(error)),
                Reply::NoEdns if edns == Edns::On => edns = Edns::Off,
                Reply::NoEdns | Reply::Foreign | Reply::OverTcp => {
                    return Ok(Err(ResolveError::Malformed));
                }
            }
        }
    }
}

fn question(name: &Name, kind: Kind, edns: Edns) -> Question {
    Question::new(name, kind, edns, rand::random(), &rand::random())
}

/// A socket, and so a random port, of its own for each question; the kernel drops what other addresses send to it.
async fn over_udp(server: SocketAddr, name: &Name, question: &Question) -> io::Result<Reply> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(question.bytes()).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match question.read(
            name,
            Transport::Udp,
            buffer.get(..length).unwrap_or_default(),
        ) {
            Reply::Foreign => {}
            reply => return Ok(reply),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a configured name server, not a destination"
)]
async fn over_tcp(server: SocketAddr, name: &Name, question: &Question) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = Vec::with_capacity(2 + question.bytes().len());
    // A question is far below 64 KiB.
    framed.extend_from_slice(
        &u16::try_from(question.bytes().len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    framed.extend_from_slice(question.bytes());
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(question.read(name, Transport::Tcp, &answer))
}

/// The first of several futures that is ready, which is taken out. Never ready without futures.
async fn any(running: &mut Vec<Attempt<'_>>) -> (usize, Result<Family, ResolveError>) {
    poll_fn(|context| {
        for position in 0..running.len() {
            let Some(attempt) = running.get_mut(position) else {
                break;
            };
            if let Poll::Ready(done) = attempt.as_mut().poll(context) {
                drop(running.swap_remove(position));
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}
