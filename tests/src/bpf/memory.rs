//! What a program can read and write: regions far apart, below 4 GiB because a context's pointers have 32 bits.

use super::Fault;

/// Octets from the start of one region to the next.
const SPACING: u64 = 1 << 26;
/// The context, `struct xdp_md`.
pub const CONTEXT: u64 = SPACING;
/// Where the packet's buffer begins.
pub const PACKET: u64 = 2 * SPACING;
/// The lowest address of the stack.
pub const STACK: u64 = 3 * SPACING;
/// The values of the first map.
const MAPS: u64 = 4 * SPACING;
/// Octets of stack for one function (`MAX_BPF_STACK`).
pub const FRAME_OCTETS: u64 = 512;
/// Functions that can be under way at once (`MAX_CALL_FRAMES`).
pub const FRAMES_MAX: usize = 8;
/// Octets of buffer before a frame (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;
/// Octets of a packet's buffer, as a page less what the kernel keeps of it.
const BUFFER: usize = 4096 - 320;
/// Octets of a context.
const CONTEXT_OCTETS: usize = 24;
/// Regions there is room for below 4 GiB.
const REGIONS_MAX: usize = 64;

/// A map of the array kind.
#[derive(Clone, Debug)]
pub struct Array {
    /// Octets of a value.
    pub value_octets: usize,
    /// Number of values.
    pub entries: usize,
}

impl Array {
    /// Octets from one value to the next.
    pub const fn stride(&self) -> usize {
        self.value_octets.next_multiple_of(8)
    }
}

/// All regions and what is known of the maps.
#[derive(Clone, Debug)]
pub struct Memory {
    regions: Vec<Vec<u8>>,
    maps: Vec<Array>,
    /// Where in the buffer the frame is.
    frame: std::ops::Range<usize>,
}

impl Memory {
    /// Memory with these maps, all zero. `None` if they are too many or too large.
    pub fn new(maps: Vec<Array>) -> Option<Self> {
        let mut regions = vec![
            Vec::new(),
            vec![0; CONTEXT_OCTETS],
            vec![0; BUFFER],
            vec![0; FRAMES_MAX * FRAME_OCTETS as usize],
        ];
        for map in &maps {
            let octets = map.stride().checked_mul(map.entries).filter(|&octets| octets as u64 <= SPACING)?;
            regions.push(vec![0; octets]);
        }
        (regions.len() <= REGIONS_MAX).then_some(Self { regions, maps, frame: HEADROOM..HEADROOM })
    }

    /// Puts a frame into the packet's buffer. `false` if it is too long.
    pub fn set_frame(&mut self, frame: &[u8]) -> bool {
        let range = HEADROOM..HEADROOM + frame.len();
        let Some(place) = self.regions.get_mut(2).and_then(|buffer| buffer.get_mut(range.clone())) else {
            return false;
        };
        place.copy_from_slice(frame);
        self.move_frame(range)
    }

    /// The frame as it is now.
    pub fn frame(&self) -> &[u8] {
        self.regions.get(2).and_then(|buffer| buffer.get(self.frame.clone())).unwrap_or_default()
    }

    /// Octets of the frame.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Moves the frame's ends by so many octets. `false`, and nothing changed, if there is no room.
    pub fn resize_frame(&mut self, head: i64, tail: i64) -> bool {
        let (Some(start), Some(end)) = (
            self.frame.start.checked_add_signed(head as isize),
            self.frame.end.checked_add_signed(tail as isize),
        ) else {
            return false;
        };
        start < end && end <= BUFFER && self.move_frame(start..end)
    }

    fn move_frame(&mut self, range: std::ops::Range<usize>) -> bool {
        let (data, data_end) = (PACKET + range.start as u64, PACKET + range.end as u64);
        self.frame = range;
        self.store(CONTEXT, 4, data).and(self.store(CONTEXT + 4, 4, data_end)).is_ok()
    }

    /// Where value `index` of a map is; `None` beyond its end.
    ///
    /// # Errors
    /// [`Fault::NoMap`].
    pub fn value(&self, map: u64, index: u64) -> Result<Option<u64>, Fault> {
        let at = usize::try_from(map).ok().and_then(|at| self.maps.get(at)).ok_or(Fault::NoMap(map))?;
        Ok((index < at.entries as u64).then(|| MAPS + map * SPACING + index * at.stride() as u64))
    }

    /// The octets at an address; of the packet's buffer only those of the frame.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub fn octets(&self, at: u64, octets: usize) -> Result<&[u8], Fault> {
        let (region, range) = self.place(at, octets)?;
        self.regions.get(region).and_then(|region| region.get(range)).ok_or(Fault::Memory { at, octets })
    }

    /// The same, to write.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub fn octets_mut(&mut self, at: u64, octets: usize) -> Result<&mut [u8], Fault> {
        let (region, range) = self.place(at, octets)?;
        self.regions
            .get_mut(region)
            .and_then(|region| region.get_mut(range))
            .ok_or(Fault::Memory { at, octets })
    }

    fn place(&self, at: u64, octets: usize) -> Result<(usize, std::ops::Range<usize>), Fault> {
        let fault = Fault::Memory { at, octets };
        let (region, start) = ((at / SPACING) as usize, (at % SPACING) as usize);
        let range = start..start + octets;
        let outside = region == 2 && (range.start < self.frame.start || range.end > self.frame.end);
        if outside || octets > BUFFER { Err(fault) } else { Ok((region, range)) }
    }

    /// Reads a little-endian number of 1, 2, 4 or 8 octets.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub fn load(&self, at: u64, octets: usize) -> Result<u64, Fault> {
        let mut word = [0; 8];
        word.iter_mut().zip(self.octets(at, octets)?).for_each(|(to, from)| *to = *from);
        Ok(u64::from_le_bytes(word))
    }

    /// Writes one.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub fn store(&mut self, at: u64, octets: usize, value: u64) -> Result<(), Fault> {
        let word = value.to_le_bytes();
        self.octets_mut(at, octets)?.iter_mut().zip(word).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Copies within memory.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub fn copy(&mut self, from: u64, to: u64, octets: usize) -> Result<(), Fault> {
        let copied = self.octets(from, octets)?.to_vec();
        self.octets_mut(to, octets)?.copy_from_slice(&copied);
        Ok(())
    }
}
