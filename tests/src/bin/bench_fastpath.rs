//! The benchmark behind `cargo xtask bench fastpath`, which builds and starts it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use dhcp_tests::bench::{
    cost, machine, median,
    programs::Programs,
    report::{Report, Traffic},
    request::Request,
    traffic::{Cables, Rate},
    world::{self, FEW, FIRST, INTERFACE, MANY, Pins, UDHCPC, World},
};

/// Measures the fast path. `cargo xtask bench fastpath` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The object of bench-only programs.
    #[arg(long)]
    object: PathBuf,
    /// Runs of each measurement, of which the median is printed.
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Renewals at random of so many leases too; 64 octets of memory each.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(world::MOST)))]
    leases: Vec<u32>,
    /// Only the costs per frame, no traffic over veth.
    #[arg(long)]
    no_veth: bool,
    /// Only run renewals of these leases for ten seconds, for `perf record -C <the last processor>` to look at.
    #[arg(long)]
    profile: Option<Leases>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Leases {
    /// 1 k in order.
    Few,
    /// 1 k in order, without option 61.
    FewNo61,
    /// 1 M at random.
    Many,
}

const PROFILE_FOR: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = machine::Machine::this()?;
    let processors = machine::processors()?;
    let processor = machine::stay_on_last_processor()?;
    // Dropped in the reverse order: programs and maps, namespaces with the links, pins.
    let pins = Pins::new();
    let cables = Cables::new(processors.len())?;
    let leases = arguments.leases.iter().copied().max().unwrap_or(MANY).max(MANY);
    let mut world = World::new(&pins, &cables.renew.a.name, cables.renew.a.index, leases)?;
    let templates: Vec<_> = world.requests.iter().map(Request::template).collect();
    let slots = u32::try_from(world.path.layout().table().len())?;
    let mut programs =
        Programs::load(&arguments.object, world.path.set().path(), &INTERFACE, slots, &templates)?;
    let (verified_insns, jited_octets) = cost::size(&mut world.path)?;
    if let Some(leases) = arguments.profile {
        let sequence = match leases {
            Leases::Few => world::in_order(FEW),
            Leases::FewNo61 => world::in_order_no61(),
            Leases::Many => world::at_random(MANY, 1),
        };
        let renewals = cost::repeat(&mut programs, &world, sequence, PROFILE_FOR)?;
        println!("{renewals} renewals in {PROFILE_FOR:?} on processor {processor}");
        return Ok(());
    }
    let cost::Summary { median: costs, least } = cost::measure(&mut world, &mut programs, arguments.runs)?;
    let by_leases = cost::measure_by_leases(&world, &mut programs, arguments.runs, &arguments.leases)?;
    let traffic = if arguments.no_veth {
        Vec::new()
    } else {
        cables.attach(&mut world.path, &mut programs)?;
        traffic(&cables, &world, &mut programs, arguments.runs, &processors)?
    };
    let report = Report {
        costs,
        least,
        by_leases,
        verified_insns,
        jited_octets,
        traffic,
        published_per_s: world.published_per_s,
        machine,
        processor,
        runs: arguments.runs,
    };
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.table());
    }
    Ok(())
}

/// Traffic on one processor, and on more and more of them.
fn traffic(
    cables: &Cables,
    world: &World,
    programs: &mut Programs,
    runs: u32,
    processors: &[usize],
) -> Result<Vec<Traffic>> {
    (1..=processors.len())
        .filter_map(|count| processors.get(..count))
        .map(|together| traffic_on(cables, world, programs, runs, together))
        .collect()
}

fn traffic_on(
    cables: &Cables,
    world: &World,
    programs: &mut Programs,
    runs: u32,
    processors: &[usize],
) -> Result<Traffic> {
    let frame = world.requests[UDHCPC as usize].of(0, FIRST);
    let mut taken: Vec<[Rate; 3]> = Vec::new();
    for run in 0..runs {
        let random = world::at_random(MANY, 0x2545_f491_4f6c_dd1d_u64.wrapping_mul(u64::from(run) + 1) | 1);
        let mut measure =
            |index, sequence, came| cables.measure(programs, processors, index, sequence, &frame, came);
        taken.push([
            measure(cables.reflect.b.index, world::in_order(FEW), |seen| seen.reflected)?,
            measure(cables.renew.b.index, world::in_order(FEW), |seen| seen.answers)?,
            measure(cables.renew.b.index, random, |seen| seen.answers)?,
        ]);
    }
    let middle = |of: &dyn Fn(&[Rate; 3]) -> f64| median(taken.iter().map(of).collect());
    Ok(Traffic {
        processors: processors.len(),
        reflector_per_s: middle(&|[reflector, _, _]| reflector.per_s),
        reflector_lost: middle(&|[reflector, _, _]| reflector.lost),
        few_per_s: middle(&|[_, few, _]| few.per_s),
        few_lost: middle(&|[_, few, _]| few.lost),
        many_per_s: middle(&|[_, _, many]| many.per_s),
        many_lost: middle(&|[_, _, many]| many.lost),
        few_to_reflector: middle(&|[reflector, few, _]| few.per_s / reflector.per_s),
        many_to_reflector: middle(&|[reflector, _, many]| many.per_s / reflector.per_s),
    })
}
