//! Look-up structures: names and address ranges to the rules that may match.

mod hash;
mod lookup;
mod name_set;

pub(crate) use lookup::{CidrIndex, Ids, NameIndex};
pub use name_set::{NameSet, NameSetBuilder, NameSetError};
