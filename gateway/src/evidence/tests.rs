#![allow(clippy::indexing_slicing, reason = "tests")]

use exitgate_policy::{Hello, TlsVersion};

use super::*;

/// A ClientHello in parts, so that each can be bent.
#[derive(Clone)]
struct Builder {
    version: u16,
    session: Vec<u8>,
    ciphers: Vec<u16>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

fn vec8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn list(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (0, vec16(&[&[0], vec16(name).as_slice()].concat()))
}

fn alpn(protocols: &[&[u8]]) -> (u16, Vec<u8>) {
    (
        16,
        vec16(
            &protocols
                .iter()
                .flat_map(|protocol| vec8(protocol))
                .collect::<Vec<_>>(),
        ),
    )
}

fn versions(values: &[u16]) -> (u16, Vec<u8>) {
    (43, vec8(&list(values)))
}

impl Builder {
    fn new() -> Self {
        Self {
            version: 0x0303,
            session: vec![7; 32],
            ciphers: vec![0x1301, 0x1302],
            compression: vec![0],
            extensions: vec![
                sni(b"ok.test"),
                alpn(&[b"h2", b"http/1.1"]),
                versions(&[0x0304, 0x0303]),
            ],
        }
    }

    fn with(mut self, extension: (u16, Vec<u8>)) -> Self {
        self.extensions.retain(|(kind, _)| *kind != extension.0);
        self.extensions.push(extension);
        self
    }

    fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(found, _)| *found != kind);
        self
    }

    fn body(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([9; 32]);
        body.extend(vec8(&self.session));
        body.extend(vec16(&list(&self.ciphers)));
        body.extend(vec8(&self.compression));
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vec16(data)].concat())
            .collect();
        body.extend(vec16(&extensions));
        body
    }

    fn message(&self) -> Vec<u8> {
        message(&self.body())
    }

    fn wire(&self) -> Vec<u8> {
        records(&self.message(), 16_384)
    }
}

fn message(body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, high, middle, low], body].concat()
}

fn records(message: &[u8], fragment: usize) -> Vec<u8> {
    message
        .chunks(fragment)
        .flat_map(|part| [&[0x16, 3, 1][..], &vec16(part)].concat())
        .collect()
}

/// Reads at once, and in steps; both must agree.
fn read(wire: &[u8]) -> Result<Option<Hello>, HelloError> {
    let at_once = HelloReader::new(HELLO_LIMIT).push(wire);
    for step in [1, 5, 1000] {
        if step == 1 && wire.len() > 4096 {
            continue;
        }
        let mut reader = HelloReader::new(HELLO_LIMIT);
        let mut stepwise = Ok(Progress::NeedMore);
        let mut end = 0;
        while matches!(stepwise, Ok(Progress::NeedMore)) && end < wire.len() {
            end = (end + step).min(wire.len());
            stepwise = reader.push(&wire[..end]);
        }
        match (&at_once, &stepwise) {
            // Bytes behind the message are only seen when they come with it.
            (Err(HelloError::TrailingData), Ok(Progress::Complete(_))) => {}
            _ => assert_eq!(at_once, stepwise, "in steps of {step}"),
        }
    }
    at_once.map(|progress| match progress {
        Progress::Complete(hello) => Some(hello),
        Progress::NeedMore => None,
    })
}

fn hello(builder: &Builder) -> Hello {
    read(&builder.wire()).unwrap().unwrap()
}

fn name(hello: &Hello) -> Option<&str> {
    hello.sni.as_ref().map(exitgate_policy::Name::as_str)
}

#[test]
fn reads_a_hello() {
    let hello = hello(&Builder::new());
    assert_eq!(name(&hello), Some("ok.test"));
    assert_eq!(
        hello.alpn,
        [Box::from(&b"h2"[..]), Box::from(&b"http/1.1"[..])]
    );
    assert_eq!((hello.version, hello.ech), (TlsVersion::Tls13, false));
    assert!(hello.ja4.starts_with("t13d0203h2_"));
}

