//! The Internet checksum (RFC 1071), in the byte order of the machine: sums of words read natively are as good as sums
//! of words read in network order, and the folded result is stored natively.

/// Folds a sum of 16-bit (or 32-bit, native) words to 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // Both halves are added to both: the lower half's carry comes round into the upper half, which is the sum.
    let [_, sum] = halves_of(sum.wrapping_add(sum.rotate_left(32)));
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The lower and the upper half.
#[inline(always)]
const fn halves_of(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// The checksum field for a sum: its ones' complement.
#[inline(always)]
pub const fn field(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// The UDP checksum field for a sum: zero means "none", so a zero is sent as its other representation (RFC 768).
#[inline(always)]
pub const fn udp_field(sum: u64) -> [u8; 2] {
    let checksum = !fold(sum);
    // All ones where the checksum is zero, zero where it is not: without a branch.
    let ones = ((checksum as u32).wrapping_sub(1) >> 16) as u16;
    (checksum | ones).to_ne_bytes()
}

/// The sum of a byte string that starts on an even octet of the message; an odd last octet is padded with zero.
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0;
    // Two words at once: their sum folds to the same.
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let (pairs, rest) = rest.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = rest {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// The same sum for a string that starts on an odd octet: its folded sum with the octets swapped (RFC 1071 section 2).
#[inline(always)]
pub const fn shift_odd(sum: u64) -> u64 {
    fold(sum).swap_bytes() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1071_example() {
        // RFC 1071 section 3: the sum of these octets is ddf2 in network order.
        let folded = fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(folded.to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn odd_position_and_length() {
        let whole = [1u8, 2, 3, 4, 5, 6, 7];
        for split in 0..=whole.len() {
            let (a, b) = whole.split_at(split);
            let b = if split % 2 == 1 { shift_odd(sum(b)) } else { sum(b) };
            assert_eq!(fold(sum(a) + b), fold(sum(&whole)), "split at {split}");
        }
    }

    #[test]
    fn wide_sums_fold_like_narrow_ones() {
        let octets: [u8; 32] = core::array::from_fn(|i| (i * 37 + 200) as u8);
        let wide: u64 = octets.as_chunks::<4>().0.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum();
        assert_eq!(fold(wide), fold(sum(&octets)));
        assert_eq!(fold(u64::MAX), 0xffff);
    }

    #[test]
    fn udp_zero_is_sent_as_ones() {
        assert_eq!(udp_field(0xffff), [0xff, 0xff]);
        assert_eq!(field(0xffff), [0, 0]);
    }
}
