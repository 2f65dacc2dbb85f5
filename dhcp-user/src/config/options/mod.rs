//! From an option as written to its code and the octets that go on the wire.

use super::{
    model::OptionValue,
    problem::{Path, Problems, hint, nearest, quoted},
    wire::OptionEntry,
};

mod encode;
mod names;
pub mod shown;
mod table;
#[cfg(test)]
mod tests;

use self::table::{KNOWN, Kind, Known};

/// The longest value, in octets: long options are split by RFC 3396, but a reply must still fit a frame.
const VALUE_OCTETS_MAX: usize = 1024;

/// The names an option may be given by, in the order of their codes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// The types an option given by code may have.
pub(super) fn type_names() -> Vec<&'static str> {
    Kind::ALL.iter().map(|(name, _)| *name).collect()
}

/// What an entry does to the options inherited: sets one, or takes one away (`None`).
pub(super) struct Change {
    pub(super) code: u8,
    pub(super) value: Option<OptionValue>,
}

/// What `entry`, which stands at `path`, does; `None` if a problem was noted.
pub(super) fn change(entry: &OptionEntry, path: &Path<'_>, problems: &mut Problems) -> Option<Change> {
    let (code, kind, known) = identify(entry, path, problems)?;
    if let Some(reason) = reserved(code) {
        problems.add(path, format!("option {code} cannot be configured: {reason}"));
        return None;
    }
    if entry.value.is_null() {
        if code == 1 {
            problems.add(path, "option 1 (subnet mask) cannot be removed: every client needs it");
            return None;
        }
        if entry.always {
            problems.add(&path.key("always"), "an option that is removed (value null) cannot be sent always");
            return None;
        }
        return Some(Change { code, value: None });
    }
    let value_path = path.key("value");
    let octets = match encode::encode(kind, code, &entry.value) {
        Ok(octets) => octets,
        Err(fault) => {
            let inner = fault.index.map(|index| value_path.index(index));
            let (code_name, message) = (label(code), fault.message);
            problems.add(inner.as_ref().unwrap_or(&value_path), format!("{code_name}: {message}"));
            return None;
        }
    };
    if octets.len() > VALUE_OCTETS_MAX {
        let (name, len) = (label(code), octets.len());
        problems.add(
            &value_path,
            format!("{name}: takes {len} octets on the wire, {VALUE_OCTETS_MAX} are the most; shorten it"),
        );
        return None;
    }
    if let Some(known) = known
        && let Err(message) = known.check(&octets)
    {
        problems.add(&value_path, format!("{}: {message}", label(code)));
        return None;
    }
    Some(Change { code, value: Some(OptionValue { bytes: octets, always: entry.always }) })
}

/// Which option the entry is about, and how its value is written. The rule of the table comes along only where the
/// value is written the way the table has it.
fn identify(
    entry: &OptionEntry,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<(u8, Kind, Option<&'static Known>)> {
    match (entry.name.as_deref(), entry.code) {
        (Some(name), None) => {
            if entry.kind.is_some() {
                problems.add(
                    &path.key("type"),
                    "an option given by name has its own type; leave `type` out, or give `code` in place of `name`",
                );
                return None;
            }
            let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
                let meant = nearest(name, names())
                    .map_or("give it by `code` and `type`".to_owned(), |word| {
                        format!("did you mean `{word}`?")
                    });
                problems.add(&path.key("name"), format!("no option is called {}; {meant}", quoted(name)));
                return None;
            };
            Some((known.code, known.kind, Some(known)))
        }
        (None, Some(code)) => {
            let known = KNOWN.iter().find(|known| known.code == code);
            let Some(written) = entry.kind.as_deref() else {
                if known.is_none() && !entry.value.is_null() && reserved(code).is_none() {
                    problems
                        .add(path, format!("option {code} has no name here, so its `type` must be given"));
                    return None;
                }
                return Some((code, known.map_or(Kind::Hex, |known| known.kind), known));
            };
            let Some((_, kind)) = Kind::ALL.iter().find(|(name, _)| *name == written) else {
                let meant = hint(written, &type_names());
                problems
                    .add(&path.key("type"), format!("there is no option type {}{meant}", quoted(written)));
                return None;
            };
            Some((code, *kind, known.filter(|known| known.kind == *kind)))
        }
        (Some(_), Some(_)) => {
            problems.add(path, "an option is given by `name` or by `code`, not by both; remove one");
            None
        }
        (None, None) => {
            problems.add(path, "an option needs a `name`, or a `code` and a `type`");
            None
        }
    }
}

/// Why an operator may not set this option: the daemon makes it itself for each reply.
fn reserved(code: u8) -> Option<&'static str> {
    Some(match code {
        0 | 255 => "it is part of the message format",
        50 => "only clients send it (requested address)",
        51 => "the lease time is set by `lease_secs`, `lease_min_secs` and `lease_max_secs`",
        52 => "option overload is decided for each reply by what fits",
        53 => "it is the message type",
        54 => "the server identifier is the interface's `address`",
        55 => "only clients send it (parameter request list)",
        57 => "only clients send it (maximum message size)",
        58 => "T1 is set by `t1_percent`",
        59 => "T2 is set by `t2_percent`",
        61 => "the client identifier is the client's own, echoed by RFC 6842",
        82 => "relay agent information is the relay agent's own, echoed by RFC 3046",
        _ => return None,
    })
}

/// An option for a message: its name if it has one, and its code.
fn label(code: u8) -> String {
    match KNOWN.iter().find(|known| known.code == code) {
        Some(known) => format!("{} (option {code})", known.name),
        None => format!("option {code}"),
    }
}
