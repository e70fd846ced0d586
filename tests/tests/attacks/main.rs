//! Attack rows against the built binary: every row is named `row_NNN_…`, and the account at the end holds the list.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod addresses;
mod exhaustion;
mod forms;
mod forms_kept;
mod framing;
mod framing_responses;
mod hellos;
mod inside;
mod names;
mod streams;

/// The suite and its two lists agree.
#[test]
fn every_row_is_here_or_waits() {
    exitgate_tests::rows::account(&[
        addresses::ROWS,
        names::ROWS,
        forms::ROWS,
        forms_kept::ROWS,
        hellos::ROWS,
        inside::ROWS,
        framing::ROWS,
        framing_responses::ROWS,
        streams::ROWS,
        exhaustion::ROWS,
    ]);
}
