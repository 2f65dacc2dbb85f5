//! The documents say what the code does: docs/openapi.json and the table of roles in docs/api.md.

use std::{collections::BTreeSet, fs, path::PathBuf};

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
