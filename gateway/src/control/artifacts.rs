//! Large resources, fetched by digest and kept in a folder. What was interrupted goes on where it stopped.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exitgate_policy::Digest;
use exitgate_proto::control::FetchArtifactRequest;
use exitgate_proto::control::control_client::ControlClient;
use tokio::time::timeout;
use tonic::transport::Channel;

/// Larger artifacts are refused.
pub(crate) const MAX_ARTIFACT: u64 = 256 << 20;
/// The first chunk, and each further one, comes within this time.
const CHUNK_LIMIT: Duration = Duration::from_secs(20);

/// The artifact, if the folder has it, whole.
pub(crate) fn cached(folder: &Path, digest: &Digest) -> Option<Vec<u8>> {
    let bytes = super::store::read(&folder.join(digest.to_string()), MAX_ARTIFACT).ok()??;
    (Digest::of(&bytes) == *digest).then_some(bytes)
}

/// Removes what is used no more.
pub(crate) fn sweep(folder: &Path, used: &HashSet<Digest>) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    for file in files.flatten() {
        let name = file.file_name();
        let digest = name.to_str().and_then(|name| name.parse::<Digest>().ok());
        if digest.is_some_and(|digest| !used.contains(&digest))
            && let Err(error) = fs::remove_file(file.path())
        {
            tracing::warn!(path = %file.path().display(), %error, "an old artifact stays");
        }
    }
}

/// One artifact on its way.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// None keeps it in memory only.
    pub(crate) folder: Option<PathBuf>,
}

impl Wanted {
    fn part(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.part", self.digest)))
    }

    /// What came before the last interruption.
    fn begun(&self) -> Vec<u8> {
        self.part()
            .and_then(|path| super::store::read(&path, self.bytes).ok()?)
            .unwrap_or_default()
    }

    fn keep(&self, bytes: &[u8]) {
        let Some(folder) = &self.folder else {
            return;
        };
        let path = folder.join(self.digest.to_string());
        if let Err(error) = super::store::write(&path, &[bytes]) {
            tracing::warn!(%error, "an artifact cannot be kept");
        }
        self.forget();
    }

    fn append(&self, data: &[u8]) {
        let Some(path) = self.part() else {
            return;
        };
        let written = fs::File::options()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(data));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "an artifact cannot be kept");
        }
    }

    fn forget(&self) {
        if let Some(path) = self.part() {
            drop(fs::remove_file(path));
        }
    }

    /// Fetches what is missing.
    pub(crate) async fn fetch(self, mut client: ControlClient<Channel>) -> Result<Vec<u8>, String> {
        if self.bytes > MAX_ARTIFACT {
            return Err(format!(
                "the artifact has {} bytes; at most {MAX_ARTIFACT} are taken",
                self.bytes
            ));
        }
        if let Some(bytes) = self
            .folder
            .as_ref()
            .and_then(|folder| cached(folder, &self.digest))
        {
            return Ok(bytes);
        }
        let mut bytes = self.begun();
        if bytes.is_empty() {
            self.forget();
        }
        let request = FetchArtifactRequest {
            digest: self.digest.0.to_vec().into(),
            offset: bytes.len() as u64,
        };
        let late = |_| format!("the artifact did not go on within {CHUNK_LIMIT:?}");
        let mut stream = timeout(CHUNK_LIMIT, client.fetch_artifact(request))
            .await
            .map_err(late)?
            .map_err(|status| told(&status))?
            .into_inner();
        while let Some(chunk) = timeout(CHUNK_LIMIT, stream.message())
            .await
            .map_err(late)?
            .map_err(|status| told(&status))?
        {
            if bytes.len() as u64 + chunk.data.len() as u64 > self.bytes {
                self.forget();
                return Err(format!(
                    "the artifact is longer than the {} bytes that were announced",
                    self.bytes
                ));
            }
            self.append(&chunk.data);
            bytes.extend_from_slice(&chunk.data);
        }
        let found = Digest::of(&bytes);
        if found != self.digest {
            self.forget();
            return Err(format!("the artifact has the digest {found}"));
        }
        self.keep(&bytes);
        Ok(bytes)
    }
}

fn told(status: &tonic::Status) -> String {
    format!("the artifact cannot be fetched: {}", super::brief(status))
}
