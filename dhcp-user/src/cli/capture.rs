//! `capture`: a file of the frames that the kernel answered.

use std::{
    fs::File,
    io::{self, Write},
    net::Ipv4Addr,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    ask::{print_json, wait},
    progress::Progress,
    remote::Asking,
};

/// What to capture, and where to.
#[derive(Debug, Args)]
pub(super) struct Capture {
    /// The file to write (pcapng); `-` for stdout, to be piped into `tcpdump -r -`.
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: PathBuf,
    /// End after so many frames; a renewal is two, the request and its answer.
    #[arg(short = 'c', long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds; else after ten minutes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: Option<u64>,
    /// Only renewals of this address.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// Only renewals of this Ethernet address.
    #[arg(long, value_name = "MAC")]
    hw_address: Option<String>,
    /// At most so many renewals a second; more are left out and counted. Default 1000.
    #[arg(long, value_name = "RENEWALS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_sec: Option<u32>,
    /// End before the file is larger than this. Default 64.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_024))]
    max_mib: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

/// Whole blocks of a pcapng stream, handed on as they come, so that a file that is ended at any moment is whole.
struct Blocks<W> {
    out: W,
    /// What has come of a block.
    rest: Vec<u8>,
    frames: u64,
    /// By interface.
    left_out: std::collections::BTreeMap<u32, u64>,
}

/// A block's type and length stand before it.
const HEAD: usize = 8;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// No block of a capture is longer; a longer one is no pcapng.
const BLOCK_MAX: usize = 1 << 16;

impl<W: Write> Blocks<W> {
    fn new(out: W) -> Self {
        Self { out, rest: Vec::new(), frames: 0, left_out: std::collections::BTreeMap::new() }
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<()> {
        self.rest.extend_from_slice(octets);
        let mut whole = 0;
        while let Some((kind, len)) = self.rest.get(whole..).and_then(head) {
            if !(HEAD..=BLOCK_MAX).contains(&len) {
                return Err(io::Error::other("the daemon sent what is no pcapng"));
            }
            let Some(block) = self.rest.get(whole..whole + len) else { break };
            match kind {
                PACKET => self.frames += 1,
                STATISTICS => {
                    // Interface, time, then the one option: code, length, count.
                    if let (Some(interface), Some(count)) = (number::<4>(block, 8), number::<8>(block, 24)) {
                        self.left_out.insert(u32::try_from(interface).unwrap_or(u32::MAX), count);
                    }
                }
                _ => {}
            }
            whole += len;
        }
        let blocks: Vec<u8> = self.rest.drain(..whole).collect();
        self.out.write_all(&blocks)?;
        self.out.flush()
    }
}

fn head(rest: &[u8]) -> Option<(u32, usize)> {
    let kind = u32::try_from(number::<4>(rest, 0)?).ok()?;
    Some((kind, usize::try_from(number::<4>(rest, 4)?).ok()?))
}

/// The little-endian number at a place.
fn number<const N: usize>(octets: &[u8], at: usize) -> Option<u64> {
    let found: &[u8; N] = octets.get(at..)?.first_chunk()?;
    Some(found.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

/// `capture`.
pub(super) fn capture(wanted: &Capture) -> Result<()> {
    let daemon = wanted.asking.daemon()?;
    let query = [
        ("address", wanted.address.map(|address| address.to_string())),
        ("hw_address", wanted.hw_address.clone()),
        ("count", wanted.count.map(|count| count.to_string())),
        ("seconds", wanted.seconds.map(|seconds| seconds.to_string())),
        ("per_sec", wanted.per_sec.map(|rate| rate.to_string())),
        ("mib", wanted.max_mib.map(|mib| mib.to_string())),
    ];
    let query: Vec<_> =
        query.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
    if let Some(mac) = &wanted.hw_address {
        // It goes into a URL: no Ethernet address has anything else in it.
        let usual = mac.bytes().all(|octet| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'-' | b'.'));
        anyhow::ensure!(usual, "{mac:?} is no Ethernet address");
    }
    let path = format!("/api/v1/capture?{}", query.join("&"));
    let to_stdout = wanted.write.as_os_str() == "-";
    let shown = wanted.write.display();
    let mut file: Option<Blocks<Box<dyn Write>>> = None;
    let progress = Progress::of_gathering("frames");
    wait(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
        let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
        let reading = daemon.stream_of(hyper::Method::POST, &path, None, |octets| {
            let blocks = match &mut file {
                Some(blocks) => blocks,
                // Not before the daemon has agreed: what was refused leaves no file.
                none => {
                    let out: Box<dyn Write> = if to_stdout {
                        Box::new(io::stdout())
                    } else {
                        Box::new(File::create(&wanted.write)?)
                    };
                    none.insert(Blocks::new(out))
                }
            };
            let before = blocks.frames;
            blocks.take(octets)?;
            progress.add(usize::try_from(blocks.frames - before).unwrap_or(0));
            Ok(())
        });
        tokio::select! {
            read = reading => read.with_context(|| format!("{shown}: the capture failed")),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })?;
    drop(progress);
    let Some(blocks) = file else { return Ok(()) };
    let left_out: u64 = blocks.left_out.values().sum();
    if wanted.asking.json && !to_stdout {
        return print_json(&serde_json::json!({"frames": blocks.frames, "left_out": left_out}));
    }
    // To stderr: stdout may be the file.
    eprintln!("{} frames; {left_out} renewals left out", blocks.frames);
    Ok(())
}

#[cfg(test)]
mod tests {
    use dhcp_common::capture::Shown;

    use super::*;
    use crate::api::capture::Writer;

    #[test]
    fn a_file_has_whole_blocks_only_whatever_pieces_they_come_in() {
        let mut writer = Writer::new(["s0", "s1"].into_iter(), 0).unwrap();
        for n in 0..5 {
            writer.frame(1, Shown { boot_ns: n, frame_len: 300, outgoing: 0 }, &[7; 300]).unwrap();
        }
        writer.left_out(9, &[0, 3]).unwrap();
        let stream = writer.take();
        for piece in [1, 7, 64, 10_000] {
            let mut blocks = Blocks::new(Vec::new());
            // Cut short in the middle of the last block.
            for octets in stream[..stream.len() - 1].chunks(piece) {
                blocks.take(octets).unwrap();
            }
            assert!(blocks.rest.len() > HEAD && stream.starts_with(&blocks.out));
            assert_eq!(blocks.frames, 5);
            blocks.take(&stream[stream.len() - 1..]).unwrap();
            assert_eq!((blocks.out.as_slice(), blocks.left_out.get(&1)), (stream.as_slice(), Some(&3)));
        }
        assert!(Blocks::new(Vec::new()).take(&[255; 16]).is_err());
    }
}
