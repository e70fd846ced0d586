//! The files of an authority: what they are called, and how they are written.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The certificate, and those above it.
pub(super) const CERTIFICATE: &str = "ca.pem";
/// The private key.
pub(super) const KEY: &str = "ca-key.pem";
/// The request for a certificate.
pub(super) const REQUEST: &str = "ca.csr";
/// The enterprise root, which clients trust.
pub(super) const ROOT: &str = "ca-root.pem";

/// No file of an authority is larger; what is larger was named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// Who may read a new file.
#[derive(Clone, Copy)]
pub(super) enum Readers {
    Everyone,
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// The folder, made where it does not exist.
pub(super) fn folder(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::System(format!("{}: {error}", dir.display())))
}

/// Says so where one of these files is there already. Nothing is written before all of them were looked for.
pub(super) fn must_be_new(dir: &Path, names: &[&str], otherwise: &str) -> Result<(), Failure> {
    for name in names {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(Failure::System(format!(
                "{} exists and is not overwritten; {otherwise}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Writes a file that must not exist.
pub(super) fn create(
    dir: &Path,
    name: &str,
    text: &str,
    readers: Readers,
) -> Result<PathBuf, Failure> {
    let path = dir.join(name);
    let failed = |error: std::io::Error| {
        if error.kind() == ErrorKind::AlreadyExists {
            Failure::System(format!("{} exists and is not overwritten", path.display()))
        } else {
            Failure::System(format!("{}: {error}", path.display()))
        }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(readers.mode())
        .open(&path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(path)
}

/// Replaces a file as a whole, so that a reader sees the one or the other.
pub(super) fn replace(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let unfinished = format!("{name}.new-{}", std::process::id());
    let from = create(dir, &unfinished, text, Readers::Everyone)?;
    let path = dir.join(name);
    std::fs::rename(&from, &path).map_err(|error| {
        std::fs::remove_file(&from).ok();
        Failure::System(format!("{}: {error}", path.display()))
    })?;
    Ok(path)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| Failure::System(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::Problem(format!(
            "{}: larger than any certificate file",
            path.display()
        )));
    }
    Ok(bytes)
}
