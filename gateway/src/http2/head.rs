//! Request and response heads: checked, put into the form in which they are judged, and sent in that same form.

use exitgate_policy::evidence::{Headers, RequestHead, ResponseHead};
use exitgate_policy::name::Authority;
use exitgate_policy::path::RequestPath;
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, request, uri};
use smallvec::SmallVec;

use crate::http1::{is_misspelled, is_spelled, may_trail};
use crate::reason::Reason;

/// Fields as the policy sees them.
pub(super) type Pairs<'a> = SmallVec<[(&'a str, &'a [u8]); 24]>;

/// The port that an authority in TLS leaves out.
const DEFAULT_PORT: u16 = 443;
/// As for HTTP/1.
const FIELDS: usize = 128;
const URI_BYTES: usize = 16 * 1024;
const METHOD_BYTES: usize = 32;

/// Why a request is not judged at all.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not a request (RFC 9113, 8.1.1): a stream error.
    Malformed(&'static str),
    /// A request that is not passed on.
    Refused {
        reason: Reason,
        status: Option<u16>,
        detail: String,
    },
}

fn refused(reason: Reason, detail: impl Into<String>) -> Fault {
    Fault::Refused {
        reason,
        status: None,
        detail: detail.into(),
    }
}

fn refused_as(reason: Reason, status: u16, detail: impl Into<String>) -> Fault {
    Fault::Refused {
        reason,
        status: Some(status),
        detail: detail.into(),
    }
}

/// A request that can be read in one way only.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// As sent upstream: `https`, the judged authority, the client's path and query.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) path: RequestPath,
    pub(super) authority: Authority,
    /// An extended CONNECT for WebSocket (RFC 8441).
    pub(super) upgrade: bool,
    content_length: Option<u64>,
}

impl Head {
    /// Checks a head. What belongs to the connection is gone afterwards. `ended`: no body follows.
    pub(super) fn read(parts: request::Parts, ended: bool) -> Result<Self, Fault> {
        let request::Parts {
            method,
            uri,
            mut headers,
            extensions,
            ..
        } = parts;
        if method.as_str().len() > METHOD_BYTES || is_misspelled(method.as_str().as_bytes()) {
            return Err(refused(
                Reason::BadRequest,
                "the method is not spelled as registered",
            ));
        }
        let upgrade = upgrade_of(&method, &extensions)?;
        if method == Method::TRACE {
            return Err(refused_as(Reason::BadRequest, 405, "TRACE inside a tunnel"));
        }
        if uri.scheme_str().is_some_and(|scheme| scheme != "https") {
            return Err(Fault::Malformed("the scheme is not https"));
        }
        check_fields(&headers)?;
        let authority = authority_of(&uri, &headers)?;
        headers.remove(header::HOST);
        let (uri, path) = target_of(uri, &method, &authority)?;
        let content_length = single_length(&mut headers).or(ended.then_some(0));
        check_expectation(&headers)?;
        join_cookies(&mut headers);
        remove(&mut headers, |name| {
            name.starts_with("proxy-") || name == "http2-settings"
        });
        Ok(Self {
            method,
            uri,
            headers,
            path,
            authority,
            upgrade,
            content_length,
        })
    }

    /// The fields that are sent.
    pub(super) fn pairs(&self) -> Pairs<'_> {
        pairs(&self.headers)
    }

    /// The head as the policy sees it. A WebSocket handshake is judged as the GET that it is over HTTP/1.
    pub(super) fn judged<'a>(&'a self, pairs: Headers<'a>) -> RequestHead<'a> {
        RequestHead {
            method: if self.upgrade {
                "GET"
            } else {
                self.method.as_str()
            },
            path: &self.path,
            authority: Some(&self.authority),
            headers: pairs,
            content_length: self.content_length,
        }
    }

    /// The request for the origin, with the fields that the gateway adds in place of the client's.
    pub(super) fn to_request(&self, injected: &[(HeaderName, HeaderValue)]) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        for (name, value) in injected {
            // Some origins read an underscore as a hyphen.
            remove(request.headers_mut(), |own| is_spelled(own, name.as_str()));
            request.headers_mut().insert(name.clone(), value.clone());
        }
        if self.upgrade {
            request
                .extensions_mut()
                .insert(Protocol::from_static("websocket"));
        }
        request
    }
}

/// Whether the client speaks gRPC and reads a refusal in its trailers.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn pairs(headers: &HeaderMap) -> Pairs<'_> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

fn upgrade_of(method: &Method, extensions: &http::Extensions) -> Result<bool, Fault> {
    if *method != Method::CONNECT {
        return Ok(false);
    }
    match extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => Ok(true),
        Some(protocol) => Err(refused(
            Reason::ProtocolNotAllowed,
            format!("CONNECT for {:?}", protocol.as_str()),
        )),
        None => Err(refused(
            Reason::ProtocolNotAllowed,
            "CONNECT inside a tunnel",
        )),
    }
}

/// What the library leaves to us: the number of fields, and values that another parser would trim.
fn check_fields(headers: &HeaderMap) -> Result<(), Fault> {
    if headers.len() > FIELDS {
        return Err(refused(Reason::HeadTooLarge, "too many fields"));
    }
    let padded = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        is_space(bytes.first()) || is_space(bytes.last())
    };
    if headers.values().any(padded) {
        return Err(Fault::Malformed(
            "a field value begins or ends with white space",
        ));
    }
    Ok(())
}

