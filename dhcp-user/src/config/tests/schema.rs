//! The JSON Schema in the tree is the one the types give, and it agrees with the parser.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::sites;
use crate::config::{load, schema};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// After a change to the `wire` types: `UPDATE_SCHEMA=1 cargo test -p dhcp-user --lib config::tests::schema`.
#[test]
fn the_schema_in_the_tree_is_current() {
    let path = docs().join("config.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &current).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        current,
        "docs/config.schema.json is not what the types give; see this test for the command"
    );
}

fn errors(instance: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path)).collect()
}

#[test]
fn every_example_is_accepted_by_parser_and_schema() {
    let mut seen = 0;
    for entry in fs::read_dir(docs().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // The text and not the file: a checkout's file mode is not what is tested.
        crate::config::parse(&text, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(errors(&serde_json::from_str(&text).unwrap()), [""; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} examples found");
    assert!(load(&docs().join("examples/none.json")).is_err());
}

#[test]
fn the_examples_of_the_page_on_configuration_are_accepted() {
    let page = fs::read_to_string(docs().join("configuration.md")).unwrap();
    let mut seen = 0;
    for block in page.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        crate::config::parse(text, "docs/configuration.md")
            .unwrap_or_else(|error| panic!("{error}\nin:\n{text}"));
        assert_eq!(errors(&serde_json::from_str(text).unwrap()), [""; 0], "{text}");
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} examples found");
}

/// A key the page forgets is a key nobody finds.
#[test]
fn the_page_on_configuration_names_every_key_and_every_option() {
    let page = fs::read_to_string(docs().join("configuration.md")).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema(), &mut keys);
    keys.extend(crate::config::options::names().map(str::to_owned));
    keys.extend(crate::config::options::type_names().into_iter().map(str::to_owned));
    let missing: Vec<_> = keys.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(keys.len() > 100 && missing.is_empty(), "docs/configuration.md does not name {missing:?}");
}

fn collect_keys(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                if name == "properties" {
                    keys.extend(value.as_object().into_iter().flat_map(|p| p.keys().cloned()));
                }
                collect_keys(value, keys);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_keys(element, keys)),
        _ => {}
    }
}

#[test]
fn the_guide_is_accepted_by_the_schema() {
    for count in 1..=5 {
        assert_eq!(errors(&sites::merged(count)), [""; 0]);
    }
}

#[test]
fn the_schema_refuses_what_it_can() {
    for text in [
        r#"{}"#,
        r#"{"dhcp": {"subnts": []}}"#,
        r#"{"dhcp": {"interfaces": [{"name": "eth0", "mode": "fast"}]}}"#,
        r#"{"dhcp": {"lease_secs": 1}}"#,
        r#"{"dhcp": {"options": [{"value": 1}]}}"#,
        r#"{"dhcp": {"options": [{"name": "domain-name"}]}}"#,
        r#"{"dhcp": {"options": [{"name": "no-such-option", "value": 1}]}}"#,
        r#"{"dhcp": {"options": [{"code": 224, "type": "u128", "value": 1}]}}"#,
        r#"{"dhcp": {"subnets": [{"subnet": "198.18.0.0/16", "vlans": [1, 2, 3]}]}}"#,
        r#"{"dhcp": {"subnets": [{"subnet": "198.18.0.0/16", "vlan": 4095}]}}"#,
        r#"{"dhcp": {"subnets": [{"subnet": "198.18.0.0/16", "reservations": [{"address": "198.18.0.1"}]}]}}"#,
        r#"{"dhcp": {"datacenter": {"multi_site": {"synchronization": {"mode": "maybe"}}}}}"#,
    ] {
        assert_ne!(errors(&serde_json::from_str(text).unwrap()), [""; 0], "{text}");
        super::bad(text);
    }
}
