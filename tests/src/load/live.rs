//! Renewals by the kernel's own frame generator (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18), for servers that answer
//! faster than any socket asks. Replies are counted and timed by an XDP program; one in 64 is handed to a socket, which
//! checks every octet of it.
//!
//! The kernel makes frames in portions: latencies are those of frames that leave that many at a time ([`Portion`]).

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
    util::nr_cpus,
};
use hdrhistogram::Histogram;

use super::{
    abi::{Collected, PLACES, Sequence, TEMPLATE_MAX, Template, place_ns},
    batch_socket::BatchSocket,
    figures::Figures,
    fleet::Fleet,
    message,
    reply::{Fault, Reply},
};
use crate::{bench::machine, netns::NetNs, veth::End, wait::wait_until};

/// One reply in so many is checked to the last octet.
const SAMPLE_MASK: u32 = 63;
/// How often frames are sent at a given rate.
const BEAT: Duration = Duration::from_millis(1);
/// Frames asked of the kernel at a time at full speed.
const CHUNK: u32 = 1 << 17;

// SAFETY: integers without padding, any bit pattern valid.
unsafe impl aya::Pod for Sequence {}
// SAFETY: integers and an array of octets without padding, any bit pattern valid.
unsafe impl aya::Pod for Template {}
// SAFETY: integers, any bit pattern valid.
unsafe impl aya::Pod for Collected {}

/// The generator's kernel programs.
pub struct Live {
    object: Ebpf,
    sequence: PerCpuArray<MapData, Sequence>,
    template: Array<MapData, Template>,
    addresses: Array<MapData, u32>,
    collected: PerCpuArray<MapData, Collected>,
    clients_max: u32,
    processors: usize,
}

/// How many frames leave together: a frame waits for the others of its portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Few at a given rate, many at full speed.
    ByRate,
    /// Each on its own: its latency is that of its way alone.
    One,
}

impl Portion {
    const fn frames(self, paced: bool) -> u32 {
        match self {
            Self::One => 1,
            Self::ByRate if paced => 8,
            Self::ByRate => 64,
        }
    }
}

/// What a live run is to do.
#[derive(Clone, Copy, Debug)]
pub struct LivePlan {
    /// Renewals a second; none for as many as possible.
    pub rate: Option<f64>,
    /// How many of them leave together.
    pub portion: Portion,
    /// How many clients take part, from client 0.
    pub clients: u32,
    /// At random, not one after the other.
    pub random: bool,
    /// For how long.
    pub time: Duration,
    /// The far end is a mirror.
    pub mirror: bool,
}

