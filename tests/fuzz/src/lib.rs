//! The bodies of the fuzz targets. Each takes any bytes, and panics where a promise of the code under test is broken: not
//! only that it survives, but that what it reads is the same however the bytes arrive.

mod hello;
mod names;
mod policy;
mod requests;

pub use hello::client_hello;
pub use names::host_pattern;
pub use policy::policy_file;
pub use requests::request_head;

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("client_hello", client_hello),
    ("host_pattern", host_pattern),
    ("policy_file", policy_file),
    ("request_head", request_head),
];
