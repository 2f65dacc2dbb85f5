//! The benchmark behind `cargo xtask bench api`: renewals in the kernel alone, beside look-ups of leases through the API, and
//! beside the askers only spinning, turn and turn about. The question is whether management slows the datapath, so daemon and
//! askers keep off the processor the renewals are made and answered on; the spinning shows what any load on the other
//! processors costs there.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use dhcp_tests::{
    bench::{machine::Machine, median},
    https::{Https, Trust},
    lab::{INTERFACE, SERVER, Server, set},
    load::{
        batch_socket::BatchSocket,
        fleet::Fleet,
        live::{Live, LivePlan, Portion},
        message::Way,
        plan::Plan,
    },
    netns::NetNs,
    veth::{self, Veth},
    wait::wait_until,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Look-ups a connection sends before it reads.
const AT_ONCE: usize = 16;

/// Measures the datapath beside the API. `cargo xtask bench api` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The generator's XDP object.
    #[arg(long, hide = true)]
    object: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Look-ups a second that are tried for.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    lookups: u64,
    /// Connections they come by.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    connections: u32,
    /// Clients that renew.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    clients: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Measurements of each kind; medians are printed.
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

/// What the askers are to do.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Work {
    Rest,
    Ask,
    Spin,
    End,
}

/// What the askers are to do now, and how many look-ups were answered.
#[derive(Debug)]
struct Asked {
    work: AtomicU8,
    answered: AtomicU64,
}

impl Asked {
    fn set(&self, work: Work) {
        self.work.store(work as u8, Ordering::Relaxed);
    }

    fn is(&self, work: Work) -> bool {
        self.work.load(Ordering::Relaxed) == work as u8
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = Machine::this()?;
    let allowed = sched_getaffinity(None)?;
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let (_, rest) = processors.split_last().context("no processor may be used")?;
    ensure!(!rest.is_empty(), "this takes two processors: one for renewals, the others for the API");
    let names: Vec<String> = rest.iter().map(ToString::to_string).collect();

    let server = Server::new()?;
    let clients = NetNs::new("c")?;
    let pair = Veth::new(&server.ns, INTERFACE, &clients, "c0")?;
    veth::add_address(&server.ns, INTERFACE, SERVER, 16)?;
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(7_200));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.0-198.18.200.255"}]));
    set(&mut config, "/dhcp/limits", json!({"enabled": false}));
    set(&mut config, "/dhcp/api", json!({"requests_per_sec": 1_000_000}));
    let daemon = server.start_through(&config, &["taskset", "-c", &names.join(",")])?;
    let token = daemon.ask(&["token", "create", "bench", "--role", "viewer"])?;
    let token = token["token"].as_str().context("no token")?.to_owned();
    let trust = Trust::in_files(&[&server.store().join("api/certificate.pem")])?;
    let connect = || Https::connect(&server.ns, API, &trust, &token);
    wait_until(Duration::from_secs(20), "the API to listen", || connect().is_ok())?;

    let way = Way { server: SERVER, server_mac: pair.a.mac, relay: None, vlan: None };
    let mut fleet = Fleet::new(way, arguments.clients)?;
    let mut socket = BatchSocket::open(&clients, "c0")?;
    let mut live = Live::load(&arguments.object, arguments.clients)?;
    let pass = pair.b.pass(&clients)?;
    let got = fleet.run(&mut socket, &Plan::acquire(arguments.clients))?;
    ensure!(got.done == u64::from(arguments.clients), "not every client got a lease:\n{got}");
    drop(pass);
    live.learn(&fleet)?;
    live.attach("collect", &clients, &pair.b)?;
    let addresses: Vec<Ipv4Addr> = fleet.addresses().collect();

