//! A world of known clients at known addresses for golden frames: what each sends, and the whole answer it must get, put
//! together by this harness's own builder and never by the product's.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{limit::Limits, reason::Reason};

use super::{
    judge::{Verdict, hex},
    world::{World, server_mac},
};
use crate::{packet::Frame, parse::Message};

/// Our address on interface 0.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Our address on interface 1.
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// A relay agent.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);
/// Its Ethernet address, and that of any router.
pub const ROUTER_MAC: [u8; 6] = [2, 0x20, 0, 0, 0, 1];
/// What the relay says of its client: circuit and remote identifier.
pub const RELAY_INFORMATION: [u8; 12] = [1, 4, 0, 7, 0, 1, 2, 4, 9, 8, 7, 6];
/// What every client is told of name servers.
pub const NAME_SERVER: [u8; 4] = [198, 18, 0, 53];
/// The lease time of whoever asks for none, seconds.
pub const LEASE_SECS: u32 = 3_600;

const JSON: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}, {"name": "b", "address": "198.19.0.1"}],
    "lease_secs": 3600, "lease_min_secs": 600, "lease_max_secs": 7200,
    "options": [
        {"name": "domain-name-servers", "value": "198.18.0.53"},
        {"name": "ipv6-only-preferred", "value": 1800, "always": true}
    ],
    "subnets": [
        {"subnet": "198.18.0.0/24", "interface": "a", "options": [{"name": "routers", "value": "198.18.0.1"}],
         "pools": [{"range": "198.18.0.100-198.18.0.199"}],
         "reservations": [
            {"hw_address": "02:10:00:00:00:01", "address": "198.18.0.11"},
            {"hw_address": "02:10:00:00:00:02", "address": "198.18.0.12", "hostname": "boots", "next_server": "198.18.0.9",
             "server_name": "boot.example.org", "boot_file": "ipxe.efi"},
            {"client_id": "text:first", "address": "198.18.0.13"},
            {"client_id": "text:second", "address": "198.18.0.14"},
            {"hw_address": "02:10:00:00:00:06", "address": "198.18.0.16", "t1_percent": 25, "t2_percent": 80}]},
        {"subnet": "198.18.1.0/24", "interface": "a", "vlan": 10,
         "reservations": [{"hw_address": "02:10:00:00:00:03", "address": "198.18.1.11"}]},
        {"subnet": "198.18.2.0/24", "interface": "a", "vlans": [100, 7],
         "reservations": [{"hw_address": "02:10:00:00:00:04", "address": "198.18.2.11"}]},
        {"subnet": "198.18.7.0/24",
         "reservations": [{"hw_address": "02:10:00:00:00:05", "address": "198.18.7.11"}]},
        {"subnet": "198.19.0.0/24", "interface": "b", "pools": [{"range": "198.19.0.100-198.19.0.199"}]}
    ]}}"#;

/// The clients, each with its hardware address 02:10:00:00:00:0n, and what the configuration reserves for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// On the untagged link.
    Plain = 1,
    /// Gets boot server and file.
    Boots = 2,
    /// On VLAN 10.
    Tagged = 3,
    /// On VLAN 7 within service VLAN 100.
    Stacked = 4,
    /// Behind the relay.
    Relayed = 5,
}

impl Who {
    /// Its hardware address.
    pub const fn mac(self) -> [u8; 6] {
        [2, 0x10, 0, 0, 0, self as u8]
    }

