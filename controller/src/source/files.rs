//! Finding and reading the files of a source, within limits.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A source that cannot be read at all, as opposed to one with problems inside.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("{} holds more than {MAX_FILES} documents files", path.display())]
    TooMany { path: PathBuf },
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Signature {
    path: PathBuf,
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Signature {
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }
}

/// The document files that `paths` name: each a file, or a directory whose `*.yaml`, `*.yml` and `*.json` files count
/// (hidden ones and subdirectories do not). Sorted, so that every reader sees one order.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    for path in paths {
        let missing = |source| LoadError::Missing {
            path: path.clone(),
            source,
        };
        if !fs::metadata(path).map_err(missing)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |source| LoadError::Directory {
            path: path.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if is_document(&file) {
                found.push(file);
            }
            if found.len() > MAX_FILES {
                return Err(LoadError::TooMany { path: path.clone() });
            }
        }
        found.sort();
        files.extend(found);
    }
    files.dedup();
    Ok(files)
}

/// The text of a document file; the error is the message for its reader.
pub(super) fn read_document(path: &Path) -> Result<String, String> {
    let bytes = read_capped(path, MAX_DOCUMENT_FILE)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        format!("not UTF-8 text (first bad byte on line {line})")
    })
}

/// At most `limit` bytes of a regular file.
pub(super) fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    let too_large = |size: u64| {
        format!(
            "is too large: {} MiB, the limit is {} MiB",
            size.div_ceil(1 << 20),
            limit >> 20
        )
    };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    // The file may have grown since its size was asked for.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The state of all `files`; one that is missing counts with size 0.
pub(super) fn signatures(files: &[PathBuf]) -> Vec<Signature> {
    files
        .iter()
        .map(|path| {
            let metadata = fs::metadata(path).ok();
            Signature {
                path: path.clone(),
                modified: metadata
                    .as_ref()
                    .and_then(|metadata| metadata.modified().ok()),
                size: metadata.as_ref().map_or(0, fs::Metadata::len),
                inode: metadata.as_ref().map_or(0, inode),
            }
        })
        .collect()
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

fn is_document(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    });
    known && !hidden && !path.is_dir()
}

/// The limit that Kubernetes puts on one object is 1.5 MiB; a file may hold several.
const MAX_DOCUMENT_FILE: u64 = 4 << 20;
const MAX_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::source::testing::Folder;

    #[test]
    fn only_visible_documents_count_in_order() {
        let folder = Folder::new(&[
            ("b.yaml", ""),
            ("a.yml", ""),
            ("c.JSON", ""),
            (".d.yaml", ""),
            ("e.txt", ""),
        ]);
        fs::create_dir(folder.path().join("sub.yaml")).unwrap();
        let found = find(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.JSON"]);
    }

    #[test]
    fn large_and_binary_files_are_refused_by_name() {
        let folder = Folder::new(&[]);
        let large = folder.path().join("large.yaml");
        fs::File::create(&large).unwrap().set_len(10 << 20).unwrap();
        assert_eq!(
            read_document(&large).unwrap_err(),
            "is too large: 10 MiB, the limit is 4 MiB"
        );
        let binary = folder.path().join("binary.yaml");
        fs::write(&binary, b"a: 1\nb: \xff\n").unwrap();
        assert!(read_document(&binary).unwrap_err().contains("line 2"));
    }

    #[test]
    fn missing_paths_are_errors() {
        let error = find(&[PathBuf::from("/nonexistent/dir")]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/dir"));
    }
}
