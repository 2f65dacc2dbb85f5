//! Columns of numbers and octets: like stands beside like, which is what makes a batch small. A reader never takes more
//! than there is.

use super::codec::WireError;

/// Appends a number in groups of seven bits, the lowest first.
pub fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that may be negative, near zero the shortest.
pub(super) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put_number((number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned(), out);
}

/// What is left to read.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next octets.
    ///
    /// # Errors
    /// [`WireError::CutShort`].
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next octet.
    ///
    /// # Errors
    /// [`WireError::CutShort`].
    pub fn octet(&mut self) -> Result<u8, WireError> {
        let (&octet, rest) = self.0.split_first().ok_or(WireError::CutShort)?;
        self.0 = rest;
        Ok(octet)
    }

    /// A number.
    ///
    /// # Errors
    /// [`WireError::CutShort`], [`WireError::Number`].
    pub fn number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return if shift == 63 && octet > 1 { Err(WireError::Number) } else { Ok(number) };
            }
        }
        Err(WireError::Number)
    }

    /// A number that may be negative.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn signed(&mut self) -> Result<i64, WireError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A length, at most `max`.
    ///
    /// # Errors
    /// As [`number`](Self::number), and [`WireError::TooMany`].
    pub fn length(&mut self, max: usize) -> Result<usize, WireError> {
        usize::try_from(self.number()?).ok().filter(|length| *length <= max).ok_or(WireError::TooMany)
    }
}
