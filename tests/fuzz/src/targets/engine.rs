//! Any sequence of messages, kernel renewals, withdrawals and time: every reply is sound, nothing is promised beyond what
//! is durable, and an address changes its client only once it was free.

use std::{collections::HashMap, net::Ipv4Addr};

use dhcp_tests::parse::Message;
use dhcp_user::{
    fastpath::kernel::Mark,
    lease::record::{LeaseRecord, LeaseState},
    server::work::Work,
    time::{Span, Timestamp},
};

use crate::{
    input::Input,
    server::{Server, client_mac, says},
};

/// Events of one history.
const EVENTS_MAX: usize = 64;
const START_BOOT_NS: u64 = 1_000_000_000;

struct History {
    server: Server,
    boot_ns: u64,
    durable: HashMap<Ipv4Addr, LeaseRecord>,
    withdrawing: Vec<Ipv4Addr>,
    /// What each client was last told is its address.
    told: HashMap<u8, Ipv4Addr>,
}

/// Takes one input: a history of events.
///
/// # Panics
/// If a promise does not hold.
pub fn run(octets: &[u8]) {
    let mut input = Input(octets);
    let mut history = History {
        server: Server::new(START_BOOT_NS),
        boot_ns: START_BOOT_NS,
        durable: HashMap::new(),
        withdrawing: Vec::new(),
        told: HashMap::new(),
    };
    for _ in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        history.event(&mut input);
        let mut work = Work::default();
        history.server.core.tick(history.now(), &mut work);
        history.carry_out(work, None);
    }
    for lease in history.server.core.engine.leases().iter() {
        assert!(lease.state != LeaseState::Bound || lease.expires <= lease.horizon, "{lease:?}");
    }
}

impl History {
    fn now(&self) -> Timestamp {
        self.server.timeline.timestamp(self.boot_ns)
    }

    fn event(&mut self, input: &mut Input<'_>) {
        let kind = input.octet();
        match kind {
            0..=127 => self.message(kind, input),
            128..=143 => {
                let len = usize::from(input.word() & 2047);
                let frame = input.take(len);
                let work = self.server.receive(self.now(), frame);
                self.carry_out(work, None);
            }
            144..=175 => {
                let secs = u64::from(input.word()) << (kind & 7);
                self.boot_ns = self.boot_ns.saturating_add(secs * 1_000_000_000);
            }
            176..=207 => self.kernel_renews(kind & 7),
            _ => {
                if self.withdrawing.is_empty() {
                    return;
                }
                let address = self.withdrawing.swap_remove(usize::from(kind) % self.withdrawing.len());
                let last = (kind & 1 == 0).then_some(Timestamp::ZERO);
                let mut work = Work::default();
                self.server.core.withdrawn(self.now(), address, last, &mut work);
                self.carry_out(work, None);
            }
        }
    }

    /// A message of client `kind & 7`: its type, where its address goes, and any options behind.
    fn message(&mut self, kind: u8, input: &mut Input<'_>) {
        let client = kind & 7;
        let [message_type, how, options] = input.array();
        let told = self.told.get(&client).copied().unwrap_or(Ipv4Addr::new(198, 18, 0, 100));
        let address = if how & 0x80 == 0 { told } else { Ipv4Addr::from(input.array::<4>()) };
        let mut frame = says(client, message_type & 15).flags(u16::from(how & 0x40) << 9);
        if how & 1 != 0 {
            frame = frame.ciaddr(address);
        }
        if how & 2 != 0 {
            frame = frame.option(50, &address.octets());
        }
        if how & 4 != 0 {
            frame = frame.option(54, &crate::server::SERVER.octets());
        }
        if how & 8 != 0 {
            frame = frame.src(address).dst(crate::server::SERVER).dst_mac(self.server.interface.mac);
        }
        if how & 16 != 0 {
            frame = frame.option(80, &[]);
        }
        let frame = frame.raw_options(input.take(usize::from(options & 127))).build();
        let work = self.server.receive(self.now(), &frame);
        self.carry_out(work, Some(client));
    }

    fn kernel_renews(&mut self, client: u8) {
        let Some(&address) = self.told.get(&client) else { return };
        let Some(lease) = self.durable.get(&address) else { return };
        let length = lease.expires.since(lease.granted_at);
        let published = self.server.core.entry(address, &self.server.timeline).is_some();
        if !published || lease.hardware.as_ethernet() != Some(client_mac(client)) {
            return;
        }
        if self.now() + length <= lease.horizon {
            let mark = Mark { address, chaddr: client_mac(client), renewed_boot_ns: self.boot_ns };
            let mut work = Work::default();
            let timeline = self.server.timeline;
            self.server.core.renewed(self.now(), &mark, &timeline, &mut work);
            self.carry_out(work, None);
        }
    }

    fn carry_out(&mut self, work: Work, client: Option<u8>) {
        let now = self.now();
        for record in &work.batch.leases {
            assert!(record.state != LeaseState::Bound || record.expires <= record.horizon, "{record:?}");
            if let Some(before) = self.durable.insert(record.address, record.clone()) {
                let taken = before.state == LeaseState::Bound
                    && record.state == LeaseState::Bound
                    && before.client != record.client
                    && before.hardware != record.hardware;
                assert!(!taken || before.horizon <= now, "taken from its client: {before:?} then {record:?}");
            }
        }
        for address in &work.publish {
            let state = self.durable.get(address).map(|lease| lease.state);
            assert_eq!(state, Some(LeaseState::Bound), "{address} is published");
        }
        for sent in &work.send {
            assert!(sent.frame.len() <= 1522, "{} octets", sent.frame.len());
            let message = Message::parse(&sent.frame).expect("a reply is sound");
            assert_eq!(message.op, 2);
            let yiaddr = message.yiaddr;
            if message.kind() == 5 && !yiaddr.is_unspecified() {
                let record = self.durable.get(&yiaddr).expect("an ACK of what is durable");
                let secs = message.option_u32(51).expect("an ACK says for how long");
                assert_eq!(record.state, LeaseState::Bound, "an ACK of {yiaddr}");
                assert!(now + Span::from_secs(secs.into()) <= record.horizon, "an ACK beyond the horizon");
            }
            if let Some(client) = client.filter(|_| !yiaddr.is_unspecified()) {
                self.told.insert(client, yiaddr);
            }
        }
        self.server.publish(&work);
        self.withdrawing.extend(work.withdraw);
    }
}
