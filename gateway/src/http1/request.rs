//! Request heads: what is asked, of whom, and with what body.

use exitgate_policy::{Authority, RequestPath};

use super::{
    error::HeadError,
    framing::BodyFraming,
    head::{Headers, Hints, Limits, Parse, Span, Version, parse_fields},
    lines::{Lines, is_token, is_token_byte, plain_number, skip_empty_line},
    switch::Upgrade,
};

/// The longest method in the IANA registry has 17 bytes.
const METHOD_BYTES: usize = 32;
/// Two spaces, the version and a CR.
const REST_OF_LINE: usize = 11;

/// Registered methods that an origin may recognise in any case. Methods are case-sensitive, so a rule for `DELETE` does not
/// match `delete`; a lenient origin would. Only the registered spelling is accepted. A first line that starts with one is HTTP.
pub(crate) const METHODS: [&[u8]; 16] = [
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LOCK",
    b"MKCOL",
    b"MOVE",
    b"OPTIONS",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PUT",
    b"TRACE",
    b"UNLOCK",
];

/// The four forms of a request target (RFC 9112, 3.2).
#[derive(Clone, Debug)]
pub enum Target {
    /// `http://host[:port]/path?query`; other schemes are an error.
    Absolute {
        authority: Authority,
        path: RequestPath,
    },
    /// `*`, with OPTIONS only.
    Asterisk,
    /// `host:port`, with CONNECT only; the port is always there.
    Connect(Authority),
    /// `/path?query`.
    Origin { path: RequestPath },
}

/// A request head that every HTTP/1 parser reads in the same way.
#[derive(Clone, Debug)]
pub struct Request {
    pub target: Target,
    pub version: Version,
    pub headers: Headers,
    /// The Host field. Where the target has an authority too, both are the same one.
    pub host: Option<Authority>,
    pub framing: BodyFraming,
    /// The client wants to send another request on this connection.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body.
    pub expect_continue: bool,
    pub upgrade: Option<Upgrade>,
    /// Only with OPTIONS and TRACE, the methods for which it has a meaning.
    pub max_forwards: Option<u64>,
    method: Span,
    path_and_query: Span,
}

impl Request {
    pub fn method(&self) -> &str {
        // The method is a token, which is ASCII.
        std::str::from_utf8(self.method.of(self.headers.original())).unwrap_or_default()
    }

    /// The authority that the request is for: the target's, else the Host field's.
    pub fn authority(&self) -> Option<&Authority> {
        match &self.target {
            Target::Absolute { authority, .. } | Target::Connect(authority) => Some(authority),
            Target::Asterisk | Target::Origin { .. } => self.host.as_ref(),
        }
    }

    pub fn path(&self) -> Option<&RequestPath> {
        match &self.target {
            Target::Absolute { path, .. } | Target::Origin { path } => Some(path),
            Target::Asterisk | Target::Connect(_) => None,
        }
    }

    /// Path and query as the client wrote them. Without the leading slash where the client left the path out
    /// (`http://x.test`, `http://x.test?a`); empty for CONNECT and `*`.
    pub fn path_and_query(&self) -> &[u8] {
        self.path_and_query.of(self.headers.original())
    }

    /// The announced length of the body, 0 where there is none, `None` for chunked.
    pub fn content_length(&self) -> Option<u64> {
        match self.framing {
            BodyFraming::Length(length) => Some(length),
            BodyFraming::None => Some(0),
            BodyFraming::Chunked | BodyFraming::UntilClose => None,
        }
    }
}

/// Reads one request head from the start of `buf`.
pub fn parse_request(buf: &[u8], limits: &Limits) -> Result<Parse<Request>, HeadError> {
    let Some(start) = skip_empty_line(buf) else {
        return Ok(Parse::Partial);
    };
    let mut lines = Lines::new(buf, start, limits.head_bytes);
    check_request_line(lines.rest(), limits)?;
    let Some(line) = lines.next(usize::MAX)? else {
        return Ok(Parse::Partial);
    };
    let parts = RequestLine::split(line, limits)?;
    let (version, method) = (parts.version, parts.method);
    let (target, path) = parse_target(parts.method, parts.target)?;
    let Some((mut headers, hints)) = parse_fields(buf, start, &mut lines, limits)? else {
        return Ok(Parse::Partial);
    };

    let host = parse_host(&headers, version, &target)?;
    let framing = request_framing(method, version, &hints)?;
    let max_forwards = match method {
        b"OPTIONS" | b"TRACE" => parse_max_forwards(&headers)?,
        _ => None,
    };
    let expect_continue = parse_expect(&headers, version)?;
    if !expect_continue {
        // From an HTTP/1.0 client it means nothing, and a 100 would be of no use there.
        headers.keep_back(|name| name == "expect");
    }
    let path_start = method.len() + 1 + (parts.target.len() - path.len());
    let head = Request {
        method: Span::new(0, method.len()),
        path_and_query: Span::new(path_start, path_start + path.len()),
        keep_alive: !hints.close && (version == Version::Http11 || hints.keep_alive),
        expect_continue,
        upgrade: (version == Version::Http11 && hints.upgrade)
            .then(|| Upgrade::of(&headers))
            .flatten(),
        target,
        version,
        headers,
        host,
        framing,
        max_forwards,
    };
    Ok(Parse::Complete {
        head,
        consumed: lines.position(),
    })
}

/// A registered method in another case.
pub(crate) fn is_misspelled(method: &[u8]) -> bool {
    METHODS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(method) && *known != method)
}

