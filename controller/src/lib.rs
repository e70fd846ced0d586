//! Policy sources of Exitgate and the API types that users write.

pub mod api;
pub mod crd;
pub mod kube;
pub mod source;