    /// Its address.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Plain => Ipv4Addr::new(198, 18, 0, 11),
            Self::Boots => Ipv4Addr::new(198, 18, 0, 12),
            Self::Tagged => Ipv4Addr::new(198, 18, 1, 11),
            Self::Stacked => Ipv4Addr::new(198, 18, 2, 11),
            Self::Relayed => Ipv4Addr::new(198, 18, 7, 11),
        }
    }

    /// Its client identifier: its hardware address.
    pub const fn id(self) -> [u8; 7] {
        [1, 2, 0x10, 0, 0, 0, self as u8]
    }

    fn tags(self, frame: Frame) -> Frame {
        match self {
            Self::Tagged => frame.tag(0x8100, 10),
            Self::Stacked => frame.tag(0x88a8, 100).tag(0x8100, 7),
            Self::Plain | Self::Boots | Self::Relayed => frame,
        }
    }

    /// A broadcast of its own of type `kind`: 53, a parameter list, 57 and 61, as its REQUEST but for 50 and 54.
    pub fn says(self, kind: u8) -> Frame {
        self.tags(Frame::request(kind, self.mac()))
            .option(55, &[1, 3, 6])
            .option(57, &[5, 220])
            .option(61, &self.id())
    }

    /// Its renewal by unicast.
    pub fn renews(self) -> Frame {
        self.says(3).ciaddr(self.address()).src(self.address()).dst(SERVER).dst_mac(server_mac(0))
    }

    /// Its renewal by broadcast.
    pub fn rebinds(self) -> Frame {
        self.says(3).ciaddr(self.address()).src(self.address())
    }

    /// Its renewal through the relay, without what the relay adds to the options.
    pub fn relays(self) -> Frame {
        by_relay(self.says(3).ciaddr(self.address()))
    }

    /// The ACK of its renewal, as far as it does not depend on what it asked for: `options` are those behind the mask.
    pub fn ack(self) -> Frame {
        ack_to(self.mac(), self.address(), |frame| self.tags(frame))
    }
}

/// What every ACK of ours in this laboratory begins with, up to the subnet mask, sent to a client by unicast.
pub fn ack_to(mac: [u8; 6], address: Ipv4Addr, tags: impl Fn(Frame) -> Frame) -> Frame {
    tags(Frame::ack(mac, address, (server_mac(0), SERVER), LEASE_SECS, [255, 255, 255, 0]))
}

/// A client's broadcast as the relay passes it on to us, but for option 82.
pub fn by_relay(frame: Frame) -> Frame {
    let frame = frame.giaddr(RELAY).hops(1).src_mac(ROUTER_MAC).dst_mac(server_mac(0));
    frame.src(RELAY).dst(SERVER).src_port(67)
}

/// The whole answer to [`Who::Plain`]'s renewal as it always is.
pub fn plain_ack() -> Frame {
    Who::Plain.ack().option(3, &SERVER.octets()).option(6, &NAME_SERVER).option(61, &Who::Plain.id())
}

/// The whole answer to [`Who::Relayed`]'s renewal as it always is, but for option 82.
pub fn relayed_ack() -> Frame {
    let ack =
        ack_to(Who::Relayed.mac(), Who::Relayed.address(), |frame| frame).dst_mac(ROUTER_MAC).dst(RELAY);
    ack.dst_port(67).giaddr(RELAY).option(6, &NAME_SERVER).option(61, &Who::Relayed.id())
}

/// The laboratory.
pub struct Lab {
    /// The server.
    pub world: World,
}

/// What must become of a frame.
pub enum Expected {
    /// Passed, unchanged, for this reason.
    Pass(Reason),
    /// Answered with this frame.
    Answer(Box<Frame>),
}

/// A golden frame.
pub struct Case {
    /// The rule it stands for.
    pub name: &'static str,
    /// The frame.
    pub frame: Vec<u8>,
    /// What must become of it.
    pub expected: Expected,
}

/// A frame that must be passed.
pub fn pass(name: &'static str, frame: &Frame, reason: Reason) -> Case {
    Case { name, frame: frame.build(), expected: Expected::Pass(reason) }
}

/// A frame that must be answered.
pub fn answer(name: &'static str, frame: &Frame, answer: Frame) -> Case {
    Case { name, frame: frame.build(), expected: Expected::Answer(Box::new(answer)) }
}

impl Lab {
    /// A server that has given every client its address, in the way of real clients: DISCOVER, OFFER, REQUEST, ACK.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or a client does not get its address.
    pub fn new() -> Result<Self> {
        Self::with_limits(Limits::OFF)
    }

