//! Captures of what the kernel answers, as tcpdump reads them: renewals of a client, requests and answers, with their
//! directions; what is filtered, left out and refused; and that the same programs run again afterwards, however it ends.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::scripted::Scripted,
    daemon::{Daemon, binary},
    lab::{Cable, INTERFACE, SERVER, SERVER_MAC, Server, Stats, set},
    load::{
        batch_socket::BatchSocket,
        fleet::Fleet,
        message::{Kind, Way},
        pace::{Pace, Patience},
        plan::Plan,
    },
    process::{Process, stdout},
    wait::wait_until,
};
use pcap_file::pcapng::{Block, PcapNgReader, blocks::interface_statistics::InterfaceStatisticsOption};
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

struct World {
    daemon: Daemon,
    cable: Cable,
    server: Server,
}

/// A `capture` that runs.
struct Capture {
    process: Process,
    file: PathBuf,
}

impl World {
    fn new() -> Self {
        let server = Server::new().expect("as arranged");
        let cable = Cable::new(&server).expect("as arranged");
        let mut config = server.config();
        set(&mut config, "/dhcp/lease_secs", json!(600));
        let daemon = server.start(&config).expect("as arranged");
        Self { daemon, cable, server }
    }

    /// Starts one, and waits until its programs run.
    fn capture(&self, name: &str, more: &[&str]) -> Result<Capture> {
        let file = self.server.folder.path().join(name);
        let mut command = Command::new(binary()?);
        command.args(["capture", "-w"]).arg(&file).args(more);
        command.arg("--socket").arg(self.server.folder.path().join("control.sock"));
        let before = self.ons();
        let process = Process::start(&mut command, &self.server.folder.path().join(format!("{name}.log")))?;
        wait_until(SOON, "the capture to be on", || self.ons() > before)?;
        Ok(Capture { process, file })
    }

    fn ons(&self) -> usize {
        self.daemon.log().matches("a capture of what the kernel answers is on").count()
    }

    fn is_over(&self, times: usize) {
        wait_until(SOON, "the capture to be over", || {
            self.daemon.log().matches("the capture is over").count() == times
        })
        .expect("it ends");
    }

    fn answered(&self) -> u64 {
        Stats::of(&self.daemon).expect("as arranged").answered()
    }
}

impl Capture {
    /// Waits until it has ended by itself.
    fn end(mut self) -> Result<(PathBuf, String)> {
        self.process.wait(SOON)?;
        let said = self.process.output();
        Ok((self.file, said))
    }
}

/// What tcpdump makes of a file: a line for each frame.
fn tcpdump(file: &Path, filter: &[&str]) -> Result<Vec<String>> {
    let text = stdout(Command::new("tcpdump").args(["-r"]).arg(file).args(["-n", "-t", "-v"]).args(filter))?;
    // The second line of a frame begins with a tabulator or blanks.
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines() {
        match frames.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(frame) => *frame += line,
            None => frames.push(line.to_owned()),
        }
    }
    Ok(frames)
}

/// How many renewals a file that is still written says were left out, on the one interface.
fn left_out(file: &Path) -> u64 {
    let octets = std::fs::read(file).unwrap_or_default();
    let Ok(mut reader) = PcapNgReader::new(&*octets) else { return 0 };
    let mut left_out = 0;
    while let Some(Ok(block)) = reader.next_block() {
        let Block::InterfaceStatistics(statistics) = block else { continue };
        for option in &statistics.options {
            if let InterfaceStatisticsOption::IsbIfDrop(count) = option {
                left_out = *count;
            }
        }
    }
    left_out
}

fn renew(client: &Scripted<'_>, address: Ipv4Addr) {
    let (ack, _) = client.ask(&client.renewal(address)).expect("as arranged");
    assert_eq!((ack.kind(), ack.yiaddr), (5, address));
}

