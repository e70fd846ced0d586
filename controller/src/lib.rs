//! Policy sources of Exitgate and the API types that users write.
