//! What the kernel program is told to show of the frames it answers, and how it shows them. Only the program that
//! runs while a capture is on has any of this in it.

use crate::limit::Rate;

/// The most octets of a frame that are shown; no answered frame on an Ethernet of the usual size has more.
pub const SHOWN_OCTETS_MAX: usize = 1536;

/// Which answered frames are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wanted {
    /// How many renewals a second.
    pub rate: Rate,
    /// Of this hardware address, as the first of its two little-endian words; 0 for any.
    pub chaddr: u64,
    /// Of this leased address; 0.0.0.0 for any.
    pub address: [u8; 4],
    /// Zero.
    pub reserved: u32,
}

impl Wanted {
    /// All, at any rate.
    pub const ALL: Self = Self { rate: Rate::UNLIMITED, chaddr: 0, address: [0; 4], reserved: 0 };

    /// Whether the renewal of an address by a client is wanted.
    #[inline(always)]
    pub fn fits(&self, chaddr: u64, address: [u8; 4]) -> bool {
        (self.chaddr == 0 || self.chaddr == chaddr)
            && (u32::from_ne_bytes(self.address) == 0
                || u32::from_ne_bytes(self.address) == u32::from_ne_bytes(address))
    }
}

/// What stands before a frame's octets in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Shown {
    /// When it was seen, on the boot clock, nanoseconds.
    pub boot_ns: u64,
    /// The frame's length, octets; as many follow, up to [`SHOWN_OCTETS_MAX`].
    pub frame_len: u32,
    /// 1 for an answer, 0 for the request it answers, which always comes before it.
    pub outgoing: u32,
}

/// Octets of [`Shown`].
pub const SHOWN_LEN: usize = size_of::<Shown>();

impl Shown {
    /// Reads what the ring holds: what is said of the frame, and its octets. `None` if it is no such record.
    pub fn read(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, octets) = record.split_first_chunk::<SHOWN_LEN>()?;
        let (boot_ns, rest) = head.split_first_chunk::<8>()?;
        let (frame_len, rest) = rest.split_first_chunk::<4>()?;
        let outgoing = rest.first_chunk::<4>()?;
        let shown = Self {
            boot_ns: u64::from_ne_bytes(*boot_ns),
            frame_len: u32::from_ne_bytes(*frame_len),
            outgoing: u32::from_ne_bytes(*outgoing),
        };
        let len = usize::try_from(shown.frame_len).ok()?.min(SHOWN_OCTETS_MAX);
        Some((shown, octets.get(..len)?))
    }
}

/// A processor's room for a frame on its way into the ring.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Room {
    /// Answered frames that were wanted and not shown, for there were too many or nobody read them.
    pub left_out: u64,
    /// Octets of the request that is kept here; 0 for none.
    pub kept_octets: u64,
    /// What is said of the frame.
    pub shown: Shown,
    /// Its octets.
    pub octets: [u8; SHOWN_OCTETS_MAX],
}

const _: () = assert!(
    SHOWN_LEN == 16 && size_of::<Room>() == 16 + SHOWN_LEN + SHOWN_OCTETS_MAX && size_of::<Wanted>() == 32
);

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, without padding, of integers only.
    unsafe impl aya::Pod for super::Wanted {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Room {}
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn records_are_read_as_far_as_they_go() {
        let record = |len: u32, octets: usize| -> Vec<u8> {
            let head = [7_u64.to_ne_bytes().as_slice(), &len.to_ne_bytes(), &1_u32.to_ne_bytes()].concat();
            [head, std::vec![9; octets]].concat()
        };
        let shown = Shown { boot_ns: 7, frame_len: 3, outgoing: 1 };
        assert_eq!(Shown::read(&record(3, 3)), Some((shown, &[9, 9, 9][..])));
        assert_eq!(Shown::read(&record(3, 8)), Some((shown, &[9, 9, 9][..])), "padded");
        assert_eq!(Shown::read(&record(3, 2)), None);
        assert_eq!(Shown::read(&[0; 15]), None);
        assert_eq!(Shown::read(&record(9_000, SHOWN_OCTETS_MAX)).unwrap().1.len(), SHOWN_OCTETS_MAX);
    }

    #[test]
    fn wanted_is_any_or_one() {
        let one = Wanted { chaddr: 5, address: [198, 18, 0, 7], ..Wanted::ALL };
        assert!(Wanted::ALL.fits(5, [1, 2, 3, 4]) && one.fits(5, [198, 18, 0, 7]));
        assert!(!one.fits(6, [198, 18, 0, 7]) && !one.fits(5, [198, 18, 0, 8]));
    }
}
