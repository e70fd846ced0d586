//! Bent messages: never a panic, and what is accepted survives being written and read again.

use super::*;

/// A small generator with a fixed start, so that a failure can be repeated.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    /// Replaces, removes, inserts or repeats a few bytes.
    pub(super) fn bend(&mut self, text: &[u8]) -> Vec<u8> {
        const BYTES: &[u8] = b"\0\t\n\r !#%,./0159:;=?@[\\]aAxX{\x7f\x80\xff";
        let mut text = text.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(text.len());
            match self.below(4) {
                0 => text[at] = BYTES[self.below(BYTES.len())],
                1 => drop(text.remove(at)),
                2 => text.insert(at, BYTES[self.below(BYTES.len())]),
                _ => {
                    let end = (at + self.below(20)).min(text.len());
                    let part = text[at..end].to_vec();
                    let to = self.below(text.len());
                    text.splice(to..to, part);
                }
            }
        }
        text
    }
}

#[test]
fn bent_requests() {
    let originals: [&[u8]; 5] = [
        b"GET http://ok.test/a?b HTTP/1.1\r\nHost: ok.test\r\nConnection: x\r\nX: y\r\n\r\n",
        b"POST /a/b HTTP/1.1\r\nHost: ok.test:80\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        b"PUT http://[2001:db8::1]:81/ HTTP/1.1\r\nHost: [2001:db8::1]:81\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nProxy-Authorization: Basic x\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    ];
    let mut noise = Noise::new(1);
    let mut accepted = 0;
    for turn in 0..40_000 {
        let text = noise.bend(originals[turn % originals.len()]);
        let Ok(Parse::Complete { head, consumed }) = parse_request(&text, &Limits::default())
        else {
            continue;
        };
        // All in one or in two pieces.
        let cut = noise.below(consumed);
        assert!(
            matches!(
                parse_request(&text[..cut], &Limits::default()),
                Ok(Parse::Partial)
            ),
            "{}",
            text.escape_ascii()
        );
        let Some(authority) = head.authority() else {
            continue;
        };
        accepted += 1;
        let mut written = Vec::new();
        let onward = Onward {
            authority,
            default_port: 80,
            connection: Connection::KeepAlive,
            upgrade: UpgradeMode::Strip,
            injected: &[],
        };
        write_request_head(&mut written, &head, &onward);
        if matches!(head.target, Target::Connect(_)) {
            continue;
        }
        let Ok(Parse::Complete {
            head: again,
            consumed,
        }) = parse_request(&written, &Limits::default())
        else {
            panic!("{} became {}", text.escape_ascii(), written.escape_ascii())
        };
        assert_eq!(consumed, written.len());
        assert_eq!(
            (again.method(), again.framing),
            (head.method(), head.framing)
        );
        assert_eq!(
            again.authority().map(|authority| &authority.host),
            Some(&authority.host)
        );
        if let (Some(path), Some(same)) = (head.path(), again.path()) {
            assert_eq!(path.plain(), same.plain());
        }
    }
    assert!(accepted > 2_000, "{accepted}");
}

#[test]
fn bent_responses() {
    let originals: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nExitgate-Reason: x\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
    ];
    let mut noise = Noise::new(2);
    let mut accepted = 0;
    for turn in 0..20_000 {
        let text = noise.bend(originals[turn % originals.len()]);
        let Ok(Parse::Complete { head, .. }) =
            parse_response(&text, RequestKind::Other, &Limits::default())
        else {
            continue;
        };
        accepted += 1;
        let mut written = Vec::new();
        write_response_head(
            &mut written,
            &head,
            Version::Http11,
            Connection::KeepAlive,
            b"",
        );
        let Ok(Parse::Complete {
            head: again,
            consumed,
        }) = parse_response(&written, RequestKind::Other, &Limits::default())
        else {
            panic!("{} became {}", text.escape_ascii(), written.escape_ascii())
        };
        assert_eq!((consumed, again.status), (written.len(), head.status));
        assert_eq!(again.framing, head.client_framing(Version::Http11));
        assert!(
            again
                .headers
                .iter()
                .all(|(name, _)| !name.starts_with("exitgate-"))
        );
    }
    assert!(accepted > 2_000, "{accepted}");
}

#[test]
fn bent_bodies() {
    let original = b"5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n";
    let mut noise = Noise::new(3);
    for _ in 0..40_000 {
        let text = noise.bend(original);
        let whole = body::decode(BodyFraming::Chunked, &text, usize::MAX / 2);
        let step = 1 + noise.below(9);
        let pieces = body::decode(BodyFraming::Chunked, &text, step);
        match (whole, pieces) {
            (Ok((body, consumed, _)), Ok((same, same_consumed, _))) => {
                assert_eq!(
                    (body, consumed),
                    (same, same_consumed),
                    "{}",
                    text.escape_ascii()
                );
            }
            (Err(error), Err(same)) => assert_eq!(error, same),
            _ => panic!("{} in steps of {step}", text.escape_ascii()),
        }
    }
}
