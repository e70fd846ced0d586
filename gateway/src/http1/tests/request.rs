use super::*;

fn get(fields: &str) -> Vec<u8> {
    format!("GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n{fields}\r\n").into_bytes()
}

fn post(fields: &str) -> Vec<u8> {
    format!("POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n{fields}\r\n").into_bytes()
}

#[test]
fn reads_the_four_target_forms() {
    let head = request(b"CONNECT OK.test.:443 HTTP/1.1\r\nHost: ok.test:443\r\n\r\n").unwrap();
    assert!(
        matches!(&head.target, Target::Connect(authority) if authority.to_string() == "ok.test:443")
    );
    assert_eq!(head.method(), "CONNECT");
    assert_eq!(head.path_and_query(), b"");
    assert!(head.path().is_none());

    let text = b"GET HTTP://OK.test:8080/a%2fb?c=d HTTP/1.1\r\nHost: ok.TEST:8080\r\nX-A: 1\r\nx-a:  2 \r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!(head.authority().unwrap().to_string(), "ok.test:8080");
    assert_eq!(head.path_and_query(), b"/a%2fb?c=d");
    assert_eq!(head.path().unwrap().raw(), b"/a%2fb");
    assert_eq!(head.headers.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(
        head.headers
            .iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>(),
        ["host", "x-a", "x-a"]
    );
    assert_eq!(head.framing, BodyFraming::None);
    assert!(head.keep_alive);

    let head = request(b"GET /x?y HTTP/1.1\r\nHost: ok.test\r\n\r\n").unwrap();
    assert!(matches!(&head.target, Target::Origin { .. }));
    assert_eq!(head.path_and_query(), b"/x?y");
    assert_eq!(head.authority().unwrap().to_string(), "ok.test");

    let head = request(b"OPTIONS * HTTP/1.1\r\nHost: ok.test\r\n\r\n").unwrap();
    assert!(matches!(head.target, Target::Asterisk));

    // An origin-form path may begin with two slashes; it is no authority.
    let head = request(b"GET //ok.test@bad.test HTTP/1.1\r\nHost: ok.test\r\n\r\n").unwrap();
    assert_eq!(head.path_and_query(), b"//ok.test@bad.test");
    assert_eq!(head.authority().unwrap().to_string(), "ok.test");

    for (target, path) in [
        ("http://ok.test", ""),
        ("http://ok.test?q", "?q"),
        ("http://ok.test?@bad.test/", "?@bad.test/"),
    ] {
        let head =
            request(format!("GET {target} HTTP/1.1\r\nHost: ok.test\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head.authority().unwrap().to_string(), "ok.test");
        assert_eq!(head.path_and_query(), path.as_bytes());
        assert_eq!(head.path().unwrap().raw(), b"/");
    }
}

#[test]
fn one_empty_line_in_front_is_skipped() {
    assert!(request(b"\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok());
    assert_eq!(
        request(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap_err(),
        HeadError::BadRequestLine
    );
    assert_eq!(
        request(b"\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap_err(),
        HeadError::BadLineEnd
    );
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let text = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\n";
    let Parse::Complete { head, consumed } = parse_request(text, &Limits::default()).unwrap()
    else {
        panic!()
    };
    assert_eq!(&text[consumed..], b"GET / HTTP/1.1\r\n");
    assert_eq!(head.headers.original(), &text[..consumed]);
}

#[test]
fn refuses_bad_request_lines() {
    use HeadError as E;
    let rows: &[(&[u8], HeadError)] = &[
        (b"G\0ET / HTTP/1.1\r\n", E::BadRequestLine),
        (b"GET  / HTTP/1.1\r\n", E::BadRequestLine),
        (b"GET /\tHTTP/1.1\r\n", E::BadRequestLine),
        (b"GET\t/ HTTP/1.1\r\n", E::BadRequestLine),
        (b"GET / HTTP/1.1 \r\n", E::BadRequestLine),
        (b" GET / HTTP/1.1\r\n", E::BadMethod),
        (b"GET /\r\n", E::BadRequestLine),
        (b"GET\r\n", E::BadRequestLine),
        (b"GET / HTTP/1.32\r\n", E::BadVersion),
        (b"GET / HTTP/0.9\r\n", E::BadVersion),
        (b"GET / HTTP/2.0\r\n", E::BadVersion),
        (b"GET / http/1.1\r\n", E::BadVersion),
        (b"GET / HTTP/1.1x\r\n", E::BadVersion),
        (b"GET / HTTP/01.1\r\n", E::BadVersion),
        (b"PRI * HTTP/2.0\r\n", E::BadVersion),
        (b"GET http://ok.test/a b HTTP/1.1\r\n", E::BadRequestLine),
        (b"GET / HTTP/1.1\n", E::BadLineEnd),
        (b"GET /\rx HTTP/1.1\r\n", E::BadRequestLine),
        (b"G(T / HTTP/1.1\r\n", E::BadMethod),
        (b"get / HTTP/1.1\r\n", E::BadMethod),
        (b"Delete / HTTP/1.1\r\n", E::BadMethod),
        (b"connect ok.test:443 HTTP/1.1\r\n", E::BadMethod),
        (b"\x16\x03\x01\x02\0", E::BadMethod),
        (b"SSH-2.0-x\r\n", E::BadRequestLine),
        (
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n",
            E::BadMethod,
        ),
        (b"GET http://ok.test/\x7f HTTP/1.1\r\n", E::BadRequestLine),
    ];
    for (text, expected) in rows {
        let mut text = text.to_vec();
        text.extend_from_slice(b"Host: ok.test\r\n\r\n");
        assert_eq!(
            request(&text).unwrap_err(),
            *expected,
            "{}",
            text.escape_ascii()
        );
        assert_eq!(expected.status(), 400);
    }
    // Unknown methods are the policy's business.
    assert_eq!(
        request(b"M-SEARCH / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap()
            .method(),
        "M-SEARCH"
    );
    assert_eq!(
        request(b"purge / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap()
            .method(),
        "purge"
    );
}

#[test]
fn refuses_bad_targets() {
    use HeadError as E;
    let rows: &[(&str, HeadError)] = &[
        ("GET https://ok.test/", E::HttpsTarget),
        ("GET HTTPS://ok.test/", E::HttpsTarget),
        ("GET ftp://ok.test/", E::BadScheme),
        ("GET gopher://ok.test/", E::BadScheme),
        ("GET file:///etc/passwd", E::BadScheme),
        ("GET ws://ok.test/", E::BadScheme),
        ("GET wss://ok.test/", E::BadScheme),
        ("GET javascript:alert(1)", E::BadTarget),
        ("GET http:/ok.test/", E::BadTarget),
        ("GET http:ok.test/", E::BadTarget),
        ("GET http:///", E::BadTarget),
        ("GET http://", E::BadTarget),
        ("GET ok.test/", E::BadTarget),
        ("GET ok.test:80", E::BadTarget),
        ("GET *", E::BadTarget),
        ("GET ?x", E::BadTarget),
        ("GET http://ok.test:80@bad.test/", E::BadTarget),
        ("GET http://user:pw@ok.test/", E::BadTarget),
        ("GET http://@ok.test/", E::BadTarget),
        ("GET http://ok.test#@bad.test/", E::BadTarget),
        ("GET http://ok.test/#a", E::BadTarget),
        ("GET /#a", E::BadTarget),
        ("GET http://ok.test\\@bad.test/", E::BadTarget),
        ("GET http://ok.test\\.bad.test/", E::BadTarget),
        ("GET http://ok.test:/", E::BadTarget),
        ("GET http://ok.test:0/", E::BadTarget),
        ("GET http://ok.test:65536/", E::BadTarget),
        ("GET http://ok.test:+80/", E::BadTarget),
        ("GET http://ok.test..:80/", E::BadTarget),
        ("GET http://.ok.test/", E::BadTarget),
        ("GET http://127.1/", E::BadTarget),
        ("GET http://0x7f.1/", E::BadTarget),
        ("GET http://[::1%25eth0]/", E::BadTarget),
        ("GET http://ok%2etest/", E::BadTarget),
        ("GET http://ok.test/%00", E::BadPath),
        ("GET http://ok.test/%zz", E::BadPath),
        ("GET /%4", E::BadPath),
        ("CONNECT ok.test", E::BadTarget),
        ("CONNECT ok.test:", E::BadTarget),
        ("CONNECT :443", E::BadTarget),
        ("CONNECT /", E::BadTarget),
        ("CONNECT *", E::BadTarget),
        ("CONNECT http://ok.test:443/", E::BadTarget),
        ("CONNECT ok.test@bad.test:443", E::BadTarget),
        ("CONNECT ok.test:443/", E::BadTarget),
        ("CONNECT 0:80", E::BadTarget),
        ("CONNECT 0251.0376.0251.0376:80", E::BadTarget),
        ("CONNECT 425.510.425.510:80", E::BadTarget),
        ("CONNECT ::1:80", E::BadTarget),
    ];
    for (line, expected) in rows {
        let text = format!("{line} HTTP/1.1\r\nHost: ok.test\r\n\r\n");
        assert_eq!(request(text.as_bytes()).unwrap_err(), *expected, "{line}");
        assert_eq!(expected.status(), 400);
    }
}

#[test]
fn the_host_field_is_one_authority_and_the_same() {
    use HeadError as E;
    let rows: &[(&str, Option<HeadError>)] = &[
        (
            "CONNECT ok.test:443 HTTP/1.1\r\nHost: bad.test:443\r\n",
            Some(E::AuthorityMismatch),
        ),
        (
            "CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:80\r\n",
            Some(E::AuthorityMismatch),
        ),
        ("CONNECT ok.test:443 HTTP/1.1\r\nHost: OK.test.\r\n", None),
        ("CONNECT ok.test:443 HTTP/1.0\r\n", None),
        ("CONNECT ok.test:443 HTTP/1.1\r\n", Some(E::MissingHost)),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: bad.test\r\n",
            Some(E::AuthorityMismatch),
        ),
        (
            "GET http://ok.test/ HTTP/1.0\r\nHost: bad.test\r\n",
            Some(E::AuthorityMismatch),
        ),
        ("GET http://ok.test/ HTTP/1.1\r\nHost: ok.test:80\r\n", None),
        ("GET http://ok.test:80/ HTTP/1.1\r\nHost: ok.test\r\n", None),
        (
            "GET http://ok.test:8080/ HTTP/1.1\r\nHost: ok.test\r\n",
            Some(E::AuthorityMismatch),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test:8080\r\n",
            Some(E::AuthorityMismatch),
        ),
        ("GET http://ok.test/ HTTP/1.1\r\n", Some(E::MissingHost)),
        ("GET http://ok.test/ HTTP/1.0\r\n", None),
        ("GET / HTTP/1.1\r\n", Some(E::MissingHost)),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test\r\n",
            Some(E::DuplicateHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nhost: bad.test\r\n",
            Some(E::DuplicateHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test, bad.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test,bad.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test bad.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost:ok.test\tbad.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n bad.test\r\n",
            Some(E::FoldedField),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost:\r\n\tok.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost:\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: user@ok.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test/\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: http://ok.test\r\n",
            Some(E::BadHost),
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\0.bad.test\r\n",
            Some(E::BadField),
        ),
    ];
    for (text, expected) in rows {
        let expected = if text.contains("\r\n\t") {
            Some(E::FoldedField)
        } else {
            *expected
        };
        let result = request(format!("{text}\r\n").as_bytes());
        assert_eq!(result.as_ref().err().copied(), expected, "{text}");
        if expected == Some(E::AuthorityMismatch) {
            assert_eq!(E::AuthorityMismatch.code(), "authority-mismatch");
        }
    }
}

#[test]
fn refuses_ambiguous_framing() {
    use HeadError as E;
    let rows: &[(&str, HeadError)] = &[
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            E::ConflictingFraming,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            E::ConflictingFraming,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            E::ConflictingFraming,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            E::DuplicateFraming,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            E::DuplicateFraming,
        ),
        ("Content-Length: +5\r\n", E::BadContentLength),
        ("Content-Length: -1\r\n", E::BadContentLength),
        ("Content-Length: 0x5\r\n", E::BadContentLength),
        ("Content-Length: 5,5\r\n", E::BadContentLength),
        ("Content-Length: 5, 5\r\n", E::BadContentLength),
        ("Content-Length: 5 5\r\n", E::BadContentLength),
        ("Content-Length:  5\r\n", E::BadContentLength),
        ("Content-Length: 5 \r\n", E::BadContentLength),
        ("Content-Length:\t5\r\n", E::BadContentLength),
        ("Content-Length:\r\n", E::BadContentLength),
        ("Content-Length: \r\n", E::BadContentLength),
        ("Content-Length: 5_0\r\n", E::BadContentLength),
        (
            "Content-Length: 18446744073709551616\r\n",
            E::BadContentLength,
        ),
        (
            "Content-Length: 9223372036854775808\r\n",
            E::BadContentLength,
        ),
        (
            "Content-Length: 99999999999999999999999999\r\n",
            E::BadContentLength,
        ),
        ("Content-Length : 5\r\n", E::BadField),
        (
            "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
            E::FoldedField,
        ),
        ("Transfer-Encoding: xchunked\r\n", E::BadTransferEncoding),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            E::BadTransferEncoding,
        ),
        ("Transfer-Encoding: identity\r\n", E::BadTransferEncoding),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            E::BadTransferEncoding,
        ),
        ("Transfer-Encoding: ,chunked\r\n", E::BadTransferEncoding),
        ("Transfer-Encoding: chunked\x0b\r\n", E::BadField),
        ("Transfer-Encoding:  chunked\r\n", E::BadTransferEncoding),
        ("Transfer-Encoding: chunked \r\n", E::BadTransferEncoding),
        ("Transfer-Encoding: chunked;a=b\r\n", E::BadTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", E::BadTransferEncoding),
        ("Transfer-Encoding:\r\n", E::BadTransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            E::DuplicateFraming,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            E::BadTransferEncoding,
        ),
        ("Transfer-Encoding : chunked\r\n", E::BadField),
        (
            "Transfer_Encoding: chunked\r\nTransfer-Encoding\0: chunked\r\n",
            E::BadField,
        ),
    ];
    for (fields, expected) in rows {
        assert_eq!(request(&post(fields)).unwrap_err(), *expected, "{fields}");
        assert_eq!((expected.status(), expected.code()), (400, "bad-request"));
    }
    let text = b"POST http://ok.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(text).unwrap_err(), E::BadTransferEncoding);

    assert_eq!(
        request(&post("Content-Length: 5\r\n")).unwrap().framing,
        BodyFraming::Length(5)
    );
    assert_eq!(
        request(&post("Content-Length:007\r\n")).unwrap().framing,
        BodyFraming::Length(7)
    );
    assert_eq!(
        request(&post("transfer-encoding: Chunked\r\n"))
            .unwrap()
            .framing,
        BodyFraming::Chunked
    );
}

#[test]
fn connect_and_trace_have_no_body() {
    let connect = |fields: &str| {
        request(format!("CONNECT a.test:1 HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").as_bytes())
    };
    assert_eq!(
        connect("Content-Length: 5\r\n").unwrap_err(),
        HeadError::ConnectWithBody
    );
    assert_eq!(
        connect("Transfer-Encoding: chunked\r\n").unwrap_err(),
        HeadError::ConnectWithBody
    );
    assert_eq!(
        connect("Content-Length: 0\r\n").unwrap().framing,
        BodyFraming::None
    );
    let trace = b"TRACE / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(request(trace).unwrap_err(), HeadError::TraceWithBody);
}

#[test]
fn refuses_bad_fields() {
    use HeadError as E;
    let rows: &[(&str, HeadError)] = &[
        ("X\r\n", E::BadField),
        (": x\r\n", E::BadField),
        ("X y: z\r\n", E::BadField),
        ("X : z\r\n", E::BadField),
        ("X\t: z\r\n", E::BadField),
        ("X(: z\r\n", E::BadField),
        ("Xé: z\r\n", E::BadField),
        ("X: a\0b\r\n", E::BadField),
        ("X: a\rb\r\n", E::BadField),
        ("X: a\x1bb\r\n", E::BadField),
        ("X: a\x7f\r\n", E::BadField),
        ("X: a\nY: b\r\n", E::BadLineEnd),
        ("X: a\r\n b\r\n", E::FoldedField),
        ("X: a\r\n\tb\r\n", E::FoldedField),
        (" X: a\r\n", E::FoldedField),
        ("Connection: a b\r\n", E::BadConnection),
        ("Connection: \"close\"\r\n", E::BadConnection),
        ("Expect: 200-ok\r\n", E::BadExpectation),
        (
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            E::BadExpectation,
        ),
    ];
    for (fields, expected) in rows {
        assert_eq!(request(&get(fields)).unwrap_err(), *expected, "{fields:?}");
    }
    assert_eq!(E::BadExpectation.status(), 417);
    // Bytes above ASCII and tabs are legal in values.
    let head = request(&get("X: a\tb \u{e9}\r\nEmpty:\r\n")).unwrap();
    assert_eq!(head.headers.first("x"), Some("a\tb \u{e9}".as_bytes()));
    assert_eq!(head.headers.first("empty"), Some(&b""[..]));
}

#[test]
fn sizes_have_limits() {
    let at_once = |text: &[u8]| parse_request(text, &Limits::default());
    let long = "a".repeat(64 * 1024);
    assert_eq!(
        at_once(&get(&format!("X: {long}\r\n"))).unwrap_err(),
        HeadError::HeadTooLarge
    );
    let many = "X: y\r\n".repeat(1000);
    assert_eq!(at_once(&get(&many)).unwrap_err(), HeadError::TooManyFields);
    let lines = format!("X: {}\r\n", "a".repeat(1000)).repeat(100);
    assert_eq!(at_once(&get(&lines)).unwrap_err(), HeadError::HeadTooLarge);
    let uri = format!(
        "GET http://ok.test/{} HTTP/1.1\r\nHost: ok.test\r\n\r\n",
        "a".repeat(1 << 20)
    );
    assert_eq!(at_once(uri.as_bytes()).unwrap_err(), HeadError::UriTooLong);
    let uri = format!(
        "GET /{} HTTP/1.1\r\nHost: ok.test\r\n\r\n",
        "a".repeat(16 * 1024)
    );
    assert_eq!(at_once(uri.as_bytes()).unwrap_err(), HeadError::UriTooLong);
    assert_eq!(
        (
            HeadError::HeadTooLarge.status(),
            HeadError::TooManyFields.status(),
            HeadError::UriTooLong.status()
        ),
        (431, 431, 414)
    );

    // At each limit, and one below.
    let text = b"GET /abcdef HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n\r\n";
    let fit = Limits {
        head_bytes: text.len(),
        line_bytes: 13,
        uri_bytes: 7,
        fields: 2,
    };
    assert!(request_with(text, &fit).is_ok());
    let rows = [
        (
            Limits {
                head_bytes: text.len() - 1,
                ..fit
            },
            HeadError::HeadTooLarge,
        ),
        (
            Limits {
                line_bytes: 12,
                ..fit
            },
            HeadError::HeadTooLarge,
        ),
        (
            Limits {
                uri_bytes: 6,
                ..fit
            },
            HeadError::UriTooLong,
        ),
        (Limits { fields: 1, ..fit }, HeadError::TooManyFields),
    ];
    for (limits, expected) in rows {
        assert_eq!(request_with(text, &limits).unwrap_err(), expected);
    }
    // A client that never ends its line is cut off.
    assert_eq!(
        parse_request(&b"a".repeat(100_000), &Limits::default()).unwrap_err(),
        HeadError::UriTooLong
    );
}

#[test]
fn connection_persistence() {
    let rows = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: x, Close\r\n", false),
        ("HTTP/1.1", "Proxy-Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
        ("HTTP/1.0", "Proxy-Connection: Keep-Alive\r\n", true),
    ];
    for (version, fields, expected) in rows {
        let text = format!("GET http://ok.test/ {version}\r\nHost: ok.test\r\n{fields}\r\n");
        assert_eq!(
            request(text.as_bytes()).unwrap().keep_alive,
            expected,
            "{version} {fields}"
        );
    }
}

#[test]
fn what_the_policy_sees_is_what_the_origin_gets() {
    let head = request(&get("Connection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\n")).unwrap();
    assert_eq!(
        head.headers.pairs().as_slice(),
        [("host", &b"ok.test"[..]), ("x-b", b"2")]
    );
    assert_eq!(
        head.headers.first("proxy-authorization"),
        Some(&b"Basic x"[..])
    );
    assert_eq!(head.headers.len(), 6);
}

#[test]
fn expectations_and_upgrades() {
    assert!(
        request(&post("Expect: 100-Continue\r\nContent-Length: 1\r\n"))
            .unwrap()
            .expect_continue
    );
    assert!(
        !request(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
            .unwrap()
            .expect_continue
    );

    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let rows = [
        (format!("Connection: Upgrade\r\nUpgrade: WebSocket\r\n{key}"),
            Some(Upgrade::WebSocket { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned() })),
        (format!("Upgrade: websocket\r\n{key}"), None),
        ("Connection: upgrade\r\n".to_owned(), None),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n".to_owned(), Some(Upgrade::Other)),
        (format!("Connection: upgrade\r\nUpgrade: websocket\r\n{key}{key}"), Some(Upgrade::Other)),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n".to_owned(), Some(Upgrade::Other)),
        (format!("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n{key}"), Some(Upgrade::Other)),
    ];
    for (fields, expected) in rows {
        assert_eq!(
            request(&get(&fields)).unwrap().upgrade,
            expected,
            "{fields}"
        );
    }
}

#[test]
fn requests_for_the_gateway_itself() {
    let rows = [
        (
            "TRACE http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n",
            Some(LocalAnswer::MethodNotAllowed),
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: ok.test\r\n\r\n",
            Some(LocalAnswer::Options),
        ),
        (
            "OPTIONS http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nMax-Forwards: 0\r\n\r\n",
            Some(LocalAnswer::Options),
        ),
        (
            "OPTIONS http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nMax-Forwards: 1\r\n\r\n",
            None,
        ),
        (
            "OPTIONS http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n",
            None,
        ),
        (
            "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nMax-Forwards: 0\r\n\r\n",
            None,
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(
            answer_locally(&request(text.as_bytes()).unwrap()),
            expected,
            "{text}"
        );
    }
    for value in ["-1", "x", "", "1, 2"] {
        let text = format!(
            "OPTIONS http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nMax-Forwards: {value}\r\n\r\n"
        );
        assert_eq!(
            request(text.as_bytes()).unwrap_err(),
            HeadError::BadMaxForwards
        );
    }
}
