#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod body;
mod noise;
mod request;
mod response;
mod write;

use super::*;

/// Parses at once and byte by byte; both must come to the same result at the same place.
fn request(text: &[u8]) -> Result<Request, HeadError> {
    request_with(text, &Limits::default())
}

fn request_with(text: &[u8], limits: &Limits) -> Result<Request, HeadError> {
    let at_once = parse_request(text, limits);
    let mut stepwise = Ok(Parse::Partial);
    for end in 0..=text.len() {
        stepwise = parse_request(&text[..end], limits);
        if !matches!(stepwise, Ok(Parse::Partial)) {
            break;
        }
    }
    match (at_once, stepwise) {
        (
            Ok(Parse::Complete { head, consumed }),
            Ok(Parse::Complete {
                head: same,
                consumed: same_consumed,
            }),
        ) => {
            assert_eq!(consumed, same_consumed, "{}", text.escape_ascii());
            assert_eq!(format!("{head:?}"), format!("{same:?}"));
            Ok(head)
        }
        (Err(error), Err(same)) => {
            assert_eq!(error, same, "{}", text.escape_ascii());
            Err(error)
        }
        (Ok(Parse::Partial), Ok(Parse::Partial)) => panic!("not complete: {}", text.escape_ascii()),
        (at_once, stepwise) => panic!("{at_once:?} and {stepwise:?} for {}", text.escape_ascii()),
    }
}

fn response(text: &[u8], kind: RequestKind) -> Result<Response, ResponseError> {
    let limits = Limits::default();
    let at_once = parse_response(text, kind, &limits);
    let mut stepwise = Ok(Parse::Partial);
    for end in 0..=text.len() {
        stepwise = parse_response(&text[..end], kind, &limits);
        if !matches!(stepwise, Ok(Parse::Partial)) {
            break;
        }
    }
    match (at_once, stepwise) {
        (
            Ok(Parse::Complete { head, consumed }),
            Ok(Parse::Complete {
                head: same,
                consumed: same_consumed,
            }),
        ) => {
            assert_eq!(consumed, same_consumed);
            assert_eq!(format!("{head:?}"), format!("{same:?}"));
            Ok(head)
        }
        (Err(error), Err(same)) => {
            assert_eq!(error, same, "{}", text.escape_ascii());
            Err(error)
        }
        (Ok(Parse::Partial), Ok(Parse::Partial)) => panic!("not complete: {}", text.escape_ascii()),
        (at_once, stepwise) => panic!("{at_once:?} and {stepwise:?} for {}", text.escape_ascii()),
    }
}
