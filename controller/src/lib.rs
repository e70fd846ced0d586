//! Policy sources of Exitgate and the API types that users write.

pub mod api;
pub mod crd;
pub mod index;
pub mod kube;
pub mod serve;
pub mod source;
pub mod trust;
