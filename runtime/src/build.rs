//! What was built, for `version`, records and metrics.

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The product's name as records show it.
pub const PRODUCT: &str = "Exitgate";