/// `:authority`, or Host where the client left it out; both must be the same.
fn authority_of(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Fault> {
    let parse = |text: &[u8]| {
        Authority::parse(text)
            .map_err(|_| refused(Reason::BadTarget, "the authority cannot be read"))
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Fault::Malformed("more than one Host field"));
    }
    let host = host.map(|value| parse(value.as_bytes())).transpose()?;
    let shown = uri
        .authority()
        .map(|authority| parse(authority.as_str().as_bytes()))
        .transpose()?;
    match (shown, host) {
        (Some(shown), Some(host)) => {
            let port = |authority: &Authority| authority.port.unwrap_or(DEFAULT_PORT);
            if shown.host == host.host && port(&shown) == port(&host) {
                Ok(shown)
            } else {
                Err(Fault::Malformed(":authority and Host differ"))
            }
        }
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err(Fault::Malformed("no authority")),
    }
}

/// The URI as it is sent, and its path as it is judged.
fn target_of(
    uri: Uri,
    method: &Method,
    authority: &Authority,
) -> Result<(Uri, RequestPath), Fault> {
    let Some(target) = uri.path_and_query() else {
        return Err(Fault::Malformed("no path"));
    };
    if target.as_str().len() > URI_BYTES {
        return Err(refused(
            Reason::UriTooLong,
            "the path is longer than allowed",
        ));
    }
    match target.as_str().as_bytes() {
        [b'/', ..] => {}
        b"*" if *method == Method::OPTIONS => {
            return Err(refused(Reason::BadRequest, "OPTIONS * inside a tunnel"));
        }
        _ => return Err(Fault::Malformed("the path does not begin with a slash")),
    }
    let path = RequestPath::parse(target.path().as_bytes())
        .map_err(|error| refused(Reason::BadRequest, error.to_string()))?;
    let canonical = canonical(authority);
    if uri.scheme().is_some() && uri.authority().is_some_and(|a| *a == *canonical) {
        return Ok((uri, path));
    }
    let mut parts = uri.into_parts();
    parts.scheme = Some(uri::Scheme::HTTPS);
    parts.authority = canonical.parse().ok();
    match Uri::from_parts(parts) {
        Ok(uri) if uri.authority().is_some() => Ok((uri, path)),
        _ => Err(refused(Reason::BadTarget, "the authority cannot be read")),
    }
}

fn canonical(authority: &Authority) -> String {
    match authority.port.filter(|port| *port != DEFAULT_PORT) {
        Some(port) => format!("{}:{port}", authority.host),
        None => authority.host.to_string(),
    }
}

/// The declared length. The library has checked that repeated ones are equal; one is enough.
fn single_length(headers: &mut HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let (first, repeated) = (values.next()?.clone(), values.next().is_some());
    let length = first.to_str().ok()?.parse().ok();
    if repeated {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    length
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Fault> {
    let mut found = false;
    for value in headers.get_all(header::EXPECT) {
        if found || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(refused_as(
                Reason::BadRequest,
                417,
                "an expectation other than 100-continue",
            ));
        }
        found = true;
    }
    Ok(())
}

/// Crumbs are one field to whoever reads the request (RFC 9113, 8.2.3), so they are judged and sent as one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Valid values joined by a valid separator.
    if let Ok(mut joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(header::COOKIE, joined);
    }
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    if !headers.keys().any(|name| unwanted(name.as_str())) {
        return;
    }
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// A response head, without what is not for the client.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    content_length: Option<u64>,
    /// No content can follow.
    bodiless: bool,
}

impl Answer {
    /// `ended`: nothing follows the head.
    pub(super) fn read(
        status: StatusCode,
        mut headers: HeaderMap,
        to_head: bool,
        ended: bool,
    ) -> Self {
        keep_from_client(&mut headers);
        let bodiless = to_head || matches!(status.as_u16(), 204 | 304);
        if status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
        let declared = single_length(&mut headers);
        Self {
            status,
            headers,
            content_length: declared.or((ended && !bodiless).then_some(0)),
            bodiless,
        }
    }

    pub(super) fn pairs(&self) -> Pairs<'_> {
        pairs(&self.headers)
    }

    /// Whether no content may follow.
    pub(super) fn is_bodiless(&self) -> bool {
        self.bodiless
    }

    pub(super) fn judged<'a>(&self, pairs: Headers<'a>) -> ResponseHead<'a> {
        ResponseHead {
            status: self.status.as_u16(),
            headers: pairs,
            content_length: self.content_length,
            bodiless: self.bodiless,
        }
    }

    pub(super) fn into_response(self) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Takes out of a response what would lead the client around the gateway, what belongs to a proxy, and our own names: an
/// origin cannot fake a refusal.
pub(super) fn keep_from_client(headers: &mut HeaderMap) {
    let leads_away = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"clear");
    if headers.get_all(header::ALT_SVC).iter().any(leads_away) {
        headers.remove(header::ALT_SVC);
    }
    remove(headers, |name| {
        name.starts_with("exitgate-") || name.starts_with("proxy-") || name == "http2-settings"
    });
}

/// Leaves in trailers what does not change how the message, which was judged, is read.
pub(super) fn keep_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| !may_trail(name.as_bytes()));
}
