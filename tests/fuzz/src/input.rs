//! Octets of an input, taken one after the other; where they end there are zeros, so that any input is a whole one.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next octet.
    pub fn octet(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next `N` octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(taken) {
            *to = *from;
        }
        array
    }

    /// Two octets, big-endian.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// At most `len` octets.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
