//! A bound on everything that can grow, and a shape that the API server takes.

use serde_json::{Map, Value, json};

use super::set;

/// Bounds of lists, by the path that they stand at: `[]` is an entry of a list, `{}` one of a map. The first pattern that
/// ends the path counts.
///
/// A rule of [`super::checks`] on the entries of a list costs its price times the bounds of all lists around it, and the
/// API server refuses a definition that may cost too much: so these are generous, but not without end. An object as a whole
/// is limited to 1.5 MiB by etcd.
const LISTS: [(&str, u64); 11] = [
    (".rules", 2_000),
    (".rules[].to.hosts", 500),
    (".rules[].not.to.hosts", 500),
    (".ports", 64),
    (".response.status", 32),
    ("spec.hosts", 20_000),
    ("spec.cidrs", 20_000),
    ("spec.workloads", 1_000),
    (".upstreams", 500),
    ("status.conditions", 16),
    (".waiting", 16),
];
const LIST: u64 = 500;

/// Bounds of texts, in characters.
const TEXTS: [(&str, u64); 17] = [
    (".name", 253),
    (".namespace", 63),
    (".namespaces[]", 63),
    (".hosts[]", 512),
    (".hostSets[]", 262),
    (".cidrSets[]", 262),
    (".cidrs[]", 64),
    (".ports[]", 11),
    (".response.status[]", 11),
    (".methods[]", 64),
    (".expiresAt", 64),
    (".when", 2_048),
    (".reason", 1_024),
    ("status.accepted.form", 1_000_000),
    ("status.conditions[].message", 32_768),
    (".matchLabels{}", 63),
    (".labels{}", 63),
];
const TEXT: u64 = 4_096;

/// Bounds of maps.
const MAPS: [(&str, u64); 1] = [(".headers", 64)];
const MAP: u64 = 100;

/// Lists whose entries have an identity: it may occur once, and server-side apply merges by it.
const KEYED: [(&str, &str); 3] = [
    ("spec.rules", "name"),
    ("spec.tls.upstreams", "name"),
    ("status.conditions", "type"),
];

/// Defaults that are written into objects: those that a column shows, and those that a check reads.
const DEFAULTS: [&str; 7] = [
    "spec.mode",
    "spec.priority",
    "spec.scope",
    "spec.defaultAction",
    "spec.enforcement",
    "spec.enforcement.mode",
    "spec.subject",
];

/// Bounds `schema`, which stands at `path`, and everything below it.
pub(super) fn apply(schema: &mut Value, path: &str) {
    let Value::Object(fields) = schema else {
        return;
    };
    fields.remove("nullable");
    if !DEFAULTS.contains(&path) {
        fields.remove("default");
    } else if path == "spec.enforcement" {
        // Filled by the defaults below it.
        fields.insert("default".to_owned(), json!({}));
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        // Source lines end where the editor's column does; what is read is one paragraph.
        *text = text.replace('\n', " ");
    }
    whole_numbers(fields);
    both_spellings(fields);
    let is_text = fields.get("type") == Some(&json!("string")) && !fields.contains_key("enum");
    if is_text || fields.contains_key("x-kubernetes-int-or-string") {
        limit(fields, "maxLength", bound(&TEXTS, path, TEXT));
    }
    if fields.contains_key("items") {
        limit(fields, "maxItems", bound(&LISTS, path, LIST));
        if let Some((_, key)) = KEYED.iter().find(|(at, _)| path == *at) {
            fields.insert("x-kubernetes-list-type".to_owned(), json!("map"));
            fields.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
        } else {
            fields.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
        }
    }
    if fields
        .get("additionalProperties")
        .is_some_and(Value::is_object)
    {
        limit(fields, "maxProperties", bound(&MAPS, path, MAP));
    }
    if path.rsplit('.').next() == Some("name") {
        limit(fields, "minLength", 1);
    }
    if path.starts_with("spec") {
        keep_nulls(fields);
    }
    if let Some(items) = fields.get_mut("items") {
        apply(items, &format!("{path}[]"));
    }
    if let Some(values) = fields.get_mut("additionalProperties") {
        apply(values, &format!("{path}{{}}"));
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for (name, property) in properties {
            let nullable = property.get("nullable").is_some();
            apply(property, &format!("{path}.{name}"));
            if nullable {
                set(property, "nullable", json!(true));
            }
        }
    }
}

/// A field without a value (`hosts:`) must reach the webhook and the controller, which refuse it. Left to itself the API
/// server drops it, and a condition that was forgotten would become one that always holds; it keeps nulls where a schema
/// permits them. Its own checks cannot see them.
fn keep_nulls(fields: &mut Map<String, Value>) {
    let required = fields.get("required").cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = fields.get_mut("properties") else {
        return;
    };
    for (name, property) in properties {
        let is_required = required
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == name));
        if !is_required {
            set(property, "nullable", json!(true));
        }
    }
}

fn bound(table: &[(&str, u64)], path: &str, otherwise: u64) -> u64 {
    table
        .iter()
        .find(|(end, _)| path.ends_with(end))
        .map_or(otherwise, |(_, bound)| *bound)
}

/// What the type itself says stays.
fn limit(fields: &mut Map<String, Value>, key: &str, value: u64) {
    if !fields.contains_key(key) {
        set_field(fields, key, json!(value));
    }
}

fn set_field(fields: &mut Map<String, Value>, key: &str, value: Value) {
    fields.insert(key.to_owned(), value);
}

/// The API server knows no unsigned numbers.
fn whole_numbers(fields: &mut Map<String, Value>) {
    let Some(format) = fields.get("format").and_then(Value::as_str) else {
        return;
    };
    let maximum = match format {
        "uint32" => Some(u64::from(u32::MAX)),
        "uint64" => None,
        _ => return,
    };
    set_field(fields, "format", json!("int64"));
    if let Some(maximum) = maximum {
        limit(fields, "maximum", maximum);
    }
    limit(fields, "minimum", 0);
}

/// `sni: absent` is accepted beside `sni: Absent`.
fn both_spellings(fields: &mut Map<String, Value>) {
    if let Some(words) = fields.get_mut("enum")
        && *words == json!(["Absent", "Present"])
    {
        *words = json!(["Absent", "Present", "absent", "present"]);
    }
}

/// The schema at a path below `schema`, written as in the tables above.
pub(super) fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut here = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (name, list) = step
            .strip_suffix("[]")
            .map_or((step, false), |name| (name, true));
        let (name, map) = name
            .strip_suffix("{}")
            .map_or((name, false), |name| (name, true));
        here = here.get_mut("properties")?.get_mut(name)?;
        if list {
            here = here.get_mut("items")?;
        }
        if map {
            here = here.get_mut("additionalProperties")?;
        }
    }
    Some(here)
}

/// Adds checks to a schema.
pub(super) fn add_checks(schema: &mut Value, checks: Vec<Value>) {
    let mut all = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    all.extend(checks);
    set(schema, "x-kubernetes-validations", Value::Array(all));
}
