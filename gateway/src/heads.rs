//! HTTP/1 heads as the policy sees them.

use exitgate_policy::evidence::{RequestHead, ResponseHead};

use crate::http1::{Request, Response};
use crate::reason::Reason;

/// A request that was let through, with the response that upgraded its connection: the evidence of what is now
/// an opaque stream.
pub(crate) struct Upgraded {
    pub(crate) request: Request,
    pub(crate) response: Response,
}

/// The request head; `pairs` are its end-to-end fields.
pub(crate) fn request_head<'a>(
    request: &'a Request,
    pairs: &'a [(&'a str, &'a [u8])],
) -> Result<RequestHead<'a>, Reason> {
    Ok(RequestHead {
        method: request.method(),
        path: request.path().ok_or(Reason::BadRequest)?,
        authority: request.authority(),
        headers: pairs,
        content_length: request.content_length(),
    })
}

/// The response head; `pairs` are its end-to-end fields.
pub(crate) fn response_head<'a>(
    response: &Response,
    pairs: &'a [(&'a str, &'a [u8])],
) -> ResponseHead<'a> {
    ResponseHead {
        status: response.status,
        headers: pairs,
        content_length: response.content_length,
        // What follows a 101 is no content of HTTP, and not nothing either.
        bodiless: response.bodiless && response.status != 101,
    }
}
