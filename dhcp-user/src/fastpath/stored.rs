//! Answers and the fingerprint key as the store keeps them, so that a client's renewals are answered in the kernel from
//! the first one after a reboot.
//!
//! Little-endian on every machine; the version is the map layout's, for an answer is what the map holds.

use dhcp_common::{
    abi::{Answer, Control, Echo, KEY_WORDS, VERSION},
    wire::{ANSWER_OPTIONS_MAX, NAMES_LEN},
};

const ANSWER_LEN: usize = 40 + NAMES_LEN + ANSWER_OPTIONS_MAX + 4;
/// Octets of a stored key.
pub const KEY_LEN: usize = KEY_WORDS * 4 * 8;

/// The octets of an answer.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANSWER_LEN);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&answer.generation.to_le_bytes());
    out.extend_from_slice(&answer.lease_secs.to_le_bytes());
    // The sum is of words in the machine's order; a store moved to a machine of the other order is not readable there
    // for other reasons already (the fingerprints).
    out.extend_from_slice(&answer.sum.to_le_bytes());
    out.extend_from_slice(&answer.bootp_len.to_le_bytes());
    out.extend_from_slice(&answer.flags.to_le_bytes());
    out.extend_from_slice(&answer.server);
    out.extend_from_slice(&answer.siaddr);
    for echo in answer.echo {
        for word in [echo.from, echo.to, echo.len, echo.reserved] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out.extend_from_slice(&answer.names);
    out.extend_from_slice(&answer.options);
    out
}

/// Reads an answer back; `None` if it is of another version or length.
pub fn decode_answer(octets: &[u8]) -> Option<Answer> {
    let mut rest = octets;
    if octets.len() != ANSWER_LEN || u32::from_le_bytes(take(&mut rest)?) != VERSION {
        return None;
    }
    let mut answer = Answer {
        generation: u32::from_le_bytes(take(&mut rest)?),
        lease_secs: u32::from_le_bytes(take(&mut rest)?),
        sum: u32::from_le_bytes(take(&mut rest)?),
        bootp_len: u16::from_le_bytes(take(&mut rest)?),
        flags: u16::from_le_bytes(take(&mut rest)?),
        server: take(&mut rest)?,
        siaddr: take(&mut rest)?,
        ..Answer::default()
    };
    for echo in &mut answer.echo {
        *echo = Echo {
            from: u16::from_le_bytes(take(&mut rest)?),
            to: u16::from_le_bytes(take(&mut rest)?),
            len: u16::from_le_bytes(take(&mut rest)?),
            reserved: u16::from_le_bytes(take(&mut rest)?),
        };
    }
    answer.names = take(&mut rest)?;
    answer.options = take(&mut rest)?;
    Some(answer)
}

/// The octets of the fingerprint key.
pub fn encode_key(control: &Control) -> Vec<u8> {
    control.key.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
}

/// Reads a key back; `None` if it is of another length.
pub fn decode_key(octets: &[u8]) -> Option<[[u64; 4]; KEY_WORDS]> {
    if octets.len() != KEY_LEN {
        return None;
    }
    let mut key = [[0; 4]; KEY_WORDS];
    let mut rest = octets;
    for word in key.iter_mut().flatten() {
        *word = u64::from_le_bytes(take(&mut rest)?);
    }
    Some(key)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_keys_come_back() {
        let mut answer =
            Answer { generation: 1, lease_secs: 2, sum: 3, bootp_len: 300, flags: 3, ..Answer::default() };
        answer.server = [198, 18, 0, 1];
        answer.siaddr = [198, 18, 0, 2];
        answer.echo =
            [Echo { from: 1, to: 2, len: 3, reserved: 0 }, Echo { from: 4, to: 5, len: 6, reserved: 0 }];
        answer.names = [7; NAMES_LEN];
        answer.options = [8; ANSWER_OPTIONS_MAX];
        let octets = encode_answer(&answer);
        assert_eq!(decode_answer(&octets), Some(answer));
        assert_eq!(decode_answer(&octets[1..]), None);
        let mut other_version = octets;
        other_version[0] ^= 1;
        assert_eq!(decode_answer(&other_version), None);

        let mut control = Control::default();
        for (i, word) in control.key.iter_mut().flatten().enumerate() {
            *word = (i as u64) << 32 | 1;
        }
        assert_eq!(decode_key(&encode_key(&control)), Some(control.key));
        assert_eq!(decode_key(&[0; 8]), None);
    }
}
