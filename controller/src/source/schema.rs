//! Checks a document against the JSON schema of its type and reports every difference at once.
//!
//! Deserialisation stops at the first error and knows no place in the text; this walk does not stop and names the field
//! path of each problem, with a proposal where a word looks like a slip of the pen.

use std::collections::BTreeSet;

use exitgate_policy::DurationText;
use serde_json::Value;

use super::document::{Data, Node};

/// A field path and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) path: String,
    pub(super) message: String,
    /// Only the case of a word differs from the schema: no problem where the type accepts the other spelling.
    pub(super) lenient: bool,
}

/// Every way in which `node` differs from `schema`; `root` resolves `$ref`, `path` is where `node` stands.
pub(super) fn validate(root: &Value, schema: &Value, node: &Node, path: &str) -> Vec<Mismatch> {
    let mut walk = Walk {
        root,
        found: Vec::new(),
    };
    walk.node(schema, node, path);
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    found: Vec<Mismatch>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, schema: &'a Value, node: &Node, path: &str) {
        let schema = self.resolve(schema);
        for part in list(schema, "allOf") {
            self.node(part, node, path);
        }
        let branches: Vec<&Value> = list(schema, "anyOf").chain(list(schema, "oneOf")).collect();
        if !branches.is_empty() {
            self.branches(&branches, node, path);
        }
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
            && !matches!(&node.data, Data::Scalar(Value::String(_)))
            && !matches!(&node.data, Data::Scalar(Value::Number(number)) if number.is_i64())
        {
            return self.report(path, wrong_type("a whole number or text", node));
        }
        if !type_matches(schema, node) {
            let expected = describe(schema);
            return self.report(path, wrong_type(&expected, node));
        }
        let words = words_of(schema);
        if let (Some(words), Some(text)) = (&words, node.as_str())
            && !words.contains(text)
        {
            return self.wrong_word(path, text, words);
        }
        match &node.data {
            Data::Scalar(value) => self.bounds(schema, value, path),
            Data::Sequence(items) => {
                if let Some(limit) = schema.get("maxItems").and_then(Value::as_u64)
                    && items.len() as u64 > limit
                {
                    self.report(
                        path,
                        format!("{} entries; at most {limit} are allowed", items.len()),
                    );
                }
                if let Some(limit) = schema.get("minItems").and_then(Value::as_u64)
                    && (items.len() as u64) < limit
                {
                    self.report(
                        path,
                        format!("{} entries; at least {limit} needed", items.len()),
                    );
                }
                if let Some(item_schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.node(item_schema, item, &format!("{path}[{index}]"));
                    }
                }
            }
            Data::Mapping(_) => self.mapping(schema, node, path),
        }
    }

    fn mapping(&mut self, schema: &'a Value, node: &Node, path: &str) {
        let Data::Mapping(entries) = &node.data else {
            return;
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let preserves =
            schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        for entry in entries {
            let child = join(path, &entry.key);
            if let Some(property) = properties.and_then(|all| all.get(&entry.key)) {
                // Kubernetes drops an empty optional field, so that a forgotten value would read as "any".
                if matches!(&entry.value.data, Data::Scalar(Value::Null)) {
                    self.report(&child, "has no value; write one or remove the field".into());
                } else {
                    self.node(property, &entry.value, &child);
                }
                continue;
            }
            match additional {
                Some(Value::Object(_)) => {
                    if let Some(schema) = additional {
                        self.node(schema, &entry.value, &child);
                    }
                }
                Some(Value::Bool(true)) => {}
                None if properties.is_none() || preserves => {}
                Some(_) | None => {
                    let names: Vec<&str> = properties
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name.as_str())
                        .collect();
                    let message = match closest(&entry.key, names.iter().copied()) {
                        Some(name) => format!("unknown field; did you mean {name:?}?"),
                        None => format!("unknown field; known here: {}", names.join(", ")),
                    };
                    self.report(&child, message);
                }
            }
        }
        for required in list(schema, "required").filter_map(Value::as_str) {
            if node.entry(required).is_none() {
                self.report(&join(path, required), "is required".into());
            }
        }
    }

    /// A value that may take several shapes: it is held against the one that it resembles most.
    fn branches(&mut self, branches: &[&'a Value], node: &Node, path: &str) {
        let mut best: Option<Vec<Mismatch>> = None;
        let mut words = BTreeSet::new();
        let mut described = Vec::new();
        for branch in branches {
            let branch = self.resolve(branch);
            words.extend(words_of(branch).unwrap_or_default());
            let mut attempt = Walk {
                root: self.root,
                found: Vec::new(),
            };
            attempt.node(branch, node, path);
            if attempt.found.is_empty() {
                return;
            }
            let shape_fits = type_matches(branch, node) && words_of(branch).is_none();
            if shape_fits
                && best
                    .as_ref()
                    .is_none_or(|found| attempt.found.len() < found.len())
            {
                best = Some(attempt.found);
            }
            if !is_null_schema(branch) {
                described.push(describe(branch));
            }
        }
        match (best, node.as_str()) {
            (Some(found), _) => self.found.extend(found),
            (None, Some(text)) if !words.is_empty() => self.wrong_word(path, text, &words),
            (None, _) => {
                described.dedup();
                self.report(path, wrong_type(&described.join(" or "), node));
            }
        }
    }

    fn bounds(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(number) = value.as_f64() {
            if let Some(minimum) = schema.get("minimum").and_then(Value::as_f64)
                && number < minimum
            {
                self.report(path, format!("{value} is below the minimum {minimum}"));
            }
            if let Some(maximum) = schema.get("maximum").and_then(Value::as_f64)
                && number > maximum
            {
                self.report(path, format!("{value} is above the maximum {maximum}"));
            }
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            if let Some(limit) = schema.get("maxLength").and_then(Value::as_u64)
                && length > limit
            {
                self.report(
                    path,
                    format!("{length} characters; at most {limit} are allowed"),
                );
            }
            if let Some(limit) = schema.get("minLength").and_then(Value::as_u64)
                && length < limit
            {
                self.report(path, "must not be empty".into());
            }
            let is_duration = schema
                .get("pattern")
                .and_then(Value::as_str)
                .is_some_and(|p| p.contains("ms|s|m|h"));
            if is_duration && DurationText::parse(text).is_none() {
                let message = "is not a length of time; write for example 500ms, 10s, 5m or 1h30m";
                self.report(path, format!("{text:?} {message}"));
            }
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // A chain of references longer than this is a loop in the schema, not something a document can cause.
        for _ in 0..16 {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
                break;
            };
            let Some(target) = reference
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer))
            else {
                break;
            };
            schema = target;
        }
        schema
    }

    fn wrong_word(&mut self, path: &str, text: &str, words: &BTreeSet<String>) {
        let hint = closest(text, words.iter().map(String::as_str));
        let all = words.iter().cloned().collect::<Vec<_>>().join(", ");
        let hint = hint
            .map(|word| format!("; did you mean {word:?}?"))
            .unwrap_or_default();
        let message = format!("{text:?} is not one of {all}{hint}");
        let lenient = words.iter().any(|word| word.eq_ignore_ascii_case(text));
        self.found.push(Mismatch {
            path: path.to_owned(),
            message,
            lenient,
        });
    }

    fn report(&mut self, path: &str, message: String) {
        self.found.push(Mismatch {
            path: path.to_owned(),
            message,
            lenient: false,
        });
    }
}

