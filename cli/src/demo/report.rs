//! What happened, beside what was expected.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::expect::Row;
use super::records::Record;
use crate::output::{Table, line};

/// What came of one request.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the client saw.
    pub(super) saw: String,
    pub(super) record: Record,
}

/// All requests under all forms of the policy.
#[derive(Debug, Default)]
pub(super) struct Report {
    forms: Vec<(String, Vec<Line>)>,
    differences: Vec<String>,
}

#[derive(Debug)]
struct Line {
    name: String,
    request: String,
    /// What became of the request's TLS.
    tls: String,
    outcome: Outcome,
    expected: bool,
}

impl Report {
    /// Adds a form of the policy; its verdicts must be those of `alike`, other forms of it.
    pub(super) fn add(&mut self, form: &str, alike: &[&str], rows: &[Row], outcomes: Vec<Outcome>) {
        let mut lines = Vec::with_capacity(rows.len());
        for (index, (row, outcome)) in rows.iter().zip(outcomes).enumerate() {
            let mut wrong = differences(form, row, &outcome);
            let others = self
                .forms
                .iter()
                .filter(|(other, _)| alike.contains(&other.as_str()));
            let before = others.into_iter().find_map(|(other, lines)| {
                let line = lines.get(index)?;
                (line.outcome.record.verdict != outcome.record.verdict)
                    .then_some((other, &line.outcome.record.verdict))
            });
            if let Some((other, verdict)) = before {
                wrong.push(format!(
                    "verdict {} differs from {verdict} under {other}",
                    outcome.record.verdict
                ));
            }
            let expected = wrong.is_empty();
            if !expected {
                self.differences
                    .push(format!("row {:?} ({form}): {}", row.name, wrong.join("; ")));
            }
            lines.push(Line {
                name: row.name.clone(),
                request: shown(row),
                tls: tls(row, &outcome.record),
                outcome,
                expected,
            });
        }
        self.forms.push((form.to_owned(), lines));
    }

    /// Every difference from what was expected; each names its row.
    pub(super) fn differences(&self) -> &[String] {
        &self.differences
    }

