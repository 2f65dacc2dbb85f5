//! Nanoseconds per frame by `BPF_PROG_TEST_RUN`.
//!
//! In every round each program runs once; a cost is the difference within a round, and the median of the rounds counts.
//! So what else the machine is busy with falls on both sides of a difference.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use dhcp_common::abi::name;
use dhcp_user::fastpath::kernel::KernelPath;

use super::{
    abi::Sequence,
    median,
    programs::Programs,
    world::{self, DHCLIENT, FEW, FIRST, FIRST_NO61, MANY, UDHCPC, World},
};
use crate::packet::Frame;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
/// Frames in one measurement.
const REPEAT: u32 = 1 << 18;

/// One lease set: what stands before it and what is added to it, step by step, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Renewal {
    /// Restoring the frame: what was subtracted.
    pub restore_ns: f64,
    /// Finding the renewal in the frame.
    pub parse_ns: f64,
    /// Deciding: the two below.
    pub decide_ns: f64,
    /// Finding the lease: block and entry.
    pub look_up_ns: f64,
    /// Comparing: lease, answer, fingerprint, clock.
    pub compare_ns: f64,
    /// Writing: the resizing below, the answer with its checksums, the mark, the count.
    pub write_ns: f64,
    /// Bringing the frame to the length of its answer.
    pub resize_ns: f64,
    /// All three.
    pub total_ns: f64,
}

/// What came of all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Medians: the figures.
    pub median: Costs,
    /// The least of each: what a machine busy with other things spoils least.
    pub least: Costs,
}

/// All costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// An empty program.
    pub empty_ns: f64,
    /// Reading the boot clock, which is a part of comparing.
    pub clock_ns: f64,
    /// A TCP frame through `renew`.
    pub tcp_ns: f64,
    /// A UDP frame to another port through `renew`.
    pub udp_ns: f64,
    /// Renewals with option 61 of few leases in order.
    pub few: Renewal,
    /// Renewals without option 61 of few leases in order.
    pub few_no61: Renewal,
    /// Renewals with option 61 of many leases at random.
    pub many: Renewal,
}

/// Renewals of so many leases at random.
#[derive(Clone, Copy, Debug)]
pub struct OfLeases {
    /// How many leases.
    pub leases: u32,
    /// Medians.
    pub median: Renewal,
    /// The least of each.
    pub least: Renewal,
}

/// Measures renewals at random of each number of leases (powers of two) `rounds` times.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_by_leases(
    world: &World,
    programs: &mut Programs,
    rounds: u32,
    numbers: &[u32],
) -> Result<Vec<OfLeases>> {
    let frame = world.requests.first().context("no request")?.of(0, FIRST);
    let mut all = Vec::new();
    for &leases in numbers {
        let mut taken = Vec::new();
        for round in 0..rounds {
            let sequence = world::at_random(leases, seed(round));
            taken.push(Costs { many: renewal(world, programs, sequence, &frame)?, ..Costs::default() });
        }
        let (median, least) = (over(&taken, &median).many, over(&taken, &least).many);
        all.push(OfLeases { leases, median, least });
    }
    Ok(all)
}

fn least(figures: Vec<f64>) -> f64 {
    figures.into_iter().fold(f64::INFINITY, f64::min)
}

fn seed(round: u32) -> u64 {
    0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(round) + 1) | 1
}

/// Measures everything `rounds` times.
///
/// # Errors
///
/// When the kernel refuses, or a program does not do what is measured.
pub fn measure(world: &mut World, programs: &mut Programs, rounds: u32) -> Result<Summary> {
    let tcp = Frame::request(3, [6, 0, 0, 0, 0, 1]).ip_protocol(6).build();
    let udp = Frame::request(3, [6, 0, 0, 0, 0, 1]).dst_port(53).build();
    let frames =
        [world.requests[UDHCPC as usize].of(0, FIRST), world.requests[DHCLIENT as usize].of(0, FIRST_NO61)];
    let mut taken = Vec::new();
    for round in 0..rounds {
        let empty_ns = run(programs.program("empty")?, &tcp, Some(XDP_PASS))?;
        taken.push(Costs {
            empty_ns,
            clock_ns: run(programs.program("clock")?, &tcp, Some(XDP_PASS))? - empty_ns,
            tcp_ns: run(renew(&mut world.path)?, &tcp, Some(XDP_PASS))?,
            udp_ns: run(renew(&mut world.path)?, &udp, Some(XDP_PASS))?,
            few: renewal(world, programs, world::in_order(FEW), &frames[0])?,
            few_no61: renewal(world, programs, world::in_order_no61(), &frames[1])?,
            many: renewal(world, programs, world::at_random(MANY, seed(round)), &frames[0])?,
        });
    }
    Ok(Summary { median: over(&taken, &median), least: over(&taken, &least) })
}

