//! Policy documents in files: read, checked as a whole, made into a snapshot.
//!
//! The way of a file: [`files`] finds and reads it, [`document`] parses it keeping positions, [`schema`] holds it against
//! the schema of its kind, [`load`](load()) puts the objects together and [`Loaded::compile`] has the policy compiler look
//! at them. Every stage reports all that it finds, and each problem keeps its `file:line`.

mod credential;
mod document;
mod feed;
mod files;
mod load;
mod object;
mod report;
mod schema;
mod settings;
mod single;
mod strict;
#[cfg(test)]
mod testing;
mod watch;

pub use document::{Position, read_yaml};
pub use files::LoadError;
pub use load::{Loaded, Options, load};
pub use object::Spec;
pub use report::{Diagnostic, count};
pub use schema::closest;
pub use single::{Finding, ObjectReader, ReadObject};
pub use watch::Watcher;
