//! The load generator behind `cargo xtask load`, which builds and starts it.
//!
//! It speaks in frames on an interface of the namespace it is started in. It answers no ARP and keeps no address: the
//! server must reach the clients through the relay's hardware address, or answer frames where they come from.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use dhcp_tests::{
    load::{
        batch_socket::BatchSocket,
        figures::Figures,
        fleet::Fleet,
        live::{Live, LivePlan, Portion},
        message::{Kind, Relay, Way},
        pace::{Pace, Patience},
        plan::Plan,
    },
    netns::NetNs,
    veth::{End, Veth},
};
use hardware::{mac_of, parse_mac};
use serde_json::json;

/// Loads a DHCP server and checks every reply.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask load")]
struct Arguments {
    /// The generator's XDP object.
    #[arg(long, hide = true)]
    object: PathBuf,
    /// The interface frames leave by.
    #[arg(long)]
    interface: String,
    /// The named network namespace the interface is in (`ip netns`); that of this shell if left out.
    #[arg(long)]
    netns: Option<String>,
    /// The server's address, which its replies must name as server identifier.
    #[arg(long)]
    server: Ipv4Addr,
    /// The server's hardware address, or that of the router before it.
    #[arg(long, value_parser = parse_mac)]
    server_mac: [u8; 6],
    /// Play a relay agent, and the router of its clients, with this address (`giaddr`).
    #[arg(long)]
    relay: Option<Ipv4Addr>,
    /// As a relay agent, tell each client's circuit (option 82).
    #[arg(long, requires = "relay")]
    information: bool,
    /// The server is told no routers: take replies without them.
    #[arg(long)]
    without_routers: bool,
    /// Put every frame into this VLAN.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
    /// What clients do.
    #[arg(long, value_enum, default_value_t = What::Renew)]
    what: What,
    /// How many clients.
    #[arg(long, default_value_t = 1000)]
    clients: u32,
    /// Clients have leases already: this address and those that follow, in the order of their numbers (hardware
    /// addresses 06:00:00:00:00:00 and up). Otherwise they ask for leases first.
    #[arg(long)]
    first: Option<Ipv4Addr>,
    /// Exchanges begun a second.
    #[arg(long, conflicts_with = "window")]
    rate: Option<f64>,
    /// Exchanges at once, the next when one has ended.
    #[arg(long)]
    window: Option<u32>,
    /// For how long, seconds.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// In a storm, shorten the waits of RFC 2131 section 4.1 (4, 8, 16... s) to this part.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Who makes the frames.
    #[arg(long, value_enum, default_value_t = By::Socket)]
    by: By,
    /// Renew in random order (`--by live`).
    #[arg(long)]
    random: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Renew leases again and again.
    Renew,
    /// The same by broadcast, or through the relay agent, as clients do that the server has not answered.
    Rebind,
    /// Ask for new leases, each client once.
    Dora,
    /// All come back at once after a power cut, with the addresses they remember, and ask until they are answered.
    Storm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// A packet socket: any exchange, every reply checked to the last octet.
    Socket,
    /// The kernel: renewals only, millions a second, one reply in 64 checked to the last octet.
    Live,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let ns = match &arguments.netns {
        Some(name) => NetNs::existing(name)?,
        None => NetNs::of_this_thread()?,
    };
    let ceiling = ceiling(&arguments)?;
    let end = End {
        name: arguments.interface.clone(),
        index: ns.if_index(&arguments.interface)?,
        mac: mac_of(&ns, &arguments.interface)?,
    };
    let relay =
        arguments.relay.map(|address| Relay { address, mac: end.mac, information: arguments.information });
    let way = Way { server: arguments.server, server_mac: arguments.server_mac, relay, vlan: arguments.vlan };
    let mut fleet = Fleet::new(way, arguments.clients)?;
    if arguments.without_routers {
        fleet = fleet.without_routers();
    }
    let mut socket = BatchSocket::open(&ns, &arguments.interface)?;
    if let Some(first) = arguments.first {
        fleet.assume(first);
    } else if arguments.what != What::Dora {
        let figures = fleet.run(&mut socket, &Plan::acquire(arguments.clients))?;
        ensure!(figures.done == u64::from(arguments.clients), "not every client got a lease:\n{figures}");
    }
    let figures = match arguments.by {
        By::Socket => fleet.run(&mut socket, &plan(&arguments))?,
        By::Live => live(&arguments, &fleet, &ns, &end, &mut socket)?,
    };
    if arguments.json {
        println!("{:#}", json!({"figures": figures.json(), "ceiling": ceiling.json()}));
    } else {
        println!("{figures}\nthe generator's ceiling, against a mirror on this machine:\n{ceiling}");
    }
    Ok(())
}

