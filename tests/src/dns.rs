//! The only resolver a gateway under test knows: scripted answers over UDP and TCP, every query written down.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::deadline::within;
use crate::log::Log;

/// What the stub says for one name.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Address lists, one per query of an address type, the last one repeated for ever.
    rounds: Vec<Vec<IpAddr>>,
    /// Names passed through, in order, before the addresses.
    aliases: Vec<String>,
    ttl: u32,
    code: ResponseCode,
    silent: bool,
    delay: Duration,
    /// Delays only the answers of this type.
    delayed: Option<RecordType>,
}

impl Answer {
    pub fn addresses(addresses: &[&str]) -> Self {
        Self::rounds(&[addresses])
    }

    /// A different answer each time, as a rebinding name server gives (TTL 0).
    pub fn rounds(rounds: &[&[&str]]) -> Self {
        let parse = |round: &&[&str]| round.iter().map(|text| text.parse().unwrap()).collect();
        let ttl = if rounds.len() > 1 { 0 } else { 60 };
        Self {
            rounds: rounds.iter().map(parse).collect(),
            aliases: Vec::new(),
            ttl,
            code: ResponseCode::NoError,
            silent: false,
            delay: Duration::ZERO,
            delayed: None,
        }
    }

    pub fn through(mut self, alias: &str) -> Self {
        self.aliases.push(alias.into());
        self
    }

    pub fn late(mut self, kind: RecordType, delay: Duration) -> Self {
        self.delayed = Some(kind);
        self.delay = delay;
        self
    }

    pub fn failure() -> Self {
        Self {
            code: ResponseCode::ServFail,
            ..Self::addresses(&[])
        }
    }

    pub fn silence() -> Self {
        Self {
            silent: true,
            ..Self::addresses(&[])
        }
    }
}

#[derive(Default)]
struct Zone {
    answers: HashMap<String, Answer>,
    asked: HashMap<(String, RecordType), usize>,
}

impl Zone {
    /// Exact names first, then `*.parent` entries.
    fn find(&self, name: &str) -> Option<&Answer> {
        if let Some(answer) = self.answers.get(name) {
            return Some(answer);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(answer) = self.answers.get(&format!("*.{parent}")) {
                return Some(answer);
            }
            rest = parent;
        }
        None
    }
}

/// The stub. Names that it does not know are NXDOMAIN.
pub struct DnsStub {
    pub address: SocketAddr,
    pub queries: Log<(String, RecordType)>,
    zone: Arc<Mutex<Zone>>,
}

/// Asked by the suite itself, to know that all earlier datagrams were read.
const SENTINEL: &str = "sentinel.invalid";

impl DnsStub {
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let stub = Self {
            address: udp.local_addr().unwrap(),
            queries: Log::default(),
            zone: Arc::default(),
        };
        tokio::spawn(serve_datagrams(
            Arc::new(udp),
            Arc::clone(&stub.zone),
            stub.queries.clone(),
        ));
        tokio::spawn(serve_streams(
            tcp,
            Arc::clone(&stub.zone),
            stub.queries.clone(),
        ));
        stub
    }

    pub fn set(&self, name: &str, answer: Answer) {
        self.zone
            .lock()
            .unwrap()
            .answers
            .insert(name.to_lowercase(), answer);
    }

    pub fn point(&self, name: &str, address: &str) {
        self.set(name, Answer::addresses(&[address]));
    }

    /// The names asked for so far, after everything that is under way has been read.
    pub async fn names(&self) -> Vec<String> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut message = Message::query();
        let name = Name::from_ascii(format!("{SENTINEL}.")).unwrap();
        message.add_query(hickory_proto::op::Query::query(name, RecordType::A));
        socket
            .send_to(&message.to_vec().unwrap(), self.address)
            .await
            .unwrap();
        let mut answer = [0; 512];
        within(
            "the name server's answer to the suite",
            socket.recv_from(&mut answer),
        )
        .await
        .unwrap();
        self.queries
            .all()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name != SENTINEL)
            .collect()
    }
}

async fn serve_datagrams(
    socket: Arc<UdpSocket>,
    zone: Arc<Mutex<Zone>>,
    queries: Log<(String, RecordType)>,
) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let Some((answer, delay)) = respond(&buffer[..length], &zone, &queries) else {
            continue;
        };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await; // the scripted delay itself
            socket.send_to(&answer, peer).await
        });
    }
}

async fn serve_streams(
    listener: TcpListener,
    zone: Arc<Mutex<Zone>>,
    queries: Log<(String, RecordType)>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (zone, queries) = (Arc::clone(&zone), queries.clone());
        tokio::spawn(serve_stream(stream, zone, queries));
    }
}

async fn serve_stream(
    mut stream: TcpStream,
    zone: Arc<Mutex<Zone>>,
    queries: Log<(String, RecordType)>,
) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let Some((answer, delay)) = respond(&query, &zone, &queries) else {
            continue;
        };
        tokio::time::sleep(delay).await; // the scripted delay itself
        stream
            .write_u16(u16::try_from(answer.len()).unwrap())
            .await?;
        stream.write_all(&answer).await?;
    }
}

fn respond(
    query: &[u8],
    zone: &Mutex<Zone>,
    queries: &Log<(String, RecordType)>,
) -> Option<(Vec<u8>, Duration)> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let kind = question.query_type;
    let name = question
        .name
        .to_ascii()
        .trim_end_matches('.')
        .to_lowercase();
    queries.push((name.clone(), kind));

    let mut answer = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(question.clone());

    let mut zone = zone.lock().unwrap();
    let Some(script) = zone.find(&name).cloned() else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return Some((answer.to_vec().unwrap(), Duration::ZERO));
    };
    if script.silent {
        return None;
    }
    let asked = zone.asked.entry((name, kind)).or_default();
    let round = script
        .rounds
        .get((*asked).min(script.rounds.len() - 1))
        .unwrap();
    *asked += 1;
    answer.metadata.response_code = script.code;
    let mut owner = question.name;
    for alias in &script.aliases {
        let target = Name::from_ascii(format!("{alias}.")).unwrap();
        answer.add_answer(Record::from_rdata(
            owner,
            script.ttl,
            RData::CNAME(CNAME(target.clone())),
        ));
        owner = target;
    }
    for address in round {
        let data = match (address, kind) {
            (IpAddr::V4(address), RecordType::A) => RData::A(A(*address)),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(*address)),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(owner.clone(), script.ttl, data));
    }
    let delay = if script.delayed.is_none_or(|delayed| delayed == kind) {
        script.delay
    } else {
        Duration::ZERO
    };
    Some((answer.to_vec().unwrap(), delay))
}
