//! Section 8, and what section 4 says of streams: HTTP/2 with TLS opened. The client writes its frames itself where it breaks the protocol.

use std::time::{Duration, Instant};

use bytes::Bytes;
use exitgate_tests::client::Answer;
use exitgate_tests::frames::{
    CANCEL, DATA, ENHANCE_YOUR_CALM, Frame, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, request,
};
use exitgate_tests::http2;
use exitgate_tests::opened::Opened;
use exitgate_tests::origin::{Answered, Manners, Origin};
use exitgate_tests::records::Record;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Reached, World};
use h2::ext::Protocol;

/// The method makes the gateway look inside.
const RULES: &str = "  - {name: web, action: Allow, to: {hosts: [ok.test, also.test]}, http: {methods: [GET, POST], paths: [\"/**\"]}}\n";
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// One request among others on a connection.
struct Shape {
    what: &'static str,
    /// May cost the connection, as any such error may (RFC 9113, 5.4.2).
    harsh: bool,
    frames: fn(u32, &str) -> Vec<Frame>,
}

fn shape(what: &'static str, frames: fn(u32, &str) -> Vec<Frame>) -> Shape {
    Shape {
        what,
        harsh: false,
        frames,
    }
}

fn harsh(what: &'static str, frames: fn(u32, &str) -> Vec<Frame>) -> Shape {
    Shape {
        what,
        harsh: true,
        frames,
    }
}

/// A request with one more field, and its body.
fn posted(stream: u32, authority: &str, name: &str, value: &str, body: &str) -> Vec<Frame> {
    let mut fields = request("POST", authority, "/").to_vec();
    fields.push((name, value));
    vec![
        Frame::headers(stream, &fields, false),
        Frame::data(stream, body, true),
    ]
}

fn alone(stream: u32, fields: &[(&str, &str)]) -> Vec<Frame> {
    vec![Frame::headers(stream, fields, true)]
}

/// Each shape costs its own stream and nothing else: the stream ends with an error, the connection and the streams
/// before and after it do not, and the origin is never asked.
async fn stream_errors(shapes: &[Shape]) {
    let opened = Opened::new();
    let (mut world, port) = opened.http2_world(RULES, ORIGIN, Reached::Unchecked).await;
    world.may_ask(&["ok.test"]);
    let authority = format!("ok.test:{port}");
    let mut frames = opened.frames(&world, "ok.test", port, &[]).await;
    let mut stream = 1;
    let mut good = 0;
    for shape in shapes {
        assert!(
            frames.offer(&(shape.frames)(stream, &authority)).await,
            "{}: closed",
            shape.what
        );
        let end = frames
            .until_or_goodbye(stream, &[RST_STREAM, HEADERS])
            .await;
        assert_ne!(end.kind, HEADERS, "{}: answered", shape.what);
        assert_eq!(end.code(), PROTOCOL_ERROR, "{}", shape.what);
        world.closed(&["bad-request"]).host("ok.test");
        stream += 2;
        if end.kind == GOAWAY {
            assert!(shape.harsh, "{}: cost the connection", shape.what);
            frames = opened.frames(&world, "ok.test", port, &[]).await;
            stream = 1;
        }
        frames
            .send(&Frame::headers(
                stream,
                &request("GET", &authority, "/good"),
                true,
            ))
            .await;
        let head = frames.until(stream, &[RST_STREAM, HEADERS]).await;
        assert_eq!(
            (head.kind, head.status()),
            (HEADERS, 200),
            "after {}",
            shape.what
        );
        frames.until(stream, &[DATA]).await;
        world.allowed().rule("web");
        good += 1;
        stream += 2;
    }
    assert_eq!(
        world.origin(0).request_lines(),
        vec!["GET /good HTTP/2"; good]
    );
    drop(frames);
    world.finish().await;
}

