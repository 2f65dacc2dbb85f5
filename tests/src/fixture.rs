//! Recorded frames as files: a short header of `# key: value` lines, then hexadecimal octets.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Octets on a line of a fixture.
const LINE: usize = 32;

/// A frame somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixture {
    /// Lines of the header without `# `, such as `client: udhcpc 1.35.0`.
    pub header: Vec<String>,
    /// The frame, Ethernet header and all.
    pub frame: Vec<u8>,
}

impl Fixture {
    /// Reads a fixture's text.
    ///
    /// # Errors
    ///
    /// When an octet is not two hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut header, mut frame) = (Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some(words) = line.strip_prefix('#') {
                header.push(words.trim().to_owned());
                continue;
            }
            for octet in line.split_whitespace() {
                let value = u8::from_str_radix(octet, 16)
                    .ok()
                    .filter(|_| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()));
                frame.push(value.with_context(|| format!("{octet:?} is no octet in hexadecimal"))?);
            }
        }
        Ok(Self { header, frame })
    }

    /// Reads the fixture in `file`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no fixture.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", file.display()))
    }

    /// The fixture as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.header {
            let _ = writeln!(text, "# {line}");
        }
        for line in self.frame.chunks(LINE) {
            let octets: Vec<String> = line.iter().map(|octet| format!("{octet:02x}")).collect();
            let _ = writeln!(text, "{}", octets.join(" "));
        }
        text
    }

    /// The value of a header line.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.header.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    }
}

/// The folder of the fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The frames recorded from real clients, with their files, in order of name.
///
/// # Errors
///
/// When a file cannot be read or is no fixture.
pub fn clients() -> Result<Vec<(PathBuf, Fixture)>> {
    let root = folder().join("clients");
    let mut found = Vec::new();
    for client in fs::read_dir(&root).with_context(|| format!("cannot list {}", root.display()))? {
        let client = client?.path();
        for file in fs::read_dir(&client).with_context(|| format!("cannot list {}", client.display()))? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "hex") {
                let fixture = Fixture::read(&file)?;
                found.push((file, fixture));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back() {
        let fixture = Fixture { header: vec!["client: x 1".to_owned()], frame: (0..=255).collect() };
        assert_eq!(Fixture::parse(&fixture.text()).unwrap(), fixture);
        assert_eq!(fixture.field("client"), Some("x 1"));
    }

    #[test]
    fn what_is_not_hexadecimal_is_refused() {
        for text in ["0g", "123", "+1", "0x1"] {
            assert!(Fixture::parse(text).is_err(), "{text}");
        }
    }
}
