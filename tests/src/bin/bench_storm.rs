//! The benchmark behind `cargo xtask bench storm`: a datacenter comes back after a power cut.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use dhcp_tests::{
    bench::machine::Machine,
    load::{
        figures::Figures,
        message::Kind,
        pace::{Pace, Patience},
        plan::Plan,
    },
    peers::{
        ground::{Ground, POOL_MAX},
        measure::{Crowd, Extent},
        server::{Peer, Places, Running},
    },
};
use serde_json::{Map, json};

/// All clients come back at once. `cargo xtask bench storm` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    places: Places,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Servers to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,kea")]
    servers: Vec<Peer>,
    /// Clients that come back. One in twenty is new.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(20..=1_900_000))]
    clients: u32,
    /// Shorten the waits of RFC 2131 section 4.1 (4, 8, 16... s) to this part.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Give up after so long, seconds.
    #[arg(long, default_value_t = 300.0)]
    secs: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = Machine::this()?;
    let mut servers = Map::new();
    for &peer in &arguments.servers {
        let figures = storm(&arguments, peer).with_context(|| format!("{peer}"))?;
        if !arguments.json {
            println!("{peer}: {} clients\n{figures}", arguments.clients);
            let (without, secs) = (figures.begun - figures.done, figures.elapsed.as_secs_f64());
            println!("  last ACK after {secs:.2} s; {without} clients had none by then");
        }
        servers.insert(peer.name().to_owned(), figures.json());
    }
    if arguments.json {
        println!("{:#}", json!({"storm": servers, "clients": arguments.clients, "machine": machine}));
    }
    Ok(())
}

fn storm(arguments: &Arguments, peer: Peer) -> Result<Figures> {
    let places = &arguments.places;
    let count = arguments.clients;
    let known = count - count / 20;
    let pool = (count + count / 10 + 1024).min(POOL_MAX);
    let extent = Extent { renewing: known, pool, time: Duration::from_secs_f64(arguments.secs) };
    let ground = Ground::new()?;
    let _pass = ground.cable.b.pass(&ground.clients)?;
    let running = Running::start(peer, &ground, places, pool, known, pool - 1)?;
    let mut crowd = Crowd::new(&ground, extent)?;
    if peer == Peer::Ours {
        eprintln!("{known} clients ask for their first leases");
        let figures = crowd.acquire()?;
        eprintln!("{figures}");
    }
    crowd.fleet.forget(known);
    let plan = Plan {
        begin: Kind::Reboot,
        pace: Pace::Storm,
        patience: Patience::BackOff { scale: arguments.scale },
        clients: (0, count),
        time: extent.time,
        mirror: false,
    };
    let figures = crowd.fleet.run(&mut crowd.socket, &plan)?;
    if let Some(daemon) = running.daemon() {
        eprintln!("{:#}", daemon.ask(&["stats"])?);
    }
    Ok(figures)
}