fn plan(arguments: &Arguments) -> Plan {
    let storm = arguments.what == What::Storm;
    let pace = match (arguments.rate, arguments.window) {
        _ if storm => Pace::Storm,
        (Some(rate), _) => Pace::Rate(rate),
        (None, window) => Pace::Window(window.unwrap_or(64)),
    };
    let patience = if storm {
        Patience::BackOff { scale: arguments.scale }
    } else {
        Patience::GiveUp(Duration::from_secs(1))
    };
    Plan {
        begin: match arguments.what {
            What::Renew => Kind::Renew,
            What::Rebind => Kind::Rebind,
            What::Dora => Kind::Discover,
            What::Storm => Kind::Reboot,
        },
        pace,
        patience,
        clients: (0, arguments.clients),
        time: Duration::from_secs_f64(arguments.secs),
        mirror: false,
    }
}

fn live(
    arguments: &Arguments,
    fleet: &Fleet,
    ns: &NetNs,
    end: &End,
    socket: &mut BatchSocket,
) -> Result<Figures> {
    ensure!(arguments.what == What::Renew, "live frames are renewals: `--what renew`, or `--by socket`");
    let mut live = Live::load(&arguments.object, arguments.clients)?;
    live.learn(fleet)?;
    live.attach("collect", ns, end)
        .with_context(|| format!("{} takes no XDP program in driver mode", end.name))?;
    let plan = LivePlan {
        rate: arguments.rate,
        portion: Portion::ByRate,
        clients: arguments.clients,
        random: arguments.random,
        time: Duration::from_secs_f64(arguments.secs),
        mirror: false,
    };
    live.run(ns, end, socket, arguments.server, &plan)
}

/// What the generator does where nothing but a mirror answers.
fn ceiling(arguments: &Arguments) -> Result<Figures> {
    const CLIENTS: u32 = 1024;
    let (far, near) = (NetNs::new("mirror")?, NetNs::new("load")?);
    let pair = Veth::new(&far, "m0", &near, "l0")?;
    let way = Way { server: arguments.server, server_mac: pair.a.mac, relay: None, vlan: None };
    let mut live = Live::load(&arguments.object, CLIENTS)?;
    live.attach("mirror", &far, &pair.a)?;
    let mut fleet = Fleet::new(way, CLIENTS)?;
    fleet.assume(Ipv4Addr::new(198, 18, 128, 0));
    let mut socket = BatchSocket::open(&near, "l0")?;
    let time = Duration::from_secs(1);
    if arguments.by == By::Live {
        live.attach("collect", &near, &pair.b)?;
        live.learn(&fleet)?;
        let plan = LivePlan {
            rate: None,
            portion: Portion::ByRate,
            clients: CLIENTS,
            random: false,
            time,
            mirror: true,
        };
        return live.run(&near, &pair.b, &mut socket, arguments.server, &plan);
    }
    let _pass = pair.b.pass(&near)?;
    let plan = Plan {
        begin: Kind::Renew,
        pace: Pace::Window(64),
        patience: Patience::GiveUp(time),
        clients: (0, CLIENTS),
        time,
        mirror: true,
    };
    fleet.run(&mut socket, &plan)
}

/// Hardware addresses, read and written.
mod hardware {
    use anyhow::Context as _;

    use super::{NetNs, Result};

    /// Reads one.
    pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
        let octets: Vec<u8> = text.split(':').map_while(|part| u8::from_str_radix(part, 16).ok()).collect();
        octets.try_into().map_err(|_| format!("{text:?} is not six octets like 02:00:00:00:00:0a"))
    }

    /// That of an interface.
    pub fn mac_of(ns: &NetNs, interface: &str) -> Result<[u8; 6]> {
        let text = ns.ip(&format!("-oneline link show dev {interface}"))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        let mac = words.nth(1).with_context(|| format!("{interface} is no Ethernet interface"))?;
        parse_mac(mac).map_err(anyhow::Error::msg)
    }
}
