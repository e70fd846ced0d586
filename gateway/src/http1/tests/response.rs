use super::*;

fn other(text: &str) -> Result<Response, ResponseError> {
    response(text.as_bytes(), RequestKind::Other)
}

#[test]
fn reads_status_and_framing() {
    use BodyFraming as F;
    let rows: &[(&str, RequestKind, u16, BodyFraming, bool)] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
            RequestKind::Other,
            200,
            F::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 5\r\n",
            RequestKind::Other,
            200,
            F::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n",
            RequestKind::Other,
            200,
            F::Chunked,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            RequestKind::Other,
            200,
            F::UntilClose,
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n",
            RequestKind::Other,
            200,
            F::Length(5),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            RequestKind::Other,
            200,
            F::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n",
            RequestKind::Other,
            200,
            F::Length(5),
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
            RequestKind::Head,
            200,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            RequestKind::Head,
            200,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\n",
            RequestKind::Other,
            204,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n",
            RequestKind::Other,
            304,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n",
            RequestKind::Other,
            100,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
            RequestKind::Connect,
            200,
            F::None,
            true,
        ),
        (
            "HTTP/1.1 407 No\r\nContent-Length: 5\r\n",
            RequestKind::Connect,
            407,
            F::Length(5),
            true,
        ),
        (
            "HTTP/1.1 599 \u{e9}\r\nContent-Length: 0\r\n",
            RequestKind::Other,
            599,
            F::Length(0),
            true,
        ),
    ];
    for (text, kind, status, framing, keep_alive) in rows {
        let head = response(format!("{text}\r\n").as_bytes(), *kind).unwrap();
        assert_eq!(
            (head.status, head.framing, head.keep_alive),
            (*status, *framing, *keep_alive),
            "{text}"
        );
    }
    assert!(
        other("HTTP/1.1 103 Early Hints\r\n\r\n")
            .unwrap()
            .is_interim()
    );
    assert!(
        !other("HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .unwrap()
            .is_interim()
    );
    let head = response(
        b"HTTP/1.1 200 Fine by me\r\nContent-Length: 7\r\n\r\n",
        RequestKind::Head,
    )
    .unwrap();
    assert_eq!((head.content_length, head.bodiless), (Some(7), true));
    assert_eq!(head.reason(), b"Fine by me");
}

#[test]
fn refuses_what_clients_could_misread() {
    let rows = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        "HTTP/1.1 200 OK\nX: y\n\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1 200 a\x08b\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "<html>",
        "SSH-2.0-OpenSSH\r\n",
    ];
    for text in rows {
        let error = other(text).unwrap_err();
        assert_eq!(
            (error.status(), error.code()),
            (502, "bad-response"),
            "{text}"
        );
    }
}

#[test]
fn framing_for_the_client() {
    use BodyFraming as F;
    let rows = [
        ("Transfer-Encoding: chunked\r\n", F::Chunked, F::UntilClose),
        ("", F::Chunked, F::UntilClose),
        ("Content-Length: 3\r\n", F::Length(3), F::Length(3)),
    ];
    for (fields, http11, http10) in rows {
        let head = other(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap();
        assert_eq!(
            (
                head.client_framing(Version::Http11),
                head.client_framing(Version::Http10)
            ),
            (http11, http10)
        );
    }
}

#[test]
fn a_switch_must_be_the_one_asked_for() {
    let ask = |fields: &str| {
        request(format!("GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n{fields}\r\n").as_bytes())
            .unwrap()
    };
    let websocket = ask(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let rows = [
        (101, format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{accept}"), true),
        (101, format!("Connection: x, upgrade\r\nUpgrade: WebSocket\r\n{accept}"), true),
        (101, format!("Upgrade: websocket\r\n{accept}"), false),
        (101, format!("Connection: Upgrade\r\n{accept}"), false),
        (101, format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{accept}"), false),
        (101, format!("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n{accept}"), false),
        (101, "Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned(), false),
        (101, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n".to_owned(), false),
        (200, format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{accept}"), false),
    ];
    for (status, fields, fits) in rows {
        let answer = other(&format!("HTTP/1.1 {status} x\r\n{fields}\r\n")).unwrap();
        assert_eq!(
            check_switch(&websocket, &answer).is_ok(),
            fits,
            "{status} {fields}"
        );
        assert!(check_switch(&ask(""), &answer).is_err());
    }
}