    let asked = Asked { work: AtomicU8::new(Work::Rest as u8), answered: AtomicU64::new(0) };
    let (mut alone, mut beside, mut spinning, mut lookups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    thread::scope(|scope| -> Result<()> {
        let askers: Vec<_> = (0..arguments.connections)
            .map(|number| {
                let (asked, addresses, connect, arguments) = (&asked, &addresses, &connect, &arguments);
                let mut only = CpuSet::new();
                rest.iter().for_each(|&cpu| only.set(cpu));
                scope.spawn(move || -> Result<()> {
                    sched_setaffinity(None, &only)?;
                    work(connect, asked, addresses, arguments, number)
                })
            })
            .collect();
        let mut measure = |work: Work| -> Result<(f64, f64)> {
            asked.set(work);
            let plan = LivePlan {
                rate: None,
                portion: Portion::ByRate,
                clients: arguments.clients,
                random: true,
                time: Duration::from_secs_f64(arguments.secs),
                mirror: false,
            };
            let (before, begun) = (asked.answered.load(Ordering::Relaxed), Instant::now());
            let figures = live.run(&clients, &pair.b, &mut socket, SERVER, &plan)?;
            ensure!(figures.wrong() == 0, "wrong replies:\n{figures}");
            let answered = asked.answered.load(Ordering::Relaxed) - before;
            Ok((figures.per_s(), answered as f64 / begun.elapsed().as_secs_f64()))
        };
        let measured = (0..arguments.runs).try_for_each(|_| {
            alone.push(measure(Work::Rest)?.0);
            let (renewals, answered) = measure(Work::Ask)?;
            beside.push(renewals);
            lookups.push(answered);
            spinning.push(measure(Work::Spin)?.0);
            anyhow::Ok(())
        });
        asked.set(Work::End);
        for asker in askers {
            asker.join().map_err(|_| anyhow::anyhow!("an asker panicked"))??;
        }
        measured
    })?;
    // Of pairs taken one after the other, not of medians: the machine may have changed in between.
    let ratio_of = |other: &[f64]| median(beside.iter().zip(other).map(|(one, other)| one / other).collect());
    let (ratio, ratio_of_busy) = (ratio_of(&alone), ratio_of(&spinning));
    let (alone, beside, spinning, lookups) =
        (median(alone), median(beside), median(spinning), median(lookups));
    if arguments.json {
        let figures = json!({
            "renewals_per_s_alone": alone, "renewals_per_s_beside_lookups": beside,
            "renewals_per_s_beside_spinning": spinning, "ratio": ratio, "ratio_of_busy": ratio_of_busy,
            "lookups_per_s": lookups, "clients": arguments.clients, "runs": arguments.runs, "machine": machine,
        });
        println!("{figures:#}");
    } else {
        let (connections, runs) = (arguments.connections, arguments.runs);
        println!("renewals in the kernel, a second:");
        println!("{alone:>10.0} alone");
        println!("{beside:>10.0} beside {lookups:.0} look-ups a second by {connections} connections");
        println!("{spinning:>10.0} beside {connections} threads that only spin");
        println!("ratio of beside look-ups to alone {ratio:.3}, to beside spinning {ratio_of_busy:.3}");
        println!("(medians of {runs} pairs)");
    }
    Ok(())
}

/// Does what there is to do until the end. Each time to ask has a connection of its own: an idle one would be ended.
fn work(
    connect: &impl Fn() -> Result<Https>,
    asked: &Asked,
    addresses: &[Ipv4Addr],
    arguments: &Arguments,
    number: u32,
) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(number.into());
    while !asked.is(Work::End) {
        if asked.is(Work::Ask) {
            ask(connect()?, asked, addresses, arguments, &mut random)?;
        } else if asked.is(Work::Spin) {
            spin(asked, &mut random);
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Asks for leases at random while that is to be done, no faster than its part of the rate.
fn ask(
    mut connection: Https,
    asked: &Asked,
    addresses: &[Ipv4Addr],
    arguments: &Arguments,
    random: &mut SmallRng,
) -> Result<()> {
    let beat =
        Duration::from_secs_f64(AT_ONCE as f64 * f64::from(arguments.connections) / arguments.lookups as f64);
    let mut next = Instant::now();
    while asked.is(Work::Ask) {
        let now = Instant::now();
        if now < next {
            thread::sleep(Duration::from_millis(1).min(beat));
            continue;
        }
        // What was not kept up with is not made up for.
        next = (next + beat).max(now);
        let paths: Vec<String> = (0..AT_ONCE)
            .filter_map(|_| addresses.get(random.random_range(0..addresses.len())))
            .map(|address| format!("/api/v1/leases/{address}"))
            .collect();
        for (status, _) in connection.get_all(&paths)? {
            ensure!(status == 200, "a look-up was answered with {status}");
            asked.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Keeps a processor busy while that is to be done: by arithmetic, for a pause would give way to what shares its core.
fn spin(asked: &Asked, random: &mut SmallRng) {
    while asked.is(Work::Spin) {
        for _ in 0..1_000 {
            black_box(random.random::<u64>());
        }
    }
}
