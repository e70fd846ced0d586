#![allow(clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::AtomicU32;

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name as DnsName, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::{
    message::{Edns, Found, Question, Reply, Transport},
    *,
};

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| address(text)).collect()
}

fn record(owner: &str, ttl: u32, data: &str) -> Record {
    let data = match data.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => RData::A(A(address)),
        Ok(IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
        Err(_) => RData::CNAME(CNAME(DnsName::from_ascii(data).unwrap())),
    };
    Record::from_rdata(DnsName::from_ascii(owner).unwrap(), ttl, data)
}

/// The answer of a well-behaved server.
fn answer(question: &[u8], records: &[Record]) -> Message {
    let question = Message::from_vec(question).unwrap();
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.queries = question.queries;
    message.answers = records.to_vec();
    message
}

/// A name server on loopback that answers with what a function makes of each question; `None` is silence.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicU32>,
}

async fn server(
    reply: impl Fn(&[u8], Transport) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Server {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let reply = Arc::new(reply);
    let (count, over_tcp) = (Arc::clone(&asked), Arc::clone(&reply));
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = reply(&buffer[..length], Transport::Udp) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(answer) = over_tcp(&question, Transport::Tcp) {
                stream
                    .write_u16(answer.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    Server { address, asked }
}

/// Answers A and AAAA of any name with these.
async fn zone(ttl: u32, data: &'static [&'static str]) -> Server {
    server(move |question, _| Some(from_zone(question, ttl, data).to_vec().unwrap())).await
}

fn from_zone(question: &[u8], ttl: u32, data: &[&str]) -> Message {
    let asked = Message::from_vec(question).unwrap().queries.remove(0);
    let owner = asked.name.to_ascii();
    let records: Vec<_> = data
        .iter()
        .filter(|data| data.contains(':') == (asked.query_type == RecordType::AAAA))
        .map(|data| record(&owner, ttl, data))
        .collect();
    answer(question, &records)
}

fn resolver(servers: &[SocketAddr]) -> Resolver {
    Resolver::new(Config {
        servers: servers.to_vec(),
        timeout: Duration::from_secs(2),
        ..Config::default()
    })
    .unwrap()
}

// === questions and answers ===

fn question(text: &str, kind: Kind) -> (Name, Question) {
    let name = name(text);
    let question = Question::new(&name, kind, Edns::On, 0x1234, &[0b0101_0101; 32]);
    (name, question)
}

fn read(records: &[Record]) -> Reply {
    let (name, question) = question("ok.test", Kind::A);
    question.read(
        &name,
        Transport::Udp,
        &answer(question.bytes(), records).to_vec().unwrap(),
    )
}

#[test]
fn a_question_is_well_formed() {
    let (_, asked) = question("www.ok.test", Kind::Aaaa);
    let message = Message::from_vec(asked.bytes()).unwrap();
    assert_eq!(
        (message.metadata.id, message.metadata.recursion_desired),
        (0x1234, true)
    );
    assert_eq!(message.metadata.message_type, MessageType::Query);
    assert_eq!(message.queries[0].name.to_ascii(), "WwW.oK.tEsT.");
    assert_eq!(message.queries[0].query_type, RecordType::AAAA);
    assert_eq!(message.edns.unwrap().max_payload(), 1232);
    let plain = Question::new(&name("ok.test"), Kind::A, Edns::Off, 1, &[0; 32]);
    assert!(Message::from_vec(plain.bytes()).unwrap().edns.is_none());
}

#[test]
fn only_records_of_the_name_and_its_aliases_count() {
    let found = |list: &[&str], chain: &[&str], ttl| {
        Reply::Answer(Family::Addresses(Found {
            addresses: addresses(list),
            chain: chain.iter().map(|text| name(text)).collect(),
            ttl,
        }))
    };
    let rows: Vec<(Vec<Record>, Reply)> = vec![
        (
            vec![
                record("ok.test.", 60, "192.0.2.1"),
                record("OK.TEST.", 30, "192.0.2.2"),
            ],
            found(&["192.0.2.1", "192.0.2.2"], &[], 30),
        ),
        (vec![], Reply::Answer(Family::NoData)),
        (
            vec![record("bad.test.", 60, "192.0.2.1")],
            Reply::Answer(Family::NoData),
        ),
        (
            vec![record("ok.test.", 60, "2001:db8::1")],
            Reply::Answer(Family::NoData),
        ),
        (
            vec![
                record("c.test.", 9, "192.0.2.3"),
                record("ok.test.", 60, "B.test."),
                record("b.test.", 8, "c.test."),
            ],
            found(&["192.0.2.3"], &["b.test", "c.test"], 8),
        ),
        (
            vec![
                record("ok.test.", 60, "b.test."),
                record("x.test.", 60, "192.0.2.1"),
            ],
            Reply::Answer(Family::NoData),
        ),
        // An alias beside addresses: the alias wins.
        (
            vec![
                record("ok.test.", 60, "192.0.2.9"),
                record("ok.test.", 60, "b.test."),
                record("b.test.", 60, "192.0.2.1"),
            ],
            found(&["192.0.2.1"], &["b.test"], 60),
        ),
        (
            vec![record("ok.test.", 60, "ok.test.")],
            Reply::Failed(ResolveError::Malformed),
        ),
        (
            vec![
                record("ok.test.", 60, "b.test."),
                record("b.test.", 60, "ok.test."),
            ],
            Reply::Failed(ResolveError::Malformed),
        ),
        (
            vec![
                record("ok.test.", 60, "b.test."),
                record("b.test.", 60, "c.test."),
                record("c.test.", 60, "b.test."),
            ],
            Reply::Failed(ResolveError::Malformed),
        ),
        (
            vec![record("ok.test.", 60, "x.1.")],
            Reply::Failed(ResolveError::Malformed),
        ),
    ];
    for (records, expected) in rows {
        assert_eq!(read(&records), expected, "{records:?}");
    }
    let long: Vec<_> = (0..20)
        .map(|step| {
            record(
                &if step == 0 {
                    "ok.test.".to_owned()
                } else {
                    format!("a{step}.test.")
                },
                1,
                &format!("a{}.test.", step + 1),
            )
        })
        .collect();
    assert_eq!(read(&long), Reply::Failed(ResolveError::Malformed));
    let many: Vec<_> = (0..=255_u8)
        .map(|last| record("ok.test.", 1, &format!("192.0.2.{last}")))
        .collect();
    assert!(
        matches!(read(&many), Reply::Answer(Family::Addresses(found)) if found.addresses.len() == 64)
    );
}

#[test]
fn forged_and_broken_messages() {
    let (name, question) = question("ok.test", Kind::A);
    let good = answer(question.bytes(), &[record("ok.test.", 60, "192.0.2.1")]);
    let bent = |bend: &dyn Fn(&mut Message)| {
        let mut message = good.clone();
        bend(&mut message);
        message.to_vec().unwrap()
    };
    let code = |code: ResponseCode| {
        bent(&move |message: &mut Message| message.metadata.response_code = code)
    };
    let rows: Vec<(Vec<u8>, Reply)> = vec![
        (
            bent(&|message| message.metadata.id = 0x1235),
            Reply::Foreign,
        ),
        (
            bent(&|message| message.metadata.message_type = MessageType::Query),
            Reply::Foreign,
        ),
        (
            bent(&|message| message.metadata.op_code = OpCode::Status),
            Reply::Foreign,
        ),
        (bent(&|message| message.queries.clear()), Reply::Foreign),
        (
            bent(&|message| message.queries[0].name = DnsName::from_ascii("bad.test.").unwrap()),
            Reply::Foreign,
        ),
        (
            bent(&|message| {
                message.queries[0].query_type = RecordType::AAAA;
            }),
            Reply::Foreign,
        ),
        (
            bent(&|message| message.queries[0].name = DnsName::from_ascii("ok.test.").unwrap()),
            Reply::OverTcp,
        ),
        (
            bent(&|message| message.metadata.truncation = true),
            Reply::OverTcp,
        ),
        (code(ResponseCode::NXDomain), Reply::Answer(Family::NoName)),
        (
            code(ResponseCode::ServFail),
            Reply::Failed(ResolveError::ServFail),
        ),
        (
            code(ResponseCode::Refused),
            Reply::Failed(ResolveError::ServFail),
        ),
        (code(ResponseCode::FormErr), Reply::NoEdns),
        (vec![], Reply::Foreign),
        (vec![0x12], Reply::Foreign),
        (vec![0x12, 0x34], Reply::Foreign),
        (vec![0xff; 512], Reply::Foreign),
    ];
    for (bytes, expected) in rows {
        assert_eq!(
            question.read(&name, Transport::Udp, &bytes),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
    let other_case =
        bent(&|message| message.queries[0].name = DnsName::from_ascii("ok.test.").unwrap());
    assert!(matches!(
        question.read(&name, Transport::Tcp, &other_case),
        Reply::Answer(Family::Addresses(_))
    ));
    let truncated = bent(&|message| message.metadata.truncation = true);
    assert_eq!(
        question.read(&name, Transport::Tcp, &truncated),
        Reply::Failed(ResolveError::Malformed)
    );
    // Every cut of a good answer is read without harm.
    let good = good.to_vec().unwrap();
    for end in 0..good.len() {
        let reply = question.read(&name, Transport::Udp, &good[..end]);
        assert!(
            matches!(
                reply,
                Reply::Foreign | Reply::Failed(ResolveError::Malformed)
            ),
            "{end}: {reply:?}"
        );
    }
}

// === look-ups ===

#[tokio::test]
async fn both_families_in_turns() {
    let server = zone(
        60,
        &[
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "2001:db8::1",
            "192.0.2.1",
        ],
    )
    .await;
    let resolver = resolver(&[server.address]);
    let answer = resolver.lookup(&name("ok.test")).await.unwrap();
    assert_eq!(
        answer.addresses,
        addresses(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
    );
    assert!(answer.chain.is_empty());
}

#[tokio::test]
async fn the_cache_answers_and_asks_once() {
    let server = zone(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[server.address]);
    let ok = name("ok.test");
    let (first, second) = tokio::join!(resolver.lookup(&ok), resolver.lookup(&ok));
    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    assert!(resolver.lookup(&ok).await.is_ok());
    // One question for each family.
    assert_eq!(server.asked.load(Ordering::Relaxed), 2);
    assert_eq!((resolver.stats().misses, resolver.stats().hits), (1, 1));
}

#[tokio::test]
async fn a_dropped_look_up_does_not_block_others() {
    let server = zone(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[server.address]);
    let ok = name("ok.test");
    {
        let mut first = std::pin::pin!(resolver.lookup(&ok));
        assert!(futures_poll(first.as_mut()).await.is_none());
    }
    assert!(resolver.lookup(&ok).await.is_ok());
}

/// Polls once.
async fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn times_to_live_are_clamped() {
    for (ttl, expected) in [(0, 5), (60, 60), (86_400, 300)] {
        let server = zone(ttl, &["192.0.2.1", "2001:db8::1"]).await;
        let before = Instant::now();
        let answer = resolver(&[server.address])
            .lookup(&name("ok.test"))
            .await
            .unwrap();
        let ttl = answer.expires - before;
        assert!(
            ttl >= Duration::from_secs(expected) && ttl < Duration::from_secs(expected + 2),
            "{ttl:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_expires() {
    let server = zone(0, &["192.0.2.1"]).await;
    let config = Config {
        servers: vec![server.address],
        min_ttl: Duration::ZERO,
        ..Config::default()
    };
    let resolver = Resolver::new(config).unwrap();
    for _ in 0..3 {
        resolver.lookup(&name("ok.test")).await.unwrap();
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn failures_have_names_and_are_kept_for_a_moment() {
    let code = |code: ResponseCode| {
        server(move |question, _| {
            let mut message = answer(question, &[]);
            message.metadata.response_code = code;
            Some(message.to_vec().unwrap())
        })
    };
    let rows = [
        (
            code(ResponseCode::NXDomain).await,
            ResolveError::NotFound,
            2,
        ),
        (
            code(ResponseCode::NoError).await,
            ResolveError::NoAddress,
            2,
        ),
        (
            code(ResponseCode::ServFail).await,
            ResolveError::ServFail,
            2,
        ),
        (code(ResponseCode::Refused).await, ResolveError::ServFail, 2),
        // Again without EDNS.
        (code(ResponseCode::FormErr).await, ResolveError::ServFail, 4),
    ];
    for (server, expected, asked) in rows {
        let resolver = resolver(&[server.address]);
        assert_eq!(resolver.lookup(&name("ok.test")).await, Err(expected));
        assert_eq!(resolver.lookup(&name("ok.test")).await, Err(expected));
        assert_eq!(server.asked.load(Ordering::Relaxed), asked);
        assert_eq!(resolver.stats().failures, 1);
    }
}

#[tokio::test]
async fn an_alias_is_reported() {
    let server = server(|question, _| {
        let asked = Message::from_vec(question).unwrap().queries.remove(0);
        let owner = asked.name.to_ascii();
        let address = if asked.query_type == RecordType::A {
            "192.0.2.1"
        } else {
            "2001:db8::1"
        };
        let records = [
            record(&owner, 60, "a.test."),
            record("a.test.", 60, "kubernetes.default.svc.cluster.local."),
            record("kubernetes.default.svc.cluster.local.", 60, address),
        ];
        Some(answer(question, &records).to_vec().unwrap())
    })
    .await;
    let answer = resolver(&[server.address])
        .lookup(&name("ok.test"))
        .await
        .unwrap();
    assert_eq!(
        answer.chain,
        [name("a.test"), name("kubernetes.default.svc.cluster.local")]
    );
}

#[tokio::test]
async fn truncated_answers_are_fetched_over_tcp() {
    let server = server(|question, transport| {
        let mut message = from_zone(question, 60, &["192.0.2.1"]);
        if transport == Transport::Udp {
            message.answers.clear();
            message.metadata.truncation = true;
        }
        Some(message.to_vec().unwrap())
    })
    .await;
    let resolver = resolver(&[server.address]);
    assert_eq!(
        resolver.lookup(&name("ok.test")).await.unwrap().addresses,
        addresses(&["192.0.2.1"])
    );
    assert_eq!(resolver.stats().tcp_fallbacks, 2);
}

#[tokio::test]
async fn a_server_that_changes_the_spelling_is_asked_over_tcp() {
    let server = server(|question, _| {
        let mut message = from_zone(question, 60, &["192.0.2.1"]);
        message.queries[0].name = message.queries[0].name.to_lowercase();
        Some(message.to_vec().unwrap())
    })
    .await;
    let resolver = resolver(&[server.address]);
    let long = name("a-long-name-that-has-some-letter-in-upper-case.ok.test");
    assert_eq!(
        resolver.lookup(&long).await.unwrap().addresses,
        addresses(&["192.0.2.1"])
    );
    assert_eq!(resolver.stats().tcp_fallbacks, 2);
}

#[tokio::test]
async fn a_silent_server_is_passed_over_in_time() {
    let silent = server(|_, _| None).await;
    let good = zone(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[silent.address, good.address]);
    let start = Instant::now();
    assert!(resolver.lookup(&name("ok.test")).await.is_ok());
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    // The next name is not asked of the silent server first.
    let asked = silent.asked.load(Ordering::Relaxed);
    assert!(resolver.lookup(&name("also.test")).await.is_ok());
    assert_eq!(silent.asked.load(Ordering::Relaxed), asked);
    assert!(resolver.stats().retries > 0);
}

#[tokio::test]
async fn failing_and_absent_servers_are_passed_over_at_once() {
    let failing = server(|question, _| {
        let mut message = answer(question, &[]);
        message.metadata.response_code = ResponseCode::ServFail;
        Some(message.to_vec().unwrap())
    })
    .await;
    let good = zone(60, &["192.0.2.1"]).await;
    let closed = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let resolver = resolver(&[closed, failing.address, good.address]);
    let start = Instant::now();
    assert!(resolver.lookup(&name("ok.test")).await.is_ok());
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let silent = server(|_, _| None).await;
    let config = Config {
        servers: vec![silent.address],
        timeout: Duration::from_millis(500),
        ..Config::default()
    };
    let resolver = Resolver::new(config).unwrap();
    let start = Instant::now();
    assert_eq!(
        resolver.lookup(&name("ok.test")).await,
        Err(ResolveError::Timeout)
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    let closed = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let unreachable = self::resolver(&[closed]);
    assert_eq!(
        unreachable.lookup(&name("ok.test")).await,
        Err(ResolveError::Unreachable)
    );
}

#[tokio::test]
async fn one_family_may_be_missing() {
    let server = server(|question, _| {
        let asked = Message::from_vec(question).unwrap().queries.remove(0);
        (asked.query_type == RecordType::A)
            .then(|| from_zone(question, 60, &["192.0.2.1"]).to_vec().unwrap())
    })
    .await;
    let resolver = resolver(&[server.address]);
    let start = Instant::now();
    let answer = resolver.lookup(&name("ok.test")).await.unwrap();
    assert_eq!(answer.addresses, addresses(&["192.0.2.1"]));
    assert!(start.elapsed() < Duration::from_secs(1));
    // Half an answer is not kept for its whole time.
    assert!(answer.expires - start < Duration::from_secs(7));
}

#[tokio::test]
async fn late_and_foreign_datagrams_are_ignored() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let good = from_zone(&buffer[..length], 60, &["192.0.2.1"]);
            let mut forged = from_zone(&buffer[..length], 60, &["203.0.113.1"]);
            forged.metadata.id = forged.metadata.id.wrapping_add(1);
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let elsewhere = from_zone(&buffer[..length], 60, &["203.0.113.2"]);
            other.send_to(&elsewhere.to_vec().unwrap(), peer).await.ok();
            for message in [forged, good] {
                socket.send_to(&message.to_vec().unwrap(), peer).await.ok();
            }
        }
    });
    let answer = resolver(&[server]).lookup(&name("ok.test")).await.unwrap();
    assert_eq!(answer.addresses, addresses(&["192.0.2.1"]));
}

#[tokio::test]
async fn localhost_is_never_asked_for() {
    let server = zone(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[server.address]);
    for text in ["localhost", "x.localhost", "ip6-localhost"] {
        let answer = resolver.lookup(&name(text)).await.unwrap();
        assert_eq!(answer.addresses, addresses(&["::1", "127.0.0.1"]));
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_followed() {
    let path = std::env::temp_dir().join(format!(
        "exitgate-hosts-{}-{}",
        std::process::id(),
        rand::random::<u64>()
    ));
    std::fs::write(
        &path,
        "192.0.2.7 OK.test. also.test # comment\n2001:db8::7\tok.test\nnonsense x\n192.0.2.8 ..\n",
    )
    .unwrap();
    let server = zone(60, &["192.0.2.1"]).await;
    let config = Config {
        servers: vec![server.address],
        hosts_file: Some(path.clone()),
        ..Config::default()
    };
    let resolver = Resolver::new(config).unwrap();
    assert_eq!(
        resolver.lookup(&name("ok.test")).await.unwrap().addresses,
        addresses(&["2001:db8::7", "192.0.2.7"])
    );
    assert_eq!(
        resolver.lookup(&name("also.test")).await.unwrap().addresses,
        addresses(&["192.0.2.7"])
    );
    assert_eq!(
        resolver
            .lookup(&name("other.test"))
            .await
            .unwrap()
            .addresses,
        addresses(&["192.0.2.1"])
    );

    std::fs::write(&path, "192.0.2.9 ok.test\n").unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert_eq!(
        resolver.lookup(&name("ok.test")).await.unwrap().addresses,
        addresses(&["192.0.2.9"])
    );
    // Gone: the last content stays.
    std::fs::remove_file(&path).unwrap();
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert_eq!(
        resolver.lookup(&name("ok.test")).await.unwrap().addresses,
        addresses(&["192.0.2.9"])
    );

    let missing = Resolver::new(Config {
        hosts_file: Some(path),
        ..Config::default()
    });
    assert!(matches!(missing, Err(ConfigError::HostsFile { .. })));
}

#[tokio::test]
async fn the_cache_has_a_bound() {
    let cache = cache::Cache::new(160);
    for number in 0..1000 {
        let flight = cache.entry(&name(&format!("n{number}.test")));
        let expires = Instant::now() + Duration::from_mins(1);
        flight
            .run(|| async move { (Err(ResolveError::NotFound), expires) })
            .await
            .unwrap_err();
    }
    assert!(cache.len() <= 160, "{}", cache.len());
    assert!(cache.evictions() >= 840);
}

#[test]
fn servers_of_the_system() {
    let text = "# nameserver 192.0.2.1\nsearch example.com\nnameserver 192.0.2.2\nnameserver  2001:db8::2 \n\
        nameserver fe80::1%eth0\noptions ndots:5\nnameserverx 192.0.2.4\nnameserver\n";
    assert_eq!(
        system_servers(text),
        [
            "192.0.2.2:53".parse().unwrap(),
            "[2001:db8::2]:53".parse::<SocketAddr>().unwrap()
        ]
    );
}
