//! The last accepted form of an object as its status holds it: canonical JSON, gzip, base64.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::crd::status::AcceptedForm;

/// What one form expands to at most. An object has at most 1.5 MiB in the store.
const MAX_EXPANDED: u64 = 4 << 20;
/// As the definition bounds the field.
const MAX_FORM: usize = 1_000_000;

/// Why a form cannot be kept, or what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcceptedError {
    #[error("the form has {0} characters when compressed; at most {MAX_FORM} fit into a status")]
    TooLarge(usize),
    #[error("the accepted form in the status is damaged: {0}")]
    Damaged(String),
}

/// The form of a spec that is kept.
pub fn pack(generation: i64, spec: &Value) -> Result<AcceptedForm, AcceptedError> {
    let damaged = |error: &dyn std::fmt::Display| AcceptedError::Damaged(error.to_string());
    // serde_json keeps fields sorted, so equal content gives equal bytes.
    let json = serde_json::to_vec(spec).map_err(|error| damaged(&error))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&json).map_err(|error| damaged(&error))?;
    let form = STANDARD.encode(encoder.finish().map_err(|error| damaged(&error))?);
    if form.len() > MAX_FORM {
        return Err(AcceptedError::TooLarge(form.len()));
    }
    Ok(AcceptedForm {
        generation,
        digest: digest(&json),
        form,
    })
}

/// The spec that a kept form holds. A status can be written by others than the controller: nothing in it is believed.
pub fn unpack(form: &AcceptedForm) -> Result<Value, AcceptedError> {
    let damaged = |message: String| AcceptedError::Damaged(message);
    if form.form.len() > MAX_FORM {
        return Err(AcceptedError::TooLarge(form.form.len()));
    }
    let packed = STANDARD
        .decode(&form.form)
        .map_err(|error| damaged(error.to_string()))?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(MAX_EXPANDED + 1)
        .read_to_end(&mut json)
        .map_err(|error| damaged(error.to_string()))?;
    if json.len() as u64 > MAX_EXPANDED {
        return Err(damaged(format!(
            "it expands to more than {MAX_EXPANDED} bytes"
        )));
    }
    if digest(&json) != form.digest {
        return Err(damaged("it does not have its digest".to_owned()));
    }
    serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))
}

fn digest(json: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(json)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing into a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_damage_is_seen() {
        let spec = json!({"rules": [{"name": "a", "action": "Allow"}], "mode": "Enforce"});
        let form = pack(7, &spec).unwrap();
        assert_eq!(form.generation, 7);
        assert_eq!(unpack(&form).unwrap(), spec);
        let mut other = pack(8, &json!({"rules": []})).unwrap();
        other.digest.clone_from(&form.digest);
        assert!(unpack(&other).unwrap_err().to_string().contains("digest"));
        let cut = AcceptedForm {
            form: form.form[..8].to_owned(),
            ..form
        };
        assert!(unpack(&cut).is_err());
    }

    #[test]
    fn a_form_that_expands_without_end_is_refused() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let chunk = vec![b' '; 1 << 20];
        for _ in 0..8 {
            encoder.write_all(&chunk).unwrap();
        }
        let bomb = AcceptedForm {
            generation: 1,
            digest: String::new(),
            form: STANDARD.encode(encoder.finish().unwrap()),
        };
        assert!(unpack(&bomb).unwrap_err().to_string().contains("expands"));
    }
}
