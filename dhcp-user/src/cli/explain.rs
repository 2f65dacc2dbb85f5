//! `explain`: why a client gets the answer it gets. What is asked about may be an address, a hardware address, a frame in
//! hexadecimal, or a capture file; the daemon answers, and does nothing else.

use std::{
    fs::File,
    io::{Read as _, Write},
    net::Ipv4Addr,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use pcap_parser::{Block, Linktype, PcapCapture, PcapNGCapture};
use serde::{Deserialize, Serialize};

use super::{
    ask::{print_json, wait},
    remote::Asking,
};
use crate::{api::routes::leases::LeasePage, control::client::Daemon, server::explain::Explanation};

/// The largest capture file read, octets.
const FILE_MAX: u64 = 16 << 20;
/// The most frames, or leases of one client, that are explained.
const SUBJECTS_MAX: usize = 32;

/// What to explain.
#[derive(Clone, Debug, Args)]
pub(super) struct Explain {
    /// An address, a hardware address, a frame in hexadecimal, or a file with one (hexadecimal, pcap or pcapng).
    what: String,
    /// The interface by which a frame comes in; without, the one it is addressed to.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// What an argument turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Address(Ipv4Addr),
    Client(String),
    Frames(Vec<Vec<u8>>),
}

/// An explanation and what it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Explained {
    /// The address, the hardware address, or the number of the frame.
    about: String,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Explains.
pub(super) fn explain(command: &Explain) -> Result<()> {
    let daemon = command.asking.daemon()?;
    let subject = Subject::read(&command.what)?;
    let explained = wait(ask(&daemon, &subject, command.interface.as_deref()))?;
    if command.asking.json {
        return print_json(&explained);
    }
    let mut out = std::io::stdout().lock();
    for one in &explained {
        print(&mut out, one)?;
    }
    Ok(())
}

async fn ask(daemon: &Daemon, subject: &Subject, interface: Option<&str>) -> Result<Vec<Explained>> {
    let mut explained = Vec::new();
    match subject {
        Subject::Address(address) => explained.push(of_address(daemon, *address).await?),
        Subject::Client(mac) => {
            for address in addresses_of(daemon, mac).await? {
                explained.push(of_address(daemon, address).await?);
            }
            // Where it has no lease, and where it would have another one.
            let explanation = daemon.get(&format!("/api/v1/explain?hw_address={mac}")).await?;
            explained.push(Explained { about: mac.clone(), explanation });
        }
        Subject::Frames(frames) => {
            let interface =
                interface.map(|name| format!("&interface={}", url_encoded(name))).unwrap_or_default();
            for (number, frame) in (1..).zip(frames) {
                let frame: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
                let explanation = daemon.get(&format!("/api/v1/explain?frame={frame}{interface}")).await?;
                explained.push(Explained { about: format!("frame {number}"), explanation });
            }
        }
    }
    Ok(explained)
}

async fn of_address(daemon: &Daemon, address: Ipv4Addr) -> Result<Explained> {
    let explanation = daemon.get(&format!("/api/v1/explain?address={address}")).await?;
    Ok(Explained { about: address.to_string(), explanation })
}

async fn addresses_of(daemon: &Daemon, mac: &str) -> Result<Vec<Ipv4Addr>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page: LeasePage =
            daemon.get(&format!("/api/v1/leases?hw_address={mac}&limit=100{after}")).await?;
        found.extend(page.leases.iter().map(|lease| lease.address));
        match page.next.filter(|_| found.len() < SUBJECTS_MAX) {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    found.truncate(SUBJECTS_MAX);
    Ok(found)
}

fn print(out: &mut dyn Write, explained: &Explained) -> std::io::Result<()> {
    let Explained { about, explanation } = explained;
    writeln!(out, "{about}: {}", explanation.summary)?;
    for step in &explanation.steps {
        writeln!(out, "  {:<13}  {:<22}  {}", step.part, step.outcome, step.meaning)?;
    }
    if let Some(lease) = &explanation.lease {
        writeln!(
            out,
            "  {:<13}  {:<22}  {} {} until {}, last renewed by the {}",
            "lease", lease.address, lease.state, lease.hw_address, lease.expires_at, lease.renewed_by
        )?;
    }
    Ok(())
}

/// A name as it may stand in a URL: no interface of the kernel needs more than this, but it may have any octet but `/`.
fn url_encoded(name: &str) -> String {
    name.bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(octet).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

impl Subject {
    fn read(what: &str) -> Result<Self> {
        if let Ok(address) = what.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(mac) = mac(what) {
            return Ok(Self::Client(mac));
        }
        let path = Path::new(what);
        if path.exists() {
            return Self::read_file(path);
        }
        let frame = hexadecimal(what).with_context(|| {
            format!(
                "{what} is neither an address, nor a hardware address, nor a file, nor a frame in hexadecimal"
            )
        })?;
        Ok(Self::Frames(vec![frame]))
    }

    fn read_file(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut octets = Vec::new();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        file.take(FILE_MAX + 1).read_to_end(&mut octets).with_context(|| format!("cannot read {name}"))?;
        ensure!(
            octets.len() as u64 <= FILE_MAX,
            "{name} is larger than {} MiB; cut a piece out of it",
            FILE_MAX >> 20
        );
        let frames = match captured(&octets).with_context(|| format!("in {name}"))? {
            Some(frames) => frames,
            None => {
                let text = std::str::from_utf8(&octets).ok();
                let frame = text.and_then(hexadecimal);
                vec![
                    frame
                        .with_context(|| format!("{name} is neither a capture nor a frame in hexadecimal"))?,
                ]
            }
        };
        ensure!(!frames.is_empty(), "{name} has no DHCP frame in it");
        Ok(Self::Frames(frames))
    }
}

/// A hardware address with its six octets written apart.
fn mac(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let fits = |part: &&str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(fits)).then(|| parts.join(":").to_lowercase())
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.bytes().filter(|c| !c.is_ascii_whitespace() && !matches!(c, b':' | b'-')).collect();
    let octets = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'))?;
        u8::from_str_radix(pair, 16).ok()
    });
    octets.collect::<Option<Vec<u8>>>().filter(|octets| octets.len() >= 14)
}