impl Live {
    /// Loads the object at `path` for at most `clients_max` clients.
    ///
    /// # Errors
    ///
    /// When the object is missing or the kernel refuses it.
    pub fn load(path: &Path, clients_max: u32) -> Result<Self> {
        let octets = std::fs::read(path)
            .with_context(|| format!("cannot read {}: `cargo xtask load` builds it", path.display()))?;
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("ADDRESSES", clients_max);
        let mut object = loader.load(&octets).with_context(|| format!("cannot load {}", path.display()))?;
        let mut map = |name: &'static str| {
            object.take_map(name).with_context(|| format!("{} has no map {name}", path.display()))
        };
        let sequence = PerCpuArray::try_from(map("SEQUENCE")?)?;
        let template = Array::try_from(map("TEMPLATE")?)?;
        let addresses = Array::try_from(map("ADDRESSES")?)?;
        let collected = PerCpuArray::try_from(map("COLLECTED")?)?;
        for name in ["generate", "collect", "mirror"] {
            program(&mut object, name)?.load().with_context(|| format!("the kernel refuses {name}"))?;
        }
        let processors =
            nr_cpus().map_err(|(_, error)| error).context("cannot tell the number of processors")?;
        Ok(Self { object, sequence, template, addresses, collected, clients_max, processors })
    }

    /// Has the program `name` (`collect` at the clients' end, `mirror` at a far end) on an interface until the link
    /// goes or [`Live::detach`] is called.
    ///
    /// # Errors
    ///
    /// When the driver or the kernel refuses.
    pub fn attach(&mut self, name: &str, ns: &NetNs, end: &End) -> Result<aya::programs::xdp::XdpLinkId> {
        let program = program(&mut self.object, name)?;
        Ok(ns.run(|| program.attach_to_if_index(end.index, XdpMode::Driver))??)
    }

    /// Takes a program off again.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn detach(&mut self, name: &str, link: aya::programs::xdp::XdpLinkId) -> Result<()> {
        Ok(program(&mut self.object, name)?.detach(link)?)
    }

    /// Learns who the clients are and what they send.
    ///
    /// # Errors
    ///
    /// When there are more than the maps were made for, or frames are tagged.
    pub fn learn(&mut self, fleet: &Fleet) -> Result<()> {
        ensure!(fleet.way().vlan.is_none(), "live frames are not made with VLAN tags: use `--by socket`");
        let (renewal, client_id_at) = fleet.letters().renewal();
        let mut frame = [0; TEMPLATE_MAX];
        let place = frame.get_mut(..renewal.len()).context("the renewal is too long")?;
        place.copy_from_slice(renewal);
        let header = frame.get_mut(14..34).context("the renewal has no IPv4 header")?;
        for at in [10, 11, 12, 13, 14, 15] {
            if let Some(octet) = header.get_mut(at) {
                *octet = 0;
            }
        }
        let template = Template {
            len: renewal.len() as u32,
            client_id_at: client_id_at as u32,
            header_sum: message::folded(message::add(header)).into(),
            from_client_mac: u32::from(fleet.way().relay.is_none()),
            frame,
        };
        self.template.set(0, template, 0)?;
        for (number, address) in (0..).zip(fleet.addresses()) {
            ensure!(number < self.clients_max, "there is room for {} clients only", self.clients_max);
            self.addresses.set(number, address.to_bits(), 0)?;
        }
        Ok(())
    }

    /// Sends renewals from `end` and counts what comes back. `socket` is open on the same interface.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run(
        &mut self,
        ns: &NetNs,
        end: &End,
        socket: &mut BatchSocket,
        server: Ipv4Addr,
        plan: &LivePlan,
    ) -> Result<Figures> {
        let sequence = Sequence {
            position: if plan.random { 0x2545_f491_4f6c_dd1d } else { 0 },
            clients: plan.clients,
            random: plan.random.into(),
            sample_mask: SAMPLE_MASK,
            unused: 0,
        };
        self.sequence.set(0, PerCpuValues::try_from(vec![sequence; self.processors])?, 0)?;
        let none = Collected { right: 0, mirrored: 0, wrong: 0, other: 0, latencies: [0; PLACES] };
        self.collected.set(0, PerCpuValues::try_from(vec![none; self.processors])?, 0)?;
        while socket.receive(|_| {})? != 0 {}
        let frame = self.template.get(&0, 0)?;
        let frame = frame.frame.get(..frame.len as usize).context("nothing was learnt")?.to_vec();
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, end.index, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut figures = Figures::default();
        let generate = program(&mut self.object, "generate")?;
        let send = |frames: u32, batch: u32| -> Result<()> {
            generate.test_run(TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::default()
            })?;
            Ok(())
        };
        let figures_ref = &mut figures;
        let (sent, elapsed) = ns.run(|| -> Result<(u64, Duration)> {
            machine::stay_on_last_processor()?;
            let begun = Instant::now();
            let mut sent = 0_u64;
            while begun.elapsed() < plan.time {
                let frames = match plan.rate {
                    None => CHUNK,
                    Some(rate) => {
                        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
                        u32::try_from(due.saturating_sub(sent)).unwrap_or(u32::MAX)
                    }
                };
                if frames > 0 {
                    send(frames, plan.portion.frames(plan.rate.is_some()))?;
                    sent += u64::from(frames);
                }
                take_samples(socket, server, figures_ref)?;
                if plan.rate.is_some() {
                    std::thread::sleep(BEAT);
                }
            }
            Ok((sent, begun.elapsed()))
        })??;
        let back =
            |this: &Self| this.total().map(|total| if plan.mirror { total.mirrored } else { total.right });
        // What is still under way arrives within moments, or never.
        let _ = wait_until(Duration::from_millis(300), "the last frames", || {
            back(self).is_ok_and(|done| done >= sent)
        });
        take_samples(socket, server, &mut figures)?;
        let total = self.total()?;
        figures.begun = sent;
        figures.sent = sent;
        figures.done = back(self)?.min(sent);
        figures.lost = sent - figures.done;
        figures.received = total.right + total.mirrored + total.wrong;
        figures.elapsed = elapsed;
        if total.wrong != 0 {
            *figures.faults.entry(Fault::Address).or_insert(0) += total.wrong;
        }
        for (place, count) in total.latencies.iter().enumerate() {
            record(&mut figures.latency, place_ns(place), *count);
            record(&mut figures.ack_latency, place_ns(place), *count);
        }
        Ok(figures)
    }

    fn total(&self) -> Result<Collected> {
        let mut total = Collected { right: 0, mirrored: 0, wrong: 0, other: 0, latencies: [0; PLACES] };
        for processor in self.collected.get(&0, 0)?.iter() {
            total.right += processor.right;
            total.mirrored += processor.mirrored;
            total.wrong += processor.wrong;
            total.other += processor.other;
            for (sum, count) in total.latencies.iter_mut().zip(&processor.latencies) {
                *sum += count;
            }
        }
        Ok(total)
    }
}

fn record(histogram: &mut Histogram<u64>, ns: u64, count: u64) {
    if count != 0 {
        histogram.saturating_record_n(ns, count);
    }
}

/// Checks the samples that came up; that the server tells routers is looked at by socket.
fn take_samples(socket: &mut BatchSocket, server: Ipv4Addr, figures: &mut Figures) -> Result<()> {
    let mut checked = |incoming: super::batch_socket::Incoming<'_>| {
        let reply = Reply::parse(incoming.frame, incoming.checksum_pending);
        if let Err(fault) = reply.and_then(|reply| reply.check(server, false)) {
            figures.fault(fault);
        }
    };
    while socket.receive(&mut checked)? != 0 {}
    Ok(())
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program =
        object.program_mut(name).with_context(|| format!("the generator's object has no program {name}"))?;
    Ok(program.try_into()?)
}
