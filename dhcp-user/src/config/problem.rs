//! What is wrong with a configuration, and where. Checks go on after a first fault, so that an operator mends a file
//! in one round; this file collects what they find.

use std::fmt;

use serde::Serialize;

/// No more faults than this are listed; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// One step from a JSON value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into an object.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// A place in the file, kept on the stack while descending: it costs nothing until there is a fault to report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<StepRef>,
}

#[derive(Clone, Copy, Debug)]
enum StepRef {
    Key(&'static str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The whole file.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: None };

    /// The value of `key` in the object here.
    pub(super) fn key(&'a self, key: &'static str) -> Path<'a> {
        Path { parent: Some(self), step: Some(StepRef::Key(key)) }
    }

    /// The element `index` of the array here.
    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Some(StepRef::Index(index)) }
    }

    /// The steps from the root.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            match path.step {
                Some(StepRef::Key(key)) => steps.push(Step::Key(key.to_owned())),
                Some(StepRef::Index(index)) => steps.push(Step::Index(index)),
                None => {}
            }
            at = path.parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_steps(f, &self.steps())
    }
}

fn write_steps(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    let mut separator = "";
    for step in steps {
        match step {
            Step::Key(key) => write!(f, "{separator}{}", key.escape_debug())?,
            Step::Index(index) => write!(f, "[{index}]")?,
        }
        separator = ".";
    }
    Ok(())
}

/// A line and a column of the file, both counted from 1; the column counts octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One fault: where it is, what it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) path: Vec<Step>,
    pub(super) position: Option<Position>,
    pub(super) message: String,
}

/// A fault as it is shown to programs. Line and column are counted from 1, the column in octets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its line; absent if no place in the text is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Its column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The value's path, such as `dhcp.subnets[0].pools`; empty for the whole.
    pub path: String,
    /// What it is and what to do about it.
    pub message: String,
}

/// The faults of one file, in the order found. Displays one per line as `file:line:column: path: message`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    origin: String,
    list: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// None yet, in the file (or other source) called `origin`.
    pub(super) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), list: Vec::new(), unlisted: 0 }
    }

    /// Notes a fault at `path`.
    pub(super) fn add(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.add_owned(path.steps(), None, message.into());
    }

    /// Notes a fault whose position may be known already.
    pub(super) fn add_owned(&mut self, path: Vec<Step>, position: Option<Position>, message: String) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(Problem { path, position, message });
        } else {
            self.unlisted += 1;
        }
    }

    /// [`hint`], unless the fault will not be listed: comparing words takes time, and there may be very many.
    pub(super) fn hint(&self, written: &str, known: &[&str]) -> String {
        if self.list.len() < PROBLEMS_MAX { hint(written, known) } else { String::new() }
    }

    /// Those that are listed.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        struct Steps<'a>(&'a [Step]);
        impl fmt::Display for Steps<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_steps(f, self.0)
            }
        }
        self.list.iter().map(|problem| Fault {
            line: problem.position.map(|position| position.line),
            column: problem.position.map(|position| position.column),
            path: Steps(&problem.path).to_string(),
            message: problem.message.clone(),
        })
    }

    /// How many faults were found.
    pub fn count(&self) -> usize {
        self.list.len() + self.unlisted
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The listed faults, for whoever knows the text to add positions.
    pub(super) fn list_mut(&mut self) -> &mut [Problem] {
        &mut self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.origin)?;
            if let Some(Position { line, column }) = problem.position {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " ")?;
            if !problem.path.is_empty() {
                write_steps(f, &problem.path)?;
                write!(f, ": ")?;
            }
            write!(f, "{}", problem.message)?;
        }
        if self.unlisted > 0 {
            write!(f, "\n{}: and {} more", self.origin, self.unlisted)?;
        }
        Ok(())
    }
}

/// The nearest of `known` to what was written, if it is near enough to be what was meant.
pub(super) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Comparing costs length times length: nothing that long is a slip of the pen.
    if written.len() > 64 {
        return None;
    }
    let lower = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase().replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(written.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// " (did you mean `x`?)", or what there is to choose from, or nothing where the choice is long.
pub(super) fn hint(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(word) => format!("; did you mean `{word}`?"),
        None if known.len() <= 24 && !known.is_empty() => {
            let list: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            format!("; it may be {}", list.join(", "))
        }
        None => String::new(),
    }
}

/// A string of the file for a message: quoted, escaped and cut, so that no input can flood a terminal.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    if text.chars().count() <= SHOWN_MAX {
        format!("{text:?}")
    } else {
        let head: String = text.chars().take(SHOWN_MAX).collect();
        format!("{head:?}...")
    }
}
