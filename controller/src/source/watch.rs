//! Noticing that the files of a source changed.

use std::path::PathBuf;
use std::time::Duration;

use super::files::{self, Signature};

/// Watches the files of a source by asking for their size, time and inode. Polling sees what event interfaces miss:
/// network file systems, the symbolic links that Kubernetes swaps in mounted ConfigMaps, editors that replace files.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    others: Vec<PathBuf>,
    seen: Vec<Signature>,
}

impl Watcher {
    /// Takes the present state as known. `others` are the files that the documents name, such as lists of hosts. Create
    /// it before loading: a change in between is then seen again rather than missed.
    pub fn new(paths: &[PathBuf], others: &[PathBuf]) -> Self {
        let mut watcher = Self {
            paths: paths.to_vec(),
            others: others.to_vec(),
            seen: Vec::new(),
        };
        watcher.seen = watcher.signatures();
        watcher
    }

    /// Replaces the files watched besides the documents, after a load that found other ones.
    pub fn set_others(&mut self, others: &[PathBuf]) {
        if self.others != others {
            let known = self.others.clone();
            self.others = others.to_vec();
            // Only what was not watched before is taken as it is now.
            let fresh: Vec<PathBuf> = others
                .iter()
                .filter(|path| !known.contains(path))
                .cloned()
                .collect();
            self.seen.retain(|signature| {
                !known.contains(signature.path()) || others.contains(signature.path())
            });
            self.seen.extend(files::signatures(&fresh));
            self.seen.sort();
        }
    }

    /// Returns when something changed and has been left alone for one interval, so that a file is not read while an
    /// editor or a deployment tool is still writing.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut now = self.signatures();
            if now == self.seen {
                continue;
            }
            for _ in 0..MAX_SETTLE {
                tokio::time::sleep(INTERVAL / 2).await;
                let next = self.signatures();
                if next == now {
                    break;
                }
                now = next;
            }
            self.seen = now;
            return;
        }
    }

    fn signatures(&self) -> Vec<Signature> {
        // A directory that cannot be listed at the moment has no files; the load that follows says why.
        let mut all = files::find(&self.paths).unwrap_or_default();
        all.extend(self.others.iter().cloned());
        let mut signatures = files::signatures(&all);
        signatures.sort();
        signatures
    }
}

const INTERVAL: Duration = Duration::from_millis(400);
/// A file that is written to without end is read anyway after this many intervals.
const MAX_SETTLE: usize = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::source::testing::Folder;

    #[tokio::test(start_paused = true)]
    async fn edits_additions_removals_and_named_files_are_seen() {
        let folder = Folder::new(&[("a.yaml", "a: 1"), ("list.txt", "a.io")]);
        let paths = vec![folder.path().to_owned()];
        let list = folder.path().join("list.txt");
        let mut watcher = Watcher::new(&paths, &[]);
        watcher.set_others(std::slice::from_ref(&list));
        let quiet = tokio::time::timeout(Duration::from_secs(5), watcher.changed()).await;
        assert!(quiet.is_err());
        for change in [
            Box::new(|| std::fs::write(folder.path().join("a.yaml"), "a: 22").unwrap())
                as Box<dyn Fn()>,
            Box::new(|| std::fs::write(folder.path().join("b.yaml"), "b: 1").unwrap()),
            Box::new(|| std::fs::remove_file(folder.path().join("b.yaml")).unwrap()),
            Box::new(|| std::fs::write(&list, "a.io\nb.io\n").unwrap()),
        ] {
            change();
            tokio::time::timeout(Duration::from_secs(5), watcher.changed())
                .await
                .unwrap();
        }
    }
}