#[test]
fn split_over_records_and_segments() {
    let expected = hello(&Builder::new());
    let message = Builder::new().message();
    for fragment in [1, 2, 3, 4, 5, 40, 41, message.len() - 1, message.len()] {
        assert_eq!(
            read(&records(&message, fragment)).unwrap().unwrap(),
            expected,
            "records of {fragment}"
        );
    }
    // Every prefix is incomplete, none an error.
    let wire = records(&message, 50);
    for end in 0..wire.len() {
        assert_eq!(
            HelloReader::new(HELLO_LIMIT).push(&wire[..end]),
            Ok(Progress::NeedMore)
        );
    }
}

#[test]
fn sizes() {
    let large = Builder::new().with((21, vec![0; 17 * 1024]));
    assert_eq!(name(&hello(&large)), Some("ok.test"));
    for fragment in [1, 100, 16_384] {
        let wire = records(&large.message(), fragment);
        assert!(matches!(
            HelloReader::new(HELLO_LIMIT).push(&wire),
            Ok(Progress::Complete(_))
        ));
    }
    let too_large = Builder::new().with((21, vec![0; 63 * 1024]));
    assert_eq!(read(&too_large.wire()), Err(HelloError::TooLarge));
    // The first bytes suffice to know.
    assert_eq!(
        read(&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]),
        Err(HelloError::TooLarge)
    );
    assert_eq!(
        read(&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]),
        Err(HelloError::TooLarge)
    );
    let fit = Builder::new();
    let limit = fit.message().len();
    assert!(matches!(
        HelloReader::new(limit).push(&fit.wire()),
        Ok(Progress::Complete(_))
    ));
    assert!(matches!(
        HelloReader::new(limit).push(&records(&fit.message(), 1)),
        Ok(Progress::Complete(_))
    ));
    assert_eq!(
        HelloReader::new(limit - 1).push(&fit.wire()),
        Err(HelloError::TooLarge)
    );
}

#[test]
fn lies_about_lengths() {
    let wire = Builder::new().wire();
    let bend = |position: usize, bytes: &[u8]| {
        let mut bent = wire.clone();
        bent[position..position + bytes.len()].copy_from_slice(bytes);
        bent
    };
    // Record: empty, above the limit, shorter and longer than the message.
    assert_eq!(read(&bend(3, &[0, 0])), Err(HelloError::BadRecord));
    assert_eq!(read(&bend(3, &[0x40, 1])), Err(HelloError::BadRecord));
    assert_eq!(read(&bend(3, &[0xff, 0xff])), Err(HelloError::BadRecord));
    assert!(matches!(read(&bend(3, &[0, 20])), Err(HelloError::NotTls)));
    assert_eq!(read(&bend(3, &[0x20, 0])), Ok(None));
    // Message: shorter, longer, 2^24-1.
    assert_eq!(read(&bend(6, &[0, 0, 20])), Err(HelloError::TrailingData));
    assert_eq!(read(&bend(6, &[0, 0x20, 0])), Ok(None));
    assert_eq!(
        read(&bend(6, &[0xff, 0xff, 0xff])),
        Err(HelloError::TooLarge)
    );

    let body = Builder::new().body();
    let inner = |position: usize, bytes: &[u8]| {
        let mut bent = body.clone();
        bent[position..position + bytes.len()].copy_from_slice(bytes);
        read(&records(&message(&bent), 16_384))
    };
    let (session, ciphers, compression, extensions) = (34, 67, 73, 75);
    assert_eq!(inner(session, &[33]), Err(HelloError::Length));
    assert_eq!(inner(session, &[255]), Err(HelloError::Length));
    assert_eq!(inner(ciphers, &[0xff, 0xff]), Err(HelloError::Length));
    assert_eq!(inner(ciphers, &[0, 3]), Err(HelloError::Length));
    assert_eq!(inner(ciphers, &[0, 0]), Err(HelloError::Length));
    assert!(inner(compression, &[0]).is_err());
    assert_eq!(inner(extensions, &[0xff, 0xff]), Err(HelloError::Length));
    assert!(inner(extensions, &[0, 8]).is_err());
    assert_eq!(
        inner(extensions + 4, &[0xff, 0xff]),
        Err(HelloError::Length)
    );
    for cut in 0..body.len() {
        let result = read(&records(&message(&body[..cut.max(1)]), 16_384));
        // Only the end in front of the extensions is a legal one, and then an old client speaks.
        assert_eq!(result.is_ok(), cut == extensions, "cut at {cut}");
    }
    let mut longer = body.clone();
    longer.push(0);
    assert_eq!(
        read(&records(&message(&longer), 16_384)),
        Err(HelloError::TrailingData)
    );
}

