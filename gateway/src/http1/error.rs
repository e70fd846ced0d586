//! What can be wrong with a head, and what the client is told.

use thiserror::Error;

/// Why a request head was refused.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum HeadError {
    #[error("the Host field names another authority than the request target")]
    AuthorityMismatch,
    #[error("a Connection field is malformed or lists too much")]
    BadConnection,
    #[error("a Content-Length field is not one plain number")]
    BadContentLength,
    #[error("an expectation other than 100-continue")]
    BadExpectation,
    #[error("a header field is malformed")]
    BadField,
    #[error("the Host field is not one authority")]
    BadHost,
    #[error("a line does not end in CR LF")]
    BadLineEnd,
    #[error("a Max-Forwards field is not one plain number")]
    BadMaxForwards,
    #[error("the method is not a known spelling of a token")]
    BadMethod,
    #[error("the request path has a control byte or a bad escape")]
    BadPath,
    #[error("the request line is malformed")]
    BadRequestLine,
    #[error("a scheme other than http")]
    BadScheme,
    #[error("the status line is malformed")]
    BadStatusLine,
    #[error("the request target is malformed")]
    BadTarget,
    #[error("a Transfer-Encoding field is not exactly `chunked`")]
    BadTransferEncoding,
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    BadVersion,
    #[error("a CONNECT request announces a body")]
    ConnectWithBody,
    #[error("both Content-Length and Transfer-Encoding")]
    ConflictingFraming,
    #[error("more than one Host field")]
    DuplicateHost,
    #[error("more than one length or transfer coding field")]
    DuplicateFraming,
    #[error("a header field is folded over lines")]
    FoldedField,
    #[error("the head is larger than allowed")]
    HeadTooLarge,
    #[error("an https target in a cleartext request: use CONNECT")]
    HttpsTarget,
    #[error("no Host field")]
    MissingHost,
    #[error("more header fields than allowed")]
    TooManyFields,
    #[error("a TRACE request announces a body")]
    TraceWithBody,
    #[error("the request target is longer than allowed")]
    UriTooLong,
}

impl HeadError {
    /// The status code of the refusal.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::UriTooLong => 414,
            Self::BadExpectation => 417,
            Self::AuthorityMismatch
            | Self::BadConnection
            | Self::BadContentLength
            | Self::BadField
            | Self::BadHost
            | Self::BadLineEnd
            | Self::BadMaxForwards
            | Self::BadMethod
            | Self::BadPath
            | Self::BadRequestLine
            | Self::BadScheme
            | Self::BadStatusLine
            | Self::BadTarget
            | Self::BadTransferEncoding
            | Self::BadVersion
            | Self::ConnectWithBody
            | Self::ConflictingFraming
            | Self::DuplicateHost
            | Self::DuplicateFraming
            | Self::FoldedField
            | Self::HttpsTarget
            | Self::MissingHost
            | Self::TraceWithBody => 400,
        }
    }

    /// The reason code of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::AuthorityMismatch => "authority-mismatch",
            Self::BadScheme | Self::BadTarget | Self::HttpsTarget => "bad-target",
            Self::HeadTooLarge | Self::TooManyFields => "head-too-large",
            Self::UriTooLong => "uri-too-long",
            Self::BadConnection
            | Self::BadContentLength
            | Self::BadExpectation
            | Self::BadField
            | Self::BadHost
            | Self::BadLineEnd
            | Self::BadMaxForwards
            | Self::BadMethod
            | Self::BadPath
            | Self::BadRequestLine
            | Self::BadStatusLine
            | Self::BadTransferEncoding
            | Self::BadVersion
            | Self::ConnectWithBody
            | Self::ConflictingFraming
            | Self::DuplicateHost
            | Self::DuplicateFraming
            | Self::FoldedField
            | Self::MissingHost
            | Self::TraceWithBody => "bad-request",
        }
    }
}

/// Why an origin's answer was refused. Always 502 `bad-response` for the client; the cause is for the record.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum ResponseError {
    #[error("{0}")]
    Head(#[from] HeadError),
    #[error("101 that was not asked for, or that does not fit what was asked")]
    Switch,
}

impl ResponseError {
    /// The status code of the refusal.
    pub fn status(self) -> u16 {
        502
    }

    /// The reason code of the refusal.
    pub fn code(self) -> &'static str {
        "bad-response"
    }
}