#[test]
fn renewals_answered_in_the_kernel_are_in_the_file() {
    let world = World::new();
    let (one, two) = (Scripted::new(&world.cable.socket, 1), Scripted::new(&world.cable.socket, 2));
    let (first, second) = (one.dora().unwrap().address, two.dora().unwrap().address);
    renew(&one, first);
    let programs = || stdout(world.server.ns.command("ip").args(["-d", "link", "show", INTERFACE])).unwrap();
    let before = programs();

    // All: four renewals, eight frames, and it ends by itself.
    let all = world.capture("all.pcapng", &["-c", "8"]).unwrap();
    assert_ne!(programs(), before, "another program runs");
    let answered = world.answered();
    for _ in 0..2 {
        renew(&one, first);
        renew(&two, second);
    }
    let (file, said) = all.end().unwrap();
    assert!(said.contains("8 frames; 0 renewals left out"), "{said}");
    assert_eq!(world.answered(), answered + 4, "the kernel answers as ever");
    world.is_over(1);
    assert_eq!(programs(), before, "the same program runs again");
    let frames = tcpdump(&file, &[]).unwrap();
    assert_eq!(frames.len(), 8, "{frames:#?}");
    for pair in frames.chunks(2) {
        assert!(pair[0].contains("DHCP-Message") && pair[0].contains("Request"), "{pair:#?}");
        assert!(pair[1].contains("DHCP-Message") && pair[1].contains("ACK"), "{pair:#?}");
    }
    // As bytes: what came in and what went out carry their direction, which Debian's tcpdump prints for no pcapng.
    let octets = std::fs::read(&file).unwrap();
    let flags = |direction: u8| [2, 0, 4, 0, direction, 0, 0, 0];
    let count = |direction| octets.windows(8).filter(|found| *found == flags(direction)).count();
    assert_eq!((count(1), count(2)), (4, 4));

    // One client only, until ctrl-C: the file is whole.
    let mut only = world.capture("one.pcapng", &["--hw-address", "02:00:00:00:01:02"]).unwrap();
    renew(&one, first);
    renew(&two, second);
    wait_until(SOON, "its frames", || tcpdump(&only.file, &[]).is_ok_and(|frames| frames.len() == 2))
        .unwrap();
    only.process.signal(Signal::INT).unwrap();
    let (file, said) = only.end().unwrap();
    assert!(said.contains("2 frames; 0 renewals left out"), "{said}");
    let found = tcpdump(&file, &["ether", "host", "02:00:00:00:01:02"]).unwrap();
    assert_eq!(found.len(), 2, "{found:#?}");
    world.is_over(2);

    // By address, and no more than one a second: what is beyond is counted.
    let address = first.to_string();
    let mut few = world.capture("few.pcapng", &["--address", &address, "--per-sec", "1"]).unwrap();
    renew(&two, second);
    for _ in 0..5 {
        renew(&one, first);
    }
    // Of a burst of renewals within far less than five seconds, some are left out.
    wait_until(SOON, "its frames", || tcpdump(&few.file, &[]).is_ok_and(|frames| frames.len() >= 2)).unwrap();
    wait_until(SOON, "what was left out to be told", || left_out(&few.file) > 0).unwrap();
    few.process.signal(Signal::INT).unwrap();
    let (file, said) = few.end().unwrap();
    assert!(said.contains("renewals left out") && !said.contains("; 0 renewals"), "{said}");
    assert!(tcpdump(&file, &[]).unwrap().iter().all(|frame| frame.contains(&address)), "{said}");
    world.is_over(3);
    assert_eq!(programs(), before);
}

