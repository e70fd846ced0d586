//! The last manifest that was put in force, on disk, so that a gateway starts without its controller.
//!
//! The first line names the format and the SHA-256 of the rest. The manifest in it must have the revision that the
//! controller signed, with a key that came with an enrolment; the keys lie beside it. That shows damage and what another
//! controller wrote. It is no defence against somebody who may write to this folder, and what a policy was before the
//! controller sent a version that is refused is covered by the checksum only.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use exitgate_policy::{Digest, Feature, Resource, ResourceName, StandIn};
use exitgate_proto::control as proto;
use serde::{Deserialize, Serialize};

use super::held::{Held, Position, Update, Upsert, Version};

const FORMAT: &str = "exitgate-snapshot-1";
/// A file that is larger was not written by a gateway.
const MAX_FILE: u64 = 1 << 30;
const MAX_KEYS: u64 = 64 << 10;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("{0}: damaged: {1}; it will be written anew when the controller is reached")]
    Damaged(String, String),
    #[error("{0}: no key of an enrolment verifies its signature")]
    Signature(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    position: Position,
    revision: String,
    signature: String,
    resources: Vec<Kept>,
    /// Versions that are used because a later one is refused.
    earlier: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    name: String,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    needs: Vec<Feature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stand_in: Option<StandIn>,
    /// Missing for an artifact, and for what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// What was loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) held: Held,
    pub(crate) update: Update,
    pub(crate) signature: Vec<u8>,
    /// When it was last known to be current, seconds since 1970.
    pub(crate) current_at: u64,
}

/// Whether one of these keys made the signature.
pub(crate) fn verifies(
    keys: &[Vec<u8>],
    revision: &str,
    position: &Position,
    signature: &[u8],
) -> bool {
    let text = exitgate_proto::signed_text(
        revision,
        &proto::Position {
            epoch: position.epoch,
            sources: position.sources.clone().into_iter().collect(),
        },
    );
    keys.iter().any(|key| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&text, signature)
            .is_ok()
    })
}

