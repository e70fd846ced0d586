//! Requests that are for the gateway itself.

use super::request::{Request, Target};

/// What the gateway answers without asking an origin. Nothing of the request is echoed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LocalAnswer {
    /// 405: TRACE would echo fields that were added on the way.
    MethodNotAllowed,
    /// 200 without a body, `Allow` listing what the gateway forwards.
    Options,
}

/// Whether a request ends at the gateway: TRACE always, OPTIONS for the gateway itself or with no forwards left.
pub fn answer_locally(request: &Request) -> Option<LocalAnswer> {
    match (request.method(), &request.target) {
        ("TRACE", _) => Some(LocalAnswer::MethodNotAllowed),
        ("OPTIONS", Target::Asterisk) => Some(LocalAnswer::Options),
        ("OPTIONS", _) if request.max_forwards == Some(0) => Some(LocalAnswer::Options),
        _ => None,
    }
}
