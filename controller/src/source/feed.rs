//! Long lists of names in files of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exitgate_policy::{NameSet, NameSetBuilder, Severity};

use super::document::Position;
use super::files::read_capped;
use super::report::Diagnostic;

/// A list that was read, with what had to be left out of it.
pub(super) struct Feed {
    pub(super) names: Arc<NameSet>,
    pub(super) problems: Vec<Diagnostic>,
}

/// Reads a list with one pattern per line. `extra` are patterns of the document itself. A line that is no pattern is left
/// out with a warning: no name could match it anyway, and one bad line must not take a list of millions away.
pub(super) fn read(file: &Path, extra: &[String]) -> Result<Feed, String> {
    let text = read_capped(file, MAX_FEED_FILE)?;
    let mut builder = NameSetBuilder::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut left_out = 0_usize;
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let pattern = line
            .split(|&byte| byte == b'#')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if pattern.is_empty() {
            continue;
        }
        if let Err(problem) = builder.add(pattern) {
            left_out += 1;
            if left_out <= MAX_LINES_NAMED {
                let shown =
                    String::from_utf8_lossy(pattern.get(..80).unwrap_or(pattern)).into_owned();
                problems.push(warning(
                    file,
                    Some(Position {
                        line: number + 1,
                        column: 1,
                    }),
                    format!("{shown:?} is not a host pattern and is left out: {problem}"),
                ));
            }
        }
    }
    if left_out > MAX_LINES_NAMED {
        problems.push(warning(
            file,
            None,
            format!("{left_out} lines are left out; the first {MAX_LINES_NAMED} are named"),
        ));
    }
    // Patterns of the document are the compiler's to judge; those that it will refuse are not needed here.
    for pattern in extra {
        builder.add(pattern.as_bytes()).ok();
    }
    let names = builder.finish().map_err(|error| error.to_string())?;
    Ok(Feed {
        names: Arc::new(names),
        problems,
    })
}

fn warning(file: &Path, position: Option<Position>, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        file: Some(PathBuf::from(file)),
        position,
        object: None,
        path: String::new(),
        message,
    }
}

const MAX_FEED_FILE: u64 = 256 << 20;
const MAX_LINES_NAMED: usize = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use exitgate_policy::Name;

    use super::*;
    use crate::source::testing::Folder;

    #[test]
    fn names_comments_and_bad_lines() {
        let folder = Folder::new(&[("list.txt", "# list\na.io\r\n*.b.io # why\n\n*.*.c.io\n")]);
        let feed = read(&folder.path().join("list.txt"), &["d.io".to_owned()]).unwrap();
        assert_eq!(feed.names.len(), 3);
        for (name, expected) in [
            ("a.io", true),
            ("x.b.io", true),
            ("b.io", false),
            ("d.io", true),
        ] {
            assert_eq!(
                feed.names.contains(&Name::parse(name.as_bytes()).unwrap()),
                expected,
                "{name}"
            );
        }
        assert_eq!(feed.problems.len(), 1);
        assert_eq!(feed.problems[0].position.unwrap().line, 5);
    }
}
