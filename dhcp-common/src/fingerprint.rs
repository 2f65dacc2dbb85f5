//! The keyed 64-bit fingerprint by which the kernel knows a renewal again.
//!
//! It covers everything of the request that the answer can depend on: link, hardware address, leased address, relay,
//! and every option; not `xid`, `secs` and `flags`, which the answer takes from the request at hand. It also covers the
//! answer's index and generation, so that a fingerprint and an answer that do not belong together never meet.
//!
//! Two multilinear hashes (Lemire and Kaser, "Strongly universal string hashing is fast", The Computer Journal 57(11),
//! 2014) over 32-bit halves, each modulo 2^64 and giving its upper 32 bits: two different requests meet with a
//! probability of about 2^-63 whatever they are, as long as the key is secret. 64-bit multiplications only, all
//! independent of one another, which is what a processor and the BPF instruction set do fast. A zero adds nothing, so
//! trailing zero padding changes nothing: an option area is published only if it ends in END and zeros, so the last
//! word that counts is never zero and nothing can be cut off.

use crate::{
    abi::{Control, Form},
    wire::REQUEST_OPTIONS_MAX,
};

/// Words before the options: see [`Subject::words`].
pub const HEADER_WORDS: usize = 7;
/// Words of options that a key is kept for, a power of two.
pub const OPTION_WORDS: usize = (REQUEST_OPTIONS_MAX / 8).next_power_of_two();

/// What a fingerprint covers beside the options.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// `op`, `htype`, `hlen`, `hops`.
    pub kind: [u8; 4],
    /// `yiaddr` and `siaddr` of the request.
    pub unused_addresses: [u8; 8],
    /// The relay agent, or zero.
    pub giaddr: [u8; 4],
    /// The leased address.
    pub ciaddr: [u8; 4],
    /// All 16 octets, as four little-endian words.
    pub chaddr: [u32; 4],
    /// The interface's number among those served.
    pub interface: u32,
    /// Outer and inner VLAN identifier.
    pub vlans: [u16; 2],
    /// Index of the answer.
    pub answer: u32,
    /// Generation of the answer.
    pub generation: u32,
    /// The checksum share of the options the answer repeats.
    pub echo_sum: u16,
    /// Direct or relayed.
    pub form: Form,
}

impl Subject {
    #[inline(always)]
    fn words(&self) -> [[u32; 2]; HEADER_WORDS] {
        let [a, b, c, d] = self.chaddr;
        let [u, v, w, x, rest @ ..] = self.unused_addresses;
        [
            [u32::from_le_bytes(self.kind), u32::from_le_bytes(self.giaddr)],
            [u32::from_le_bytes([u, v, w, x]), u32::from_le_bytes(rest)],
            [a, b],
            [c, d],
            [self.interface, (self.vlans[0] as u32) << 16 | self.vlans[1] as u32],
            [self.answer, self.generation],
            [u32::from_le_bytes(self.ciaddr), (self.form as u32 + 1) << 16 | self.echo_sum as u32],
        ]
    }
}

/// Sixteen octets as four little-endian words, each read at once: halves of 64 bits that were read whole cost three
/// instructions more.
#[inline(always)]
pub const fn halves(octets: &[u8; 16]) -> [u32; 4] {
    let (words, _) = octets.as_chunks::<4>();
    let [a, b, c, d] = words else { return [0; 4] };
    [u32::from_le_bytes(*a), u32::from_le_bytes(*b), u32::from_le_bytes(*c), u32::from_le_bytes(*d)]
}

/// Sixteen octets as two little-endian words, each read at once.
#[inline(always)]
pub const fn words(octets: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*octets);
    [both as u64, (both >> 64) as u64]
}

/// The key for one word: for each of its halves, one multiplier for each hash.
pub type WordKey = [u64; 4];

/// A fingerprint under construction.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint {
    first: u64,
    second: u64,
}

impl Fingerprint {
    /// A fingerprint of everything but the options.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "constant indices below the arrays' constant lengths")]
    pub fn of(subject: &Subject, control: &Control) -> Self {
        let words = subject.words();
        let mut print = Self { first: 0, second: 0 };
        let mut i = 0;
        while i < HEADER_WORDS {
            print.absorb(words[i], &control.key[i]);
            i += 1;
        }
        print
    }

    /// Adds word `index` (below [`OPTION_WORDS`]) of the options, its halves little-endian, the last one padded with zeros.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "the mask bounds the index")]
    pub const fn option_word(&mut self, index: usize, word: [u32; 2], control: &Control) {
        self.absorb(word, &control.key[HEADER_WORDS + (index & (OPTION_WORDS - 1))]);
    }

    #[inline(always)]
    const fn absorb(&mut self, [low, high]: [u32; 2], key: &WordKey) {
        let (low, high) = (low as u64, high as u64);
        let [low_first, high_first, low_second, high_second] = *key;
        self.first =
            self.first.wrapping_add(low.wrapping_mul(low_first)).wrapping_add(high.wrapping_mul(high_first));
        self.second = self
            .second
            .wrapping_add(low.wrapping_mul(low_second))
            .wrapping_add(high.wrapping_mul(high_second));
    }

    /// The fingerprint, never 0.
    #[inline(always)]
    pub const fn finish(self) -> u64 {
        self.first >> 32 | (self.second & 0xffff_ffff_0000_0000) | 1
    }
}
