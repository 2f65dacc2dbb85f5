//! From text to the `wire` types: strict JSON without duplicate keys, and serde's messages put into an operator's words.

use std::{collections::HashSet, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Segment;

use super::{
    problem::{Position, Problems, Step, hint},
    wire::{self, Object},
};

/// The file as written; `None` if a problem was noted.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Object<wire::File>> {
    shape(text, problems)
}

/// A part of the file, or all of it, as written; `None` if a problem was noted.
pub(super) fn shape<T: de::DeserializeOwned>(text: &str, problems: &mut Problems) -> Option<T> {
    // First for the shape of the JSON alone: afterwards the text is known to be valid, and faults can be located in it.
    if let Err((path, error)) = read::<UniqueKeys>(text) {
        let position = Position { line: error.line(), column: error.column() };
        problems.add_owned(path, Some(position), reworded(&error));
        return None;
    }
    match read::<T>(text) {
        Ok(file) => Some(file),
        Err((path, error)) => {
            problems.add_owned(path, None, reworded(&error));
            None
        }
    }
}

fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, (Vec<Step>, serde_json::Error)> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let steps = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(Step::Index(*index)),
                Segment::Map { key } => Some(Step::Key(key.clone())),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        (steps, error.into_inner())
    })?;
    deserializer.end().map_err(|error| (Vec::new(), error))?;
    Ok(value)
}

/// serde's message without its position (shown in front) and without Rust's type names.
fn reworded(error: &serde_json::Error) -> String {
    let full = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    let message = full.strip_suffix(&end).unwrap_or(&full);
    if let Some((key, known)) =
        message.strip_prefix("unknown field `").and_then(|m| m.split_once("`, expected "))
    {
        // "`a`, `b`" and "one of `a` or `b`" alike: every second piece is a name.
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let key: String = key.chars().take(80).collect();
        return format!("unknown key `{}`{}", key.escape_debug(), hint(&key, &known));
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        return format!("the key `{key}` is missing");
    }
    if let Some((found, expected)) = message.rsplit_once(", expected ") {
        let expected = match expected {
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" => "a whole number from 0 to 4294967295",
            "f64" => "a number",
            "a boolean" => "true or false",
            "a sequence" => "an array",
            other => other,
        };
        let found: String = found.chars().take(160).collect();
        return format!("{found}, expected {expected}");
    }
    if error.is_data() { message.to_owned() } else { format!("not valid JSON: {message}") }
}

/// Any JSON value in which no object gives a key twice: serde would refuse that for the keys it knows only, and other
/// readers of the file would silently take the first or the last.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UniqueKeys, A::Error> {
        while seq.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                let shown: String = key.chars().take(80).collect();
                return Err(de::Error::custom(format!(
                    "the key `{}` is given twice in one object; keep one of them",
                    shown.escape_debug()
                )));
            }
            map.next_value::<UniqueKeys>()?;
            keys.insert(key);
        }
        Ok(UniqueKeys)
    }
}
