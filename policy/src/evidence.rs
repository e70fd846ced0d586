//! What is known about a flow when a decision is asked for.

use std::net::IpAddr;

use crate::{Authority, Name, RequestPath};

/// One attribute of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attr<T> {
    /// Known not to be there: a plain matcher on it is false.
    Absent,
    /// Will never be seen: a matcher on it stays unknown.
    Hidden,
    /// Seen.
    Known(T),
    /// May still come.
    Pending,
}

impl<T> Attr<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Hidden | Self::Pending => None,
        }
    }

    /// Whether it may still come.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

/// What the first bytes of a flow are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Cleartext HTTP.
    Http,
    /// Anything else, silence included.
    Tcp,
    /// TLS, opened or not.
    Tls,
}

/// How a flow came to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// HTTP CONNECT.
    Connect,
    /// A DNS question.
    Dns,
    /// An HTTP request in absolute form.
    Forward,
    /// A captured connection.
    Redirected,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// SSL 3.0.
    Ssl3,
    /// TLS 1.0.
    Tls10,
    /// TLS 1.1.
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a TLS ClientHello shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name.
    pub sni: Option<Name>,
    /// The application protocols offered.
    pub alpn: Vec<Box<[u8]>>,
    /// The highest version offered.
    pub version: TlsVersion,
    /// Whether an encrypted hello is offered.
    pub ech: bool,
    /// The JA4 fingerprint.
    pub ja4: String,
}

/// Header lines in order; names in lower case.
pub type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path without the query.
    pub path: &'a RequestPath,
    /// Host or `:authority`.
    pub authority: Option<&'a Authority>,
    /// All header lines.
    pub headers: Headers<'a>,
    /// The declared length of the body, 0 where there is none; `None` where one follows whose length is not declared.
    pub content_length: Option<u64>,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// All header lines.
    pub headers: Headers<'a>,
    /// The declared length of the body.
    pub content_length: Option<u64>,
    /// No body can follow: an answer to HEAD, or 204, or 304.
    pub bodiless: bool,
}

/// What is known about one request, or one opaque connection, and one address.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// How the flow came in.
    pub entry: Entry,
    /// The destination port.
    pub port: u16,
    /// The client's address.
    pub source: Option<IpAddr>,
    /// The judged name: that of the CONNECT authority or of the request URI; for an address literal the SNI or Host once
    /// read, pending before, absent when it shows none or where the flow is judged as the address.
    pub name: Attr<&'a Name>,
    /// The requested address literal or captured destination.
    pub literal: Option<IpAddr>,
    /// The resolved address being judged (for a flow judged as an address: the literal); pending before resolution.
    pub address: Attr<IpAddr>,
    /// What the first client bytes are.
    pub protocol: Attr<Protocol>,
    /// The ClientHello.
    pub hello: Attr<&'a Hello>,
    /// The head of the request.
    pub request: Attr<RequestHead<'a>>,
    /// The head of the response.
    pub response: Attr<ResponseHead<'a>>,
    /// Whether TLS has been opened.
    pub inspected: bool,
}