/// Sends until the peer says that it is enough, or ends; returns the code of its goodbye.
async fn until_calm(
    mut frames: Frames,
    flood: impl Fn(u32) -> Vec<Frame>,
    times: u32,
) -> Option<u32> {
    for round in 0..times / 100 {
        let block = (round * 100..round * 100 + 100)
            .flat_map(&flood)
            .collect::<Vec<_>>();
        if !frames.offer(&block).await {
            break;
        }
        // What has come back so far is read, so that the peer is never held by us.
        while frames.has_more().await {
            match frames.next().await {
                Some(frame) if frame.kind == GOAWAY => return Some(frame.code()),
                Some(_) => {}
                None => return None,
            }
        }
    }
    frames
        .rest()
        .await
        .iter()
        .find(|frame| frame.kind == GOAWAY)
        .map(Frame::code)
}

/// A flood on one connection while another client asks; both in one world.
async fn flooded(what: &str, times: u32, flood: impl Fn(u32, &str) -> Vec<Frame>) {
    let opened = Opened::new();
    let (mut world, port) = opened.http2_world(RULES, ORIGIN, Reached::Unchecked).await;
    world.may_ask(&["ok.test", "also.test"]);
    // However far the flood comes, what it leaves are records of its own streams, and one that says why it ended.
    world.tolerates(|record| record.host() == "ok.test");
    let authority = format!("ok.test:{port}");
    let other = opened.http2(&world, "also.test", port).await;
    let also = format!("also.test:{port}");
    let answer = other.get(&also, "/").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    world.allowed().host("also.test");
    let before = world.gateway.memory("VmRSS");

    let frames = opened.frames(&world, "ok.test", port, &[]).await;
    let calm = until_calm(frames, |round| flood(round, &authority), times);
    let asking = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            let answer = other.get(&also, "/").await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.head);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (code, slowest) = tokio::join!(calm, asking);
    for _ in 0..20 {
        world.allowed().host("also.test");
    }
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}");
    assert!(
        slowest < Duration::from_secs(2),
        "{what}: another client waited {slowest:?}"
    );
    let grown = world.gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 * 1024, "{what}: {grown} KiB more");
    drop(other);
    let records = world.finish().await;
    let ended = records
        .iter()
        .filter(|record| record.host() == "ok.test")
        .map(Record::reason)
        .collect::<Vec<_>>();
    assert!(
        ended.contains(&"limit"),
        "{what}: no record says why it ended: {ended:?}"
    );
}

/// A `#` has no place in a path. The library cuts it off with what follows, and what is left is judged, recorded and sent.
async fn fragments_are_cut_before_the_verdict() {
    let rules = "  - {name: open, action: Allow, to: {hosts: [ok.test]}, http: {paths: [/open]}}\n";
    let opened = Opened::new();
    let (mut world, port) = opened.http2_world(rules, ORIGIN, Reached::Times(1)).await;
    world.may_ask(&["ok.test"]);
    let authority = format!("ok.test:{port}");
    let mut frames = opened.frames(&world, "ok.test", port, &[]).await;
    let paths = [
        ("/open#", 200),
        ("/open#/../closed", 200),
        ("/open?a=1#b", 200),
        ("/closed#/../open", 403),
        ("/#/open", 403),
    ];
    for (stream, (path, status)) in (1..).step_by(2).zip(paths) {
        let fields = request("GET", &authority, path);
        frames.send(&Frame::headers(stream, &fields, true)).await;
        let head = frames.until(stream, &[RST_STREAM, HEADERS]).await;
        assert_eq!((head.kind, head.status()), (HEADERS, status), "{path}");
        if status == 200 {
            world.allowed().rule("open");
        } else {
            world.closed(&["no-rule"]);
        }
    }
    assert_eq!(
        world.origin(0).request_lines(),
        [
            "GET /open HTTP/2",
            "GET /open HTTP/2",
            "GET /open?a=1 HTTP/2"
        ]
    );
    drop(frames);
    let records = world.finish().await;
    let shown = records
        .iter()
        .map(|record| record.0.pointer("/http_request/url/path").unwrap());
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["/open", "/open", "/open", "/closed", "/"]
    );
}

