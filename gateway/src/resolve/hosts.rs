//! The hosts file.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use exitgate_policy::Name;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ConfigError;

/// Blocklists as hosts files have some megabytes; this file is read while a connection waits.
const MAX_BYTES: u64 = 4 << 20;
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

type Entries = Arc<HashMap<Name, Vec<IpAddr>>>;

/// The file's content, and when to look at it again.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    checked: Instant,
    stamp: Option<Stamp>,
    entries: Entries,
}

/// A file that was replaced or written differs in one of these.
type Stamp = (SystemTime, u64);

impl Hosts {
    pub(super) fn open(path: PathBuf) -> Result<Self, ConfigError> {
        match load(&path) {
            Ok((stamp, entries)) => {
                let state = State {
                    checked: Instant::now(),
                    stamp: Some(stamp),
                    entries,
                };
                Ok(Self {
                    path,
                    state: Mutex::new(state),
                })
            }
            Err(source) => Err(ConfigError::HostsFile { path, source }),
        }
    }

    pub(super) fn find(&self, name: &Name) -> Option<Vec<IpAddr>> {
        let entries = {
            let mut state = self.state.lock();
            let now = Instant::now();
            if now.duration_since(state.checked) >= CHECK_INTERVAL {
                state.checked = now;
                self.refresh(&mut state);
            }
            Arc::clone(&state.entries)
        };
        entries.get(name).cloned()
    }

    /// A file that went away or cannot be read keeps its last content; it is said once.
    fn refresh(&self, state: &mut State) {
        let stamp = std::fs::metadata(&self.path)
            .and_then(|metadata| stamp(&metadata))
            .ok();
        if stamp == state.stamp {
            return;
        }
        match load(&self.path) {
            Ok((stamp, entries)) => {
                state.stamp = Some(stamp);
                state.entries = entries;
            }
            Err(error) => {
                if state.stamp.take().is_some() {
                    tracing::warn!(path = %self.path.display(), %error, "cannot read the hosts file, keeping its last content");
                }
            }
        }
    }
}

fn load(path: &Path) -> std::io::Result<(Stamp, Entries)> {
    let file = File::open(path)?;
    let stamp = stamp(&file.metadata()?)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "larger than 4 MiB",
        ));
    }
    Ok((stamp, Arc::new(parse(&text))))
}

fn stamp(metadata: &std::fs::Metadata) -> std::io::Result<Stamp> {
    Ok((metadata.modified()?, metadata.len()))
}

/// Lines of an address and names; what is neither is skipped, as everywhere.
pub(super) fn parse(text: &[u8]) -> HashMap<Name, Vec<IpAddr>> {
    let mut entries = HashMap::<Name, Vec<IpAddr>>::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let address = words
            .next()
            .and_then(|word| std::str::from_utf8(word).ok())
            .and_then(|word| word.parse::<IpAddr>().ok());
        let Some(address) = address else { continue };
        for name in words.filter_map(|word| Name::parse(word).ok()) {
            let addresses = entries.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    entries
}
