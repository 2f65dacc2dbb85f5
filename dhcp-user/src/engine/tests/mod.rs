//! The engine against its rules, one file for each group of them. Here: a small laboratory that all of them use, a
//! builder of messages and a reader of replies that share no code with the engine.

mod cluster;
mod conflict;
mod discover;
mod extend;
mod lifetime;
mod property;
mod relayed;
mod reserve;
mod returning;
mod select;
mod wire;

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::{
    config::model::{
        AttachMode, Control, FastPath, Interface, KernelLog, Limits, Link, OptionValue, Policy, Pool,
        Reservation, Store, Subnet, VlanTags,
    },
    lease::record::{ClientKey, HardwareAddress},
    time::Span,
};

pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(super) const SECOND_SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
pub(super) const HOUR: u32 = 3_600;

/// An address of the first subnet.
pub(super) fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, last)
}

pub(super) fn option(bytes: &[u8]) -> OptionValue {
    OptionValue { bytes: bytes.to_vec(), always: false }
}

pub(super) fn policy() -> Policy {
    let mut options = BTreeMap::new();
    options.insert(1, option(&[255, 255, 255, 0]));
    options.insert(3, option(&[198, 18, 0, 1]));
    options.insert(6, option(&[198, 18, 0, 2, 198, 18, 0, 3]));
    options.insert(15, option(b"example.org"));
    options.insert(42, OptionValue { bytes: vec![198, 18, 0, 4], always: true });
    options.insert(108, OptionValue { bytes: vec![0, 0, 7, 8], always: true });
    Policy {
        lease_default_secs: HOUR,
        lease_min_secs: 600,
        lease_max_secs: 2 * HOUR,
        t1_permille: 500,
        t2_permille: 875,
        rapid_commit: true,
        next_server: Ipv4Addr::new(198, 18, 0, 5),
        server_name: Vec::new(),
        boot_file: Vec::new(),
        options,
    }
}

pub(super) fn subnet(prefix: &str, link: Option<usize>, pools: &[(u8, u8)]) -> Subnet {
    let prefix: ipnet::Ipv4Net = prefix.parse().unwrap();
    let policy = Arc::new(policy());
    let host = |last: u8| Ipv4Addr::from_bits(prefix.network().to_bits() + u32::from(last));
    Subnet {
        prefix,
        link: link.map(|interface| Link { interface, vlans: VlanTags::default() }),
        relays: Vec::new(),
        pools: pools
            .iter()
            .map(|&(first, last)| Pool { first: host(first), last: host(last), policy: policy.clone() })
            .collect(),
        reservations: Vec::new(),
        policy,
    }
}

pub(super) fn config(subnets: Vec<Subnet>) -> Config {
    let interface = |name: &str| Interface { name: name.into(), address: None, mode: AttachMode::Off };
    Config {
        interfaces: vec![interface("a"), interface("b")],
        subnets,
        authoritative: true,
        store: Store { path: "store".into() },
        control: Control { socket: "control".into() },
        api: Default::default(),
        fastpath: FastPath {
            pin_path: "pins".into(),
            authority_secs: 60,
            horizon_permille: 1_500,
            answers_max: 16,
            kernel_log: KernelLog::Off,
        },
        conflict_detection: None,
        audit: None,
        limits: Limits::default(),
        multi_site: None,
        left_out: Vec::new(),
    }
}

/// 198.18.0.0/24 on interface 0 with the pool .100 to .199, 198.19.0.0/24 on interface 1 with .100 to .103, and
/// 198.18.7.0/24 behind relays with .10 to .20.
pub(super) fn three_subnets() -> Config {
    let mut config = config(vec![
        subnet("198.18.0.0/24", Some(0), &[(100, 199)]),
        subnet("198.18.7.0/24", None, &[(10, 20)]),
        subnet("198.19.0.0/24", Some(1), &[(100, 103)]),
    ]);
    config.subnets[1].relays.push(Ipv4Addr::new(198, 18, 250, 1));
    config
}

/// An engine, a clock and a place where clients are.
pub(super) struct Lab {
    pub engine: Engine,
    pub now: Timestamp,
    pub rng: SmallRng,
    pub interface: usize,
}

impl Lab {
    pub fn new(config: Config) -> Self {
        Self::with_leases(config, LeaseTable::default())
    }

    pub fn with_leases(config: Config, leases: LeaseTable) -> Self {
        let engine = Engine::new(Arc::new(config), vec![SERVER, SECOND_SERVER], leases);
        let now = Timestamp::ZERO + Span::from_secs(1_000_000);
        Self { engine, now, rng: SmallRng::seed_from_u64(1), interface: 0 }
    }

