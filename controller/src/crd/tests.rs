#![allow(clippy::unwrap_used, reason = "tests")]
use std::path::{Path, PathBuf};

use super::*;

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/exitgate-crds/templates")
}

#[test]
fn the_chart_holds_what_the_types_say() {
    for (kind, definition) in Kind::ALL.into_iter().zip(definitions().unwrap()) {
        let path = chart().join(file_name(kind));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == to_yaml(&definition).unwrap(),
            "{} is not what the types say; run: cargo run --bin exitgate -- crds --dir charts/exitgate-crds/templates",
            path.display()
        );
        assert!(
            !committed.contains("{{"),
            "Helm would read a template in {}",
            path.display()
        );
    }
    let files = std::fs::read_dir(chart()).unwrap().count();
    assert_eq!(
        files,
        Kind::ALL.len(),
        "the chart has a file of its own beside them"
    );
}

/// Every schema says what it contains, is closed, bounded and described.
fn sound(schema: &Value, path: &str) {
    assert!(
        schema["description"].is_string() || path.ends_with(']') || path.ends_with('}'),
        "{path} has no description"
    );
    for foreign in ["oneOf", "anyOf", "allOf", "not", "additionalItems", "$ref"] {
        assert!(
            schema.get(foreign).is_none() || schema["x-kubernetes-int-or-string"] == true,
            "{path} has {foreign}"
        );
    }
    assert!(
        schema.get("x-kubernetes-preserve-unknown-fields").is_none(),
        "{path} is open"
    );
    if schema["x-kubernetes-int-or-string"] == true {
        assert!(schema["maxLength"].is_u64(), "{path} is without end");
        return;
    }
    match schema["type"]
        .as_str()
        .unwrap_or_else(|| panic!("{path} has no type"))
    {
        "array" => {
            assert!(schema["maxItems"].is_u64(), "{path} is without end");
            sound(&schema["items"], &format!("{path}[]"));
        }
        "string" => assert!(
            schema["maxLength"].is_u64() || schema["enum"].is_array(),
            "{path} is without end"
        ),
        "object" => {
            if let Some(properties) = schema["properties"].as_object() {
                for (name, property) in properties {
                    sound(property, &format!("{path}.{name}"));
                }
            } else {
                assert!(schema["maxProperties"].is_u64(), "{path} is without end");
                sound(&schema["additionalProperties"], &format!("{path}{{}}"));
            }
        }
        "boolean" | "integer" => {}
        other => panic!("{path} is {other}"),
    }
}

#[test]
fn definitions_are_closed_bounded_and_described() {
    for definition in definitions().unwrap() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            sound(&schema["properties"][part], part);
        }
        assert_eq!(
            value["spec"]["versions"][0]["subresources"],
            json!({"status": {}})
        );
        let columns = value["spec"]["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .unwrap();
        let names: Vec<_> = columns
            .iter()
            .filter_map(|column| column["name"].as_str())
            .collect();
        assert!(
            names.contains(&"Accepted") && names.last() == Some(&"Age"),
            "{names:?}"
        );
        assert_eq!(value["spec"]["names"]["categories"], json!(["exitgate"]));
        assert!(value["spec"]["names"]["shortNames"][0].is_string());
    }
}
