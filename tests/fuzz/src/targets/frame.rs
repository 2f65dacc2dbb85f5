//! Any frame, judged by the kernel program's own code over maps that hold leases: what is not answered stays as it is;
//! what is answered is a sound ACK, octet for octet what the daemon would have sent.

use std::{cell::RefCell, net::Ipv4Addr};

use dhcp_common::reason::Reason;
use dhcp_tests::parse::Message;
use dhcp_user::{server::clock, time::Timestamp};

use crate::{
    input::Input,
    server::{Server, says},
};

/// Clients that hold leases, by number.
pub const CLIENTS: std::ops::RangeInclusive<u8> = 1..=8;

/// A server whose clients hold leases, granted `now`.
pub fn populated(now_boot_ns: u64) -> (Server, Vec<(u8, Ipv4Addr)>) {
    let mut server = Server::new(now_boot_ns);
    let now = server.timeline.timestamp(now_boot_ns);
    let held = CLIENTS.map(|number| (number, server.join(now, &|kind| says(number, kind)))).collect();
    (server, held)
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(populated(clock::boot_ns()).0);
}

/// Takes one input: an octet for the room behind the frame, then the frame.
///
/// # Panics
/// If a promise does not hold.
pub fn run(octets: &[u8]) {
    verdict(octets);
}

/// As [`run`], and says what became of the frame.
///
/// # Panics
/// If a promise does not hold.
pub fn verdict(octets: &[u8]) -> Reason {
    let mut input = Input(octets);
    let tailroom = [1024, 0, 1, 64, 128, 256, 300, 512][usize::from(input.octet() & 7)];
    let frame = input.0;
    SERVER.with_borrow_mut(|server| {
        let (reason, out) = server.host.run(&server.interface, frame, tailroom);
        if reason != Reason::Answered {
            assert_eq!(out, frame, "{}: the frame has changed", reason.as_str());
            return reason;
        }
        let ack = Message::parse(&out).expect("an answer is sound");
        assert_eq!((ack.op, ack.kind(), ack.src_port), (2, 5, 67), "an answer is an ACK");
        let now: Timestamp = server.timeline.timestamp(clock::boot_ns());
        let daemon = server.core.clone();
        let work = server.receive(now, frame);
        server.core = daemon;
        let sent: Vec<_> = work.send.iter().map(|sent| &sent.frame).collect();
        assert_eq!(sent, [&out], "the daemon says the same");
        reason
    })
}
