//! The network does what it says: it delays, cuts one way, and loses nothing.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::*;

const LISTEN: &str = "127.0.0.1:20001";
const TARGET: &str = "127.0.0.1:20002";

/// A network of one path, and a connection over it: caller and called.
fn connected(change: impl FnMut(usize, usize, &mut Way)) -> (NetNs, Wan, TcpStream, TcpStream) {
    let ns = NetNs::new("w").unwrap();
    let path = Path { from: 0, to: 1, listen: LISTEN.parse().unwrap(), target: TARGET.parse().unwrap() };
    let wan = Wan::start(&ns, &[path]).unwrap();
    wan.alter(change);
    let (caller, called) = ns
        .run(|| {
            let listener = TcpListener::bind(TARGET).unwrap();
            let caller = TcpStream::connect(LISTEN).unwrap();
            (caller, listener.accept().unwrap().0)
        })
        .unwrap();
    for end in [&caller, &called] {
        end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    (ns, wan, caller, called)
}

#[test]
fn everything_arrives_in_order_after_its_delay_however_much_is_lost() {
    let (_ns, wan, mut caller, mut called) =
        connected(|_, _, way| (way.delay, way.loss_percent) = (Duration::from_millis(30), 10));
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let began = Instant::now();
    caller.write_all(&sent).unwrap();
    caller.shutdown(std::net::Shutdown::Write).unwrap();
    let mut arrived = Vec::new();
    called.read_to_end(&mut arrived).unwrap();
    assert!(arrived == sent, "{} of {} octets, or others", arrived.len(), sent.len());
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert_eq!((wan.octets(), wan.refused()), (200_000, 0));
}

#[test]
fn a_cut_in_one_direction_leaves_the_other_and_healing_brings_what_waited() {
    let (_ns, wan, mut caller, mut called) = connected(|_, _, _| {});
    let mut one = [0];
    caller.write_all(b"a").unwrap();
    called.read_exact(&mut one).unwrap();
    wan.alter(|from, _, way| way.cut = from == 0);
    caller.write_all(b"b").unwrap();
    called.write_all(b"c").unwrap();
    caller.read_exact(&mut one).unwrap();
    assert_eq!(&one, b"c");
    called.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(called.read(&mut one).is_err(), "it went through the cut");
    called.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    wan.alter(|_, _, way| way.cut = false);
    called.read_exact(&mut one).unwrap();
    assert_eq!(&one, b"b");
    // Broken off, both ends see the end.
    wan.alter(|_, _, way| way.breaks += 1);
    assert!(called.read(&mut one).is_ok_and(|read| read == 0), "the called end is still connected");
    assert!(caller.read(&mut one).is_ok_and(|read| read == 0), "the calling end is still connected");
}
