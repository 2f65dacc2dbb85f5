//! A capture as a file that tcpdump and Wireshark read: pcapng, block by block, as frames come out of the kernel's rings.

use std::{borrow::Cow, time::Duration};

use dhcp_common::capture::{SHOWN_OCTETS_MAX, Shown};
use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock as _, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

/// Nanoseconds: ten to the minus nine.
const RESOLUTION: u8 = 9;
/// The direction in a frame's flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Blocks on their way to whoever asked.
pub struct Writer {
    pcapng: PcapNgWriter<Vec<u8>>,
    /// What is added to the boot clock for the wall clock, nanoseconds.
    wall_ahead_ns: u64,
    /// What each interface was last said to have left out.
    left_out: Vec<u64>,
    /// Octets handed on.
    octets: u64,
}

impl Writer {
    /// A file that begins with these interfaces.
    ///
    /// # Errors
    /// Only of memory.
    pub fn new<'a>(interfaces: impl Iterator<Item = &'a str>, wall_ahead_ns: u64) -> Result<Self, PcapError> {
        let application = concat!("simple-dhcpd-datacenter ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(application))],
            ..SectionHeaderBlock::default()
        };
        let mut pcapng = PcapNgWriter::with_section_header(Vec::new(), section)?;
        let mut left_out = Vec::new();
        for name in interfaces {
            let options = vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfDescription(Cow::Borrowed(
                    "renewals answered in the kernel (XDP)",
                )),
                InterfaceDescriptionOption::IfTsResol(RESOLUTION),
            ];
            let snaplen = u32::try_from(SHOWN_OCTETS_MAX).unwrap_or(u32::MAX);
            let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
            pcapng.write_block(&block.into_block())?;
            left_out.push(0);
        }
        Ok(Self { pcapng, wall_ahead_ns, left_out, octets: 0 })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn frame(&mut self, interface: usize, shown: Shown, octets: &[u8]) -> Result<(), PcapError> {
        let direction = if shown.outgoing == 0 { INBOUND } else { OUTBOUND };
        let block = EnhancedPacketBlock {
            interface_id: u32::try_from(interface).unwrap_or(u32::MAX),
            timestamp: Duration::from_nanos(shown.boot_ns.saturating_add(self.wall_ahead_ns)),
            original_len: shown.frame_len,
            data: Cow::Borrowed(octets),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        self.pcapng.write_block(&block.into_block()).map(drop)
    }

    /// Says how many renewals each interface has left out by now, where that has changed.
    ///
    /// # Errors
    /// Only of memory.
    pub fn left_out(&mut self, boot_ns: u64, left_out: &[u64]) -> Result<(), PcapError> {
        let now_ns = boot_ns.saturating_add(self.wall_ahead_ns);
        for (interface, count) in (0..).zip(left_out) {
            let at = usize::try_from(interface).unwrap_or(usize::MAX);
            let Some(said) = self.left_out.get_mut(at).filter(|said| **said != *count) else { continue };
            *said = *count;
            let block = InterfaceStatisticsBlock {
                interface_id: interface,
                // The format has the upper half of the time first.
                timestamp: now_ns.rotate_left(32),
                options: vec![InterfaceStatisticsOption::IsbIfDrop(*count)],
            };
            self.pcapng.write_block(&block.into_block())?;
        }
        Ok(())
    }

    /// The blocks since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        let blocks = std::mem::take(self.pcapng.get_mut());
        self.octets += blocks.len() as u64;
        blocks
    }

    /// Octets of all blocks so far.
    pub fn octets(&self) -> u64 {
        self.octets + self.pcapng.get_ref().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_direction_time_and_what_is_missing() {
        let mut writer = Writer::new(["s0", "s1"].into_iter(), 1_000_000_000_000_000_000).unwrap();
        let mut file = writer.take();
        let shown = |outgoing| Shown { boot_ns: 123_456_789, frame_len: 3, outgoing };
        writer.frame(1, shown(0), b"abc").unwrap();
        writer.frame(1, shown(1), b"abcd").unwrap();
        writer.left_out(5, &[0, 7]).unwrap();
        writer.left_out(6, &[0, 7]).unwrap();
        assert!(writer.frame(2, shown(0), b"abc").is_err());
        file.extend(writer.take());
        assert_eq!(writer.octets(), file.len() as u64);
        let mut reader = PcapNgReader::new(&*file).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap().into_owned() {
                Block::EnhancedPacket(packet) => {
                    assert_eq!(packet.timestamp, Duration::new(1_000_000_000, 123_456_789));
                    seen.push(format!("{:?} {}", packet.options, packet.data.len()));
                }
                Block::InterfaceDescription(interface) => seen.push(format!("{:?}", interface.options[0])),
                Block::InterfaceStatistics(statistics) => seen.push(format!("{:?}", statistics.options)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            seen,
            ["IfName(\"s0\")", "IfName(\"s1\")", "[Flags(1)] 3", "[Flags(2)] 4", "[IsbIfDrop(7)]",]
        );
    }
}
