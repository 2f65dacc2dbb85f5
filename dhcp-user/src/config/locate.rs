//! Finds the line and column of a path in the text, so that a fault found by a check on parsed values is shown where an
//! editor can jump to. Runs only when there are faults.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::problem::{Position, Problem, Step};

/// Adds a position to every problem that has none: that of the value its path names, or of the nearest value around it
/// if the path names something missing. `text` must be valid JSON; if it is not, positions stay unknown.
pub(super) fn locate(text: &str, problems: &mut [Problem]) {
    let mut open: Vec<&mut Problem> = problems.iter_mut().filter(|p| p.position.is_none()).collect();
    if let Ok(root) = serde_json::from_str::<&RawValue>(text) {
        descend(text, root, 0, &mut open);
    }
}

/// Positions `problems`, all of whose paths lead to `value` with their first `depth` steps. The depth is bounded by the
/// paths, and those by the configuration's own shape.
fn descend(text: &str, value: &RawValue, depth: usize, problems: &mut [&mut Problem]) {
    let here = position(text, value);
    let (mut by_key, mut by_index) = (BTreeMap::<String, Vec<_>>::new(), BTreeMap::<usize, Vec<_>>::new());
    for problem in problems {
        problem.position = here;
        match problem.path.get(depth) {
            Some(Step::Key(key)) => by_key.entry(key.clone()).or_default().push(&mut **problem),
            Some(Step::Index(index)) => by_index.entry(*index).or_default().push(&mut **problem),
            None => {}
        }
    }
    if !by_key.is_empty()
        && let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get())
    {
        for (key, mut inner) in by_key {
            if let Some(member) = members.get(&key) {
                descend(text, member, depth + 1, &mut inner);
            }
        }
    }
    if !by_index.is_empty()
        && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get())
    {
        for (index, mut inner) in by_index {
            if let Some(element) = elements.get(index) {
                descend(text, element, depth + 1, &mut inner);
            }
        }
    }
}

/// Where `value`, a slice of `text`, begins.
fn position(text: &str, value: &RawValue) -> Option<Position> {
    let offset = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let before = text.as_bytes().get(..offset)?;
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
    Some(Position {
        line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
        column: 1 + offset - line_start,
    })
}
