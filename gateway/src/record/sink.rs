//! Where records go. The data path appends to a bounded buffer and never waits; a thread per sink writes.
//! When a sink is stuck, records are dropped and counted, or new traffic is refused, as configured.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Class, VerdictLabel};

/// Bytes that may wait for one sink.
const BUFFER: usize = 8 * 1024 * 1024;
/// How long records gather before one write; bounds both the delay and the wake-ups.
const GATHER: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(200);

/// What happens to traffic when a sink cannot take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Records are lost and counted; traffic goes on.
    Drop,
    /// New connections and requests are refused until the sink takes records again.
    Refuse,
}

/// A destination for lines.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file that is rotated at `max_bytes`; `keep` older ones stay as `path.1`, `path.2`, …
    File {
        path: PathBuf,
        max_bytes: u64,
        keep: u32,
    },
    /// Standard output.
    Stdout,
}

/// One sink as configured. Empty lists mean all.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Where lines go.
    pub target: Target,
    /// Classes to write.
    pub classes: Vec<Class>,
    /// Verdicts to write.
    pub verdicts: Vec<VerdictLabel>,
    /// What to do when the sink is stuck.
    pub overflow: Overflow,
}

struct Queue {
    bytes: Vec<u8>,
    records: u64,
    closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: AtomicU64,
    stuck: AtomicBool,
}

/// A running sink.
pub(super) struct Sink {
    config: SinkConfig,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Sink {
    pub(super) fn start(config: SinkConfig) -> io::Result<Self> {
        let output = Output::open(&config.target)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                bytes: Vec::new(),
                records: 0,
                closing: false,
            }),
            wake: Condvar::new(),
            dropped: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        });
        let for_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || write_loop(&for_writer, output))?;
        Ok(Self {
            config,
            shared,
            writer: Mutex::new(Some(writer)),
        })
    }

    pub(super) fn wants(&self, class: Class, verdict: VerdictLabel) -> bool {
        (self.config.classes.is_empty() || self.config.classes.contains(&class))
            && (self.config.verdicts.is_empty() || self.config.verdicts.contains(&verdict))
    }

    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.closing || queue.bytes.len() + line.len() > BUFFER {
            drop(queue);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            self.shared.stuck.store(true, Ordering::Relaxed);
            return;
        }
        let was_empty = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(line);
        queue.records += 1;
        drop(queue);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Whether traffic must be refused because of this sink.
    pub(super) fn refuses(&self) -> bool {
        self.config.overflow == Overflow::Refuse && self.shared.stuck.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the writer; gives up after `limit`.
    pub(super) fn close(&self, limit: Duration) {
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        let deadline = std::time::Instant::now() + limit;
        while !writer.is_finished() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !writer.is_finished() {
            tracing::warn!("a record sink did not finish in time; its last records are lost");
        }
    }
}

fn write_loop(shared: &Shared, mut output: Output) {
    let mut batch = Vec::new();
    let mut records = 0;
    loop {
        let closing = {
            let mut queue = shared.queue.lock();
            while batch.is_empty() && queue.bytes.is_empty() && !queue.closing {
                shared.wake.wait(&mut queue);
            }
            if batch.is_empty() {
                if !queue.closing && queue.bytes.len() < BUFFER / 2 {
                    shared.wake.wait_for(&mut queue, GATHER);
                }
                std::mem::swap(&mut queue.bytes, &mut batch);
                records = std::mem::take(&mut queue.records);
            }
            queue.closing
        };
        if batch.is_empty() && closing {
            return;
        }
        if let Err((written, error)) = output.write(&batch) {
            if !shared.stuck.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "records cannot be written");
            }
            if closing {
                let waiting = shared.queue.lock().records;
                shared
                    .dropped
                    .fetch_add(records + waiting, Ordering::Relaxed);
                return;
            }
            // Kept and tried again, traffic or not: a gateway that refuses for this sink gets no new records.
            batch.drain(..written.min(batch.len()));
            let mut queue = shared.queue.lock();
            if !queue.closing {
                shared.wake.wait_for(&mut queue, RETRY);
            }
            continue;
        }
        if shared.stuck.swap(false, Ordering::Relaxed) {
            tracing::warn!("records are written again");
        }
        batch.clear();
        if batch.capacity() > BUFFER / 8 {
            batch.shrink_to(BUFFER / 8);
        }
    }
}

enum Output {
    File {
        file: File,
        path: PathBuf,
        size: u64,
        max_bytes: u64,
        keep: u32,
    },
    Stdout,
}

impl Output {
    fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::Stdout => Ok(Self::Stdout),
            Target::File {
                path,
                max_bytes,
                keep,
            } => {
                let file = open_append(path)?;
                let size = file.metadata()?.len();
                Ok(Self::File {
                    file,
                    path: path.clone(),
                    size,
                    max_bytes: *max_bytes,
                    keep: *keep,
                })
            }
        }
    }

    /// Writes the batch; with an error comes how much of it must not be written again.
    fn write(&mut self, batch: &[u8]) -> Result<(), (usize, io::Error)> {
        match self {
            Self::Stdout => {
                let mut out = Counted {
                    out: io::stdout().lock(),
                    written: 0,
                };
                let result = out.write_all(batch).and_then(|()| out.flush());
                result.map_err(|error| (out.written, error))
            }
            Self::File {
                file,
                path,
                size,
                max_bytes,
                keep,
            } => {
                if *size > 0 && *size + batch.len() as u64 > *max_bytes {
                    *file = rotate(path, *keep)
                        .and_then(|()| open_append(path))
                        .map_err(|error| (0, error))?;
                    *size = 0;
                }
                let mut out = Counted {
                    out: file,
                    written: 0,
                };
                if let Err(error) = out.write_all(batch) {
                    // On a full disk the file ends with a whole record; where that cannot be, the rest follows later.
                    let written = match out.out.set_len(*size) {
                        Ok(()) => 0,
                        Err(_) => out.written,
                    };
                    *size += written as u64;
                    return Err((written, error));
                }
                *size += batch.len() as u64;
                Ok(())
            }
        }
    }
}

/// Counts what was taken.
struct Counted<W> {
    out: W,
    written: usize,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.written += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        if numbered(n).exists() {
            std::fs::rename(numbered(n), numbered(n + 1))?;
        }
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn config(path: &Path, max_bytes: u64) -> SinkConfig {
        SinkConfig {
            target: Target::File {
                path: path.to_owned(),
                max_bytes,
                keep: 2,
            },
            classes: Vec::new(),
            verdicts: Vec::new(),
            overflow: Overflow::Refuse,
        }
    }

    #[test]
    fn a_file_is_rotated_and_nothing_is_lost_on_close() {
        let dir = std::env::temp_dir().join(format!("exitgate-sink-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("records.jsonl");
        for line in ["one\n", "two\n", "six\n"] {
            let sink = Sink::start(config(&path, 5)).unwrap();
            sink.push(line.as_bytes());
            sink.close(Duration::from_secs(5));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "six\n");
        assert_eq!(
            std::fs::read_to_string(dir.join("records.jsonl.1")).unwrap(),
            "two\n"
        );
        assert_eq!(
            std::fs::read_to_string(dir.join("records.jsonl.2")).unwrap(),
            "one\n"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_full_queue_drops_counts_and_refuses_when_told_to() {
        let sink = Sink::start(config(Path::new("/dev/null"), u64::MAX)).unwrap();
        sink.shared.queue.lock().closing = true;
        sink.push(b"lost\n");
        assert_eq!(sink.dropped(), 1);
        assert!(sink.refuses());
    }
}
