//! Renewals and strangers' DISCOVERs in one stream of live frames, at a rate, and what comes back.

use std::{
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
    util::nr_cpus,
};

use crate::{
    bench::{
        abi::{Mix, RENEWAL, STRANGER, Sorted, Template},
        machine,
        request::Request,
    },
    netns::NetNs,
    veth::End,
};

// SAFETY: integers without padding, any bit pattern valid.
unsafe impl aya::Pod for Mix {}
// SAFETY: integers without padding, any bit pattern valid.
unsafe impl aya::Pod for Sorted {}

/// Frames made before the queues are let drain; a veth queue holds 256.
const BATCH: u32 = 32;
/// How often the generator looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// How long what is under way may take to come back; what comes later counts as not answered.
const LAST: Duration = Duration::from_millis(300);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// Renewals a second.
    pub renewals_per_s: u32,
    /// Strangers a second.
    pub strangers_per_s: u32,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// How long it took, seconds.
    pub secs: f64,
    /// Renewals sent.
    pub renewals: u64,
    /// Strangers' DISCOVERs sent.
    pub strangers: u64,
    /// Renewals answered.
    pub acks: u64,
    /// OFFERs to strangers.
    pub offers: u64,
}

impl Seen {
    /// A count in a second.
    pub fn per_s(&self, count: u64) -> f64 {
        count as f64 / self.secs.max(f64::MIN_POSITIVE)
    }

    /// Whether every renewal and every stranger was.
    const fn all_answered(&self) -> bool {
        self.acks >= self.renewals && self.offers >= self.strangers
    }

    /// The fraction of renewals that was answered.
    pub fn answered(&self) -> f64 {
        self.acks as f64 / self.renewals.max(1) as f64
    }
}

/// The programs at the client's end.
pub struct Mixture {
    object: Ebpf,
    mix: PerCpuArray<MapData, Mix>,
    sorted: PerCpuArray<MapData, Sorted>,
    context: Vec<u8>,
    frame: Vec<u8>,
    first: Ipv4Addr,
    clients: u32,
    processors: usize,
}

impl Mixture {
    /// Loads the object at `path` and attaches what sorts to `end` in `ns`. The first of `clients` renews `first`.
    ///
    /// # Errors
    ///
    /// When the object is missing or the kernel refuses it.
    pub fn attach(path: &Path, ns: &NetNs, end: &End, first: Ipv4Addr, clients: u32) -> Result<Self> {
        let octets = std::fs::read(path)
            .with_context(|| format!("cannot read {}: run `cargo xtask bench overload`", path.display()))?;
        let mut object = EbpfLoader::new().load(&octets).context("cannot load the bench object")?;
        let mut map = |name: &'static str| object.take_map(name).with_context(|| format!("no map {name}"));
        let mix = PerCpuArray::try_from(map("MIX")?)?;
        let sorted = PerCpuArray::try_from(map("SORTED")?)?;
        let mut templates: Array<_, Template> = Array::try_from(map("TEMPLATES")?)?;
        let (discover, renewal) =
            (Request::dhclient_discover()?.without_checksum(), Request::dhclient()?.without_checksum());
        templates.set(STRANGER, discover.template(), 0)?;
        templates.set(RENEWAL, renewal.template(), 0)?;
        for name in ["mix", "sort"] {
            program(&mut object, name)?.load().with_context(|| format!("the kernel refuses {name}"))?;
        }
        let sort = program(&mut object, "sort")?;
        ns.run(|| sort.attach_to_if_index(end.index, XdpMode::Driver).map(drop))??;
        let frame = renewal.of(0, first);
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, end.index, 0, 0];
        let context = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let processors =
            nr_cpus().map_err(|(_, error)| error).context("cannot tell the number of processors")?;
        Ok(Self { object, mix, sorted, context, frame, first, clients, processors })
    }

    /// Sends for `time` and counts what comes back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn send(&mut self, ns: &NetNs, offered: Offered, time: Duration) -> Result<Seen> {
        let together = offered.renewals_per_s + offered.strangers_per_s;
        let mix = Mix {
            random: rand::random::<u64>() | 1,
            every: together.checked_div(offered.renewals_per_s).unwrap_or(0),
            mask: self.clients - 1,
            first_address: self.first.into(),
            ..Mix::default()
        };
        self.mix.set(0, PerCpuValues::try_from(vec![mix; self.processors])?, 0)?;
        let none = PerCpuValues::try_from(vec![Sorted::default(); self.processors])?;
        self.sorted.set(0, none, 0)?;
        let (context, frame, mix, sorted) = (&self.context, &self.frame, &self.mix, &self.sorted);
        let generate = program(&mut self.object, "mix")?;
        let elapsed = ns.run(|| -> Result<Duration> {
            machine::stay_on_last_processor()?;
            let begun = Instant::now();
            let mut sent = 0_u64;
            while begun.elapsed() < time {
                let due = (begun.elapsed().as_secs_f64() * f64::from(together)) as u64;
                let behind = due.saturating_sub(sent);
                // A call takes some 20 ms to set up and to take down, which is made up for; a longer pause is not.
                let some = u32::try_from(behind).unwrap_or(u32::MAX).min(together / 10 + BATCH);
                if some < BATCH {
                    thread::sleep(TICK);
                    continue;
                }
                generate.test_run(TestRunOptions {
                    data_in: Some(frame),
                    ctx_in: Some(context),
                    repeat: some,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::default()
                })?;
                sent += behind;
            }
            let elapsed = begun.elapsed();
            let end = Instant::now() + LAST;
            while !counted(mix, sorted)?.all_answered() && Instant::now() < end {
                thread::sleep(TICK);
            }
            Ok(elapsed)
        })??;
        Ok(Seen { secs: elapsed.as_secs_f64(), ..counted(&self.mix, &self.sorted)? })
    }
}

/// What was sent and what came back so far.
fn counted(mix: &PerCpuArray<MapData, Mix>, sorted: &PerCpuArray<MapData, Sorted>) -> Result<Seen> {
    let mut seen = Seen::default();
    for one in mix.get(&0, 0)?.iter() {
        seen.renewals += one.renewals;
        seen.strangers += one.frames - one.renewals;
    }
    for one in sorted.get(&0, 0)?.iter() {
        seen.acks += one.acks;
        seen.offers += one.offers;
    }
    Ok(seen)
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program =
        object.program_mut(name).with_context(|| format!("the bench object has no program {name}"))?;
    Ok(program.try_into()?)
}
