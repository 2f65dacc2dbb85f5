//! The map layouts: what the daemon writes and the kernel reads.
//!
//! [`VERSION`] changes whenever a layout or its meaning does. The daemon compares it with pinned maps before it trusts
//! them. Every type is plain integers and arrays without padding, asserted below.

use crate::{
    fingerprint::{HEADER_WORDS, OPTION_WORDS, WordKey},
    wire::{ANSWER_OPTIONS_MAX, BOOTP_OPTIONS, NAMES_LEN},
};

/// The version of everything in this file.
pub const VERSION: u32 = 2;

/// Names of the maps and programs in the eBPF object, and of the pins made of them.
pub mod name {
    /// Array of [`super::LeaseEntry`], memory-mapped by the daemon.
    pub const LEASES: &str = "LEASES";
    /// Array of [`super::Block`], a hash table with open addressing ([`crate::blocks`]).
    pub const BLOCKS: &str = "BLOCKS";
    /// Array of [`super::Answer`].
    pub const ANSWERS: &str = "ANSWERS";
    /// Array of one [`super::Control`], memory-mapped by the daemon.
    pub const CONTROL: &str = "CONTROL";
    /// Per-CPU array of one [`crate::reason::Counters`].
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of one word for each client ([`crate::limit`]).
    pub const CLIENT_BUCKETS: &str = "CLIENT_BUCKETS";
    /// Ring buffer of frames, for captures ([`crate::capture`]).
    pub const CAPTURED: &str = "CAPTURED";
    /// Per-CPU array of one [`crate::capture::Room`].
    pub const CAPTURE_ROOM: &str = "CAPTURE_ROOM";
    /// Array of one word for each relay agent.
    pub const RELAY_BUCKETS: &str = "RELAY_BUCKETS";
    /// Array of one word for each share of what goes up.
    pub const SHARE_BUCKETS: &str = "SHARE_BUCKETS";
    /// Array of maps of no other use than the grace period the kernel waits for when one is replaced.
    pub const GRACE: &str = "GRACE";
    /// The program that answers renewals.
    pub const PROGRAM: &str = "renew";
    /// The same, showing what it answers.
    pub const SHOWING: &str = "renew_shown";
    /// The program for the far end of a veth pair: passes everything.
    pub const PROGRAM_PASS: &str = "pass";
    /// The program that only swaps addresses and sends back: the bound that benchmarks compare with.
    pub const PROGRAM_REFLECT: &str = "reflect";
}

/// The two ways a client's renewal reaches the server; each has its own fingerprint and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Form {
    /// `giaddr` is zero: unicast (RENEWING) or broadcast (REBINDING), both answered to the client's address.
    Direct = 0,
    /// `giaddr` is set: answered to the relay agent.
    Relayed = 1,
}

/// One lease, in one cache line.
///
/// Written word by word: the daemon's stores and the kernel's loads are of whole aligned words, and each fingerprint
/// covers address, hardware address, answer, generation and echo sum, so an entry seen half-written answers nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct LeaseEntry {
    /// No promise may reach beyond this boot-clock time; 0 withdraws the entry.
    pub horizon_boot_ns: u64,
    /// When the kernel last granted the lease time. Written by the kernel.
    pub renewed_boot_ns: u64,
    /// Keyed fingerprints of the direct and the relayed renewal; 0 for a form not known.
    pub fingerprints: [u64; 2],
    /// Indices into the answers, for each form.
    pub answers: [u32; 2],
    /// The leased address.
    pub address: [u8; 4],
    /// The generation of the configuration that the answers come from.
    pub generation: u32,
    /// The client's Ethernet address.
    pub chaddr: [u8; 6],
    /// Keeps the layout explicit.
    pub reserved: [u8; 2],
    /// Renewals the kernel has granted, modulo 2^32. Written by the kernel.
    pub renewals: u32,
    /// For each form, the folded ones'-complement sum of the options its answer repeats, where they stand in the
    /// answer, in the byte order of the machine. The fingerprint vouches that they are the same octets every time.
    pub echo_sums: [u16; 2],
}

/// Where the leases of one /24's worth of addresses are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Block {
    /// The first three octets of the addresses, fourth octet 0; all zero for an empty slot.
    pub prefix: [u8; 4],
    /// Index of the lease of the address whose last octet is `low`.
    pub first: u32,
    /// Last octet of the first address held.
    pub low: u8,
    /// Last octet of the last address held.
    pub high: u8,
    /// Keeps the layout explicit.
    pub reserved: [u8; 6],
}

