//! The gateway's records, read from its standard output as they are written.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;

use crate::log::Log;

/// One audit record, and the line that it was.
#[derive(Clone, Debug)]
pub struct Record(pub Value, pub String);

impl Record {
    fn text(&self, pointer: &str) -> &str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    /// Namespace and name of the workload.
    pub fn workload(&self) -> Option<(&str, &str)> {
        let workload = self.0.pointer("/exitgate/workload")?;
        Some((workload["namespace"].as_str()?, workload["name"].as_str()?))
    }

    pub fn decision(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub fn reason(&self) -> &str {
        self.text("/exitgate/reason")
    }

    pub fn verdict(&self) -> &str {
        self.text("/exitgate/verdict")
    }

    pub fn phase(&self) -> &str {
        self.text("/exitgate/phase")
    }

    pub fn policy(&self) -> &str {
        self.text("/exitgate/policy")
    }

    pub fn rule(&self) -> &str {
        self.text("/exitgate/rule")
    }

    pub fn detail(&self) -> &str {
        self.text("/exitgate/detail")
    }

    pub fn closed_by(&self) -> &str {
        self.text("/exitgate/closed_by")
    }

    pub fn assurance(&self) -> &str {
        self.text("/exitgate/assurance")
    }

    pub fn host(&self) -> &str {
        self.text("/dst_endpoint/hostname")
    }

    pub fn class(&self) -> u64 {
        self.0
            .pointer("/class_uid")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// Whether TLS was opened for it.
    pub fn intercepted(&self) -> bool {
        let opened = self.0.pointer("/exitgate/intercepted");
        opened.and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn method(&self) -> &str {
        self.text("/http_request/http_method")
    }

    pub fn bytes_out(&self) -> u64 {
        self.0
            .pointer("/traffic/bytes_out")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    pub fn bytes_in(&self) -> u64 {
        self.0
            .pointer("/traffic/bytes_in")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// What is missing of the things that every record carries, if anything is.
    pub fn incomplete(&self) -> Option<String> {
        let strings = [
            "/metadata/uid",
            "/metadata/version",
            "/src_endpoint/ip",
            "/exitgate/verdict",
            "/exitgate/reason",
        ];
        if let Some(field) = strings.iter().find(|field| self.text(field).is_empty()) {
            return Some(format!("{field} is missing or empty"));
        }
        let numbers = [
            "/class_uid",
            "/activity_id",
            "/time",
            "/action_id",
            "/src_endpoint/port",
        ];
        let missing = numbers
            .iter()
            .find(|field| self.0.pointer(field).and_then(Value::as_u64).is_none())?;
        Some(format!("{missing} is missing or no number"))
    }
}

/// All records of one gateway.
#[derive(Clone, Default)]
pub struct Records {
    pub log: Log<Record>,
    /// Lines of standard output that are no JSON object: a suite fails if there is any.
    pub garbage: Log<String>,
}

impl Records {
    pub(crate) fn read(&self, stdout: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        let records = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str::<Value>(&line) {
                    Ok(value @ Value::Object(_)) => records.log.push(Record(value, line)),
                    _ => records.garbage.push(line),
                }
            }
        })
    }

    /// The first record for which `wanted` holds.
    pub async fn find(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        self.log
            .wait(what, |all| {
                all.iter().find(|record| wanted(record)).cloned()
            })
            .await
    }
}