#[test]
fn what_is_no_hello() {
    let rows: &[(&[u8], HelloError)] = &[
        (b"\x16\x03\xff\xff\xff\xff", HelloError::NotTls),
        (b"\x16\x03garbage that is no record", HelloError::NotTls),
        (
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
            HelloError::NotClientHello,
        ),
        (b"\x17\x03\x03\x00\x05hello", HelloError::NotTls),
        (b"\x15\x03\x03\x00\x02\x02\x28", HelloError::NotTls),
        (b"GET / HTTP/1.1\r\n", HelloError::NotTls),
        (b"\x16\x02\x00", HelloError::NotTls),
        (b"\x80\x2e\x01\x00\x02\x00\x15", HelloError::TlsVersion),
        (b"\x80\x2e\x01\x03\x01\x00\x15", HelloError::TlsVersion),
    ];
    for (bytes, expected) in rows {
        let mut reader = HelloReader::new(HELLO_LIMIT);
        assert_eq!(
            reader.push(bytes),
            Err(*expected),
            "{}",
            bytes.escape_ascii()
        );
    }
    // A second message, in the same record or another.
    let twice = [Builder::new().message(), Builder::new().message()].concat();
    assert_eq!(
        read(&records(&twice, 16_384)),
        Err(HelloError::TrailingData)
    );
    // Another record type in the middle.
    let message = Builder::new().message();
    let mut wire = records(&message, 50);
    wire[55] = 0x17;
    assert_eq!(
        HelloReader::new(HELLO_LIMIT).push(&wire),
        Err(HelloError::NotTls)
    );
    let no_null_compression = Builder {
        compression: vec![1],
        ..Builder::new()
    };
    assert_eq!(
        read(&no_null_compression.wire()),
        Err(HelloError::BadExtension)
    );
}

#[test]
fn the_server_name_is_one_name() {
    let with = |data: Vec<u8>| read(&Builder::new().with((0, data)).wire());
    let entry = |kind: u8, name: &[u8]| [&[kind], vec16(name).as_slice()].concat();
    for (given, canonical) in [
        (&b"OK.test"[..], "ok.test"),
        (b"ok.test.", "ok.test"),
        (b"_x.1.ok.test", "_x.1.ok.test"),
    ] {
        assert_eq!(
            name(&hello(&Builder::new().with(sni(given)))),
            Some(canonical)
        );
    }
    assert_eq!(name(&hello(&Builder::new().without(0))), None);
    let bad: Vec<Vec<u8>> = vec![
        vec16(&entry(0, b"")),
        vec16(&entry(0, b"192.0.2.1")),
        vec16(&entry(0, b"127.1")),
        vec16(&entry(0, b"2001:db8::1")),
        vec16(&entry(0, b"[2001:db8::1]")),
        vec16(&entry(0, b"ok.test..")),
        vec16(&entry(0, b".ok.test")),
        vec16(&entry(0, b"ok.test\0.wild.test")),
        vec16(&entry(0, b"ok.test ")),
        vec16(&entry(0, b"ok.test:443")),
        vec16(&entry(0, "\u{43e}k.test".as_bytes())),
        vec16(&entry(0, &[b'a'; 300])),
        vec16(&[entry(0, b"ok.test"), entry(0, b"bad.test")].concat()),
        vec16(&[entry(0, b"ok.test"), entry(1, b"x")].concat()),
        vec16(&entry(1, b"ok.test")),
        vec16(b""),
        vec![],
        entry(0, b"ok.test"),
        [vec16(&entry(0, b"ok.test")), vec![0]].concat(),
        vec16(&[0, 0, 200, b'a']),
    ];
    for data in bad {
        assert_eq!(
            with(data.clone()),
            Err(HelloError::BadSni),
            "{}",
            data.escape_ascii()
        );
    }
}

