//! The documents say what the code does: docs/openapi.json and the table of roles in docs/api.md.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use super::{Peer, World, answer, text};
use crate::api::{
    access::rights::{Need, RIGHTS},
    description,
};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// After a change to the API: `UPDATE_OPENAPI=1 cargo test -p dhcp-user --lib api::tests::documents`.
#[test]
fn the_description_in_the_tree_is_current() {
    let current = format!("{}\n", description().to_pretty_json().unwrap());
    let path = docs().join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, current, "docs/openapi.json is not what the code gives; see this test for the command");
}

#[tokio::test]
async fn the_description_is_made_once_and_not_sent_to_who_knows_it() {
    let world = World::new(1);
    let router = world.seen_by(Peer::Local(None));
    let get = async |known: Option<&str>| {
        let mut question = super::request("GET", "/api/v1/openapi.json", None, "");
        if let Some(known) = known {
            question.headers_mut().insert("if-none-match", known.parse().unwrap());
        }
        answer(&router, question).await
    };
    let first = get(None).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["cache-control"], "no-cache");
    let said: Value = serde_json::from_str(&text(first).await).unwrap();
    assert_eq!(said, serde_json::to_value(description()).unwrap());
    for (known, status) in [(format!("\"x\", W/{tag}"), 304), ("\"x\"".to_owned(), 200)] {
        let again = get(Some(&known)).await;
        assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (status, &*tag));
        assert_eq!(text(again).await.is_empty(), status == 304);
    }
    let other = answer(&router, super::request("GET", "/healthz", None, "")).await;
    assert_eq!(other.headers()["cache-control"], "no-store");
}

#[test]
fn every_endpoint_is_described_and_has_rights() {
    let description = serde_json::to_value(description()).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            assert!(operation["description"].is_string() || operation["summary"].is_string(), "{path}");
        }
    }
    let rights: BTreeSet<_> =
        RIGHTS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, rights);
    assert_eq!(rights.len(), RIGHTS.len(), "none twice");
}

#[test]
fn the_table_of_roles_in_the_documents_is_the_one_in_the_code() {
    let page = fs::read_to_string(docs().join("api.md")).unwrap();
    for (method, path, need) in RIGHTS {
        let (role, scope) = match need {
            Need::Nothing => ("anybody", ""),
            Need::Part(role) => (role.as_str(), "what is in them"),
            Need::Whole(role) => (role.as_str(), "no"),
        };
        let row = format!("| `{method}` | `{path}` | {role} | {scope} |");
        assert!(page.lines().any(|line| line == row), "docs/api.md lacks: {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 5).count();
    assert_eq!(rows, RIGHTS.len());
}

/// A value cannot be a string and an object: what the macro makes of a field that is described in its place.
#[test]
fn nothing_is_described_that_no_value_can_be() {
    fn types(all: &[Value]) -> BTreeSet<&str> {
        all.iter().filter_map(|part| part["type"].as_str()).collect()
    }
    fn look(at: &Value, path: &str) {
        if let Some(all) = at["allOf"].as_array() {
            assert!(types(all).len() <= 1, "{path}: {at}");
        }
        match at {
            Value::Object(parts) => {
                parts.iter().for_each(|(name, part)| look(part, &format!("{path}/{name}")));
            }
            Value::Array(parts) => parts.iter().for_each(|part| look(part, path)),
            _ => {}
        }
    }
    look(&serde_json::to_value(description()).unwrap(), "");
}
