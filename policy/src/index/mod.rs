//! Look-up structures: names and address ranges to the rules that may match.

mod name_set;

pub use name_set::{NameSet, NameSetBuilder, NameSetError};
