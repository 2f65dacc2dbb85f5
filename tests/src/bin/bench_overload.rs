//! The benchmark behind `cargo xtask bench overload`, which builds and starts it.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use dhcp_tests::{
    bench::{
        machine, median,
        overload::{
            mixture::{Mixture, Offered, Seen},
            report::{Loaded, Report, drops},
            share::Share,
            stage::Stage,
        },
    },
    client::scripted::Scripted,
    daemon::Daemon,
    lab::Stats,
    netns::NetNs,
    raw::RawSocket,
};
use serde_json::json;

/// Measures overload. `cargo xtask bench overload` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The object of bench-only programs.
    #[arg(long)]
    object: PathBuf,
    /// How long each flood lasts, seconds.
    #[arg(long, default_value_t = 10)]
    secs: u64,
    /// Renewals a second that are compared.
    #[arg(long, default_value_t = 20_000)]
    renewals: u32,
    /// How much of one processor the daemon may have, percent; 100 for all there are.
    #[arg(long, default_value_t = 50)]
    daemon_percent: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// More than one processor can make.
const AS_MANY_AS_CAN_BE: u32 = 20_000_000;
/// New clients under a flood.
const NEW: u8 = 20;
/// When they ask again, as udhcpc does, and how often at most.
const AGAIN: (Duration, u32) = (Duration::from_secs(3), 3);
/// How many times what the daemon can do the flood is.
const TIMES: f64 = 10.0;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = machine::Machine::this()?;
    let stage = Stage::new()?;
    let time = Duration::from_secs(arguments.secs);

    let percent = arguments.daemon_percent;
    let shared = |daemon: &Daemon| (percent < 100).then(|| Share::new(daemon.id(), percent)).transpose();
    let mut daemon = stage.server.start(&stage.config(json!({"enabled": false})))?;
    stage.teach(&daemon)?;
    let share = shared(&daemon)?;
    let mut mixture = stage.mixture(&arguments.object)?;
    let ceiling = send(&mut mixture, &stage.client, AS_MANY_AS_CAN_BE, 0, Duration::from_secs(2))?;
    let capacity = capacity(&mut mixture, &stage.client, &daemon)?;
    let unloaded = send(&mut mixture, &stage.client, arguments.renewals, 0, time)?;
    ensure!(unloaded.answered() > 0.5, "renewals are not even answered without a flood: {unloaded:?}");
    let flood = (capacity * TIMES) as u32;
    let mut measure = |daemon: &Daemon, first| -> Result<Loaded> {
        let ns = &stage.client;
        let (rss_before, _) = daemon.memory_octets()?;
        let before = Stats::of(daemon)?;
        let (seen, waited) = thread::scope(|scope| {
            let new: Vec<_> =
                (0..NEW).map(|number| scope.spawn(move || join(ns, first + number, time))).collect();
            let seen = send(&mut mixture, ns, arguments.renewals, flood, time);
            let waited: Vec<_> = new.into_iter().filter_map(|client| client.join().ok()?.ok()).collect();
            (seen, waited)
        });
        let (seen, after) = (seen?, Stats::of(daemon)?);
        let dropped = drops(&before, &after);
        let refused: u64 =
            dropped.iter().filter(|(reason, _)| reason.starts_with("limited_")).map(|(_, count)| count).sum();
        Ok(Loaded {
            renewals_offered_per_s: seen.per_s(seen.renewals),
            renewals_loaded_per_s: seen.per_s(seen.acks),
            renewals_kept_ratio: seen.answered() / unloaded.answered(),
            flood_per_s: seen.per_s(seen.strangers),
            flood_times_capacity: seen.per_s(seen.strangers) / capacity,
            flood_passed_per_s: seen.per_s(seen.strangers.saturating_sub(refused)),
            new_clients_wanted: NEW.into(),
            new_clients_served: waited.len() as u32,
            new_clients_waited_s: [median(waited.clone()), waited.iter().copied().fold(0.0, f64::max)],
            daemon_rss_before_bytes: rss_before,
            daemon_rss_peak_bytes: daemon.memory_octets()?.1,
            drops: dropped,
        })
    };
    let without_limits = measure(&daemon, 0)?;
    daemon.stop()?;
    drop(share);
    let mut daemon = stage.server.start(&stage.config(json!({})))?;
    let share = shared(&daemon)?;
    let limited = measure(&daemon, 100)?;
    daemon.stop()?;
    drop(share);
    let report = Report {
        daemon_percent: percent,
        renewals_ceiling_per_s: ceiling.per_s(ceiling.acks),
        renewals_unloaded_per_s: unloaded.per_s(unloaded.acks),
        discover_capacity_per_s: capacity,
        limited,
        without_limits,
        machine,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.table());
    }
    Ok(())
}

fn send(mixture: &mut Mixture, ns: &NetNs, renewals: u32, strangers: u32, time: Duration) -> Result<Seen> {
    mixture.send(ns, Offered { renewals_per_s: renewals, strangers_per_s: strangers }, time)
}

/// The most DISCOVERs a second the daemon has answered, at rates that double until it answers no more than at the last.
fn capacity(mixture: &mut Mixture, ns: &NetNs, daemon: &Daemon) -> Result<f64> {
    let mut most = 0.0_f64;
    let mut rate = 5_000;
    loop {
        let before = Stats::of(daemon)?.messages("offered");
        let seen = send(mixture, ns, 0, rate, Duration::from_secs(2))?;
        let answered = seen.per_s(Stats::of(daemon)?.messages("offered") - before);
        eprintln!("{:.0} DISCOVERs a second: {answered:.0} answered", seen.per_s(seen.strangers));
        if answered < most * 1.05 || rate > AS_MANY_AS_CAN_BE {
            return Ok(most.max(answered));
        }
        most = most.max(answered);
        rate *= 2;
    }
}

/// A client that comes at some moment of the first half of the flood; how long it waits for its lease, seconds.
fn join(ns: &NetNs, number: u8, flood: Duration) -> Result<f64> {
    thread::sleep(flood / 4 + flood / 4 * u32::from(number % NEW) / u32::from(NEW));
    let socket = RawSocket::open(ns, "c0")?;
    let begun = Instant::now();
    Scripted::new(&socket, number)
        .dora_patiently(AGAIN.0, AGAIN.1)
        .inspect_err(|error| eprintln!("client {number}: {error:#}"))
        .context("no lease")?;
    Ok(begun.elapsed().as_secs_f64())
}
