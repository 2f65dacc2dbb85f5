//! From the octets of an option back to what people write: for showing only, never for deciding.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::table::{KNOWN, Kind};

/// The name of an option, if it has one.
pub fn name_of(code: u8) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.code == code).map(|known| known.name)
}

/// The value of an option in words: addresses, numbers, text. Octets that do not fit the option's own kind, and kinds that
/// words would only hide, are shown in hexadecimal.
pub fn text_of(code: u8, octets: &[u8]) -> String {
    let kind = KNOWN.iter().find(|known| known.code == code).map_or(Kind::Hex, |known| known.kind);
    in_words(kind, octets).unwrap_or_else(|| hexadecimal(octets))
}

fn in_words(kind: Kind, octets: &[u8]) -> Option<String> {
    let number = |len: usize| {
        (octets.len() == len).then(|| octets.iter().fold(0_u32, |n, octet| n << 8 | u32::from(*octet)))
    };
    match kind {
        Kind::U8 => number(1).map(|n| n.to_string()),
        Kind::U16 => number(2).map(|n| n.to_string()),
        Kind::U32 => number(4).map(|n| n.to_string()),
        Kind::I32 => number(4).map(|n| n.cast_signed().to_string()),
        Kind::Bool => number(1).map(|n| (n != 0).to_string()),
        Kind::String => Some(String::from_utf8_lossy(octets).escape_debug().to_string()),
        Kind::Ipv4 | Kind::Ipv4List => addresses(octets),
        Kind::Hex | Kind::FqdnList | Kind::Routes | Kind::HostRoutes => None,
    }
}

fn addresses(octets: &[u8]) -> Option<String> {
    let (addresses, rest) = octets.as_chunks::<4>();
    if !rest.is_empty() || addresses.is_empty() {
        return None;
    }
    let texts: Vec<_> = addresses.iter().map(|address| Ipv4Addr::from(*address).to_string()).collect();
    Some(texts.join(", "))
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_are_written() {
        assert_eq!(text_of(6, &[198, 18, 0, 53, 198, 18, 0, 54]), "198.18.0.53, 198.18.0.54");
        assert_eq!(text_of(26, &[0x05, 0xdc]), "1500");
        assert_eq!(text_of(2, &[0xff, 0xff, 0xff, 0xff]), "-1");
        assert_eq!(text_of(19, &[1]), "true");
        assert_eq!(text_of(15, b"dc.example\n"), "dc.example\\n");
        assert_eq!(text_of(43, &[1, 2, 0xff]), "0102ff");
        assert_eq!(text_of(6, &[198, 18, 0]), "c61200", "not what the option's kind says");
        assert_eq!((name_of(3), name_of(224)), (Some("routers"), None));
    }
}