fn type_matches(schema: &Value, node: &Node) -> bool {
    let fits = |name: &str| match (&node.data, name) {
        (Data::Mapping(_), "object")
        | (Data::Sequence(_), "array")
        | (Data::Scalar(Value::String(_)), "string")
        | (Data::Scalar(Value::Bool(_)), "boolean")
        | (Data::Scalar(Value::Null), "null")
        | (Data::Scalar(Value::Number(_)), "number") => true,
        (Data::Scalar(Value::Number(number)), "integer") => number.is_i64() || number.is_u64(),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::String(name)) => fits(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(fits),
        _ => true,
    }
}

/// The closed list of words that a schema allows, if it is one.
fn words_of(schema: &Value) -> Option<BTreeSet<String>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(BTreeSet::from([word.to_owned()]));
    }
    let all = schema.get("enum")?.as_array()?;
    Some(
        all.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

fn describe(schema: &Value) -> String {
    let article = |name: &str| match name {
        "array" => "a list".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "object" => "a mapping".to_owned(),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(name)) => article(name),
        Some(Value::Array(names)) => {
            let names: Vec<String> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .map(article)
                .collect();
            names.join(" or ")
        }
        _ => "another shape".to_owned(),
    }
}

fn list<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn is_null_schema(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
        || schema
            .get("enum")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().all(Value::is_null))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn wrong_type(expected: &str, node: &Node) -> String {
    let found = match &node.data {
        Data::Mapping(_) => "a mapping".to_owned(),
        Data::Sequence(_) => "a list".to_owned(),
        Data::Scalar(Value::Null) => "nothing".to_owned(),
        Data::Scalar(Value::String(text)) => format!("the text {:?}", shorten(text)),
        Data::Scalar(Value::Bool(value)) => format!("{value}"),
        Data::Scalar(other) => format!("the number {other}"),
    };
    let quote =
        expected == "text" && matches!(&node.data, Data::Scalar(Value::Number(_) | Value::Bool(_)));
    let hint = if quote { "; put it in quotes" } else { "" };
    format!("expected {expected}, found {found}{hint}")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        return text.to_owned();
    }
    text.chars().take(37).chain("...".chars()).collect()
}

