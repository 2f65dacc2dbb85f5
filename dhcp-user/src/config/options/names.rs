//! Domain names in DNS wire format (RFC 1035 sections 3.1 and 4.1.4), as options 119 and 141 carry them.

use std::collections::HashMap;

/// Writes names one after another, the ends of later ones as pointers to earlier ones if asked to compress.
pub(super) struct Encoder {
    compress: bool,
    /// Where each tail of a name written so far begins.
    tails: HashMap<String, u16>,
}

/// Pointers have 14 bits.
const POINTER_MAX: usize = 0x3fff;

impl Encoder {
    pub(super) fn new(compress: bool) -> Self {
        Self { compress, tails: HashMap::new() }
    }

    /// Appends `name` to `out`, which holds the option's value so far.
    pub(super) fn push(&mut self, name: &str, out: &mut Vec<u8>) -> Result<(), String> {
        // Checked before anything is written: 253 characters are what 255 octets on the wire can hold.
        let mut tail = name.strip_suffix('.').unwrap_or(name);
        if !crate::config::validate::text::is_domain_name(tail) {
            return Err(format!(
                "{} is not a domain name such as \"example.com\"",
                crate::config::problem::quoted(name)
            ));
        }
        loop {
            let key = tail.to_ascii_lowercase();
            if self.compress {
                if let Some(offset) = self.tails.get(&key) {
                    out.extend((0xc000 | offset).to_be_bytes());
                    return Ok(());
                }
                if let Some(offset) = u16::try_from(out.len()).ok().filter(|_| out.len() <= POINTER_MAX) {
                    self.tails.insert(key, offset);
                }
            }
            let (label, rest) = tail.split_once('.').unwrap_or((tail, ""));
            // A label has at most 63 octets, as checked.
            out.push(u8::try_from(label.len()).unwrap_or(0));
            out.extend(label.as_bytes());
            if rest.is_empty() {
                out.push(0);
                return Ok(());
            }
            tail = rest;
        }
    }
}
