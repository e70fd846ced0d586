//! Reading the gateway's records as they are written.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// The records of a file, one after the other.
#[derive(Debug)]
pub(super) struct Records {
    file: PathBuf,
    read: usize,
}

/// What the demo shows of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) verdict: String,
    pub(super) reason: String,
    pub(super) phase: String,
    pub(super) policy: String,
    pub(super) rule: String,
    pub(super) alerts: Vec<String>,
    /// Whether TLS was opened.
    pub(super) intercepted: bool,
    pub(super) injected: Vec<String>,
}

impl Records {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, read: 0 }
    }

    /// The next record; waits for it. Requests are sent one at a time, so it belongs to the last one.
    pub(super) async fn next(&mut self, wait: Duration) -> io::Result<Record> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            let complete = text
                .rfind('\n')
                .map_or("", |end| text.get(..end).unwrap_or(""));
            if let Some(line) = complete.lines().nth(self.read) {
                self.read += 1;
                return Ok(Record::read(
                    &serde_json::from_str(line).map_err(io::Error::other)?,
                ));
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(io::Error::other("the gateway wrote no record"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Record {
    fn read(line: &Value) -> Self {
        let text = |key: &str| {
            line.pointer(&format!("/exitgate/{key}"))
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let list = |key: &str| {
            line.pointer(&format!("/exitgate/{key}"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        Self {
            verdict: text("verdict"),
            reason: text("reason"),
            phase: text("phase"),
            policy: text("policy"),
            rule: text("rule"),
            alerts: list("alerts")
                .filter_map(|alert| alert.get("rule")?.as_str().map(str::to_owned))
                .collect(),
            intercepted: line.pointer("/exitgate/intercepted") == Some(&Value::Bool(true)),
            injected: list("injected")
                .filter_map(|credential| credential.as_str().map(str::to_owned))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn fields_are_found() {
        let line = serde_json::json!({"exitgate": {
            "verdict": "deny", "reason": "rule-denied", "phase": "preDns", "policy": "p", "rule": "r",
            "alerts": [{"policy": "p", "rule": "a"}], "intercepted": true, "injected": ["n/c"]
        }});
        let record = Record::read(&line);
        assert_eq!(
            (record.rule.as_str(), record.alerts.as_slice()),
            ("r", ["a".to_owned()].as_slice())
        );
        assert!(record.intercepted);
        assert_eq!(record.injected, ["n/c"]);
    }
}
