//! Response heads, read as strictly as requests.

use super::{
    error::{HeadError, ResponseError},
    framing::BodyFraming,
    head::{Headers, Hints, Limits, Parse, Span, Version, parse_fields},
    lines::{Lines, is_value_byte},
};

/// What the request was, as far as the body of its response depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestKind {
    /// To a parent proxy.
    Connect,
    Head,
    Other,
}

impl RequestKind {
    pub fn of_method(method: &str) -> Self {
        match method {
            "CONNECT" => Self::Connect,
            "HEAD" => Self::Head,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Response {
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    pub headers: Headers,
    pub framing: BodyFraming,
    /// The Content-Length field, also where there is no body (HEAD, 304).
    pub content_length: Option<u64>,
    /// No body whatever the fields say: the request was HEAD, or the status is 1xx, 204 or 304.
    pub bodiless: bool,
    /// The connection may carry another request.
    pub keep_alive: bool,
    reason: Span,
}

impl Response {
    /// A response that another one follows. 101 is final for HTTP.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The reason phrase as received.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(self.headers.original())
    }

    /// How the body is framed for a client of this version: a body without a known end gets chunks, or ends with the connection
    /// where the client knows none.
    pub fn client_framing(&self, client: Version) -> BodyFraming {
        match (self.framing, client) {
            (BodyFraming::Chunked | BodyFraming::UntilClose, Version::Http11) => {
                BodyFraming::Chunked
            }
            (BodyFraming::Chunked | BodyFraming::UntilClose, Version::Http10) => {
                BodyFraming::UntilClose
            }
            (framing @ (BodyFraming::Length(_) | BodyFraming::None), _) => framing,
        }
    }
}

/// Reads one response head from the start of `buf`.
pub fn parse_response(
    buf: &[u8],
    kind: RequestKind,
    limits: &Limits,
) -> Result<Parse<Response>, ResponseError> {
    let mut lines = Lines::new(buf, 0, limits.head_bytes);
    check_status_line(lines.rest())?;
    let Some(line) = lines.next(limits.line_bytes)? else {
        return Ok(Parse::Partial);
    };
    let (version, status) = parse_status_line(line)?;
    let Some((headers, hints)) = parse_fields(buf, 0, &mut lines, limits)? else {
        return Ok(Parse::Partial);
    };
    let bodiless = kind == RequestKind::Head || matches!(status, 100..=199 | 204 | 304);
    let framing = response_framing(kind, version, status, bodiless, &hints)?;
    let head = Response {
        version,
        status,
        framing,
        content_length: hints.framing.length,
        bodiless,
        keep_alive: framing != BodyFraming::UntilClose
            && !hints.close
            && (version == Version::Http11 || hints.keep_alive),
        reason: Span::new(STATUS_LINE.min(line.len()), line.len()),
        headers,
    };
    Ok(Parse::Complete {
        head,
        consumed: lines.position(),
    })
}

/// `HTTP/1.1 200 `.
const STATUS_LINE: usize = 13;

/// Something that is no HTTP/1 is refused with its first bytes.
fn check_status_line(rest: &[u8]) -> Result<(), HeadError> {
    if rest
        .iter()
        .zip(b"HTTP/1.")
        .all(|(found, expected)| found == expected)
    {
        Ok(())
    } else {
        Err(HeadError::BadStatusLine)
    }
}

fn parse_status_line(line: &[u8]) -> Result<(Version, u16), HeadError> {
    let (version, rest) = line.split_at_checked(8).ok_or(HeadError::BadStatusLine)?;
    let version = Version::parse(version)?;
    // The space behind the code is required, and left out by many origins.
    let (
        [
            b' ',
            hundreds @ b'1'..=b'5',
            tens @ b'0'..=b'9',
            ones @ b'0'..=b'9',
        ],
        reason,
    ) = rest
        .split_first_chunk::<4>()
        .ok_or(HeadError::BadStatusLine)?
    else {
        return Err(HeadError::BadStatusLine);
    };
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(|byte| is_value_byte(*byte)) {
        return Err(HeadError::BadStatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok((
        version,
        digit(hundreds) * 100 + digit(tens) * 10 + digit(ones),
    ))
}

fn response_framing(
    kind: RequestKind,
    version: Version,
    status: u16,
    bodiless: bool,
    hints: &Hints,
) -> Result<BodyFraming, HeadError> {
    if hints.framing.chunked && version == Version::Http10 {
        return Err(HeadError::BadTransferEncoding);
    }
    if bodiless || (kind == RequestKind::Connect && (200..300).contains(&status)) {
        return Ok(BodyFraming::None);
    }
    Ok(match hints.framing.length {
        _ if hints.framing.chunked => BodyFraming::Chunked,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::UntilClose,
    })
}