#[test]
fn versions_below_ours_are_told_apart() {
    let row = |legacy: u16, offered: Option<&[u16]>| {
        let mut builder = Builder {
            version: legacy,
            ..Builder::new()
        }
        .without(43);
        if let Some(offered) = offered {
            builder = builder.with(versions(offered));
        }
        read(&builder.wire()).map(|hello| hello.unwrap().version)
    };
    assert_eq!(row(0x0303, None), Ok(TlsVersion::Tls12));
    assert_eq!(row(0x0304, None), Ok(TlsVersion::Tls12));
    assert_eq!(row(0x0303, Some(&[0x0303])), Ok(TlsVersion::Tls12));
    assert_eq!(row(0x0301, Some(&[0x3a3a, 0x0304])), Ok(TlsVersion::Tls13));
    assert_eq!(row(0x0303, Some(&[0x7f1c, 0x0303])), Ok(TlsVersion::Tls12));
    for (legacy, offered) in [
        (0x0300, None),
        (0x0301, None),
        (0x0302, None),
        (0x0002, None),
        (0x0303, Some(&[0x0302, 0x0301][..])),
        (0x0303, Some(&[0x7f1c])),
        (0x0303, Some(&[0x0a0a])),
    ] {
        let error = row(legacy, offered).unwrap_err();
        assert_eq!(
            (error.code(), error.alert()),
            ("tls-version", 70),
            "{legacy:x} {offered:?}"
        );
    }
    assert_eq!(
        read(&Builder::new().with((43, vec![0])).wire()),
        Err(HelloError::BadExtension)
    );
    assert_eq!(
        read(&Builder::new().with((43, vec![3, 3, 4, 3])).wire()),
        Err(HelloError::BadExtension)
    );
}

#[test]
fn extensions() {
    let grease = Builder::new()
        .with((0x0a0a, vec![]))
        .with((0xfafa, vec![0]));
    assert_eq!(name(&hello(&grease)), Some("ok.test"));
    let many = (0..300_u16).fold(Builder::new(), |builder, kind| {
        builder.with((0x4000 + kind, vec![1, 2]))
    });
    assert!(hello(&many).ja4.starts_with("t13d0299h2_"));
    for kind in [0, 16, 43, 0x0a0a, 0x1234] {
        let mut twice = Builder::new().with((0x0a0a, vec![])).with((0x1234, vec![]));
        let again = twice
            .extensions
            .iter()
            .find(|(found, _)| *found == kind)
            .cloned()
            .unwrap();
        twice.extensions.push(again);
        assert_eq!(read(&twice.wire()), Err(HelloError::BadExtension), "{kind}");
    }
    for kind in [0xfe0d, 0xffce] {
        let ech = hello(&Builder::new().with((kind, vec![0; 100])));
        assert!(ech.ech);
        assert_eq!(name(&ech), Some("ok.test"));
    }
    for data in [
        vec![],
        vec![0, 0],
        vec16(&[0]),
        vec16(&[5, b'h']),
        vec![0, 3, 2, b'h', b'2', 0],
    ] {
        assert_eq!(
            read(&Builder::new().with((16, data)).wire()),
            Err(HelloError::BadAlpn)
        );
    }
    assert!(hello(&Builder::new().without(16)).alpn.is_empty());
    assert_eq!(
        read(&Builder::new().with((13, vec![0, 3, 4, 3, 8])).wire()),
        Err(HelloError::BadExtension)
    );
}

