//! Heads and bodies of HTTP/1.

use exitgate_gateway::http1::{
    BodyDecoder, BodyError, BodyFraming, Connection, Limits, Parse, RequestKind, Target,
    Onward, UpgradeMode, parse_request, parse_response, write_request_head, write_response_head,
};

/// The first byte chooses request or response, and how the rest is cut into reads.
pub fn request_head(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let step = usize::from(choice >> 1) + 1;
    if choice & 1 == 0 {
        request(bytes, step);
    } else {
        response(bytes, step);
    }
}

fn request(bytes: &[u8], step: usize) {
    let limits = Limits::default();
    let whole = parse_request(bytes, &limits);
    let mut end = step;
    while end < bytes.len() {
        match (parse_request(&bytes[..end], &limits), &whole) {
            (Ok(Parse::Partial), _) | (Err(_), Err(_)) => {}
            (Ok(Parse::Complete { consumed, .. }), Ok(Parse::Complete { consumed: all, .. })) => {
                assert_eq!(consumed, *all);
            }
            (early, _) => panic!("{early:?} after {end} bytes, then {whole:?}"),
        }
        end += step;
    }
    let Ok(Parse::Complete { head, consumed }) = whole else {
        return;
    };
    assert!(consumed <= bytes.len());
    assert!(matches!(
        parse_request(&bytes[..consumed], &limits),
        Ok(Parse::Complete { .. })
    ));
    body(head.framing, &bytes[consumed..], step);

    // What is written for the origin reads as the same request.
    let Some(authority) = head.authority() else {
        return;
    };
    if matches!(head.target, Target::Connect(_)) {
        return;
    }
    let mut out = Vec::new();
    let onward = Onward {
        authority,
        default_port: 80,
        connection: Connection::KeepAlive,
        upgrade: UpgradeMode::Pass,
        injected: &[],
    };
    write_request_head(&mut out, &head, &onward);
    let roomy = Limits {
        head_bytes: limits.head_bytes * 2,
        ..limits
    };
    let again = match parse_request(&out, &roomy) {
        Ok(Parse::Complete { head, consumed }) => {
            assert_eq!(consumed, out.len(), "exactly one request goes upstream");
            head
        }
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
    };
    assert_eq!(head.method(), again.method());
    assert_eq!(head.framing, again.framing);
    // Cleartext: a port left out is 80.
    let host = again
        .host
        .as_ref()
        .map(|host| (&host.host, host.port.unwrap_or(80)));
    assert_eq!(host, Some((&authority.host, authority.port.unwrap_or(80))));
    if let (Some(one), Some(two)) = (head.path(), again.path()) {
        assert_eq!(one.raw(), two.raw());
    }
    let judged: Vec<_> = head
        .headers
        .end_to_end()
        .filter(|(name, _)| !ours(name))
        .collect();
    let sent: Vec<_> = again
        .headers
        .end_to_end()
        .filter(|(name, _)| !ours(name))
        .collect();
    assert_eq!(judged, sent, "what was judged is what is sent");
}

/// Fields that the gateway writes itself.
fn ours(name: &str) -> bool {
    matches!(name, "content-length" | "host" | "max-forwards")
}

fn response(bytes: &[u8], step: usize) {
    let limits = Limits::default();
    for kind in [RequestKind::of_method("GET"), RequestKind::Head] {
        let whole = parse_response(bytes, kind, &limits);
        let mut end = step;
        while end < bytes.len() {
            match (parse_response(&bytes[..end], kind, &limits), &whole) {
                (Ok(Parse::Partial), _) | (Err(_), Err(_)) => {}
                (
                    Ok(Parse::Complete { consumed, .. }),
                    Ok(Parse::Complete { consumed: all, .. }),
                ) => {
                    assert_eq!(consumed, *all);
                }
                (early, _) => panic!("{early:?} after {end} bytes, then {whole:?}"),
            }
            end += step;
        }
        let Ok(Parse::Complete { head, consumed }) = whole else {
            continue;
        };
        body(head.framing, &bytes[consumed..], step);
        let mut out = Vec::new();
        write_response_head(&mut out, &head, head.version, Connection::KeepAlive, b"");
        let roomy = Limits {
            head_bytes: limits.head_bytes * 2,
            line_bytes: limits.line_bytes * 2,
            ..limits
        };
        match parse_response(&out, kind, &roomy) {
            Ok(Parse::Complete {
                head: again,
                consumed,
            }) => {
                assert_eq!(
                    consumed,
                    out.len(),
                    "exactly one response goes to the client"
                );
                assert_eq!(head.status, again.status);
                assert!(
                    again
                        .headers
                        .iter()
                        .all(|(name, _)| !name.starts_with("exitgate-"))
                );
            }
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(&out)),
        }
    }
}

/// A body is the same bytes however they arrive.
fn body(framing: BodyFraming, bytes: &[u8], step: usize) {
    let whole = decode(framing, bytes, bytes.len().max(1));
    let pieces = decode(framing, bytes, step);
    match (whole, pieces) {
        (Ok(one), Ok(two)) => assert_eq!(one, two),
        (Err(_), Err(_)) => {}
        (one, two) => panic!("at once: {one:?}; in pieces of {step}: {two:?}"),
    }
}

type Decoded = (Vec<u8>, usize, bool);

/// Data, bytes consumed, and whether the end was reached.
fn decode(framing: BodyFraming, bytes: &[u8], step: usize) -> Result<Decoded, BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut data = Vec::new();
    let mut start = 0;
    let mut end = 0;
    loop {
        end = (end + step).min(bytes.len());
        loop {
            let input = &bytes[start..end];
            let one = decoder.decode(input)?;
            assert!(one.consumed <= input.len() && one.data.end <= one.consumed);
            data.extend_from_slice(&input[one.data.clone()]);
            start += one.consumed;
            if one.done {
                assert!(decoder.is_done());
                return Ok((data, start, true));
            }
            if one.consumed == 0 {
                break;
            }
        }
        if end == bytes.len() {
            return Ok((data, start, false));
        }
    }
}
