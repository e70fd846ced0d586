//! Who is who on the control channel, and what is signed.
//!
//! [`Keyring`] is what all controllers of an installation share: the roots of the channel and the keys that manifests are
//! signed with, each published before it is used. [`Trust`] issues with it. [`TokenVerifier`] says what a token proves,
//! [`Identity`] what a certificate does. The interception authority is a trust of its own: [`Interception`].

mod caller;
mod identity;
mod interception;
mod issue;
mod keyring;
mod request;
#[cfg(test)]
mod tests;
mod token;

pub use caller::GatewayTokens;
pub(crate) use identity::not_after;
pub use identity::{Identity, IdentityError, Role};
pub use interception::{Authority, Interception, InterceptionError, InterceptionRoot, NameLimits};
pub use issue::{IssueError, Issued, Serving, Trust};
pub use keyring::{Keyring, KeyringError};
pub use request::{RequestError, RequestedKey};
pub use token::{Claims, StaticToken, TokenRefused, TokenVerifier, Verified};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Clocks differ: what is issued is valid from a little earlier on.
const BACKDATING: u64 = 5 * MINUTE;

/// Seconds since 1970 as certificates take them.
fn date(seconds: u64) -> time::OffsetDateTime {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        // Nothing that is issued here lives that long.
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