impl Store {
    /// Makes the folder where it is missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = Self {
            folder: folder.to_owned(),
        };
        fs::create_dir_all(store.artifacts()).map_err(|error| failed(&store.artifacts(), error))?;
        Ok(store)
    }

    /// Where artifacts lie, by digest.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshot")
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("manifest-keys")
    }

    /// The keys of the last enrolment.
    pub(crate) fn load_keys(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let path = self.keys();
        let Some(text) = read(&path, MAX_KEYS)? else {
            return Ok(Vec::new());
        };
        let keys = String::from_utf8_lossy(&text)
            .lines()
            .map(|line| STANDARD.decode(line))
            .collect::<Result<_, _>>();
        keys.map_err(|error| damaged(&path, &error))
    }

    pub(crate) fn save_keys(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let lines: Vec<_> = keys.iter().map(|key| STANDARD.encode(key)).collect();
        write(&self.keys(), &[lines.join("\n").as_bytes()])
    }

    /// Stores what is held and in force.
    pub(crate) fn save(&self, held: &Held, signature: &[u8]) -> Result<(), StoreError> {
        let mut resources = Vec::new();
        let mut earlier = Vec::new();
        for (name, wanted, used, stand_in) in held.parts() {
            let current = used.filter(|used| used.digest == wanted);
            resources.push(Kept {
                name: name.to_owned(),
                digest: wanted,
                needs: current.map(|used| used.needs.clone()).unwrap_or_default(),
                stand_in: stand_in.cloned(),
                body: current.and_then(text),
            });
            earlier.extend(used.filter(|used| used.digest != wanted).map(|used| Kept {
                name: name.to_owned(),
                digest: used.digest,
                needs: used.needs.clone(),
                stand_in: used.stand_in.clone(),
                body: text(used),
            }));
        }
        let document = Document {
            position: held.position().cloned().unwrap_or_default(),
            revision: held.wanted_revision(),
            signature: STANDARD.encode(signature),
            resources,
            earlier,
        };
        let path = self.snapshot();
        let json = serde_json::to_vec(&document).map_err(|error| damaged(&path, &error))?;
        let head = format!("{FORMAT} {}\n", Digest::of(&json));
        write(&path, &[head.as_bytes(), &json])
    }

    /// What is stored was current at this moment.
    pub(crate) fn touch(&self, now: u64) -> Result<(), StoreError> {
        let path = self.snapshot();
        let touch = || {
            let file = File::options().append(true).open(&path)?;
            file.set_modified(UNIX_EPOCH + Duration::from_secs(now))
        };
        touch().map_err(|error| failed(&path, error))
    }

    /// Loads what was stored. None where nothing was.
    pub(crate) fn load(&self, keys: &[Vec<u8>]) -> Result<Option<Loaded>, StoreError> {
        let path = self.snapshot();
        let Some(bytes) = read(&path, MAX_FILE)? else {
            return Ok(None);
        };
        let current_at = fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .map_err(|error| failed(&path, error))?
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_secs());
        let mut parts = bytes.splitn(2, |&byte| byte == b'\n');
        let (head, json) = (parts.next(), parts.next().unwrap_or_default());
        let expected = format!("{FORMAT} {}", Digest::of(json));
        if head != Some(expected.as_bytes()) {
            return Err(damaged(&path, &"its checksum does not fit"));
        }
        let document: Document =
            serde_json::from_slice(json).map_err(|error| damaged(&path, &error))?;
        let signature = STANDARD
            .decode(&document.signature)
            .map_err(|error| damaged(&path, &error))?;
        let update = Update {
            upserts: self.upserts(document.resources),
            position: document.position,
            revision: document.revision,
            removals: Vec::new(),
            complete: false,
        };
        if !verifies(keys, &update.revision, &update.position, &signature) {
            return Err(StoreError::Signature(path.display().to_string()));
        }
        let earlier = self.upserts(document.earlier);
        let versions = earlier.into_iter().filter_map(|kept| kept.version().ok());
        Ok(Some(Loaded {
            held: Held::restore(versions.collect()),
            update,
            signature,
            current_at,
        }))
    }

    fn upserts(&self, kept: Vec<Kept>) -> Vec<Upsert> {
        let upsert = |kept: Kept| {
            let artifact = kept.body.is_none();
            let body = match kept.body {
                Some(text) => Ok(text.into_bytes().into()),
                None => super::artifacts::cached(&self.artifacts(), &kept.digest)
                    .map(Into::into)
                    .ok_or_else(|| "no copy was kept".to_owned()),
            };
            Upsert {
                name: kept.name,
                digest: kept.digest,
                body,
                artifact,
                needs: kept.needs,
                stand_in: kept.stand_in.map(|one| one.to_bytes()).unwrap_or_default(),
            }
        };
        kept.into_iter().map(upsert).collect()
    }
}

impl Upsert {
    /// The version that was stored.
    fn version(self) -> Result<Version, String> {
        let name: ResourceName = self.name.parse().map_err(|_| self.name.clone())?;
        let stand_in = StandIn::read(&name, &self.stand_in);
        let resource = Resource {
            name,
            digest: self.digest,
            body: self.body?,
            needs: self.needs,
            stand_in,
        };
        Version::read(resource, self.artifact)
    }
}

fn text(version: &Version) -> Option<String> {
    String::from_utf8(version.body.as_ref()?.to_vec()).ok()
}

fn failed(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        path: path.display().to_string(),
        error,
    }
}

fn damaged(path: &Path, error: &impl ToString) -> StoreError {
    StoreError::Damaged(path.display().to_string(), error.to_string())
}

/// The bytes of a file; None where there is none.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, error))?;
    if bytes.len() as u64 > most {
        let message = format!("larger than {most} bytes");
        return Err(damaged(path, &message));
    }
    Ok(Some(bytes))
}

/// Writes a file as a whole or not at all, and so that it is there after the power was cut.
pub(crate) fn write(path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| failed(path, error))
}
