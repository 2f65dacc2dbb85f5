//! The harness against itself: namespaces come and go, frames cross a veth pair as they were sent.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use dhcp_tests::{
    netns::NetNs,
    packet::Frame,
    parse::Message,
    process::{Process, is_alive},
    raw::RawSocket,
    veth::{self, Veth},
    wait::wait_until,
};

const SECOND: Duration = Duration::from_secs(1);

fn file_of(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

#[test]
fn a_namespace_goes_when_dropped_and_takes_what_runs_in_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let ns = NetNs::new("gone").unwrap();
    let file = file_of(ns.name());
    assert!(file.exists());
    let mut shell = ns.command("sh");
    // The shell ends and leaves a stranger behind, as clients that fork do.
    shell.args(["-c", "setsid sleep 100 & echo $!"]);
    let mut process = Process::start(&mut shell, &folder.path().join("log")).unwrap();
    process.wait(SECOND).unwrap();
    let id: i32 = process.output().trim().parse().unwrap();
    assert!(is_alive(id));
    drop(ns);
    assert!(!file.exists());
    assert!(!is_alive(id));
}

#[test]
fn a_panic_leaves_no_namespace_behind() {
    let ns = NetNs::new("panic").unwrap();
    let file = file_of(ns.name());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _owned = ns;
        panic!("as a failed assertion does");
    }));
    assert!(panicked.is_err());
    assert!(!file.exists());
}

#[test]
fn a_namespace_of_a_dead_process_is_removed_by_the_next_test_process() {
    // No process has this id: it is over the largest that Linux gives out.
    let name = "dhcptest-4194999-0-stale";
    let ip = |words: &[&str]| dhcp_tests::process::stdout(std::process::Command::new("ip").args(words));
    ip(&["netns", "add", name]).unwrap();
    // The removal runs once in a process, so another process has to: this test's binary, one quick test of it.
    let own = std::env::current_exe().unwrap();
    let mut again = std::process::Command::new(own);
    let output =
        dhcp_tests::process::stdout(again.args(["--exact", "a_namespace_has_loopback_and_no_ipv6"])).unwrap();
    assert!(output.contains("1 passed"), "{output}");
    assert!(!file_of(name).exists());
}

#[test]
fn a_namespace_has_loopback_and_no_ipv6() {
    let ns = NetNs::new("lo").unwrap();
    assert_eq!(veth::addresses(&ns, "lo").unwrap(), [Ipv4Addr::LOCALHOST]);
    assert!(!ns.ip("address show dev lo").unwrap().contains("inet6"));
}

#[test]
fn frames_cross_the_pair_as_they_were_sent() {
    let (server, client) = (NetNs::new("s").unwrap(), NetNs::new("c").unwrap());
    let pair = Veth::new(&server, "s0", &client, "c0").unwrap();
    let (a, b) = (RawSocket::open(&server, "s0").unwrap(), RawSocket::open(&client, "c0").unwrap());
    let plain = Frame::request(1, pair.b.mac);
    for (xid, frame) in [
        (1, plain.clone()),
        (2, plain.clone().tag(0x8100, 0x6007)),
        (3, plain.clone().tag(0x88a8, 100).tag(0x8100, 200)),
        (4, plain.clone().tag(0x8100, 100).tag(0x8100, 200)),
    ] {
        let sent = frame.xid(xid).build();
        b.send(&sent).unwrap();
        let wanted = |frame: &[u8]| {
            Message::parse(frame).is_ok_and(|message| message.xid == xid).then(|| frame.to_vec())
        };
        assert_eq!(a.receive_where(SECOND, wanted).unwrap().as_ref(), Some(&sent), "frame {xid}");
        // The sender's own socket does not hear it.
        assert_eq!(b.receive_where(Duration::from_millis(20), wanted).unwrap(), None);
    }
}

#[test]
fn a_checksum_left_to_the_network_card_is_complete_in_what_is_received() {
    let (server, client) = (NetNs::new("s").unwrap(), NetNs::new("c").unwrap());
    let pair = Veth::new(&server, "s0", &client, "c0").unwrap();
    let (here, there) = (Ipv4Addr::new(198, 18, 0, 2), Ipv4Addr::new(198, 18, 0, 1));
    veth::add_address(&server, "s0", there, 16).unwrap();
    veth::add_address(&client, "c0", here, 16).unwrap();
    let raw = RawSocket::open(&server, "s0").unwrap();
    let frame = Frame::renewal(pair.b.mac, here, pair.a.mac, there).build();
    let bootp = frame.get(42..).unwrap();
    let socket = client.run(|| std::net::UdpSocket::bind((here, 68))).unwrap().unwrap();
    socket.send_to(bootp, (there, 67)).unwrap();
    let received = raw.receive_where(SECOND, |frame| Message::parse(frame).ok()).unwrap().unwrap();
    assert_eq!((received.ciaddr, received.dst, received.bootp_len), (here, there, bootp.len()));
}

#[test]
fn frames_cross_a_pair_whose_ends_have_an_xdp_program_and_a_second_one_is_refused() {
    let (server, client) = (NetNs::new("s").unwrap(), NetNs::new("c").unwrap());
    let pair = Veth::new(&server, "s0", &client, "c0").unwrap();
    let (_s, c) = (pair.a.pass(&server).unwrap(), pair.b.pass(&client).unwrap());
    let attached = |ns: &NetNs| ns.ip("link show").unwrap().contains("xdp");
    assert!(attached(&server) && attached(&client));
    assert!(pair.b.pass(&client).is_err());
    let (a, b) = (RawSocket::open(&server, "s0").unwrap(), RawSocket::open(&client, "c0").unwrap());
    let sent = Frame::request(1, pair.b.mac).tag(0x8100, 7).build();
    b.send(&sent).unwrap();
    let wanted = |frame: &[u8]| (frame == sent).then_some(());
    assert_eq!(a.receive_where(SECOND, wanted).unwrap(), Some(()));
    drop(c);
    // The kernel detaches in its own time.
    wait_until(SECOND, "the program to be detached", || !attached(&client)).unwrap();
}
