//! Who lies to the daemon: relay agents that are none, and its own replies sent back to it. Nothing goes to anybody but
//! whoever sent the frame, nothing goes round and round, every frame has one reason, and clients notice nothing.

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::scripted::{REPLY, SILENCE, Scripted},
    lab::{Cable, SERVER, SERVER_MAC, Server, Stats},
    packet::Frame,
    parse::Message,
};

#[test]
fn invented_relay_agents() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let honest = Scripted::new(&cable.socket, 1);
    let held = honest.dora().unwrap().address;
    let liar = Scripted::new(&cable.socket, 2);
    let elsewhere =
        [[203, 0, 113, 9], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]].map(Ipv4Addr::from);
    let through = |frame: Frame, relay: Ipv4Addr| {
        frame.giaddr(relay).hops(1).src(relay).src_port(67).dst(SERVER).dst_mac(SERVER_MAC)
    };
    for relay in elsewhere {
        liar.ask_in_vain(&through(liar.message(1, &[]), relay)).unwrap();
    }
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!(stats.messages("ignored_no_subnet"), 4, "{:#}", stats.0);

    // Addresses of a subnet of ours that are no relay agent's: a client's, our own, and one that nobody has; and one from
    // elsewhere that says which of our subnets it means (RFC 3527). What is answered goes to the sender.
    let broadcast = Ipv4Addr::BROADCAST;
    let chosen = |frame: Frame| frame.option(82, &[5, 4, 198, 18, 0, 0]);
    for (relay, means_ours) in
        [(held, false), (SERVER, false), (Ipv4Addr::new(198, 18, 200, 1), false), (broadcast, true)]
    {
        let discover = through(liar.message(1, &[]), relay);
        let discover = if means_ours { chosen(discover) } else { discover };
        if let Some((offer, _)) = liar.ask_for(&discover, REPLY).unwrap() {
            assert_eq!((offer.kind(), offer.dst_mac, offer.dst_port), (2, liar.mac(), 67), "{relay}");
            assert_ne!(offer.yiaddr, held);
        }
    }
    // As the holder's relay agent it learns what the holder is told, and changes nothing for the holder.
    let spoofed = through(honest.message(3, &[]).ciaddr(held), SERVER).src_mac(liar.mac());
    if let Some((ack, _)) = liar.ask_for(&spoofed, REPLY).unwrap() {
        assert_eq!((ack.yiaddr, ack.dst_mac), (held, liar.mac()));
    }
    let before = Stats::of(&daemon).unwrap().answered();
    let (ack, _) = honest.ask(&honest.renewal(held)).unwrap();
    assert_eq!((ack.kind(), ack.yiaddr), (5, held));
    assert_eq!(
        Stats::of(&daemon).unwrap().answered(),
        before + 1,
        "the holder's renewal is the kernel's still"
    );
}

#[test]
fn replies_sent_back_to_their_sender() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    let (_, from_kernel) = client.ask(&client.renewal(lease.address)).unwrap();
    let relay = Ipv4Addr::new(198, 18, 200, 1);
    let discover = client.message(1, &[]).giaddr(relay).hops(1).src(relay).src_port(67);
    let (_, to_relay) = client.ask(&discover.dst(SERVER).dst_mac(SERVER_MAC)).unwrap();
    let before = Stats::of(&daemon).unwrap();
    let mut expected = 0;
    for reply in [&lease.ack_frame, &from_kernel, &to_relay] {
        let xid = Message::parse(reply).unwrap().xid;
        for destination_mac in [SERVER_MAC, [0xff; 6]] {
            // Wherever it was for, and where a server listens; its checksum need not be right then.
            for port in [None, Some(67_u16)] {
                let mut frame = reply.clone();
                frame[..6].copy_from_slice(&destination_mac);
                frame[6..12].copy_from_slice(&client.mac());
                if let Some(port) = port {
                    frame[36..38].copy_from_slice(&port.to_be_bytes());
                    frame[40..42].copy_from_slice(&[0, 0]);
                    expected += 1;
                }
                cable.socket.send(&frame).unwrap();
                let answer = |frame: &[u8]| Message::parse(frame).ok().filter(|message| message.xid == xid);
                let patience = if port.is_some() { SILENCE } else { Duration::ZERO };
                let answer = cable.socket.receive_where(patience, answer).unwrap();
                assert!(answer.is_none(), "a reply to a reply: {answer:?}");
            }
        }
    }
    let after = Stats::of(&daemon).unwrap();
    let passed = |reason| after.passed(reason) - before.passed(reason);
    // One for a relay agent went to port 67 in the first place.
    assert_eq!(passed("not_request") + passed("other_address"), expected + 2, "{:#}", after.0);
    assert_eq!(after.answered(), before.answered());
    assert_eq!(after.0.pointer("/daemon/acks"), before.0.pointer("/daemon/acks"));
}