/// An option of the request that the answer repeats (61 by RFC 6842, 82 by RFC 3046).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Echo {
    /// Where it is in the request, octets from the start of BOOTP.
    pub from: u16,
    /// Where it goes in the answer, octets from the start of BOOTP.
    pub to: u16,
    /// Its length in octets, code and length octets included; 0 for nothing to repeat.
    pub len: u16,
    /// Keeps the layout explicit.
    pub reserved: u16,
}

/// Bits of [`Answer::flags`].
pub mod flag {
    /// `sname` and `file` are to be written; else they are zero, as in the request.
    pub const NAMES: u16 = 1;
    /// Fits the request sent to 255.255.255.255 too, not only to the server's address.
    pub const BROADCAST: u16 = 2;
}

/// A pre-rendered answer, shared by every lease it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Answer {
    /// The generation of the configuration it was rendered from; 0 for an empty slot.
    pub generation: u32,
    /// The lease time it grants, seconds; its options 51, 58 and 59 say the same.
    pub lease_secs: u32,
    /// Ones'-complement sum of every 16-bit word of UDP pseudo header, header and payload that does not depend on the
    /// request, in the byte order of the machine, not folded.
    pub sum: u32,
    /// Octets of the BOOTP message, 300 to 560.
    pub bootp_len: u16,
    /// What else there is to it: [`flag`] bits.
    pub flags: u16,
    /// The server's address: IPv4 source of the answer, and destination of a request sent to it by unicast.
    pub server: [u8; 4],
    /// The `siaddr` field.
    pub siaddr: [u8; 4],
    /// Options repeated from the request.
    pub echo: [Echo; 2],
    /// `sname` and `file`.
    pub names: [u8; NAMES_LEN],
    /// The option area, zero where something is repeated and after the end.
    pub options: [u8; ANSWER_OPTIONS_MAX],
}

/// Words a fingerprint can cover, each with its own key; a power of two of option words, so that a mask bounds one.
pub const KEY_WORDS: usize = HEADER_WORDS + OPTION_WORDS;

/// What holds for all leases at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Control {
    /// Past this boot-clock time the kernel answers nothing.
    pub authority_until_boot_ns: u64,
    /// The configuration's generation; entries and answers of another are passed.
    pub generation: u32,
    /// [`VERSION`] of the daemon that made the maps.
    pub abi_version: u32,
    /// The fingerprint's key, random and secret.
    pub key: [WordKey; KEY_WORDS],
}

impl Default for Echo {
    /// Nothing to repeat: an empty place at the start of the options.
    fn default() -> Self {
        const OPTIONS: u16 = BOOTP_OPTIONS as u16;
        Self { from: OPTIONS, to: OPTIONS, len: 0, reserved: 0 }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            generation: 0,
            lease_secs: 0,
            sum: 0,
            bootp_len: 0,
            flags: 0,
            server: [0; 4],
            siaddr: [0; 4],
            echo: [Echo::default(); 2],
            names: [0; NAMES_LEN],
            options: [0; ANSWER_OPTIONS_MAX],
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { authority_until_boot_ns: 0, generation: 0, abi_version: VERSION, key: [[0; 4]; KEY_WORDS] }
    }
}

const _: () = {
    assert!(size_of::<LeaseEntry>() == 64, "a lease is one cache line");
    assert!(core::mem::offset_of!(LeaseEntry, answers) == 32);
    assert!(core::mem::offset_of!(LeaseEntry, address).is_multiple_of(4));
    assert!(core::mem::offset_of!(LeaseEntry, chaddr) == 48, "an aligned word with the reserved octets");
    assert!(size_of::<Block>() == 16);
    assert!(size_of::<Echo>() == 8);
    assert!(size_of::<Answer>() == 40 + NAMES_LEN + ANSWER_OPTIONS_MAX);
    assert!(size_of::<Control>() == 16 + 32 * KEY_WORDS);
    assert!(size_of::<Control>() <= 4096, "the control block fits a page");
};

#[cfg(feature = "user")]
mod pod {
    use super::{Answer, Block, Control, LeaseEntry};
    use crate::reason::Counters;

    // SAFETY: integers and arrays of them, no padding (sizes asserted above), any bit pattern valid.
    unsafe impl aya::Pod for LeaseEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Block {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Answer {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Control {}
    // SAFETY: as above; one `u64` per reason.
    unsafe impl aya::Pod for Counters {}
}
