//! What the generator's kernel programs share with its process: `dhcp-ebpf/src/bin/load.rs` compiles this very file.

/// Octets a template has room for.
pub const TEMPLATE_MAX: usize = 400;

/// Places for latencies: 32 for each doubling of up to 2^32 nanoseconds.
pub const PLACES: usize = 32 * 28;

/// A renewal to which only the client is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Template {
    /// Octets of the frame; it has no VLAN tag.
    pub len: u32,
    /// Where in the frame the hardware address inside option 61 stands.
    pub client_id_at: u32,
    /// Sum of the IPv4 header without checksum and source, carries added in.
    pub header_sum: u32,
    /// 1 if the client's own hardware address is the frame's source.
    pub from_client_mac: u32,
    /// The frame.
    pub frame: [u8; TEMPLATE_MAX],
}

/// Who comes next, on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sequence {
    /// The next client, or the state of the xorshift generator (never 0 then).
    pub position: u64,
    /// Number of clients.
    pub clients: u32,
    /// 0 for one after the other, 1 for at random.
    pub random: u32,
    /// One reply in so many, a power of two, less one, is also handed to a socket, which looks at all of it.
    pub sample_mask: u32,
    /// Filled up to a multiple of eight octets.
    pub unused: u32,
}

/// What came back, on one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Collected {
    /// ACKs with the client's address.
    pub right: u64,
    /// Requests that came back as they were.
    pub mirrored: u64,
    /// Replies that are wrong.
    pub wrong: u64,
    /// Other frames.
    pub other: u64,
    /// How long right ones and mirrored ones took.
    pub latencies: [u64; PLACES],
}

/// The place of a latency.
#[inline(always)]
pub const fn place(ns: u32) -> usize {
    if ns < 32 {
        return ns as usize;
    }
    let doublings = 31 - ns.leading_zeros() - 5;
    (doublings as usize + 1) * 32 + ((ns >> doublings) as usize & 31)
}

/// The longest latency of a place, nanoseconds.
pub const fn place_ns(place: usize) -> u64 {
    if place < 32 {
        return place as u64;
    }
    let doublings = place / 32 - 1;
    (((32 + place % 32) as u64 + 1) << doublings) - 1
}