/// The DHCP requests of a capture; `None` if it is none.
fn captured(file: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
    let mut frames = Vec::new();
    let mut take = |linktype: Linktype, frame: &[u8]| {
        if linktype != Linktype::ETHERNET {
            bail!(
                "the capture is not of an Ethernet interface (link type {}); not `any`, name one",
                linktype.0
            );
        }
        if frames.len() < SUBJECTS_MAX && asks_dhcp(frame) {
            frames.push(frame.to_vec());
        }
        Ok(())
    };
    if let Ok(capture) = PcapCapture::from_file(file) {
        for block in &capture.blocks {
            take(capture.header.network, block.data)?;
        }
        return Ok(Some(frames));
    }
    let Ok(capture) = PcapNGCapture::from_file(file) else { return Ok(None) };
    for section in &capture.sections {
        // Packets name the interfaces of their section by number.
        let mut linktypes = Vec::new();
        for block in &section.blocks {
            match block {
                Block::InterfaceDescription(interface) => linktypes.push(interface.linktype),
                Block::EnhancedPacket(packet) => {
                    let linktype =
                        usize::try_from(packet.if_id).ok().and_then(|id| linktypes.get(id).copied());
                    let linktype = linktype.context("a packet names no interface of the capture")?;
                    // Padded to whole words.
                    let len = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                    take(linktype, packet.data.get(..len).unwrap_or(packet.data))?;
                }
                _ => {}
            }
        }
    }
    Ok(Some(frames))
}

/// Whether a frame is worth explaining: a whole datagram to port 67. An answer to port 68 in the same capture is not.
fn asks_dhcp(frame: &[u8]) -> bool {
    let mut octets = frame.to_vec();
    let len = octets.len();
    dhcp_common::frame::SliceFrame::new(&mut octets, len)
        .is_some_and(|frame| dhcp_common::request::Datagram::find(&frame).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broadcast DISCOVER, cut to the shortest message taken.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
        let total: u16 = 20 + 8 + 300;
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        frame.extend([0, 68, 0, 67]);
        frame.extend((total - 20).to_be_bytes());
        frame.extend([0, 0, 1, 1, 6, 0]);
        frame.resize(14 + usize::from(total), 0);
        frame
    }

    fn pcap(linktype: u32, frames: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, linktype] {
            file.extend(word.to_le_bytes());
        }
        for frame in frames {
            let len = u32::try_from(frame.len()).unwrap();
            for word in [0, 0, len, len] {
                file.extend(word.to_le_bytes());
            }
            file.extend_from_slice(frame);
        }
        file
    }

    #[test]
    fn arguments_are_told_apart() {
        assert_eq!(Subject::read("198.18.0.1").unwrap(), Subject::Address(Ipv4Addr::new(198, 18, 0, 1)));
        assert_eq!(
            Subject::read("02-00-00-00-00-0A").unwrap(),
            Subject::Client("02:00:00:00:00:0a".to_owned())
        );
        let hex: String = frame().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(Subject::read(&hex).unwrap(), Subject::Frames(vec![frame()]));
        for wrong in ["nonsense", "02:00", "198.18.0.300", ""] {
            assert!(Subject::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_are_picked_from_captures() {
        let mut answer = frame();
        answer[37] = 68;
        let file = pcap(1, &[&frame(), &answer, &[0; 60]]);
        assert_eq!(captured(&file).unwrap(), Some(vec![frame()]));
        assert!(captured(&pcap(276, &[&frame()])).unwrap_err().to_string().contains("276"));
        assert_eq!(captured(b"0203").unwrap(), None);
        // However a file is cut, it is an error, or less of it.
        for len in 0..file.len() {
            drop(captured(&file[..len]));
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_url() {
        assert_eq!(url_encoded("eth0.10"), "eth0.10");
        assert_eq!(url_encoded("a&b=c d"), "a%26b%3Dc%20d");
    }
}
