//! Reads the small things a configuration writes as text or numbers (addresses, ranges, octets, names, choices), each
//! with its bounds and its message.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;

use crate::config::problem::{Path, Problems, quoted};

/// An IPv4 address.
pub(in crate::config) fn address(
    written: &str,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<Ipv4Addr> {
    let parsed = written.parse().ok();
    if parsed.is_none() {
        let shown = quoted(written);
        problems.add(path, format!("{shown} is not an IPv4 address; write one such as \"198.18.0.1\""));
    }
    parsed
}

/// Whether a host can have this address.
pub(super) fn is_unicast(address: Ipv4Addr) -> bool {
    !(address.octets()[0] == 0
        || address.is_loopback()
        || address.is_multicast()
        || address == Ipv4Addr::BROADCAST)
}

/// A prefix without host bits.
pub(super) fn prefix(written: &str, path: &Path<'_>, problems: &mut Problems) -> Option<Ipv4Net> {
    let Ok(prefix) = written.parse::<Ipv4Net>() else {
        let shown = quoted(written);
        problems
            .add(path, format!("{shown} is not a network and prefix length; write it as \"198.18.0.0/16\""));
        return None;
    };
    let network = prefix.trunc();
    if network != prefix {
        problems.add(path, format!("{prefix} has bits beyond its prefix length; write {network}"));
        return None;
    }
    Some(prefix)
}

/// First and last address of "first-last" or of a prefix.
pub(super) fn range(written: &str, path: &Path<'_>, problems: &mut Problems) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if written.contains('/') {
        return prefix(written, path, problems).map(|prefix| (prefix.network(), prefix.broadcast()));
    }
    let parsed = written
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let Some((first, last)): Option<(Ipv4Addr, Ipv4Addr)> = parsed else {
        let how = "write it as \"198.18.1.0-198.18.1.255\" or \"198.18.1.0/24\"";
        problems.add(path, format!("{} is not a range of addresses; {how}", quoted(written)));
        return None;
    };
    if first > last {
        problems.add(path, format!("the range ends before it begins; write {last}-{first}"));
        return None;
    }
    Some((first, last))
}

/// Hexadecimal digits, pairs of which may be set apart by `:`, `-` or spaces.
pub(crate) fn hex(digits: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(digits.len() / 2);
    let mut rest = digits.as_bytes();
    while let [high, low, after @ ..] = rest {
        octets.push(nibble(*high)? << 4 | nibble(*low)?);
        rest = match after {
            [b':' | b'-' | b' ', next @ ..] if !next.is_empty() => next,
            _ => after,
        };
    }
    rest.is_empty().then_some(octets)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// "hex:..." or "text:...", 1 to 255 octets.
pub(super) fn octets(written: &str, path: &Path<'_>, problems: &mut Problems) -> Option<Vec<u8>> {
    let octets = match written.split_once(':') {
        Some(("text", text)) => Some(text.as_bytes().to_vec()),
        Some(("hex", digits)) => hex(digits),
        _ => None,
    };
    let Some(octets) = octets else {
        let shown = quoted(written);
        problems.add(path, format!("{shown} has no known form; write \"hex:01aabb\" or \"text:name\""));
        return None;
    };
    if octets.is_empty() || octets.len() > 255 {
        problems.add(path, format!("{} octets; 1 to 255 can be on the wire", octets.len()));
        return None;
    }
    Some(octets)
}

/// An Ethernet address a station can have.
pub(in crate::config) fn hardware(
    written: &str,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<[u8; 6]> {
    let Some(octets) = hex(written).and_then(|octets| <[u8; 6]>::try_from(octets).ok()) else {
        let shown = quoted(written);
        problems.add(path, format!("{shown} is not an Ethernet address; write it as \"02:00:00:00:00:01\""));
        return None;
    };
    if octets[0] & 1 != 0 || octets == [0; 6] {
        problems.add(path, format!("{} is a group's or nobody's address, not a client's", quoted(written)));
        return None;
    }
    Some(octets)
}

/// Whether `name` is a domain name of at most 253 characters and labels of 1 to 63 (RFC 1035 section 2.3.4), of letters,
/// digits, `-` and `_`, without a final dot.
pub(crate) fn is_domain_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Whether a peer can be reached by this: a host name or an address.
pub(super) fn is_node(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || is_domain_name(name)
}

/// Whether the kernel could have an interface of this name.
pub(super) fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
}

/// The value that one of a few words stands for.
pub(super) fn choice<T: Copy>(
    written: &str,
    known: &[(&str, T)],
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
    if found.is_none() {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        problems
            .add(path, format!("{} is not known here{}", quoted(written), problems.hint(written, &words)));
    }
    found
}

/// Notes a problem if `value` is not between `least` and `most`.
pub(super) fn within<T: Copy + PartialOrd + Display>(
    value: T,
    least: T,
    most: T,
    unit: &str,
    path: &Path<'_>,
    problems: &mut Problems,
) -> bool {
    let inside = least <= value && value <= most;
    if !inside {
        problems.add(path, format!("{value} is out of range; it may be {least} to {most} {unit}"));
    }
    inside
}

/// Percent with up to one decimal, as thousandths.
pub(super) fn permille(
    percent: f64,
    least: u32,
    most: u32,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<u32> {
    let thousandths = percent * 10.0;
    let rounded = thousandths.round();
    if !(f64::from(least)..=f64::from(most)).contains(&rounded) {
        let (least, most) = (f64::from(least) / 10.0, f64::from(most) / 10.0);
        problems.add(path, format!("{percent} is out of range; it may be {least} to {most} percent"));
        return None;
    }
    if (thousandths - rounded).abs() > 1e-6 {
        problems.add(path, format!("{percent} has more than one decimal; write {}", rounded / 10.0));
        return None;
    }
    // Inside the bounds just checked, which are u32.
    Some(rounded as u32)
}