#[test]
fn ja4_of_a_known_client() {
    // The example of the public description: a browser's hello.
    let builder = Builder {
        ciphers: vec![
            0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ],
        extensions: vec![
            (0x1a1a, vec![]),
            (0x001b, vec![]),
            sni(b"ok.test"),
            (0x0033, vec![]),
            alpn(&[b"h2", b"http/1.1"]),
            (0x4469, vec![]),
            (0x0017, vec![]),
            (0x002d, vec![]),
            (
                0x000d,
                vec16(&list(&[
                    0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
                ])),
            ),
            (0x0005, vec![]),
            (0x0023, vec![]),
            (0x0012, vec![]),
            versions(&[0x3a3a, 0x0304, 0x0303]),
            (0xff01, vec![]),
            (0x000b, vec![]),
            (0x000a, vec![]),
            (0x0015, vec![]),
            (0x7a7a, vec![0]),
        ],
        ..Builder::new()
    };
    assert_eq!(hello(&builder).ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");

    // Order of ciphers and extensions does not matter.
    let mut shuffled = builder.clone();
    shuffled.ciphers.reverse();
    shuffled.extensions.reverse();
    assert_eq!(hello(&shuffled).ja4, hello(&builder).ja4);
}

#[test]
fn ja4_marks() {
    let prefix = |builder: Builder| hello(&builder).ja4.split('_').next().unwrap().to_owned();
    assert_eq!(prefix(Builder::new()), "t13d0203h2");
    assert_eq!(prefix(Builder::new().without(0)), "t13i0202h2");
    assert_eq!(prefix(Builder::new().without(16)), "t13d020200");
    assert_eq!(prefix(Builder::new().without(43)), "t12d0202h2");
    assert_eq!(
        prefix(Builder::new().with(alpn(&[b"http/1.1"]))),
        "t13d0203h1"
    );
    assert_eq!(prefix(Builder::new().with(alpn(&[b"x"]))), "t13d0203xx");
    assert_eq!(
        prefix(Builder::new().with(alpn(&[b"\xab\xcd"]))),
        "t13d0203ad"
    );
    assert_eq!(
        prefix(Builder::new().with(alpn(&[b"\x0a\x0a"]))),
        "t13d02030a"
    );
    let bare = Builder {
        extensions: vec![],
        ..Builder::new()
    };
    assert_eq!(hello(&bare).ja4.split('_').nth(2), Some("000000000000"));
    let many = Builder {
        ciphers: (1..=150).collect(),
        ..Builder::new()
    };
    assert_eq!(prefix(many), "t13d9903h2");
}

#[test]
fn alerts() {
    assert_eq!(alert(49), [0x15, 3, 3, 0, 2, 2, 49]);
    assert_eq!(HelloError::BadSni.code(), "bad-hello");
}

#[test]
fn guesses() {
    use Guess::{Http, Http2Prior, NeedMore, Other, Tls};
    let rows: &[(&[u8], Guess)] = &[
        (b"", NeedMore),
        (b"\x16", NeedMore),
        (b"\x16\x03", Tls),
        (b"\x16\x03garbage", Tls),
        (b"\x16\x04", Other("tcp")),
        (b"\x80\x2e\x01\x00\x02", Tls),
        (b"\x80\x2e\x01", NeedMore),
        (b"\x80\x2e\x02", Other("tcp")),
        (b"G", NeedMore),
        (b"GET", NeedMore),
        (b"GET ", Http),
        (b"GET / HTTP/1.1\r\n", Http),
        (b"get / HTTP/1.1\r\n", Http),
        (b"GET\t/", Http),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", Http),
        (b"\n GET / HTTP/1.1\r\n", Http),
        (b"CONNECT ok.test:443 HTTP/1.1\r\n", Http),
        (b"CONNECT ", NeedMore),
        (b"CONNECT {\"verbose\"", Other("nats")),
        (b"PURGE /x", NeedMore),
        (b"PURGE /x HTTP/1.1", Http),
        (b"PURGE /x\r\n", Other("text")),
        (b"PRI", NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2Prior),
        (b"PRI * HTTP/1.1\r\n", Http),
        (b"SSH-2.0-OpenSSH_9\r\n", Other("ssh")),
        (b"SSH", NeedMore),
        (b"EHLO x\r\n", Other("smtp")),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Other("proxy")),
        (b"\r\n\r\n\0\r\nQUIT\n!", Other("proxy")),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Other("postgresql")),
        (b"\0\0\0\x54\0\x03\0\0user", Other("postgresql")),
        (b"\x03\0\0\x13\x0e\xe0", Other("rdp")),
        (b"\x10\x10\0\x04MQTT", Other("mqtt")),
        (b"\x05\x01\x00", Other("socks")),
        (b"\x00\x01", Other("tcp")),
        (b"hello", NeedMore),
        (b"hello\n", Other("text")),
        (b"hello\0 HTTP/1.1", Other("tcp")),
        (b"\xff\xff\xff", Other("tcp")),
    ];
    for (bytes, expected) in rows {
        assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
        // More bytes complete an answer and never change one.
        let mut settled = None;
        for end in 0..=bytes.len() {
            let guess = sniff(&bytes[..end]);
            if let Some(settled) = settled {
                assert_eq!(guess, settled, "{} at {end}", bytes.escape_ascii());
            } else if guess != NeedMore {
                settled = Some(guess);
            }
        }
    }
    assert_eq!(sniff(&[b'a'; 5000]), Other("text"));
    assert_eq!(sniff(&[b'\n'; 5000]), Other("tcp"));
}

