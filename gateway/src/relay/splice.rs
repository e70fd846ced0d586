//! Bulk transfer through a kernel pipe, so that the bytes never enter this process.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::{Activity, Broken, Side};

const PIPE_SIZE: usize = 512 * 1024;
const KEPT_PER_THREAD: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe. Two descriptors, so it is borrowed for a burst and not for a tunnel's life.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// A kept pipe or a new one; none when descriptors are short, and then plain buffers do.
    pub(super) fn take() -> Option<Self> {
        if let Some(pipe) = FREE.with(|free| free.borrow_mut().pop()) {
            return Some(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // A smaller pipe (the system's limit for ordinary users) is slower, not wrong.
        if let Err(error) = fcntl_setpipe_size(&write, PIPE_SIZE) {
            tracing::debug!(%error, "pipe keeps its default size");
        }
        Some(Self { read, write })
    }

    /// Keeps an empty pipe for the next burst on this thread.
    fn keep(self) {
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT_PER_THREAD {
                free.push(self);
            }
        });
    }
}

fn step(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    splice(
        from,
        None,
        to,
        None,
        length,
        SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
    )
    .map_err(io::Error::from)
}

/// Moves bytes until the source has none at hand. `true` means that the source has ended.
pub(super) async fn drain(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    source: Side,
    pipe: Pipe,
    count: &AtomicU64,
    activity: &Activity,
) -> Result<bool, Broken> {
    let sink_side = match source {
        Side::Client => Side::Upstream,
        Side::Upstream => Side::Client,
    };
    let input: &TcpStream = from.as_ref();
    let output: &TcpStream = to.as_ref();
    loop {
        let taken = input.try_io(Interest::READABLE, || {
            step(input.as_fd(), pipe.write.as_fd(), PIPE_SIZE)
        });
        let mut pending = match taken {
            Ok(0) => {
                pipe.keep();
                return Ok(true);
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipe.keep();
                return Ok(false);
            }
            Err(_) => return Err(Broken(source)),
        };
        activity.touch();
        while pending > 0 {
            let moved = output
                .async_io(Interest::WRITABLE, || {
                    step(pipe.read.as_fd(), output.as_fd(), pending)
                })
                .await
                .map_err(|_| Broken(sink_side))?;
            if moved == 0 {
                return Err(Broken(sink_side));
            }
            pending = pending.saturating_sub(moved);
            activity.touch();
            count.fetch_add(moved as u64, Ordering::Relaxed);
        }
        // Bulk must not starve the other connections of this worker.
        tokio::task::consume_budget().await;
    }
}
