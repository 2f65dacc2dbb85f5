//! What the tree says a thing may cost, and what has changed.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// How much more something may take, in hundredths.
pub const MORE_MAX_PERCENT: u64 = 10;

/// Counts by name: `<group>.<what>`.
pub type Counts = BTreeMap<String, u64>;

/// Counts and what they depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// For each group of counts that depends on the machine, on what: another kernel verifies otherwise, another compiler
    /// makes other instructions. Where it differs, the group is not compared.
    pub made_with: BTreeMap<String, String>,
    /// The counts.
    pub counts: Counts,
}

/// What became of one count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Within bounds.
    Same,
    /// More than it may be.
    Grown,
    /// So much less that the baseline no longer guards it.
    Shrunk,
    /// Not in the baseline.
    New,
    /// In the baseline and no longer counted.
    Gone,
    /// Counted under other circumstances.
    NotCompared,
}

/// One count beside its baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// As counted.
    pub now: Option<u64>,
    /// As in the baseline.
    pub before: Option<u64>,
    /// What became of it.
    pub change: Change,
}

impl Line {
    /// Whether it fails the gate.
    pub const fn fails(&self) -> bool {
        matches!(self.change, Change::Grown | Change::New | Change::Gone)
    }
}

impl Baseline {
    /// Reads a baseline; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("{} is no baseline", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes it, but keeps of `before` the groups that were not counted this time.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, path: &Path, before: &Self) -> Result<()> {
        let mut all = self.clone();
        let counted: Vec<&str> = self.counts.keys().map(|name| group(name)).collect();
        for (name, count) in before.counts.iter().filter(|(name, _)| !counted.contains(&group(name))) {
            all.counts.insert(name.clone(), *count);
        }
        for (group, with) in &before.made_with {
            all.made_with.entry(group.clone()).or_insert_with(|| with.clone());
        }
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Every count beside `before`. Groups that were not counted at all this time are left out.
    pub fn compare(&self, before: &Self) -> Vec<Line> {
        let counted: Vec<&str> = self.counts.keys().map(|name| group(name)).collect();
        let mut names: Vec<&String> = self.counts.keys().chain(before.counts.keys()).collect();
        names.sort();
        names.dedup();
        let lines = names.into_iter().filter(|name| counted.contains(&group(name))).map(|name| {
            let (now, then) = (self.counts.get(name).copied(), before.counts.get(name).copied());
            let elsewhere = before
                .made_with
                .get(group(name))
                .is_some_and(|with| self.made_with.get(group(name)) != Some(with));
            let change = match (now, then) {
                _ if elsewhere => Change::NotCompared,
                (Some(now), Some(then)) => judge(now, then),
                (Some(_), None) => Change::New,
                (None, _) => Change::Gone,
            };
            Line { name: name.clone(), now, before: then, change }
        });
        lines.collect()
    }
}

fn group(name: &str) -> &str {
    name.split_once('.').map_or(name, |(group, _)| group)
}

const fn judge(now: u64, before: u64) -> Change {
    if now * 100 > before * (100 + MORE_MAX_PERCENT) {
        Change::Grown
    } else if now * (100 + MORE_MAX_PERCENT) < before * 100 {
        Change::Shrunk
    } else {
        Change::Same
    }
}

/// A table for people.
pub fn table(lines: &[Line]) -> String {
    let mut text = format!("{:<44}{:>12}{:>12}{:>9}\n", "count", "baseline", "now", "change");
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for line in lines {
        let percent = match (line.now, line.before) {
            (Some(now), Some(before)) if before != 0 => {
                format!("{:+.1} %", (now as f64 / before as f64 - 1.0) * 100.0)
            }
            _ => String::new(),
        };
        let word = match line.change {
            Change::Same => "",
            Change::Grown => "  GROWN",
            Change::Shrunk => "  less",
            Change::New => "  NOT IN THE BASELINE",
            Change::Gone => "  NO LONGER COUNTED",
            Change::NotCompared => "  made with other tools, not compared",
        };
        let (before, now) = (number(line.before), number(line.now));
        let _: std::fmt::Result = writeln!(text, "{:<44}{before:>12}{now:>12}{percent:>9}{word}", line.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(counts: &[(&str, u64)], with: &str) -> Baseline {
        Baseline {
            made_with: [("kernel".to_owned(), with.to_owned())].into(),
            counts: counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect(),
        }
    }

    #[test]
    fn a_tenth_more_fails_and_less_does_not() {
        let before = baseline(&[("a.x", 100), ("a.y", 100), ("a.z", 100), ("a.gone", 1), ("b.x", 1)], "1");
        let now = baseline(&[("a.x", 110), ("a.y", 111), ("a.z", 80), ("a.new", 1)], "1");
        let lines = now.compare(&before);
        let changes: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.change.clone())).collect();
        assert_eq!(
            changes,
            [
                ("a.gone", Change::Gone),
                ("a.new", Change::New),
                ("a.x", Change::Same),
                ("a.y", Change::Grown),
                ("a.z", Change::Shrunk),
            ]
        );
        assert_eq!(lines.iter().filter(|line| line.fails()).count(), 3);
    }

    #[test]
    fn another_kernel_is_not_compared_and_what_was_not_counted_stays() {
        let before = baseline(&[("kernel.x", 100), ("b.x", 7)], "1");
        let now = baseline(&[("kernel.x", 900)], "2");
        let lines = now.compare(&before);
        assert_eq!(lines.iter().map(|line| line.change.clone()).collect::<Vec<_>>(), [Change::NotCompared]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.json");
        now.write(&path, &before).unwrap();
        let written = Baseline::read(&path).unwrap();
        assert_eq!(written.counts, baseline(&[("kernel.x", 900), ("b.x", 7)], "2").counts);
        assert_eq!(written.made_with["kernel"], "2");
    }
}