/// What can be said before the line is complete, so that garbage is refused at once.
fn check_request_line(rest: &[u8], limits: &Limits) -> Result<(), HeadError> {
    let line = match memchr::memchr(b'\n', rest) {
        Some(end) => rest.get(..end).unwrap_or_default(),
        None => rest,
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let limit = METHOD_BYTES + limits.uri_bytes + REST_OF_LINE;
    if line.first().is_some_and(|byte| !is_token_byte(*byte)) {
        return Err(HeadError::BadMethod);
    }
    if line
        .iter()
        .take(limit)
        .any(|byte| *byte < b' ' || *byte == 0x7f)
    {
        return Err(HeadError::BadRequestLine);
    }
    if line.len() > limit {
        Err(HeadError::UriTooLong)
    } else {
        Ok(())
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    fn split(line: &'a [u8], limits: &Limits) -> Result<Self, HeadError> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::BadRequestLine);
        };
        if !is_token(method) || method.len() > METHOD_BYTES {
            return Err(HeadError::BadMethod);
        }
        if is_misspelled(method) {
            return Err(HeadError::BadMethod);
        }
        let version = Version::parse(version)?;
        if target.len() > limits.uri_bytes {
            return Err(HeadError::UriTooLong);
        }
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

/// The target, and the part of it that is path and query.
fn parse_target<'a>(method: &[u8], target: &'a [u8]) -> Result<(Target, &'a [u8]), HeadError> {
    if target.is_empty() || target.contains(&b'#') {
        return Err(HeadError::BadTarget);
    }
    if method == b"CONNECT" {
        let authority = Authority::parse(target).map_err(|_| HeadError::BadTarget)?;
        if authority.port.is_none() {
            return Err(HeadError::BadTarget);
        }
        return Ok((Target::Connect(authority), &[]));
    }
    if target == b"*" {
        return if method == b"OPTIONS" {
            Ok((Target::Asterisk, &[]))
        } else {
            Err(HeadError::BadTarget)
        };
    }
    if target.first() == Some(&b'/') {
        return Ok((
            Target::Origin {
                path: parse_path(target)?,
            },
            target,
        ));
    }
    let scheme_end = memchr::memmem::find(target, b"://").ok_or(HeadError::BadTarget)?;
    let (scheme, rest) = target
        .split_at_checked(scheme_end)
        .ok_or(HeadError::BadTarget)?;
    if scheme.eq_ignore_ascii_case(b"https") {
        return Err(HeadError::HttpsTarget);
    }
    if !scheme.eq_ignore_ascii_case(b"http") {
        return Err(HeadError::BadScheme);
    }
    let rest = rest.strip_prefix(b"://").ok_or(HeadError::BadTarget)?;
    // A backslash does not end the authority, though some parsers say so; being no part of a name it is refused there.
    let authority_end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest
        .split_at_checked(authority_end)
        .ok_or(HeadError::BadTarget)?;
    let authority = Authority::parse(authority).map_err(|_| HeadError::BadTarget)?;
    Ok((
        Target::Absolute {
            authority,
            path: parse_path(path)?,
        },
        path,
    ))
}

fn parse_path(path_and_query: &[u8]) -> Result<RequestPath, HeadError> {
    let path_end = memchr::memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
    let path = match path_and_query.get(..path_end) {
        None | Some([]) => b"/",
        Some(path) => path,
    };
    RequestPath::parse(path).map_err(|_| HeadError::BadPath)
}

fn parse_host(
    headers: &Headers,
    version: Version,
    target: &Target,
) -> Result<Option<Authority>, HeadError> {
    let mut values = headers.all("host");
    let value = values.next();
    if values.next().is_some() {
        return Err(HeadError::DuplicateHost);
    }
    let host = match value {
        Some(value) => Authority::parse(value).map_err(|_| HeadError::BadHost)?,
        None if version == Version::Http10 => return Ok(None),
        None => return Err(HeadError::MissingHost),
    };
    let same = match target {
        // Several clients leave the port out of a CONNECT request's Host field.
        Target::Connect(authority) => {
            host.host == authority.host && (host.port.is_none() || host.port == authority.port)
        }
        Target::Absolute { authority, .. } => {
            host.host == authority.host && host.port.unwrap_or(80) == authority.port.unwrap_or(80)
        }
        Target::Asterisk | Target::Origin { .. } => true,
    };
    if same {
        Ok(Some(host))
    } else {
        Err(HeadError::AuthorityMismatch)
    }
}

fn request_framing(
    method: &[u8],
    version: Version,
    hints: &Hints,
) -> Result<BodyFraming, HeadError> {
    if hints.framing.chunked && version == Version::Http10 {
        return Err(HeadError::BadTransferEncoding);
    }
    let framing = match hints.framing.length {
        _ if hints.framing.chunked => BodyFraming::Chunked,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::None,
    };
    match (method, framing) {
        // WinINET announces an empty body with each CONNECT; nothing follows, so nothing can be misread.
        (b"CONNECT", BodyFraming::Length(0)) => Ok(BodyFraming::None),
        (b"CONNECT", BodyFraming::Length(_) | BodyFraming::Chunked) => {
            Err(HeadError::ConnectWithBody)
        }
        (b"TRACE", BodyFraming::Length(_) | BodyFraming::Chunked) => Err(HeadError::TraceWithBody),
        _ => Ok(framing),
    }
}

fn parse_expect(headers: &Headers, version: Version) -> Result<bool, HeadError> {
    let mut found = false;
    for value in headers.all("expect") {
        if found || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::BadExpectation);
        }
        found = true;
    }
    Ok(found && version == Version::Http11)
}

fn parse_max_forwards(headers: &Headers) -> Result<Option<u64>, HeadError> {
    let mut values = headers.all("max-forwards");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => plain_number(value)
            .map(Some)
            .ok_or(HeadError::BadMaxForwards),
        (Some(_), Some(_)) => Err(HeadError::BadMaxForwards),
    }
}