/// One figure for each of many.
fn over(taken: &[Costs], summary: &dyn Fn(Vec<f64>) -> f64) -> Costs {
    let one = |of: &dyn Fn(&Costs) -> f64| summary(taken.iter().map(of).collect());
    let renewal = |of: &dyn Fn(&Costs) -> Renewal| Renewal {
        restore_ns: one(&|costs| of(costs).restore_ns),
        parse_ns: one(&|costs| of(costs).parse_ns),
        decide_ns: one(&|costs| of(costs).decide_ns),
        look_up_ns: one(&|costs| of(costs).look_up_ns),
        compare_ns: one(&|costs| of(costs).compare_ns),
        write_ns: one(&|costs| of(costs).write_ns),
        resize_ns: one(&|costs| of(costs).resize_ns),
        total_ns: one(&|costs| of(costs).total_ns),
    };
    Costs {
        empty_ns: one(&|costs| costs.empty_ns),
        clock_ns: one(&|costs| costs.clock_ns),
        tcp_ns: one(&|costs| costs.tcp_ns),
        udp_ns: one(&|costs| costs.udp_ns),
        few: renewal(&|costs| costs.few),
        few_no61: renewal(&|costs| costs.few_no61),
        many: renewal(&|costs| costs.many),
    }
}

/// Verified instructions and octets of machine code of the product's program.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn size(path: &mut KernelPath) -> Result<(u32, u32)> {
    let info = renew(path)?.info()?;
    let verified =
        info.verified_instruction_count().context("this kernel does not count verified instructions")?;
    Ok((verified, info.size_jitted()))
}

/// Answers renewals for `time`, for a profiler to look at. Returns how many.
///
/// # Errors
///
/// As [`measure`].
pub fn repeat(programs: &mut Programs, world: &World, sequence: Sequence, time: Duration) -> Result<u64> {
    let request = world.requests.get(sequence.template as usize).context("no such template")?;
    let frame = request.of(0, sequence.first_address.into());
    let (begun, mut renewals) = (Instant::now(), 0);
    programs.start(sequence)?;
    while begun.elapsed() < time {
        run(programs.program("restored_renew")?, &frame, Some(XDP_TX))?;
        renewals += u64::from(REPEAT);
    }
    Ok(renewals)
}

fn renew(path: &mut KernelPath) -> Result<&mut Xdp> {
    let object = path.objects_mut().next().context("no object is loaded")?;
    Ok(object.program_mut(name::PROGRAM).context("the object has no program")?.try_into()?)
}

fn renewal(world: &World, programs: &mut Programs, sequence: Sequence, frame: &[u8]) -> Result<Renewal> {
    let mut of = |name, action| {
        programs.start(sequence)?;
        run(programs.program(name)?, frame, action)
    };
    let before = world.path.counters()?.answered;
    let all = of("restored_renew", None)?;
    let counters = world.path.counters()?;
    let answered = counters.answered - before;
    ensure!(
        answered == u64::from(REPEAT),
        "{answered} of {REPEAT} renewals were answered, so nothing was measured: {counters:?}"
    );
    let restore_ns = of("restore", Some(XDP_PASS))?;
    let parse = of("parse", Some(XDP_PASS))?;
    let look_up = of("look_up", Some(XDP_PASS))?;
    let decide = of("decide", Some(XDP_PASS))?;
    let resize = of("resize", Some(XDP_PASS))?;
    Ok(Renewal {
        restore_ns,
        parse_ns: parse - restore_ns,
        decide_ns: decide - parse,
        look_up_ns: look_up - parse,
        compare_ns: decide - look_up,
        write_ns: all - decide,
        resize_ns: resize - decide,
        total_ns: all - restore_ns,
    })
}

/// Runs `program` on `frame` again and again; nanoseconds a run. The last run must have returned `action`, if given.
fn run(program: &Xdp, frame: &[u8], action: Option<u32>) -> Result<f64> {
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        repeat: REPEAT,
        ..TestRunOptions::default()
    })?;
    let returned = result.return_value;
    ensure!(
        action.is_none_or(|action| action == returned),
        "the program returned {returned}, not {action:?}"
    );
    Ok(result.duration.as_nanos() as f64)
}
