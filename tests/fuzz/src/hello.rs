//! ClientHello and protocol guess.

use exitgate_gateway::evidence::{Guess, HELLO_LIMIT, HelloReader, Progress, sniff};
use exitgate_policy::Name;

/// The first byte chooses how the rest is cut into reads.
pub fn client_hello(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else {
        return;
    };
    let step = usize::from(step) % 97 + 1;

    let whole = HelloReader::new(HELLO_LIMIT).push(bytes);
    let mut reader = HelloReader::new(HELLO_LIMIT);
    let mut end = 0;
    let pieces = loop {
        end = (end + step).min(bytes.len());
        match reader.push(&bytes[..end]) {
            Ok(Progress::NeedMore) if end < bytes.len() => {}
            other => break other,
        }
    };
    match (&whole, &pieces) {
        (Ok(Progress::Complete(one)), Ok(Progress::Complete(two))) => assert_eq!(one, two),
        (Ok(Progress::NeedMore), Ok(Progress::NeedMore)) => {}
        // A lie may be found out earlier, and so under another name.
        (Err(_), Err(_)) => {}
        _ => panic!("read at once: {whole:?}; in pieces of {step}: {pieces:?}"),
    }
    if let Ok(Progress::Complete(hello)) = &whole {
        if let Some(sni) = &hello.sni {
            assert_eq!(Name::parse(sni.as_str().as_bytes()).as_ref(), Ok(sni));
        }
        assert!(hello.ja4.is_ascii());
        assert_eq!(sniff(bytes), Guess::Tls, "a complete hello is TLS");
    }

    let last = sniff(bytes);
    let mut end = 0;
    while end < bytes.len() {
        let early = sniff(&bytes[..end]);
        assert!(
            early == Guess::NeedMore || early == last,
            "{early:?} after {end} bytes, then {last:?}"
        );
        end += step;
    }
}
