//! YAML and JSON text as a tree whose every node knows its line, so that a problem can name `file:line`.
//!
//! Built on parser events rather than on a ready-made value type: this is the place where the size of what a file
//! expands to is bounded (aliases), where duplicate keys are an error, and where positions are kept.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One value of a document with the place where it starts.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Scalar(Value),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_position: Position,
    pub(super) value: Node,
}

/// Text that is not a well-formed document stream.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct SyntaxError {
    pub(super) position: Position,
    pub(super) message: String,
}

/// Parses every document of `text`; documents without content are left out. What was read before a syntax error is
/// returned as well, so that one run can report as much as possible.
pub(super) fn parse(text: &str) -> (Vec<Node>, Option<SyntaxError>) {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match builder.document() {
            Ok(Some(node)) if documents.len() < MAX_DOCUMENTS => documents.push(node),
            Ok(Some(node)) => {
                let error = SyntaxError {
                    position: node.position,
                    message: format!("more than {MAX_DOCUMENTS} documents in one file"),
                };
                return (documents, Some(error));
            }
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
    }
}

/// The one document of `text` as JSON; an error begins with the line.
pub fn read_yaml(text: &str) -> Result<Value, String> {
    match parse(text) {
        (_, Some(error)) => Err(format!("{}: {error}", error.position.line)),
        (documents, None) => match documents.as_slice() {
            [node] => Ok(node.to_json()),
            other => Err(format!("1: {} documents where one is meant", other.len())),
        },
    }
}

