//! Attack rows against the built binary: every row is named `row_NNN_…`, and the account at the end holds the list.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod addresses;
mod answers;
mod credentials;
mod exhaustion;
mod forms;
mod forms_kept;
mod framing;
mod framing_responses;
mod fronting;
mod hellos;
mod http2;
mod inside;
mod inside_opened;
mod leaves;
mod names;
mod partly;
mod streams;
mod upstream;

/// The suite and its two lists agree.
#[test]
fn every_row_is_here_or_waits() {
    exitgate_tests::rows::account(&[
        addresses::ROWS,
        answers::ROWS,
        credentials::ROWS,
        names::ROWS,
        forms::ROWS,
        forms_kept::ROWS,
        hellos::ROWS,
        http2::ROWS,
        inside::ROWS,
        inside_opened::ROWS,
        leaves::ROWS,
        partly::ROWS,
        framing::ROWS,
        framing_responses::ROWS,
        fronting::ROWS,
        streams::ROWS,
        upstream::ROWS,
        exhaustion::ROWS,
    ]);
}
