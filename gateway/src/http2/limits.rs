//! What we promise our peers and what we hold against them.

use std::time::Duration;

use h2::{client, server};

/// Streams of one client at once, where the origin takes more.
pub(super) const STREAMS: u32 = 256;
/// Content of one stream, and of all streams of a connection, that may be on its way inside the gateway.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
const SEND_BUFFER: usize = 256 * 1024;
const ORIGIN_HEAD_BYTES: u32 = 128 * 1024;
/// Streams that a client resets before they are looked at, all at once: more is an attack.
const RESET_UNSEEN: usize = 64;
/// Streams that had to be reset for what a peer sent, in the life of a connection.
const RESET_FOR_ERRORS: usize = 512;
/// Reset streams that are remembered for a while, so that frames under way are not errors.
const RESET_REMEMBERED: usize = 256;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// Interim responses to one request, as for HTTP/1.
pub(super) const INTERIM: u32 = 16;

/// For the client's side.
pub(super) fn client(streams: u32, head_bytes: u32, extended: bool) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(streams.min(STREAMS))
        .max_header_list_size(head_bytes)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_REMEMBERED)
        .reset_stream_duration(REMEMBERED_FOR)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(Some(RESET_FOR_ERRORS));
    if extended {
        builder.enable_connect_protocol();
    }
    builder
}

/// For the origin's side.
pub(super) fn origin() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(ORIGIN_HEAD_BYTES)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_REMEMBERED)
        .reset_stream_duration(REMEMBERED_FOR)
        .max_local_error_reset_streams(Some(RESET_FOR_ERRORS));
    builder
}
