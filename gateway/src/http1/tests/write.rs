use super::*;

fn sent(text: &str, connection: Connection, upgrade: UpgradeMode) -> String {
    let head = request(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    let onward = Onward {
        authority: head.authority().unwrap(),
        default_port: 80,
        connection,
        upgrade,
        injected: &[],
    };
    write_request_head(&mut out, &head, &onward);
    // What we write we must be able to read.
    request(&out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_are_written_from_what_was_judged() {
    let text = "POST http://OK.test.:80/a/../b%2F?x=y HTTP/1.1\r\nUser-Agent: T/1\r\nhost: ok.TEST\r\nConnection: x-hop\r\n\
        X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: secret\r\nProxy-Connection: close\r\n\
        Proxy-Foo: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-MiXed:  Kept \r\nContent-Length: 003\r\n\r\n";
    assert_eq!(
        sent(text, Connection::KeepAlive, UpgradeMode::Strip),
        "POST /a/../b%2F?x=y HTTP/1.1\r\nHost: ok.test\r\nUser-Agent: T/1\r\nX-MiXed: Kept\r\nContent-Length: 3\r\n\r\n"
    );
    let rows = [
        (
            "GET http://ok.test HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n",
        ),
        (
            "GET http://ok.test:8080?q HTTP/1.0\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: ok.test:8080\r\nConnection: close\r\n\r\n",
        ),
        (
            "GET http://[2001:DB8::1]:81/ HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\nConnection: close\r\n\r\n",
        ),
        (
            "GET http://192.0.2.1/ HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n",
        ),
        (
            "OPTIONS http://ok.test HTTP/1.0\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n",
        ),
        (
            "OPTIONS http://ok.test/ HTTP/1.0\r\nMax-Forwards: 7\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: ok.test\r\nMax-Forwards: 6\r\nConnection: close\r\n\r\n",
        ),
        (
            "PUT http://ok.test/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
        ),
        (
            "PUT http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: ok.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(sent(text, Connection::Close, UpgradeMode::Strip), expected);
    }
}

#[test]
fn a_client_cannot_remove_host_or_length_through_connection() {
    let text = "POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 3\r\nConnection: host, content-length\r\n\r\n";
    assert_eq!(
        sent(text, Connection::KeepAlive, UpgradeMode::Strip),
        "POST / HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 3\r\n\r\n"
    );
}

#[test]
fn only_a_websocket_upgrade_passes() {
    let websocket = "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert_eq!(
        sent(websocket, Connection::Close, UpgradeMode::Pass),
        "GET / HTTP/1.1\r\nHost: ok.test\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(
        sent(websocket, Connection::KeepAlive, UpgradeMode::Strip),
        "GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n"
    );
    let h2c = "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AA\r\n\r\n";
    assert_eq!(
        sent(h2c, Connection::KeepAlive, UpgradeMode::Pass),
        "GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n"
    );
}

fn answered(text: &str, kind: RequestKind, client: Version, connection: Connection) -> String {
    let head = response(text.as_bytes(), kind).unwrap();
    let mut out = Vec::new();
    write_response_head(&mut out, &head, client, connection, b"");
    response(&out, kind).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn responses_lose_what_is_not_the_origins_to_say() {
    let text = "HTTP/1.1 200 OK\r\nServer: s\r\nExitgate-Reason: rule-denied\r\nEXITGATE-Decision: x\r\nConnection: x-hop\r\n\
        X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\nX-After: 1\r\n\r\n";
    assert_eq!(
        answered(
            text,
            RequestKind::Other,
            Version::Http11,
            Connection::KeepAlive
        ),
        "HTTP/1.1 200 OK\r\nServer: s\r\nX-After: 1\r\nContent-Length: 3\r\n\r\n"
    );
    let rows = [
        (
            "HTTP/1.0 200 OK\r\n\r\n",
            RequestKind::Other,
            Version::Http11,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            RequestKind::Other,
            Version::Http10,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            RequestKind::Other,
            Version::Http10,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            RequestKind::Head,
            Version::Http11,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        ),
        (
            "HTTP/1.1 204 Gone Fishing\r\nContent-Length: 9\r\n\r\n",
            RequestKind::Other,
            Version::Http11,
            "HTTP/1.1 204 Gone Fishing\r\n\r\n",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            RequestKind::Other,
            Version::Http11,
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            RequestKind::Other,
            Version::Http11,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ];
    for (text, kind, client, expected) in rows {
        assert_eq!(
            answered(text, kind, client, Connection::KeepAlive),
            expected,
            "{text}"
        );
    }
}

#[test]
fn injected_fields_take_the_place_of_the_clients_own() {
    let text = b"GET / HTTP/1.1\r\nHost: ok.test:443\r\nAUTHORIZATION: mine\r\nX: 1\r\nauthorization: also\r\n\r\n";
    let head = request(text).unwrap();
    let mut out = Vec::new();
    let onward = Onward {
        authority: head.authority().unwrap(),
        default_port: 443,
        connection: Connection::KeepAlive,
        upgrade: UpgradeMode::Strip,
        injected: &[("authorization", b"Bearer ours")],
    };
    write_request_head(&mut out, &head, &onward);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "GET / HTTP/1.1\r\nHost: ok.test\r\nX: 1\r\nauthorization: Bearer ours\r\n\r\n"
    );
}