    pub fn pass(&mut self, secs: u64) {
        self.now = self.now + Span::from_secs(secs);
    }

    pub fn ingress(&self, message: &Msg) -> Ingress {
        Ingress {
            interface: self.interface,
            vlans: VlanTags::default(),
            source_mac: [0xee; 6],
            source_ip: if message.giaddr.is_unspecified() { message.ciaddr } else { message.giaddr },
            destination_ip: message.sent_to,
            source_port: message.source_port,
        }
    }

    pub fn send(&mut self, message: &Msg) -> Outcome {
        let ingress = self.ingress(message);
        let foreseen = self.engine.foresee(self.now, &ingress, &message.bytes());
        let outcome = self.engine.handle(self.now, &mut self.rng, &ingress, &message.bytes());
        assert_foreseen(&foreseen, &outcome);
        outcome
    }

    /// Sends a message, asserts its reason and returns its outcome.
    #[track_caller]
    pub fn expect(&mut self, message: &Msg, reason: SlowReason) -> Outcome {
        let outcome = self.send(message);
        assert_eq!(outcome.reason, reason);
        outcome
    }

    /// DISCOVER, OFFER, REQUEST, ACK; the address.
    #[track_caller]
    pub fn join(&mut self, client: u8) -> Ipv4Addr {
        let offered = self.expect(&discover(client), SlowReason::Offered);
        let address = read(&offered).yiaddr;
        let acked = self.expect(&selecting(client, address), SlowReason::AckedNew);
        assert_eq!(read(&acked).yiaddr, address);
        address
    }

    /// Lets time pass and withdraws what must go, the kernel having renewed nothing.
    pub fn settle(&mut self, secs: u64) -> Effects {
        self.pass(secs);
        let mut effects = self.engine.tick(self.now);
        for address in std::mem::take(&mut effects.withdraw) {
            let more = self.engine.withdrawn(self.now, address, Some(Timestamp::ZERO));
            effects.commit.extend(more.commit);
            effects.publish.extend(more.publish);
        }
        effects
    }

    pub fn state(&self, address: Ipv4Addr) -> LeaseState {
        self.engine.leases().get(address).unwrap().state
    }
}

/// A message to be written.
#[derive(Clone, Debug)]
pub(super) struct Msg {
    pub xid: u32,
    pub flags: u16,
    pub hops: u8,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub htype: u8,
    pub hardware: Vec<u8>,
    pub options: Vec<(u8, Vec<u8>)>,
    pub sent_to: Ipv4Addr,
    pub source_port: u16,
}

pub(super) fn mac(client: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, client]
}

pub(super) fn key(client: u8) -> ClientKey {
    ClientKey::Hardware(HardwareAddress::ethernet(mac(client)))
}

pub(super) fn message(kind: u8, client: u8) -> Msg {
    Msg {
        xid: 0x1234_5600 + u32::from(client),
        flags: 0,
        hops: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: Ipv4Addr::UNSPECIFIED,
        htype: 1,
        hardware: mac(client).to_vec(),
        options: vec![(53, vec![kind])],
        sent_to: Ipv4Addr::BROADCAST,
        source_port: 68,
    }
}

pub(super) fn discover(client: u8) -> Msg {
    message(1, client)
}

pub(super) fn selecting(client: u8, address: Ipv4Addr) -> Msg {
    message(3, client).with(50, &address.octets()).with(54, &SERVER.octets())
}

pub(super) fn init_reboot(client: u8, address: Ipv4Addr) -> Msg {
    message(3, client).with(50, &address.octets())
}

pub(super) fn renewing(client: u8, address: Ipv4Addr) -> Msg {
    message(3, client).ciaddr(address).sent_to(SERVER)
}

pub(super) fn rebinding(client: u8, address: Ipv4Addr) -> Msg {
    message(3, client).ciaddr(address)
}

impl Msg {
    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    pub fn ciaddr(mut self, address: Ipv4Addr) -> Self {
        self.ciaddr = address;
        self
    }

    pub fn relayed(mut self, giaddr: Ipv4Addr) -> Self {
        self.giaddr = giaddr;
        self.hops = 1;
        self.source_port = 67;
        self.sent_to = SERVER;
        self
    }

    pub fn sent_to(mut self, address: Ipv4Addr) -> Self {
        self.sent_to = address;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![1, self.htype, u8::try_from(self.hardware.len()).unwrap(), self.hops];
        out.extend(self.xid.to_be_bytes());
        out.extend([0, 7]);
        out.extend(self.flags.to_be_bytes());
        out.extend(self.ciaddr.octets());
        out.extend([0; 8]);
        out.extend(self.giaddr.octets());
        out.extend(self.hardware.iter().take(16));
        out.resize(236, 0);
        out.extend([99, 130, 83, 99]);
        for (code, value) in &self.options {
            out.extend([*code, u8::try_from(value.len()).unwrap()]);
            out.extend(value);
        }
        out.push(255);
        out
    }
}

