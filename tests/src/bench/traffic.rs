//! Renewals per second over veth, from a client's end to the server's and back, every frame a real one.
//!
//! ```text
//!   server namespace                  client namespace
//!   benchs0 (XDP: renew)   ========== benchc0 (XDP: collect) <- generate, in live frames
//!   benchs1 (XDP: reflect) ========== benchc1 (XDP: collect) <- generate, in live frames
//! ```
//!
//! `BPF_PROG_TEST_RUN` makes the frames: it runs `generate` for each, which puts the next client's renewal in and sends
//! it. veth hands frames to the far end's driver on the processor that sends them, in a queue of that processor's own, so
//! each processor that takes part does all the work of client and server; a frame that finds a queue full is lost and counted.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use dhcp_common::abi::name;
use dhcp_user::fastpath::kernel::KernelPath;

use super::{
    abi::{Collected, Sequence},
    machine,
    programs::Programs,
};
use crate::{netns::NetNs, veth::Veth, wait::wait_until};

/// Frames the generator makes before it lets the queues drain; a veth queue holds 256.
const BATCH: u32 = 64;
/// Frames of a processor in one measurement.
pub const FRAMES: u32 = 1 << 20;

/// The two cables.
#[derive(Debug)]
pub struct Cables {
    server: NetNs,
    client: NetNs,
    /// The product's.
    pub renew: Veth,
    /// The reflector's.
    pub reflect: Veth,
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Frames that came back, a second.
    pub per_s: f64,
    /// Frames that did not come back, of those sent.
    pub lost: f64,
}

impl Cables {
    /// Makes namespaces and veth pairs, with a queue for each of so many processors. The server's ends have the hardware address the requests are sent to.
    ///
    /// # Errors
    ///
    /// Without root or iproute2.
    pub fn new(processors: usize) -> Result<Self> {
        let (server, client) = (NetNs::new("bench-server")?, NetNs::new("bench-client")?);
        let renew = Veth::with_queues(&server, "benchs0", &client, "benchc0", processors)?;
        let reflect = Veth::with_queues(&server, "benchs1", &client, "benchc1", processors)?;
        Ok(Self { server, client, renew, reflect })
    }

    /// Attaches everything.
    ///
    /// # Errors
    ///
    /// When a driver or the kernel refuses.
    pub fn attach(&self, path: &mut KernelPath, programs: &mut Programs) -> Result<()> {
        self.server.run(|| -> Result<()> {
            path.attach()?;
            let object = path.objects_mut().next().context("no object is loaded")?;
            let reflect: &mut Xdp = object
                .program_mut(name::PROGRAM_REFLECT)
                .context("the object has no reflector")?
                .try_into()?;
            reflect.load()?;
            reflect.attach_to_if_index(self.reflect.a.index, XdpMode::Driver)?;
            Ok(())
        })??;
        self.client.run(|| -> Result<()> {
            for end in [&self.renew.b, &self.reflect.b] {
                programs.program("collect")?.attach_to_if_index(end.index, XdpMode::Driver)?;
            }
            Ok(())
        })?
    }

    /// Has each of `processors` send [`FRAMES`] renewals from the client's end `index`, all at once, and counts what `came` back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or something else comes back.
    pub fn measure(
        &self,
        programs: &mut Programs,
        processors: &[usize],
        index: u32,
        sequence: Sequence,
        frame: &[u8],
        came: fn(&Collected) -> u64,
    ) -> Result<Rate> {
        programs.start(sequence)?;
        programs.take_collected()?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, index, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let generate: &Xdp = programs.program("generate")?;
        let one = |processor: usize| -> Result<(Instant, Instant)> {
            self.client.run(|| {
                machine::stay_on(processor)?;
                let begun = Instant::now();
                generate.test_run(TestRunOptions {
                    data_in: Some(frame),
                    ctx_in: Some(&context),
                    repeat: FRAMES,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::default()
                })?;
                Ok((begun, Instant::now()))
            })?
        };
        let elapsed = thread::scope(|scope| {
            let running: Vec<_> =
                processors.iter().map(|&processor| scope.spawn(move || one(processor))).collect();
            let ended =
                running.into_iter().map(|of| of.join().map_err(|_| anyhow!("a generator panicked"))?);
            ended.collect::<Result<Vec<(Instant, Instant)>>>()
        })?;
        // From the first that began to the last that ended: nobody's waiting is left out.
        let first = elapsed.iter().map(|(begun, _)| *begun).min().context("no processor takes part")?;
        let elapsed = elapsed.iter().map(|(_, ended)| *ended - first).max().unwrap_or_default();
        let sent = u64::from(FRAMES) * processors.len() as u64;
        let mut seen = 0;
        // What is still under way arrives within moments, or never.
        let _ = wait_until(Duration::from_millis(200), "the last frames", || {
            seen = programs.collected().map_or(0, |collected| came(&collected));
            seen >= sent
        });
        let collected = programs.collected()?;
        let strangers = collected.answers + collected.reflected + collected.other - seen;
        // A namespace just made sends a few frames of its own (IGMP).
        ensure!(
            strangers < 100,
            "{strangers} frames came back that are not what was asked for: {collected:?}"
        );
        ensure!(seen > 0, "nothing came back: {collected:?}");
        let sent = sent as f64;
        Ok(Rate { per_s: seen as f64 / elapsed.as_secs_f64(), lost: (sent - seen as f64).max(0.0) / sent })
    }
}
