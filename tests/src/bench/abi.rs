//! The maps of the bench-only XDP object: `dhcp-ebpf/src/bin/bench.rs` compiles this very file.

/// Octets a template has room for: the longest frame the kernel answers, and more.
pub const TEMPLATE_MAX: usize = 640;

/// Which client comes next, on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sequence {
    /// The next client in order, or the state of the xorshift generator (never 0 then).
    pub position: u64,
    /// Number of clients.
    pub count: u32,
    /// 0 for one after the other, 1 for at random.
    pub random: u32,
    /// The address of client 0, as a number.
    pub first_address: u32,
    /// Index of the template.
    pub template: u32,
}

/// A request to which only the client is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Template {
    /// Octets of the frame.
    pub len: u32,
    /// Where in the frame the hardware address inside option 61 stands; 0 without option 61.
    pub client_id_at: u32,
    /// The frame.
    pub frame: [u8; TEMPLATE_MAX],
}

/// What came back, on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Collected {
    /// BOOTP replies from port 67.
    pub answers: u64,
    /// BOOTP requests from port 67: reflected.
    pub reflected: u64,
    /// Anything else.
    pub other: u64,
}

/// A mixture of renewals and of DISCOVERs from strangers, on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mix {
    /// Frames so far.
    pub frames: u64,
    /// Renewals among them.
    pub renewals: u64,
    /// The state of the xorshift generator that makes strangers, never 0.
    pub random: u64,
    /// One frame in so many is a renewal; 0 for none.
    pub every: u32,
    /// Number of clients that renew less one, a power of two less one.
    pub mask: u32,
    /// The address of client 0, as a number.
    pub first_address: u32,
    /// Keeps the layout explicit.
    pub reserved: u32,
}

/// What came back from a mixture, on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sorted {
    /// ACKs to clients that renew.
    pub acks: u64,
    /// OFFERs to strangers.
    pub offers: u64,
    /// Other replies to either.
    pub other: u64,
}

/// Index of the template of a stranger's DISCOVER in a mixture.
pub const STRANGER: u32 = 0;
/// Index of the template of a renewal in a mixture.
pub const RENEWAL: u32 = 1;

/// The hardware address of client `number`: locally administered.
#[inline(always)]
pub const fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x06, 0, a, b, c, d]
}
