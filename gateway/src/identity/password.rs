//! Proxy passwords: checked against a salted PBKDF2 hash, in constant time, at a bounded rate.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Work factor of new hashes (OWASP's 2023 advice for PBKDF2-HMAC-SHA256).
const ITERATIONS: u32 = 600_000;
const MAX_ITERATIONS: u32 = 10_000_000;
const REMEMBERED: usize = 1024;
const SCHEME: &str = "pbkdf2-sha256";

/// What is wrong with a password hash file.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be read.
    #[error("password hash file {path}: {error}")]
    Read { path: String, error: std::io::Error },
    /// It has another shape.
    #[error(
        "password hash file {path}:{line}: expected one line `{SCHEME}$ITERATIONS$BASE64-SALT$BASE64-HASH`, as `exitgate hash-password` prints it"
    )]
    Shape { path: String, line: usize },
}

/// A stored hash.
#[derive(Clone)]
pub struct StoredHash {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl StoredHash {
    /// Reads one from a file.
    pub fn read(path: &Path) -> Result<Self, HashError> {
        let shown = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| HashError::Read {
            path: shown(),
            error,
        })?;
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let (at, first) = lines.next().unwrap_or_default();
        let shape = |at: usize| HashError::Shape {
            path: shown(),
            line: at + 1,
        };
        // A second line would be a second password that nobody checks.
        match lines.next() {
            Some((extra, _)) => Err(shape(extra)),
            None => Self::parse(first.trim()).ok_or_else(|| shape(at)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        if parts.next()? != SCHEME {
            return None;
        }
        let iterations: u32 = parts.next()?.parse().ok()?;
        let salt = STANDARD.decode(parts.next()?).ok()?;
        let hash = STANDARD.decode(parts.next()?).ok()?;
        let sound = parts.next().is_none()
            && iterations <= MAX_ITERATIONS
            && salt.len() >= 8
            && hash.len() == 32;
        sound.then_some(Self {
            iterations: NonZeroU32::new(iterations)?,
            salt,
            hash,
        })
    }

    /// Hashes a new password, as the hash file holds it.
    pub fn create(password: &[u8]) -> String {
        let salt: [u8; 16] = rand::random();
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MAX);
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password,
            &mut hash,
        );
        format!(
            "{SCHEME}${iterations}${}${}",
            STANDARD.encode(salt),
            STANDARD.encode(hash)
        )
    }

    fn verify(&self, password: &[u8]) -> bool {
        pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            self.iterations,
            &self.salt,
            password,
            &self.hash,
        )
        .is_ok()
    }
}

/// Checks passwords. A right one is remembered under a key of this process, so that only its first use costs
/// a full derivation.
pub struct Passwords {
    key: hmac::Key,
    known: Mutex<std::collections::VecDeque<[u8; 32]>>,
    slots: Arc<Semaphore>,
    dummy: StoredHash,
}

impl Default for Passwords {
    fn default() -> Self {
        let key: [u8; 32] = rand::random();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            known: Mutex::default(),
            // Guessing gets one core at most.
            slots: Arc::new(Semaphore::new(1)),
            dummy: StoredHash {
                iterations: NonZeroU32::MIN.saturating_add(ITERATIONS - 1),
                salt: vec![0; 16],
                hash: vec![0; 32],
            },
        }
    }
}

impl Passwords {
    /// Whether `password` is the one that `stored` was made from. An unknown user (`None`) costs as much as a
    /// wrong password.
    pub async fn check(&self, stored: Option<&StoredHash>, password: &[u8]) -> bool {
        let tag = stored.map(|s| self.tag(s, password));
        if let Some(tag) = tag
            && self
                .known
                .lock()
                .iter()
                .any(|known| bool::from(subtle::ConstantTimeEq::ct_eq(&known[..], &tag[..])))
        {
            return true;
        }
        let Ok(slot) = self.slots.clone().acquire_owned().await else {
            return false;
        };
        let known_user = stored.is_some();
        let stored = stored.unwrap_or(&self.dummy).clone();
        let password = password.to_vec();
        let verified = tokio::task::spawn_blocking(move || {
            let verified = stored.verify(&password);
            drop(slot);
            verified
        })
        .await
        .unwrap_or(false);
        if let (true, true, Some(tag)) = (verified, known_user, tag) {
            let mut known = self.known.lock();
            if known.len() >= REMEMBERED {
                known.pop_front();
            }
            known.push_back(tag);
            return true;
        }
        false
    }

    fn tag(&self, stored: &StoredHash, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&stored.hash);
        context.update(&stored.salt);
        context.update(password);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_passes() {
        let stored = StoredHash::parse(
            "pbkdf2-sha256$1000$c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        );
        assert!(stored.is_some());
        let made = StoredHash::parse(&StoredHash::create(b"open")).unwrap();
        let passwords = Passwords::default();
        assert!(passwords.check(Some(&made), b"open").await);
        assert!(passwords.check(Some(&made), b"open").await, "remembered");
        assert!(!passwords.check(Some(&made), b"shut").await);
        assert!(!passwords.check(None, b"open").await);
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "plain",
            "pbkdf2-sha256$0$c2FsdHNhbHQ=$AA==",
            "md5$1$c2FsdHNhbHQ=$AA==",
            "pbkdf2-sha256$1$c2FsdHNhbHQ=$AA==",
        ] {
            assert!(StoredHash::parse(text).is_none(), "{text}");
        }
    }
}