/// A WebSocket handshake over HTTP/2 (RFC 8441).
fn web_socket(authority: &str, path: &str) -> http::Request<()> {
    let mut request = http2::request("CONNECT", authority, path);
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    request
        .headers_mut()
        .insert("sec-websocket-version", "13".parse().unwrap());
    request
}

/// The gateway's settings as a client sees them.
async fn settings_of(opened: &Opened, world: &World, port: u16) -> Vec<(u16, u32)> {
    let mut frames = opened.frames(world, "ok.test", port, &[]).await;
    let settings = frames.until(0, &[SETTINGS]).await;
    let pairs = settings.payload.chunks(6);
    pairs
        .map(|pair| {
            let id = u16::from_be_bytes(pair[..2].try_into().unwrap());
            (id, u32::from_be_bytes(pair[2..].try_into().unwrap()))
        })
        .collect()
}

rows! {
    async fn row_079_another_authority_on_one_connection() {
        let opened = Opened::new();
        let (mut world, port) = opened.http2_world(RULES, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let client = opened.http2(&world, "ok.test", port).await;
        let answer = client.get(&format!("ok.test:{port}"), "/one").await.unwrap();
        assert_eq!((answer.status, &*answer.text()), (200, "origin over HTTP/2"), "{}", answer.head);
        world.allowed().rule("web").host("ok.test");
        // The origin's certificate covers it, and a rule allows it: not on this connection.
        let answer = client.get(&format!("also.test:{port}"), "/two").await.unwrap();
        world.stream_refused(&answer, 421, &["name-mismatch"]).phase("preRequest").host("also.test");
        assert_eq!(world.origin(0).request_lines(), ["GET /one HTTP/2"]);
        world.finish().await;
    }

    async fn row_080_refused_stream_beside_another() {
        let opened = Opened::new();
        let (mut world, port) = opened.http2_world(RULES, ORIGIN, Reached::Times(1)).await;
        world.may_ask(&["ok.test"]);
        let client = opened.http2(&world, "ok.test", port).await;
        let authority = format!("ok.test:{port}");
        // A request that has begun and not ended: its stream outlives the refusals of others.
        let first = client.open(http2::request("GET", &authority, "/first"), false).await.unwrap();
        let answer = client.get(&format!("bad.test:{port}"), "/").await.unwrap();
        world.stream_refused(&answer, 421, &["name-mismatch", "no-rule"]).host("bad.test");
        let answer = client.ask(http2::request("DELETE", &authority, "/")).await.unwrap();
        world.stream_refused(&answer, 403, &["no-rule"]).phase("preRequest").host("ok.test");
        let mut first = first;
        first.body.send_data(Bytes::new(), true).unwrap();
        let (answer, ..) = first.head().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("web").host("ok.test");
        assert_eq!(world.origin(0).request_lines(), ["GET /first HTTP/2"]);
        world.finish().await;
    }

    async fn row_133_framing_that_http2_has_no_use_for() {
        stream_errors(&[
            shape("more content than declared", |stream, authority| posted(stream, authority, "content-length", "5", "0123456789")),
            shape("less content than declared", |stream, authority| posted(stream, authority, "content-length", "10", "01234")),
            shape("no content where some is declared", |stream, authority| {
                let mut fields = request("POST", authority, "/").to_vec();
                fields.push(("content-length", "10"));
                alone(stream, &fields)
            }),
            shape("a length that is none", |stream, authority| posted(stream, authority, "content-length", "+5", "01234")),
            shape("transfer-encoding", |stream, authority| posted(stream, authority, "transfer-encoding", "chunked", "0\r\n\r\n")),
            shape("connection", |stream, authority| posted(stream, authority, "connection", "keep-alive", "x")),
            shape("connection that names a field", |stream, authority| posted(stream, authority, "connection", "x-mine", "x")),
            shape("keep-alive", |stream, authority| posted(stream, authority, "keep-alive", "timeout=5", "x")),
            shape("proxy-connection", |stream, authority| posted(stream, authority, "proxy-connection", "keep-alive", "x")),
            shape("upgrade", |stream, authority| posted(stream, authority, "upgrade", "websocket", "x")),
            shape("te other than trailers", |stream, authority| posted(stream, authority, "te", "gzip", "x")),
            harsh("an upper-case name", |stream, authority| posted(stream, authority, "X-Mine", "1", "x")),
            harsh("a line break in a value", |stream, authority| posted(stream, authority, "x-mine", "1\r\nhost: bad.test", "x")),
            harsh("a zero byte in a value", |stream, authority| posted(stream, authority, "x-mine", "1\u{0}", "x")),
            shape("another host than the authority", |stream, authority| posted(stream, authority, "host", "bad.test", "x")),
        ])
        .await;
    }

    async fn row_134_pseudo_fields() {
        const HTTPS: (&str, &str) = (":scheme", "https");
        const GET: (&str, &str) = (":method", "GET");
        const ROOT: (&str, &str) = (":path", "/");
        stream_errors(&[
            shape("no method", |stream, authority| alone(stream, &[HTTPS, (":authority", authority), ROOT])),
            shape("no scheme", |stream, authority| alone(stream, &[GET, (":authority", authority), ROOT])),
            shape("no path", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority)])),
            shape("no authority", |stream, _| alone(stream, &[GET, HTTPS, ROOT])),
            shape("two methods", |stream, authority| alone(stream, &[GET, (":method", "POST"), HTTPS, (":authority", authority), ROOT])),
            shape("two paths", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), ROOT, (":path", "/other")])),
            shape("two authorities", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), (":authority", "bad.test"), ROOT])),
            shape("a late one", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), ("x-mine", "1"), ROOT])),
            harsh("an unknown one", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), ROOT, (":mine", "1")])),
            harsh("one of a response", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), ROOT, (":status", "200")])),
            harsh("a path without a slash", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), (":path", "etc/passwd")])),
            harsh("an empty path", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), (":path", "")])),
            shape("a whole URI for a path", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), (":path", "https://bad.test/")])),
            shape("another scheme", |stream, authority| alone(stream, &[GET, (":scheme", "gopher"), (":authority", authority), ROOT])),
            shape("the scheme of cleartext", |stream, authority| alone(stream, &[GET, (":scheme", "http"), (":authority", authority), ROOT])),
            harsh("a method with a space", |stream, authority| alone(stream, &[("\u{3a}method", "GET /x"), HTTPS, (":authority", authority), ROOT])),
            harsh("an empty method", |stream, authority| alone(stream, &[(":method", ""), HTTPS, (":authority", authority), ROOT])),
            shape("a protocol without CONNECT", |stream, authority| alone(stream, &[GET, HTTPS, (":authority", authority), ROOT, (":protocol", "websocket")])),
        ])
        .await;
        fragments_are_cut_before_the_verdict().await;
    }

    async fn row_136_floods() {
        let odd = |round: u32| 2 * round + 1;
        flooded("rapid resets", 10_000, |round, authority| {
            vec![
                Frame::headers(odd(round), &request("GET", authority, "/"), true),
                Frame::reset(odd(round), CANCEL),
            ]
        })
        .await;
        // The client does what forces us to reset: a window beyond all bounds (CVE-2025-8671).
        flooded("resets of our own making", 10_000, |round, authority| {
            vec![
                Frame::headers(odd(round), &request("GET", authority, "/"), true),
                Frame::new(WINDOW_UPDATE, 0, odd(round), 0x7fff_ffff_u32.to_be_bytes()),
            ]
        })
        .await;
        flooded("malformed requests", 10_000, |round, authority| {
            let mut fields = request("GET", authority, "/").to_vec();
            fields.push(("connection", "close"));
            alone(odd(round), &fields)
        })
        .await;
        flooded("settings", 20_000, |_, _| vec![Frame::settings(&[(INITIAL_WINDOW_SIZE, 65_535)])]).await;
        flooded("pings", 20_000, |round, _| vec![Frame::new(PING, 0, 0, u64::from(round).to_be_bytes())]).await;
        flooded("window updates", 20_000, |_, _| vec![Frame::new(WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes())]).await;
        flooded("empty content", 20_000, |round, authority| {
            let mut frames = vec![Frame::data(1, "", false)];
            if round == 0 {
                frames.insert(0, Frame::headers(1, &request("POST", authority, "/"), false));
            }
            frames
        })
        .await;
    }

    async fn row_137_window_held_shut() {
        let opened = Opened::new();
        let settings = opened.settings("  timeouts: {idle: 3s}\n");
        let origin = opened.http2_origin(ORIGIN, Manners::default(), |_| Answered::long(1 << 30));
        let mut world = opened.plan(RULES).settings(&settings).start().await;
        let origin = world.add(origin.await, Reached::Times(1));
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let before = world.gateway.memory("VmRSS");
        let mut frames = opened.frames(&world, "ok.test", port, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        frames.send(&Frame::headers(1, &request("GET", &format!("ok.test:{port}"), "/"), true)).await;
        let head = frames.until(1, &[HEADERS]).await;
        assert_eq!(head.status(), 200);
        let shut = Instant::now();
        let mut ended = false;
        while let Some(frame) = frames.next().await {
            assert_ne!(frame.kind, DATA, "content through a shut window");
            ended |= frame.kind == GOAWAY || (frame.kind == RST_STREAM && frame.stream == 1);
            if ended {
                break;
            }
        }
        let waited = shut.elapsed();
        assert!((Duration::from_millis(2500)..Duration::from_secs(9)).contains(&waited), "{waited:?}");
        let grown = world.gateway.memory("VmHWM").saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB more for one stream that nobody reads");
        world.closed_after_allow(&["idle"]).host("ok.test");
        drop(frames);
        world.finish().await;
    }

    async fn row_139_web_socket_over_http2() {
        let rules = "  - {name: chat, action: Allow, to: {hosts: [ok.test]}, http: {methods: [GET], paths: [/chat]}}\n";
        let opened = Opened::new();
        let (mut world, port) = opened.http2_world(rules, ORIGIN, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        let settings = settings_of(&opened, &world, port).await;
        assert!(!settings.contains(&(ENABLE_CONNECT_PROTOCOL, 1)), "offered for an origin that does not: {settings:?}");
        world.any_record();
        // A client that does not care.
        let mut frames = opened.frames(&world, "ok.test", port, &[]).await;
        let mut fields = request("CONNECT", "ok.test", "/chat").to_vec();
        let authority = format!("ok.test:{port}");
        fields[2] = (":authority", &authority);
        fields.insert(1, (":protocol", "websocket"));
        frames.send(&Frame::headers(1, &fields, false)).await;
        let end = frames.until(1, &[RST_STREAM, HEADERS]).await;
        assert!(end.kind == RST_STREAM || end.status() >= 400, "{end:?}");
        world.any_record();
        drop(frames);
        assert!(world.origin(0).request_lines().is_empty());
        world.finish().await;

        let opened = Opened::new();
        let manners = Manners { extended: true, ..Manners::default() };
        let origin = opened.http2_origin(ORIGIN, manners, |_| Answered::ok("x"));
        let (mut world, port) = opened.world_of(rules, origin.await, Reached::Unchecked).await;
        world.may_ask(&["ok.test"]);
        let settings = settings_of(&opened, &world, port).await;
        assert!(settings.contains(&(ENABLE_CONNECT_PROTOCOL, 1)), "{settings:?}");
        world.any_record();
        let client = opened.http2(&world, "ok.test", port).await;
        let authority = format!("ok.test:{port}");
        // An ordinary exchange first: the settings are there then.
        let answer = client.get(&authority, "/chat").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
        world.allowed().rule("chat");
        assert!(client.is_extended());
        let open = client.open(web_socket(&authority, "/chat"), false).await.unwrap();
        let (answer, mut body, mut sender) = open.head().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
        for said in ["one", "two"] {
            sender.send_data(Bytes::from(said), false).unwrap();
            let heard = exitgate_tests::deadline::within("the echo", body.data()).await.unwrap().unwrap();
            assert_eq!(heard, said);
        }
        sender.send_data(Bytes::new(), true).unwrap();
        while exitgate_tests::deadline::within("the end", body.data()).await.is_some() {}
        world.allowed().rule("chat");
        // The handshake is judged like the GET that it is over HTTP/1.
        let open = client.open(web_socket(&authority, "/other"), false).await.unwrap();
        let (mut answer, mut body, _sender) = open.head().await.unwrap();
        while let Some(piece) = exitgate_tests::deadline::within("the page", body.data()).await {
            answer.body.extend(piece.unwrap());
        }
        world.stream_refused(&answer, 403, &["no-rule"]).phase("preRequest");
        let requests = world.origin(0).seen.requests.all();
        let protocols = requests.iter().map(|request| request.head.contains(":protocol: websocket"));
        assert_eq!(protocols.collect::<Vec<_>>(), [false, true]);
        drop((sender, client));
        world.finish().await;
    }

    async fn row_140_goodbye_of_the_origin() {
        // The first connection answers its first stream, takes the second and says goodbye before the third.
        let opened = Opened::new();
        let origin = Origin::secured(ORIGIN, opened.certificate(&["h2"]), |stream, seen, index| async move {
            if index > 0 {
                return Origin::speak_http2(stream, seen, index).await;
            }
            let mut frames = Frames::accept(stream, &[]).await;
            for stream in [1, 3, 5] {
                frames.until(stream, &[HEADERS]).await;
            }
            let words = [
                Frame::headers(1, &[(":status", "200"), ("content-length", "5")], false),
                Frame::data(1, "first", true),
                Frame::goaway(3),
            ];
            frames.offer(&words).await;
        });
        let (mut world, port) = opened.world_of(RULES, origin.await, Reached::Times(2)).await;
        world.may_ask(&["ok.test"]);
        let client = opened.http2(&world, "ok.test", port).await;
        let authority = format!("ok.test:{port}");
        let mut opens = Vec::new();
        for path in ["/answered", "/taken", "/unprocessed"] {
            opens.push(client.open(http2::request("POST", &authority, path), true).await.unwrap());
        }
        let mut answers = Vec::new();
        for open in opens {
            answers.push(match open.head().await {
                Ok((mut answer, mut body, _)) => {
                    while let Some(piece) = exitgate_tests::deadline::within("a body", body.data()).await {
                        answer.body.extend(piece.unwrap());
                    }
                    Ok(answer)
                }
                Err(error) => Err(error),
            });
        }
        let text = |answer: &Result<Answer, h2::Error>| answer.as_ref().map(|answer| (answer.status, answer.text())).ok();
        assert_eq!(text(&answers[0]), Some((200, "first".to_owned())));
        world.allowed().rule("web");
        // It may have been acted on: not sent again, and the client is told.
        match &answers[1] {
            Ok(answer) => {
                world.stream_refused(answer, 502, &["upstream-reset"]);
            }
            Err(error) => {
                assert_ne!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "says that it may be sent again");
                world.closed(&["upstream-reset"]);
            }
        }
        assert_eq!(text(&answers[2]), Some((200, "origin over HTTP/2".to_owned())));
        world.allowed().rule("web");
        assert_eq!(world.origin(0).request_lines(), ["POST /unprocessed HTTP/2"]);
        drop(client);
        world.finish().await;
    }
}
