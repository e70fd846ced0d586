//! What the commands print: lines, tables and JSON on standard output, notes on standard error.

use std::fmt::{Arguments, Write as _};
use std::io::{self, Write as _};

use serde::Serialize;

/// How a command shows its result.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Format {
    /// How to show the result.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = Kind::Text)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// For machines.
    Json,
    /// For people.
    Text,
}

impl Format {
    pub(crate) fn is_json(self) -> bool {
        self.kind == Kind::Json
    }
}

/// One line on standard output.
pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A value as indented JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// One line on standard error. Nobody can be told when that fails.
pub(crate) fn note(text: Arguments<'_>) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| heading.to_uppercase())
                    .collect(),
            ],
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        line(format_args!("{}", self.render()))
    }

    fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut lines = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut text = String::new();
            for (width, cell) in widths.iter().zip(row) {
                // Writing to a String cannot fail.
                write!(text, "{cell:<width$}  ").ok();
            }
            lines.push(text.trim_end().to_owned());
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", "x"]);
        table.row(vec!["é".into(), "1".into()]);
        table.row(vec!["longer".into(), String::new()]);
        assert_eq!(table.render(), "NAME    X\né       1\nlonger");
    }
}
