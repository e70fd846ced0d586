//! The example that comes with the binary.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Requests, and the policies that they are sent under.
pub(super) struct Part {
    /// The file with the requests and what must come of them.
    pub(super) expectations: &'static str,
    /// The forms that the policy exists in; each is a folder, and all of them must agree.
    pub(super) forms: &'static [&'static str],
}

/// What the example consists of.
pub(super) const PARTS: [Part; 2] = [
    Part {
        expectations: "expect.yaml",
        forms: &["one", "three-phases"],
    },
    Part {
        expectations: "intercepted/expect.yaml",
        forms: &["intercepted/policy"],
    },
];

/// The secret that the gateway adds to requests there.
pub(super) const TOKEN: &str = "intercepted/policy/pay-token";

/// The example on disk, and a folder for what the run writes.
#[derive(Debug)]
pub(super) struct Bundle {
    folder: PathBuf,
    scratch: Scratch,
}

/// A temporary folder that goes away with the value.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Bundle {
    /// The example in `folder`, written there first if it is not; a temporary one without a folder.
    pub(super) fn open(folder: Option<&Path>) -> Result<Self, Failure> {
        let refused = |path: &Path, error: std::io::Error| {
            Failure::System(format!(
                "cannot write the example to {}: {error}",
                path.display()
            ))
        };
        let scratch = Scratch::create().map_err(|error| refused(&std::env::temp_dir(), error))?;
        let folder = folder.map_or_else(|| scratch.0.join("demo"), Path::to_path_buf);
        if PARTS
            .iter()
            .any(|part| !folder.join(part.expectations).exists())
        {
            write(&folder).map_err(|error| refused(&folder, error))?;
        }
        Ok(Self { folder, scratch })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch.0
    }
}

impl Scratch {
    fn create() -> std::io::Result<Self> {
        let parent = std::env::temp_dir();
        // Whoever made a folder of this name first keeps it: `create_dir` fails where one exists, links included.
        for attempt in 0..100 {
            let path = parent.join(format!("exitgate-demo-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // What is there is the user's.
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
        {
            Ok(mut file) => file.write_all(text.as_bytes())?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../examples/demo/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "expect.yaml",
    "hosts",
    "intercepted/expect.yaml",
    "intercepted/policy/gateway.yaml",
    "intercepted/policy/pay-token",
    "intercepted/policy/shop.yaml",
    "one/gateway.yaml",
    "one/shop.yaml",
    "three-phases/gateway.yaml",
    "three-phases/post-response.yaml",
    "three-phases/pre-dns.yaml",
    "three-phases/pre-request.yaml",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_example_is_complete_and_goes_away() {
        let bundle = Bundle::open(None).unwrap();
        let folder = bundle.folder().to_path_buf();
        let rows = PARTS.map(|part| {
            super::super::expect::read(&folder.join(part.expectations))
                .unwrap()
                .len()
        });
        assert_eq!(rows, [9, 5]);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/demo");
        for form in PARTS.iter().flat_map(|part| part.forms) {
            for entry in fs::read_dir(Path::new(source).join(form)).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(
                    folder.join(form).join(&name).exists(),
                    "{} is not bundled",
                    name.display()
                );
            }
        }
        drop(bundle);
        assert!(!folder.exists());
    }
}
