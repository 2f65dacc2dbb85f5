//! What differs between two configuration files, value by value: for showing before it is put in force.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Differences told at most.
pub const DIFFERENCES_MAX: usize = 1_000;
/// Paths told at most where there is no room for all, and how many characters of each.
const PLACES_MAX: usize = 10;
const PLACE_CHARS: usize = 100;

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Where, as messages about configurations name it, such as `dhcp.subnets[0].pools`.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// What it is; absent if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// The differences between two texts, the first [`DIFFERENCES_MAX`]; a text that is no JSON counts as one without values.
pub fn differences(before: &str, after: &str) -> Vec<Difference> {
    let value = |text| serde_json::from_str(text).unwrap_or(Value::Null);
    let mut found = Vec::new();
    compare("", Some(&value(before)), Some(&value(after)), &mut found);
    found
}

/// Where two texts differ, the first few places: without the values, which may be secrets. Empty if they say the same.
pub fn places(before: &str, after: &str) -> String {
    let found = differences(before, after);
    let paths = found.iter().take(PLACES_MAX).map(|one| one.path.chars());
    let mut told: Vec<String> = paths.map(|path| path.take(PLACE_CHARS).collect()).collect();
    if found.len() > PLACES_MAX {
        told.push("and others".to_owned());
    }
    told.join(", ")
}

/// The depth is that of a file which was parsed, and so bounded by the parser.
fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after || found.len() == DIFFERENCES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&at, before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), found);
            }
        }
        _ => found.push(Difference { path: path.to_owned(), before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_named_by_their_paths() {
        let before = json!({"dhcp": {"a": 1, "b": [1, {"c": 2}], "gone": true, "same": [0]}});
        let after = json!({"dhcp": {"a": 2, "b": [1, {"c": 3}, 4], "new": null, "same": [0]}});
        let found = differences(&before.to_string(), &after.to_string());
        let mut told: Vec<_> = found.into_iter().map(|d| (d.path, d.before, d.after)).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(
            told,
            [
                ("dhcp.a".to_owned(), Some(json!(1)), Some(json!(2))),
                ("dhcp.b[1].c".to_owned(), Some(json!(2)), Some(json!(3))),
                ("dhcp.b[2]".to_owned(), None, Some(json!(4))),
                ("dhcp.gone".to_owned(), Some(json!(true)), None),
                ("dhcp.new".to_owned(), None, Some(json!(null))),
            ]
        );
        assert_eq!(differences(&before.to_string(), &before.to_string()), []);
    }

    #[test]
    fn places_are_a_few_and_tell_no_values() {
        let before = json!({"dhcp": {"lease_secs": 20, "key": "secret", "same": 1}}).to_string();
        let after = json!({"dhcp": {"lease_secs": 30, "key": "other secret", "same": 1}}).to_string();
        assert_eq!(places(&before, &after), "dhcp.lease_secs, dhcp.key");
        assert_eq!(places(&before, &before), "");
        let many = |value: u8| {
            let members = (0..99).map(|n| (format!("{n:0>200}"), json!(value)));
            Value::Object(members.collect()).to_string()
        };
        let told = places(&many(1), &many(2));
        assert!(told.ends_with(", and others") && told.len() < 10 * 110, "{told}");
    }

    #[test]
    fn there_are_not_too_many() {
        let many = |n: usize| json!(vec![n; DIFFERENCES_MAX + 9]).to_string();
        assert_eq!(differences(&many(1), &many(2)).len(), DIFFERENCES_MAX);
    }
}
