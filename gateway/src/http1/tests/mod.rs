#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod body;
mod noise;
mod request;
mod response;
mod write;

use std::fmt::Debug;

use super::*;

fn request(text: &[u8]) -> Result<Request, HeadError> {
    request_with(text, &Limits::default())
}

fn request_with(text: &[u8], limits: &Limits) -> Result<Request, HeadError> {
    both_ways(text, |text| parse_request(text, limits))
}

fn response(text: &[u8], kind: RequestKind) -> Result<Response, ResponseError> {
    let limits = Limits::default();
    both_ways(text, |text| parse_response(text, kind, &limits))
}

/// Parses at once and byte by byte; both must come to the same result at the same place.
fn both_ways<T: Debug, E: Debug + PartialEq>(
    text: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parse<T>, E>,
) -> Result<T, E> {
    let at_once = parse(text);
    let mut stepwise = Ok(Parse::Partial);
    for end in 0..=text.len() {
        stepwise = parse(&text[..end]);
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