/// A reply, read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    /// In the order of the wire, `file` and `sname` after the options field; parts of one option not joined.
    pub options: Vec<(u8, Vec<u8>)>,
    /// How many of these are in the options field.
    pub main: usize,
}

impl Read {
    pub fn get(&self, code: u8) -> Option<Vec<u8>> {
        let parts: Vec<_> = self.options.iter().filter(|(c, _)| *c == code).map(|(_, v)| v.clone()).collect();
        (!parts.is_empty()).then(|| parts.concat())
    }

    pub fn kind(&self) -> u8 {
        self.get(53).unwrap()[0]
    }

    pub fn secs(&self, code: u8) -> u32 {
        u32::from_be_bytes(self.get(code).unwrap().try_into().unwrap())
    }

    pub fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }
}

/// Reads the reply of an outcome, and checks what holds of every reply.
#[track_caller]
pub(super) fn read(outcome: &Outcome) -> Read {
    read_payload(&outcome.effects.reply.as_ref().expect("a reply").payload)
}

#[track_caller]
pub(super) fn read_payload(payload: &[u8]) -> Read {
    use dhcproto::{Decodable as _, Decoder, v4};
    v4::Message::decode(&mut Decoder::new(payload)).expect("dhcproto reads every reply");
    assert!(payload.len() >= 300, "shorter than BOOTP allows: {}", payload.len());
    assert_eq!(payload[0], 2, "op");
    assert_eq!(payload[236..240], [99, 130, 83, 99]);
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&payload[at..at + 4]).unwrap());
    let mut options = walk(&payload[240..]);
    let main = options.len();
    if let Some(place) = options.iter().position(|(code, _)| *code == 82) {
        assert!(options[place..].iter().all(|(code, _)| *code == 82), "option 82 is not last");
    }
    let overload = options.iter().find(|(code, _)| *code == 52).map_or(0, |(_, value)| value[0]);
    if overload & 1 != 0 {
        options.extend(walk(&payload[108..236]));
    }
    if overload & 2 != 0 {
        options.extend(walk(&payload[44..108]));
    }
    Read {
        flags: u16::from_be_bytes([payload[10], payload[11]]),
        ciaddr: address(12),
        yiaddr: address(16),
        siaddr: address(20),
        giaddr: address(24),
        options,
        main,
    }
}

fn walk(area: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match area[at] {
            0 => at += 1,
            255 => break,
            code => {
                let len = usize::from(area[at + 1]);
                found.push((code, area[at + 2..at + 2 + len].to_vec()));
                at += 2 + len;
            }
        }
    }
    assert!(area[at + 1..].iter().all(|octet| *octet == 0), "something after the end option");
    found
}

#[track_caller]
pub(super) fn destination(outcome: &Outcome) -> Destination {
    outcome.effects.reply.as_ref().expect("a reply").to
}

#[test]
fn reasons_are_distinct_and_explained() {
    let names: std::collections::BTreeSet<_> = SlowReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), SlowReason::ALL.len());
    for reason in SlowReason::ALL {
        assert!(reason.meaning().trim().ends_with('.'), "{reason}");
    }
}

/// Whatever is sent in a test: what was foreseen without handling it is what handling it came to.
#[track_caller]
fn assert_foreseen(foreseen: &Foresight, outcome: &Outcome) {
    match outcome.reason {
        // Until it is known whether the address is in use.
        SlowReason::Probing => {
            assert!(matches!(foreseen.reason, SlowReason::Offered | SlowReason::AckedRapid), "{foreseen:?}");
        }
        reason => assert_eq!(foreseen.reason, reason, "{foreseen:?}"),
    }
    let Some(reply) = &outcome.effects.reply else { return };
    let yiaddr: [u8; 4] = reply.payload[16..20].try_into().unwrap();
    if let Some(address) = foreseen.address.filter(|_| yiaddr != [0; 4]) {
        assert_eq!(address, Ipv4Addr::from(yiaddr), "{foreseen:?}");
    }
    let options = reply.payload.get(240..).unwrap_or_default();
    let lease = options.windows(6).find(|option| option.starts_with(&[51, 4]));
    // 51 and 4 may stand elsewhere too, but not before option 53, 54 and 51, which open every reply.
    if let (Some(secs), Some(option)) = (foreseen.lease_secs, lease) {
        assert_eq!(option[2..6], secs.to_be_bytes(), "{foreseen:?}");
    }
}