/// The candidate that `word` was probably meant to be.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .filter_map(|candidate| {
            let distance = edits(&lower, &candidate.to_lowercase());
            let allowed = 1 + candidate.len() / 4;
            (distance <= allowed && distance < candidate.len()).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance of two short words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(MAX_WORD).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(MAX_WORD).enumerate() {
        let mut next = vec![i + 1];
        let mut last = i + 1;
        for ((b, above_left), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            last = (above_left + usize::from(a != *b))
                .min(above + 1)
                .min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

const MAX_WORD: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::document::parse;
    use super::*;

    fn problems(schema: &Value, text: &str) -> Vec<String> {
        let (documents, error) = parse(text);
        assert!(error.is_none());
        validate(schema, schema, &documents[0], "spec")
            .into_iter()
            .map(|found| format!("{}: {}", found.path, found.message))
            .collect()
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["rules"],
            "properties": {
                "mode": {"oneOf": [
                    {"type": "string", "const": "Enforce", "description": "x"},
                    {"type": "string", "const": "Audit"}]},
                "priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 1000},
                "rules": {"type": "array", "items": {"$ref": "#/$defs/Rule"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}
            },
            "$defs": {"Rule": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "port": {"anyOf": [{"type": "integer", "maximum": 65535}, {"type": "string"}]},
                    "not": {"anyOf": [{"$ref": "#/$defs/Rule"}, {"type": "null"}]}
                }}}
        })
    }

    #[test]
    fn reports_everything_with_paths() {
        let text = "mode: enforced\npriority: 2000\nrules:\n- nmae: a\n  port: [1]\n- name: ''\n  port: 70000\nlabels: {a: 1}\nextra: 1\n";
        assert_eq!(
            problems(&schema(), text),
            [
                "spec.mode: \"enforced\" is not one of Audit, Enforce; did you mean \"Enforce\"?",
                "spec.priority: 2000 is above the maximum 1000",
                "spec.rules[0].nmae: unknown field; did you mean \"name\"?",
                "spec.rules[0].port: expected a whole number or text, found a list",
                "spec.rules[0].name: is required",
                "spec.rules[1].name: must not be empty",
                "spec.rules[1].port: 70000 is above the maximum 65535",
                "spec.labels.a: expected text, found the number 1; put it in quotes",
                "spec.extra: unknown field; known here: labels, mode, priority, rules",
            ]
        );
    }

    #[test]
    fn recursion_and_empty_values() {
        let text = "rules:\n- name: a\n  not: {name: b, not: {nme: c, name: d}}\n  port:\n";
        assert_eq!(
            problems(&schema(), text),
            [
                "spec.rules[0].not.not.nme: unknown field; did you mean \"name\"?",
                "spec.rules[0].port: has no value; write one or remove the field",
            ]
        );
    }

    #[test]
    fn proposals_are_near_or_absent() {
        assert_eq!(
            closest("host", ["hosts", "ports"].into_iter()),
            Some("hosts")
        );
        assert_eq!(
            closest("podselector", ["podSelector"].into_iter()),
            Some("podSelector")
        );
        assert_eq!(closest("zzz", ["hosts", "ports"].into_iter()), None);
    }
}
