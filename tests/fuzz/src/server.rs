//! A whole server but for sockets, store and kernel: the daemon's mind and the host's copy of the kernel's maps.

use std::{
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use dhcp_common::{limit::Limits, request::Interface};
use dhcp_tests::{
    oracle::{host::HostMaps, mind, world::server_mac},
    packet::Frame,
    parse::Message,
};
use dhcp_user::{
    config::{self, Config},
    fastpath::layout::Layout,
    net::packet_socket::ReceivedFrame,
    server::{core::Core, work::Work},
    time::Timestamp,
    timeline::{BootId, Timeline},
};
use rand::{SeedableRng as _, rngs::StdRng};

/// Our address on the only interface.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The relay agent of the second subnet.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);

/// Leases of ten days: no run of a fuzzer outlasts their horizon.
const JSON: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}],
    "lease_secs": 864000, "lease_min_secs": 600, "lease_max_secs": 864000,
    "options": [{"name": "domain-name-servers", "value": "198.18.0.53"},
                {"name": "ipv6-only-preferred", "value": 1800, "always": true}],
    "subnets": [
        {"subnet": "198.18.0.0/24", "interface": "a", "pools": [{"range": "198.18.0.100-198.18.0.105"}],
         "reservations": [{"hw_address": "02:10:00:00:00:01", "address": "198.18.0.11", "hostname": "first",
                           "server_name": "boot.example.org", "boot_file": "ipxe.efi"},
                          {"client_id": "text:second", "address": "198.18.0.101"}]},
        {"subnet": "198.18.1.0/24", "interface": "a", "vlan": 10, "lease_secs": 3600,
         "pools": [{"range": "198.18.1.10-198.18.1.12"}]},
        {"subnet": "198.18.7.0/24", "pools": [{"range": "198.18.7.10-198.18.7.13"}],
         "reservations": [{"circuit_id": "hex:00070001", "address": "198.18.7.50"}]}
    ]}}"#;

static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();

/// The server.
pub struct Server {
    /// The daemon's mind.
    pub core: Core,
    /// The kernel's maps.
    pub host: HostMaps,
    /// Where the boot clock stands.
    pub timeline: Timeline,
    /// The only interface.
    pub interface: Interface,
}

impl Server {
    /// A server without clients whose boot clock shows `boot_ns`.
    ///
    /// # Panics
    /// If the configuration above is refused.
    pub fn new(boot_ns: u64) -> Self {
        // Read once: a history starts with a server of its own, thousands of times a second.
        let config = Arc::clone(CONFIG.get_or_init(|| {
            Arc::new(config::parse(JSON, "the fuzzer's").unwrap_or_else(|error| panic!("{error}")))
        }));
        let interface = Interface { number: 0, mac: server_mac(0) };
        let mut control = mind::control(&mut StdRng::seed_from_u64(7), 1);
        control.authority_until_boot_ns = u64::MAX;
        let layout = Layout::new(&config);
        let answers_max = 64;
        let host = HostMaps::new(layout, answers_max, control, Limits::OFF);
        let learner = mind::learner(control, answers_max, vec![interface]);
        let (timeline, _) = Timeline::resume(None, BootId::new([7; 16]), boot_ns, 1_700_000_000_000_000_000);
        Self { core: mind::core(config, vec![SERVER], learner, 7), host, timeline, interface }
    }

    /// Lets the daemon receive a frame, its UDP checksum unlooked at.
    pub fn receive(&mut self, now: Timestamp, frame: &[u8]) -> Work {
        let mut work = Work::default();
        let mut received = ReceivedFrame { octets: frame.to_vec(), checksum_pending: true };
        self.core.receive(now, 0, &mut received, &mut work);
        work
    }

    /// Tells the maps what the daemon asks, as if it were durable.
    pub fn publish(&mut self, work: &Work) {
        mind::publish(&self.core, &self.timeline, work, &mut self.host);
    }

    /// Has a client get its address: DISCOVER, OFFER, REQUEST, ACK.
    ///
    /// # Panics
    /// If it gets none.
    pub fn join(&mut self, now: Timestamp, says: &dyn Fn(u8) -> Frame) -> Ipv4Addr {
        let offer = self.receive(now, &says(1).build());
        let offered =
            Message::parse(&offer.send.first().expect("an OFFER").frame).expect("a sound one").yiaddr;
        let request = says(3).option(50, &offered.octets()).option(54, &SERVER.octets());
        let ack = self.receive(now, &request.build());
        self.publish(&ack);
        Message::parse(&ack.send.first().expect("an ACK").frame).expect("a sound one").yiaddr
    }
}

/// The hardware address of the client with a number.
pub const fn client_mac(number: u8) -> [u8; 6] {
    [2, 0x10, 0, 0, 0, number]
}

/// What the clients of the fuzzed world say, each in a way of its own: plain, with an identifier and more options, with
/// a VLAN tag, and through a relay agent.
pub fn says(number: u8, kind: u8) -> Frame {
    let frame = Frame::request(kind, client_mac(number));
    match number % 4 {
        1 => frame,
        2 => frame
            .option(61, &[1, 2, 0x10, 0, 0, 0, number])
            .option(12, b"host")
            .option(55, &[1, 3, 6, 15, 108, 51, 58, 59]),
        3 => frame.tag(0x8100, 10),
        _ => frame
            .giaddr(RELAY)
            .hops(1)
            .src(RELAY)
            .dst(SERVER)
            .src_port(67)
            .dst_mac(server_mac(0))
            .option(82, &[1, 4, 0, 7, 0, number, 2, 4, 9, 8, 7, 6]),
    }
}

/// The renewal of such a client.
pub fn renews(number: u8, address: Ipv4Addr) -> Frame {
    let frame = says(number, 3).ciaddr(address);
    if number.is_multiple_of(4) { frame } else { frame.src(address).dst(SERVER).dst_mac(server_mac(0)) }
}
