//! The benchmark behind `cargo xtask bench peers`, which builds, unpacks and starts it.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use dhcp_tests::{
    bench::machine::Machine,
    load::{live::Live, message::Kind},
    peers::{
        added::Added,
        ground::{Ground, POOL_MAX},
        measure::{self, Crowd, Extent},
        perfdhcp,
        report::{Report, RunFigures},
        server::{Peer, Places, Running},
    },
};

/// Measures DHCP servers side by side. `cargo xtask bench peers` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    places: Places,
    /// Runs of everything, of which the medians are printed.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Servers to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,kea,kea_mt,dhcpd,dnsmasq")]
    servers: Vec<Peer>,
    /// Clients that have leases and renew them.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Addresses in the pool.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(POOL_MAX)))]
    pool: u32,
    /// How long each measurement lasts, seconds.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// No check by perfdhcp.
    #[arg(long)]
    no_perfdhcp: bool,
    /// Only renewals.
    #[arg(long)]
    no_dora: bool,
    /// Only new leases.
    #[arg(long)]
    no_renewals: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = Machine::this()?;
    let mut runs = Vec::new();
    for number in 1..=arguments.runs {
        let mut run = RunFigures::default();
        for &peer in &arguments.servers {
            // What has been measured is not lost with a server that fails; it is told, and counted.
            match one(&arguments, peer, &mut run) {
                Ok(()) => progress(number, peer, &run),
                Err(error) => {
                    eprintln!("run {number}, {peer}: {error:?}");
                    run.failed.push(peer);
                }
            }
        }
        runs.push(run);
    }
    let report = Report { runs, renewing: arguments.clients, machine };
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    let failed = report.failed();
    ensure!(failed.is_empty(), "not measured in every run: {failed:?}");
    Ok(())
}

fn progress(number: u32, peer: Peer, run: &RunFigures) {
    for (what, of) in [("renewals", &run.renewals), ("new leases", &run.dora)] {
        if let Some(measured) = of.get(&peer) {
            eprintln!("run {number}, {peer}: {what}\n{}", measured.best);
        }
    }
}

/// One server on a ground of its own.
fn one(arguments: &Arguments, peer: Peer, run: &mut RunFigures) -> Result<()> {
    let places = &arguments.places;
    let extent = Extent {
        renewing: arguments.clients,
        pool: arguments.pool,
        time: Duration::from_secs_f64(arguments.secs),
    };
    let ground = Ground::new()?;
    let mut live = Live::load(&places.object, extent.pool)?;
    if run.reflector_per_s == 0.0 {
        let (by_socket, by_kernel) = measure::ceilings(&ground, &mut live, extent.time)?;
        run.generator_per_s = by_socket.per_s();
        run.reflector_per_s = by_kernel.per_s();
    }
    // What the server's XDP program sends back arrives only where there is a program too; the same for every server.
    let pass = ground.cable.b.pass(&ground.clients)?;
    let probe = extent.pool - 1;
    let running = Running::start(peer, &ground, places, extent.pool, extent.renewing, probe)?;
    let mut crowd = Crowd::new(&ground, extent)?;
    if peer == Peer::Ours {
        crowd.acquire()?;
    }
    if !arguments.no_renewals {
        let by_socket = crowd.measure(Kind::Renew, &running)?;
        if peer == Peer::Ours {
            run.renewals_by_socket = Some(by_socket);
        } else {
            run.renewals.insert(peer, by_socket);
        }
    }
    if !arguments.no_dora {
        let dora = crowd.measure(Kind::Discover, &running)?;
        let half = dora.best.per_s() / 2.0;
        run.dora.insert(peer, dora);
        if !arguments.no_perfdhcp {
            perfdhcp::prepare(&ground)?;
            run.perfdhcp.insert(peer, perfdhcp::run(&ground.clients, half, 3)?);
        }
    }
    drop(pass);
    if peer == Peer::Ours && !arguments.no_renewals {
        let collect = live.attach("collect", &ground.clients, &ground.cable.b)?;
        let renewals = crowd.measure_live(&ground, &mut live, &running)?;
        let rate = renewals.best.per_s() / 2.0;
        run.renewals.insert(peer, renewals);
        run.added = Some(Added::measure(&ground, &mut live, &mut crowd, rate)?);
        live.detach("collect", collect)?;
    }
    Ok(())
}
