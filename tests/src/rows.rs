//! Rows of the attack suite: their declaration, and the account of which there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Declares rows as tests and lists their names in `ROWS`, so that the account needs no second list.
#[macro_export]
macro_rules! rows {
    ($($(#[$note:meta])* async fn $name:ident() $body:block)+) => {
        pub const ROWS: &[&str] = &[$(stringify!($name)),+];
        $(
            $(#[$note])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() $body
        )+
    };
}

/// `row_049_connect_host_differs` → 49.
pub fn number(name: &str) -> u32 {
    let digits = name.strip_prefix("row_").and_then(|rest| rest.get(..3));
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{name} is not named row_NNN_…"))
}

/// A table of a TOML file as key → value texts; the files here need nothing else of the language.
type Table = BTreeMap<String, String>;

/// Reads the `[[row]]` tables of a file in `tests/attacks/`.
pub fn read(file: &str) -> Vec<Table> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("attacks")
        .join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tables = Vec::<Table>::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[row]]" {
            tables.push(Table::new());
            continue;
        }
        let pair = line.split_once(" = ").zip(tables.last_mut());
        let Some(((key, value), table)) = pair else {
            panic!(
                "{file}:{}: neither [[row]] nor `key = value`: {line}",
                at + 1
            )
        };
        table.insert(key.into(), value.trim_matches('"').into());
    }
    tables
}

fn numbers(tables: &[Table]) -> BTreeSet<u32> {
    let found = tables
        .iter()
        .map(|table| table["number"].parse::<u32>().unwrap())
        .collect::<BTreeSet<_>>();
    assert_eq!(found.len(), tables.len(), "a row is listed twice");
    found
}

/// Every known row is either implemented or waits for something that is not built, never both and never neither.
pub fn account(implemented: &[&[&str]]) {
    let known = numbers(&read("rows.toml"));
    let waiting = read("pending.toml");
    for row in &waiting {
        let reason = row.get("waits_for").map(String::as_str);
        let allowed = matches!(reason, Some("interception" | "capture" | "dns"));
        assert!(
            allowed,
            "row {} waits for {reason:?}: only interception, capture and dns excuse a row",
            row["number"]
        );
    }
    let partly = waiting.iter().filter(|row| row.contains_key("partly"));
    let partly = numbers(&partly.cloned().collect::<Vec<_>>());
    let waiting = numbers(&waiting);
    let built = implemented
        .iter()
        .flat_map(|names| names.iter())
        .map(|name| number(name))
        .collect::<BTreeSet<_>>();
    let both = built
        .intersection(&waiting)
        .copied()
        .collect::<BTreeSet<_>>();
    assert_eq!(
        both, partly,
        "implemented though pending.toml lists them as waiting (left), and as partly tested (right)"
    );
    let present = built.union(&waiting).copied().collect::<BTreeSet<_>>();
    let missing = known.difference(&present).collect::<Vec<_>>();
    assert!(
        missing.is_empty(),
        "neither implemented nor listed in pending.toml: {missing:?}"
    );
    let unknown = present.difference(&known).collect::<Vec<_>>();
    assert!(unknown.is_empty(), "not in rows.toml: {unknown:?}");
}