impl Node {
    /// A value that was parsed elsewhere; it has no place in a text.
    pub(super) fn from_json(value: &Value) -> Self {
        let position = Position::default();
        let data = match value {
            Value::Array(items) => Data::Sequence(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Data::Mapping(
                fields
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_position: position,
                        value: Self::from_json(value),
                    })
                    .collect(),
            ),
            scalar => Data::Scalar(scalar.clone()),
        };
        Self { position, data }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            Data::Scalar(_) | Data::Sequence(_) => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(value) => value.as_str(),
            Data::Sequence(_) | Data::Mapping(_) => None,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::Sequence(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Data::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The position of a field path such as `spec.rules[2].to.hosts[0]`; for a path that leads beyond what is written,
    /// the position of the deepest part that exists.
    pub(super) fn locate(&self, path: &str) -> Position {
        let mut node = self;
        let mut position = self.position;
        let mut rest = path;
        loop {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            if rest.is_empty() {
                return position;
            }
            let step = match &node.data {
                Data::Mapping(entries) => entries
                    .iter()
                    .filter_map(|entry| {
                        let after = rest.strip_prefix(entry.key.as_str())?;
                        (after.is_empty() || after.starts_with(['.', '[']))
                            .then_some((entry, after))
                    })
                    // Label keys contain dots themselves: the longest key that fits is the one meant.
                    .max_by_key(|(entry, _)| entry.key.len())
                    .map(|(entry, after)| (&entry.value, entry.key_position, after)),
                Data::Sequence(items) => rest
                    .strip_prefix('[')
                    .and_then(|inner| inner.split_once(']'))
                    .and_then(|(index, after)| {
                        let item = items.get(index.parse::<usize>().ok()?)?;
                        Some((item, item.position, after))
                    }),
                Data::Scalar(_) => None,
            };
            match step {
                Some((next, at, after)) => (node, position, rest) = (next, at, after),
                None => return position,
            }
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Option<Node>, SyntaxError> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(None),
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                // An empty document (two separators in a row, or only comments) is nothing to report.
                Event::Scalar(ref text, ScalarStyle::Plain, 0, None) if is_null(text) => {}
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => return self.value(event, span, 0).map(Some),
            }
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, SyntaxError> {
        let position = position(span);
        if depth > MAX_DEPTH {
            return Err(error(
                position,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.count(position, 1)?;
        let (anchor, data) = match event {
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                let node = target.ok_or_else(|| {
                    error(position, "alias to an anchor that is not complete".into())
                })?;
                self.count(position, size(&node))?;
                // Aliases compose: each may be shallow where it is written and the whole still too deep.
                if depth + height(&node) > MAX_DEPTH {
                    return Err(error(
                        position,
                        format!("nested deeper than {MAX_DEPTH} levels"),
                    ));
                }
                return Ok(Node {
                    position,
                    data: node.data,
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, Data::Scalar(scalar(text, style, tag.as_deref())))
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.value(event, span, depth + 1)?);
                }
                (anchor, Data::Sequence(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Data::Mapping(self.mapping(depth)?)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err(error(position, "unexpected end of the document".into()));
            }
        };
        let node = Node { position, data };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            let key_position = position(span);
            let key = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(error(key_position, "a key must be plain text".into())),
            };
            if let Some(first) = seen.insert(key.clone(), key_position.line) {
                return Err(error(
                    key_position,
                    format!("the key {key:?} is written twice (first on line {first})"),
                ));
            }
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            entries.push(Entry {
                key,
                key_position,
                value,
            });
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(scan)) => Err(SyntaxError::from(scan)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn count(&mut self, position: Position, nodes: usize) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(error(
                position,
                format!("the file expands to more than {MAX_NODES} values"),
            ));
        }
        Ok(())
    }
}

impl From<ScanError> for SyntaxError {
    fn from(scan: ScanError) -> Self {
        let marker = scan.marker();
        error(
            Position {
                line: marker.line(),
                column: marker.col() + 1,
            },
            format!("not valid YAML: {}", scan.info()),
        )
    }
}

fn error(position: Position, message: String) -> SyntaxError {
    SyntaxError { position, message }
}

fn position(span: Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar(_) => 0,
        Data::Sequence(items) => items.iter().map(size).sum(),
        Data::Mapping(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

fn height(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar(_) => 0,
        Data::Sequence(items) => items.iter().map(height).max().unwrap_or(0),
        Data::Mapping(entries) => entries
            .iter()
            .map(|entry| height(&entry.value))
            .max()
            .unwrap_or(0),
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The core schema of YAML 1.2, except that a number with a leading zero stays text: YAML 1.1 readers (Kubernetes) take
/// it as octal, and a value that means two things is better refused by the type check that follows.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let as_text = style != ScalarStyle::Plain
        || tag.is_some_and(|tag| {
            tag.is_yaml_core_schema() && tag.suffix == "str" || tag.handle == "!"
        });
    if as_text {
        return Value::String(text.into_owned());
    }
    if is_null(&text) {
        return Value::Null;
    }
    match text.as_ref() {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let canonical = digits == "0" || !digits.starts_with('0') || digits.starts_with("0.");
    if canonical && digits.starts_with(|first: char| first.is_ascii_digit()) {
        let unsigned = text.strip_prefix('+').unwrap_or(&text);
        if let Ok(number) = unsigned.parse::<i64>() {
            return Value::from(number);
        }
        if let Ok(number) = unsigned.parse::<f64>()
            && number.is_finite()
        {
            return Value::from(number);
        }
    }
    Value::String(text.into_owned())
}

const MAX_DEPTH: usize = 64;
const MAX_DOCUMENTS: usize = 10_000;
const MAX_NODES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fmt::Write as _;

    use super::*;

    fn one(text: &str) -> Node {
        let (mut documents, error) = parse(text);
        assert!(error.is_none(), "{error:?}");
        documents.remove(0)
    }

    #[test]
    fn keeps_lines_of_nested_fields() {
        let node = one(
            "# note\nspec:\n  rules:\n  - name: a\n    to:\n      hosts:\n      - a.io\n      - b.io\n",
        );
        assert_eq!(node.locate("spec.rules[0].to.hosts[1]").line, 8);
        assert_eq!(node.locate("spec.rules[0].to.ports[3]").line, 5);
        assert_eq!(node.locate("spec.rules[7]").line, 3);
        assert_eq!(node.locate("").line, 2);
    }

    #[test]
    fn keys_with_dots_are_found_whole() {
        let node = one("labels:\n  app: x\n  app.kubernetes.io/name: y\n");
        assert_eq!(node.locate("labels.app.kubernetes.io/name").line, 3);
        assert_eq!(node.locate("labels.app").line, 2);
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node = one("[1, -2, 1.5, true, no, ~, '1', 010, 1.2.3.4, 0x10, .io, 0]");
        let expected = serde_json::json!([
            1, -2, 1.5, true, "no", null, "1", "010", "1.2.3.4", "0x10", ".io", 0
        ]);
        assert_eq!(node.to_json(), expected);
    }

    #[test]
    fn several_documents_and_empty_ones() {
        let (documents, error) = parse("---\n---\na: 1\n---\n# only a comment\n---\nb: 2\n");
        assert!(error.is_none());
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].position.line, 7);
        assert_eq!(parse("").0.len(), 0);
    }

    #[test]
    fn json_is_read_too() {
        let node = one("{\n\t\"a\": [1, {\"b\": null}]\n}");
        assert_eq!(node.to_json(), serde_json::json!({"a": [1, {"b": null}]}));
    }

    #[test]
    fn duplicate_keys_are_refused_with_both_lines() {
        let (_, error) = parse("a: 1\nb: 2\na: 3\n");
        let error = error.unwrap();
        assert_eq!(error.position.line, 3);
        assert!(error.message.contains("line 1"));
    }

    #[test]
    fn what_precedes_a_syntax_error_is_kept() {
        let (documents, error) = parse("a: 1\n---\nb: [1\n---\n");
        assert_eq!(documents.len(), 1);
        assert!(error.unwrap().position.line >= 3);
    }

    #[test]
    fn expansion_and_depth_are_bounded() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = level - 1;
            let items = vec![format!("*a{before}"); 10].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
        }
        assert!(parse(&bomb).1.unwrap().message.contains("expands"));
        let mut chain = String::from("a0: &a0 [x]\n");
        for level in 1..5000 {
            writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        assert!(parse(&chain).1.unwrap().message.contains("deeper"));
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).1.is_some());
    }
}