/// The ring is full because nobody reads: every renewal is answered all the same, and what is not shown is counted.
#[test]
fn a_reader_who_stands_still_costs_frames_and_no_renewal() {
    const CLIENTS: u32 = 240;
    // Several times what fills ring, pipes and queues, 700 octets each.
    const RENEWALS: u64 = 20_000;
    let world = World::new();
    let way = Way { server: SERVER, server_mac: SERVER_MAC, relay: None, vlan: None };
    let mut fleet = Fleet::new(way, CLIENTS).unwrap();
    let mut socket = BatchSocket::open(&world.cable.ns, "c0").unwrap();
    let acquired = fleet.run(&mut socket, &Plan::acquire(CLIENTS)).unwrap();
    assert_eq!(acquired.done, u64::from(CLIENTS), "{acquired}");
    let mut capture = world.capture("full.pcapng", &["--per-sec", "10000", "--max-mib", "1024"]).unwrap();
    capture.process.signal(Signal::STOP).unwrap();
    let before = world.answered();
    let mut done = 0;
    while done < RENEWALS {
        let plan = Plan {
            begin: Kind::Renew,
            pace: Pace::Rate(8_000.0),
            patience: Patience::GiveUp(Duration::from_secs(4)),
            clients: (0, CLIENTS),
            time: Duration::from_millis(500),
            mirror: false,
        };
        let figures = fleet.run(&mut socket, &plan).unwrap();
        // What a busy machine loses on its veths never came to the kernel's program.
        assert!(figures.wrong() == 0 && figures.loss() < 0.5, "{figures}");
        done += figures.done;
    }
    let stats = Stats::of(&world.daemon).unwrap();
    assert!(stats.answered() - before >= done, "the kernel answers as ever: {:#}", stats.0);
    assert_eq!((stats.renewals_passed(), stats.renewed_by_daemon()), (vec![], 0), "{:#}", stats.0);
    capture.process.signal(Signal::CONT).unwrap();
    wait_until(SOON, "what was left out to be told", || left_out(&capture.file) > 0).unwrap();
    capture.process.signal(Signal::INT).unwrap();
    let (file, said) = capture.end().unwrap();
    assert!(said.contains("renewals left out") && !said.contains("; 0 renewals"), "{said}");
    assert!(tcpdump(&file, &[]).unwrap().len() > 100, "{said}");
    world.is_over(1);
}

#[test]
fn another_configuration_a_kill_and_a_second_capture() {
    let mut world = World::new();
    let client = Scripted::new(&world.cable.socket, 1);
    let address = client.dora().unwrap().address;
    let first = world.capture("first.pcapng", &[]).unwrap();
    renew(&client, address);
    let said = format!("{:#}", world.daemon.ask(&["capture", "-w", "/dev/null"]).expect_err("one at a time"));
    assert!(said.contains("a capture is running already"), "{said}");

    // Another configuration ends it; what was seen is in the file.
    let file = world.server.folder.path().join("dhcp.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    set(&mut config, "/dhcp/lease_secs", json!(700));
    std::fs::write(&file, config.to_string()).unwrap();
    world.daemon.ask(&["config", "reload"]).unwrap();
    let (file, _) = first.end().unwrap();
    assert_eq!(tcpdump(&file, &[]).unwrap().len(), 2);
    renew(&client, address);
    let answered = world.answered();
    renew(&client, address);
    assert_eq!(world.answered(), answered + 1, "the new programs run");

    // A daemon that dies in the middle leaves programs that answer, and the next one replaces them and knows it all.
    let second = world.capture("second.pcapng", &[]).unwrap();
    renew(&client, address);
    world.daemon.kill().unwrap();
    renew(&client, address);
    drop(second);
    world.daemon.restart(&world.server.ns).unwrap();
    let lease = dhcp_tests::lab::lease(&world.daemon, address).unwrap();
    assert_eq!(lease["renewed_by"], json!("kernel"), "{lease:#}");
    renew(&client, address);
    assert_eq!(world.answered(), 1);
    let third = world.capture("third.pcapng", &["-c", "2"]).unwrap();
    renew(&client, address);
    assert_eq!(tcpdump(&third.end().unwrap().0, &[]).unwrap().len(), 2);
    // Nothing is left in the kernel of it.
    wait_until(SOON, "no pins of captures", || {
        let pins = stdout(Command::new("find").arg(world.server.pins.path())).context("no pins");
        pins.is_ok_and(|pins| !pins.contains("tap:"))
    })
    .unwrap();
}