    /// The same with limits on what goes up, which nothing has used yet.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_limits(limits: Limits) -> Result<Self> {
        let mut lab = Self { world: World::with_limits(JSON, 7, limits)? };
        for who in [Who::Plain, Who::Boots, Who::Tagged, Who::Stacked] {
            let address = lab.join(|kind| who.says(kind))?;
            ensure!(address == who.address(), "{who:?} got {address}");
        }
        let address = lab.join_in_full(|kind, extra| {
            extra(by_relay(Who::Relayed.says(kind))).option(82, &RELAY_INFORMATION)
        })?;
        ensure!(address == Who::Relayed.address(), "the relayed client got {address}");
        Ok(lab)
    }

    /// DISCOVER, OFFER, REQUEST, ACK of a client that puts 50 and 54 last; its address.
    ///
    /// # Errors
    ///
    /// When it does not get one.
    pub fn join(&mut self, says: impl Fn(u8) -> Frame) -> Result<Ipv4Addr> {
        self.join_in_full(|kind, extra| extra(says(kind)))
    }

    /// The same for a client that `says` where 50 and 54 go.
    ///
    /// # Errors
    ///
    /// When it does not get an address.
    pub fn join_in_full(&mut self, says: impl Fn(u8, &dyn Fn(Frame) -> Frame) -> Frame) -> Result<Ipv4Addr> {
        let offer = self.ask(&says(1, &|frame| frame).build())?;
        ensure!(offer.kind() == 2, "not an OFFER: {offer:?}");
        let (address, server) = (offer.yiaddr.octets(), offer.option(54).unwrap_or_default());
        let ack = self.ask(&says(3, &|frame| frame.option(50, &address).option(54, &server)).build())?;
        ensure!(ack.kind() == 5, "not an ACK: {ack:?}");
        Ok(ack.yiaddr)
    }

    /// Lets the daemon answer a frame on interface 0.
    ///
    /// # Errors
    ///
    /// When it does not, or not soundly.
    pub fn ask(&mut self, frame: &[u8]) -> Result<Message> {
        let (reason, sent) = self.world.deliver(0, frame)?;
        Message::parse(sent.first().with_context(|| format!("no answer: {reason:?}"))?)
    }

    /// What becomes of a frame on interface 0.
    ///
    /// # Errors
    ///
    /// When kernel, host and daemon are not of one mind.
    pub fn judge(&mut self, frame: &[u8]) -> Result<Verdict> {
        self.judge_on(0, frame)
    }

    /// What becomes of a frame on an interface.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn judge_on(&mut self, interface: usize, frame: &[u8]) -> Result<Verdict> {
        self.world.judge(interface, frame)?.map_err(|divergence| anyhow::anyhow!("{divergence}"))
    }

    /// Judges cases, all of them; the text of those that are not as they must be.
    pub fn check(&mut self, cases: &[Case]) -> String {
        cases
            .iter()
            .filter_map(|case| self.check_one(case).err())
            .map(|error| format!("{error:#}\n"))
            .collect()
    }

    fn check_one(&mut self, case: &Case) -> Result<()> {
        let name = case.name;
        let verdict = self.judge(&case.frame).with_context(|| name.to_owned())?;
        match &case.expected {
            Expected::Pass(reason) => {
                ensure!(
                    verdict.reason == *reason,
                    "{name}: {} in place of {}",
                    verdict.reason.as_str(),
                    reason.as_str()
                );
                ensure!(verdict.frame == case.frame, "{name}: the frame has changed");
            }
            Expected::Answer(frame) => {
                let reason = verdict.reason;
                ensure!(reason == Reason::Answered, "{name}: {} in place of an answer", reason.as_str());
                let expected = frame.build();
                let both = || {
                    format!(
                        "{name}: another answer\nis     {}\nshould {}",
                        hex(&verdict.frame),
                        hex(&expected)
                    )
                };
                ensure!(verdict.frame == expected, "{}", both());
                Message::parse(&verdict.frame).with_context(|| format!("{name}: the answer is not sound"))?;
            }
        }
        Ok(())
    }
}

/// Asserts that every case is as it must be.
///
/// # Panics
///
/// When one is not, or the laboratory cannot be set up; all that are not are named.
#[track_caller]
pub fn assert_all(lab: &mut Lab, cases: &[Case]) {
    assert!(!cases.is_empty());
    let wrong = lab.check(cases);
    assert!(wrong.is_empty(), "{wrong}");
}
