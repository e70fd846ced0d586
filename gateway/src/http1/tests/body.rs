use super::*;

/// The body and what follows it. The input is given in pieces of `step` bytes.
pub(super) fn decode(
    framing: BodyFraming,
    input: &[u8],
    step: usize,
) -> Result<(Vec<u8>, usize, BodyDecoder), BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut consumed) = (Vec::new(), 0);
    while consumed < input.len() && !decoder.is_done() {
        let piece = &input[consumed..(consumed + step).min(input.len())];
        let found = decoder.decode(piece)?;
        assert!(found.data.end <= found.consumed && found.consumed <= piece.len());
        assert_eq!(found.done, decoder.is_done());
        body.extend_from_slice(&piece[found.data]);
        consumed += found.consumed;
    }
    Ok((body, consumed, decoder))
}

fn chunked(input: &[u8]) -> Result<(Vec<u8>, usize, BodyDecoder), BodyError> {
    let at_once = decode(BodyFraming::Chunked, input, usize::MAX / 2);
    for step in [1, 2, 3, 7] {
        match (&at_once, decode(BodyFraming::Chunked, input, step)) {
            (Ok((body, consumed, decoder)), Ok((same, same_consumed, same_decoder))) => {
                assert_eq!((body, *consumed), (&same, same_consumed));
                assert_eq!(decoder.last_chunk(), same_decoder.last_chunk());
                assert_eq!(decoder.is_done(), same_decoder.is_done());
            }
            (Err(error), Err(same)) => assert_eq!(*error, same),
            _ => panic!("differs in steps of {step}: {}", input.escape_ascii()),
        }
    }
    at_once
}

#[test]
fn bodies_of_known_length() {
    let (body, consumed, decoder) = decode(BodyFraming::Length(5), b"helloGET /", 100).unwrap();
    assert_eq!(
        (body.as_slice(), consumed, decoder.is_done()),
        (&b"hello"[..], 5, true)
    );
    let (body, _, mut decoder) = decode(BodyFraming::Length(5), b"hel", 1).unwrap();
    assert_eq!((body.as_slice(), decoder.data_left()), (&b"hel"[..], 2));
    assert_eq!(decoder.end_of_input(), Err(BodyError::Truncated));
    decoder.skip(2);
    assert!(decoder.is_done() && decoder.end_of_input().is_ok());
    for framing in [BodyFraming::None, BodyFraming::Length(0)] {
        let mut decoder = BodyDecoder::new(framing);
        assert_eq!(
            decoder.decode(b"GET").unwrap(),
            Step {
                consumed: 0,
                data: 0..0,
                done: true
            }
        );
    }
}

#[test]
fn bodies_until_close() {
    let (body, consumed, mut decoder) =
        decode(BodyFraming::UntilClose, b"anything\r\n", 4).unwrap();
    assert_eq!(
        (body.as_slice(), consumed, decoder.is_done()),
        (&b"anything\r\n"[..], 10, false)
    );
    assert!(decoder.end_of_input().is_ok() && decoder.is_done());
}

#[test]
fn chunked_bodies() {
    let rows: &[(&[u8], &[u8], &[u8])] = &[
        (b"0\r\n\r\n", b"", b""),
        (b"5\r\nhello\r\n0\r\n\r\nNEXT", b"hello", b"NEXT"),
        (
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            b"hello world",
            b"",
        ),
        (b"00005\r\nhello\r\n000\r\n\r\n", b"hello", b""),
        (
            b"A;name=\"v\";x\r\n0123456789\r\n0;last\r\n\r\n",
            b"0123456789",
            b"",
        ),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        (b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\nrest", b"abc", b"rest"),
    ];
    for (input, body, rest) in rows {
        let (found, consumed, decoder) = chunked(input).unwrap();
        assert_eq!(
            (found.as_slice(), &input[consumed..]),
            (*body, *rest),
            "{}",
            input.escape_ascii()
        );
        assert!(decoder.is_done());
    }
}

#[test]
fn refuses_bad_chunks() {
    let extensions = [
        b"5;".as_slice(),
        &vec![b'a'; 1 << 20],
        b"\r\nhello\r\n0\r\n\r\n",
    ]
    .concat();
    assert_eq!(
        chunked(&extensions).unwrap_err(),
        BodyError::ExtensionsTooLarge
    );
    let many = [b"1;aaaaaaaa\r\nx\r\n".repeat(5000).as_slice(), b"0\r\n\r\n"].concat();
    assert_eq!(chunked(&many).unwrap_err(), BodyError::ExtensionsTooLarge);
    let rows: &[&[u8]] = &[
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5\t;x\r\nhello\r\n",
        b"\r\nhello\r\n",
        b";x\r\nhello\r\n",
        b"00000000000000005\r\nhello\r\n",
        b"FFFFFFFFFFFFFFFF\r\nhello\r\n",
        b"8000000000000000\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;a\0\r\nhello\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\rx",
        b"5\r\nhellooo\r\n",
        b"g\r\n",
    ];
    for input in rows {
        assert_eq!(
            chunked(input).unwrap_err(),
            BodyError::BadChunk,
            "{}",
            input.escape_ascii()
        );
    }
    for input in [
        &b"5\r\nhello\r\n0\r\n"[..],
        b"5\r\nhello\r\n0\r\n\r",
        b"5\r\nhello\r\n",
        b"5\r\nhel",
        b"5",
        b"",
    ] {
        let (_, _, mut decoder) = chunked(input).unwrap();
        assert_eq!(
            decoder.end_of_input(),
            Err(BodyError::Truncated),
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn trailers_are_filtered() {
    let trailers = b"0\r\nContent-Length: 9\r\nHOST: bad.test\r\nAuthorization: x\r\nX-Checksum:  abc \r\nSet-Cookie: a\r\n\
        Transfer-Encoding: chunked\r\nExitgate-Reason: x\r\nProxy-X: y\r\ngrpc-status: 0\r\n\r\n";
    let (_, consumed, decoder) = chunked(trailers).unwrap();
    assert_eq!(consumed, trailers.len());
    assert_eq!(
        decoder.last_chunk(),
        b"0\r\nX-Checksum: abc\r\ngrpc-status: 0\r\n\r\n"
    );
    let (_, _, decoder) = chunked(b"0\r\n\r\n").unwrap();
    assert_eq!(decoder.last_chunk(), LAST_CHUNK);

    for bad in [
        &b"0\r\nX\r\n\r\n"[..],
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nX : a\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"0\r\n\rx",
    ] {
        assert_eq!(
            chunked(bad).unwrap_err(),
            BodyError::BadTrailer,
            "{}",
            bad.escape_ascii()
        );
    }
    let long = [b"0\r\nX: ".as_slice(), &vec![b'a'; 9000]].concat();
    assert_eq!(chunked(&long).unwrap_err(), BodyError::TrailersTooLarge);
}

#[test]
fn chunks_of_our_own() {
    for length in [1, 9, 10, 15, 16, 255, 4096, 65_536, usize::MAX] {
        assert_eq!(
            ChunkHeader::new(length).as_bytes(),
            format!("{length:x}\r\n").as_bytes()
        );
    }
    assert_eq!(ChunkHeader::new(0).as_bytes(), b"");
}

#[test]
fn a_chunk_may_be_moved_unseen() {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    assert_eq!(
        decoder.decode(b"10\r\n").unwrap(),
        Step {
            consumed: 4,
            data: 4..4,
            done: false
        }
    );
    assert_eq!(decoder.data_left(), 16);
    decoder.skip(16);
    assert!(decoder.decode(b"\r\n0\r\n\r\n").unwrap().done);
}