    pub(super) fn print(&self, folder: &Path, kept: bool) -> io::Result<()> {
        for (form, lines) in &self.forms {
            let place = if kept {
                folder.join(form).display().to_string()
            } else {
                format!("examples/demo/{form}")
            };
            line(format_args!("{} ({place})\n", title(form)))?;
            let mut table = Table::new(&[
                "",
                "row",
                "request",
                "client saw",
                "TLS",
                "verdict",
                "phase",
                "rule",
                "reason",
                "alert",
            ]);
            for row in lines {
                let record = &row.outcome.record;
                table.row(vec![
                    if row.expected { "ok" } else { "!!" }.to_owned(),
                    row.name.clone(),
                    row.request.clone(),
                    row.outcome.saw.clone(),
                    or_dash(&row.tls),
                    record.verdict.clone(),
                    record.phase.clone(),
                    or_dash(&record.rule),
                    record.reason.clone(),
                    or_dash(&record.alerts.join(", ")),
                ]);
            }
            table.print()?;
            line(format_args!(""))?;
        }
        let rows: usize = self.forms.iter().map(|(_, lines)| lines.len()).sum();
        let wrong = self
            .forms
            .iter()
            .flat_map(|(_, lines)| lines)
            .filter(|line| !line.expected)
            .count();
        if wrong == 0 {
            line(format_args!(
                "{rows} of {rows} as expected; both forms of the first policy agree."
            ))
        } else {
            line(format_args!("{wrong} of {rows} not as expected."))
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let forms: Vec<Value> = self
            .forms
            .iter()
            .map(|(form, lines)| {
                let rows: Vec<Value> = lines.iter().map(Line::to_json).collect();
                json!({ "form": form, "rows": rows })
            })
            .collect();
        json!({ "forms": forms, "differences": self.differences })
    }
}

impl Line {
    fn to_json(&self) -> Value {
        let record = &self.outcome.record;
        json!({
            "row": self.name,
            "request": self.request,
            "clientSaw": self.outcome.saw,
            "verdict": record.verdict,
            "phase": record.phase,
            "policy": record.policy,
            "rule": record.rule,
            "reason": record.reason,
            "alerts": record.alerts,
            "intercepted": record.intercepted,
            "injected": record.injected,
            "asExpected": self.expected,
        })
    }
}

fn differences(form: &str, row: &Row, outcome: &Outcome) -> Vec<String> {
    let (expect, record) = (&row.expect, &outcome.record);
    let mut wrong = Vec::new();
    for (what, expected, found) in [
        ("verdict", &expect.verdict, &record.verdict),
        ("reason", &expect.reason, &record.reason),
        ("phase", &expect.phase, &record.phase),
        ("rule", &expect.rule, &record.rule),
        ("what the client saw", &expect.client, &outcome.saw),
    ] {
        if let Some(expected) = expected.of(form)
            && expected != found
        {
            wrong.push(format!(
                "{what} is {}, expected {}",
                or_dash(found),
                or_dash(expected)
            ));
        }
    }
    for (what, expected, found) in [
        ("alerts", &expect.alerts, &record.alerts),
        ("injected credentials", &expect.injected, &record.injected),
    ] {
        if expected != found {
            let found = or_dash(&found.join(", "));
            wrong.push(format!(
                "{what} are {found}, expected {}",
                or_dash(&expected.join(", "))
            ));
        }
    }
    if row.is_opened() != record.intercepted {
        let opened = |yes| if yes { "opened" } else { "not opened" };
        wrong.push(format!(
            "TLS was {}, expected {}",
            opened(record.intercepted),
            opened(row.is_opened())
        ));
    }
    wrong
}

fn shown(row: &Row) -> String {
    let mut text = format!("{} {}", row.method, row.url);
    if let Some(agent) = &row.user_agent {
        text.push_str(" with User-Agent ");
        text.push_str(agent);
    }
    if let Some(sni) = &row.sni {
        text.push_str(" with SNI ");
        text.push_str(sni);
    }
    text
}

fn tls(row: &Row, record: &Record) -> String {
    let injected = record.injected.join(", ");
    if !record.intercepted {
        let relayed = row.is_tls() && record.verdict == "allow";
        return if relayed { "relayed" } else { "" }.to_owned();
    }
    if injected.is_empty() {
        "opened".to_owned()
    } else {
        format!("opened, {injected} injected")
    }
}

fn title(form: &str) -> String {
    match form {
        "one" => "As one policy".to_owned(),
        "intercepted/policy" => {
            "With rules about what is inside TLS, opened for their hosts only".to_owned()
        }
        "three-phases" => "As three policies, one per phase".to_owned(),
        other => other.to_owned(),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn row(text: &str) -> Row {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_difference_names_its_row_and_form() {
        let row = row(r#"{"name": "a row", "url": "http://x.io/",
                "expect": {"verdict": "deny", "reason": {"one": "no-rule"}, "phase": "preDns"}}"#);
        let record = Record {
            verdict: "allow".into(),
            reason: "no-rule".into(),
            phase: "preDns".into(),
            ..Record::default()
        };
        let mut report = Report::default();
        report.add(
            "one",
            &["one", "two"],
            &[row],
            vec![Outcome {
                saw: "200".into(),
                record,
            }],
        );
        assert_eq!(
            report.differences(),
            ["row \"a row\" (one): verdict is allow, expected deny"]
        );
    }

    #[test]
    fn forms_that_disagree_are_a_difference() {
        let text = r#"{"name": "a row", "url": "http://x.io/",
                "expect": {"verdict": {"one": "deny", "two": "allow"}, "reason": "", "phase": ""}}"#;
        let mut report = Report::default();
        for (form, verdict) in [("one", "deny"), ("two", "allow")] {
            let record = Record {
                verdict: verdict.into(),
                ..Record::default()
            };
            report.add(
                form,
                &["one", "two"],
                &[row(text)],
                vec![Outcome {
                    saw: String::new(),
                    record,
                }],
            );
        }
        assert_eq!(
            report.differences(),
            ["row \"a row\" (two): verdict allow differs from deny under one"]
        );
    }
}