#[test]
fn guesses_when_nothing_more_comes() {
    use Guess::{Http, Other, Tls};
    let rows: &[(&[u8], Guess)] = &[
        (b"", Other("silent")),
        (b"\x16", Tls),
        (b"\x80\x2e\x01", Tls),
        (b"G", Http),
        (b"BREW /x", Http),
        (b"\r\n", Other("text")),
        (b"\r\nge", Http),
        (b"BREW", Other("text")),
        (b"brew http://x", Http),
        (b"login: ", Other("text")),
        (b"PRI * HT", Http),
        (b"hello\n", Other("text")),
        (b"\0\0", Other("tcp")),
        (b"\x05", Other("tcp")),
        (b"\x16\x03", Tls),
        (b"GET / HTTP/1.1\r\n", Http),
    ];
    for (bytes, expected) in rows {
        assert_eq!(sniff_at_end(bytes), *expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn bent_hellos_do_no_harm() {
    let original = records(
        &Builder::new().with((13, vec16(&list(&[0x0403])))).message(),
        60,
    );
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let mut complete = 0;
    for _ in 0..40_000 {
        let mut wire = original.clone();
        for _ in 0..=below(3) {
            let at = below(wire.len());
            wire[at] = u8::try_from(below(256)).unwrap();
        }
        let at_once = HelloReader::new(HELLO_LIMIT).push(&wire);
        complete += usize::from(matches!(at_once, Ok(Progress::Complete(_))));
        // In two pieces: the same, or an error that was already visible in the first.
        let mut reader = HelloReader::new(HELLO_LIMIT);
        let first = reader.push(&wire[..below(wire.len())]);
        let result = if first == Ok(Progress::NeedMore) {
            reader.push(&wire)
        } else {
            first
        };
        match (at_once, result) {
            (Err(HelloError::TrailingData), Ok(Progress::Complete(_))) => {}
            (at_once, result) => assert_eq!(at_once, result, "{}", wire.escape_ascii()),
        }
    }
    assert!(complete > 5_000, "{complete}");
}
