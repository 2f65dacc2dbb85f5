//! Machines that are not as they should be: clocks that are apart, a disk that is slow.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::{Stage, adapt, machines};
use crate::{
    cluster::{AGREED, Cluster, traffic::Load},
    fake_clock::FakeClock,
};

/// How far each site's wall clock is from the machine's, in turn: neighbours are 5 s apart, the ends 10 s.
const OFF_BY_SECS: [i64; 3] = [0, 5, -5];

/// What a flush takes on a slow disk.
const FLUSH_MICROSECS: u32 = 100_000;

/// The guide's sites, with wall clocks that are seconds apart from the first start on.
///
/// # Errors
///
/// When the cluster does not begin, or libfaketime is not there.
pub fn with_clocks_apart(load: &Load) -> Result<Stage> {
    let mut cluster = Cluster::of_the_guide(adapt)?;
    for node in &mut cluster.nodes {
        let site = cluster.sites.iter().position(|site| *site == node.site).context("a node of no site")?;
        let clock = FakeClock::new(node.server.folder.path())?;
        clock.set_off_by(OFF_BY_SECS.get(site).copied().unwrap_or(0))?;
        node.through = clock.words();
    }
    Stage::start(cluster, load)
}

/// One node's disk is slow: its clients wait, nobody else's do, it keeps its delegations, and takes its part when another
/// node is lost.
///
/// # Errors
///
/// When something that must hold does not, or strace is not there.
pub fn slow_disk(stage: &mut Stage, slow: usize) -> Result<()> {
    let node = stage.cluster.nodes.get_mut(slow).context("no such node")?;
    let status = node.daemon.as_mut().context("it does not run")?.stop()?;
    ensure!(status.success(), "{} ended with {status}:\n{}", node.name, node.log());
    let inject = format!("inject=fsync,fdatasync:delay_enter={FLUSH_MICROSECS}");
    // It looks on from beside: the daemon is the process that was started, and hears its signals itself.
    let words = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"];
    let traced = ["-e", "trace=fsync,fdatasync", "-e", &inject];
    node.through = words.into_iter().chain(traced).map(str::to_owned).collect();
    let started = Instant::now();
    node.start()?;
    stage.wait_active(slow)?;
    stage.note("slow_disk_active", started);
    let before = stage.traffic.report();
    stage.traffic.measure_anew();
    let site = stage.cluster.nodes.get(slow).context("no such node")?.site.clone();
    let site = stage.cluster.sites.iter().position(|name| *name == site).context("no such site")?;
    stage.traffic.more(site, 8);
    let report =
        stage.traffic.wait(AGREED, "renewals and new leases at the node with the slow disk", |now| {
            let (now, before) = (now.node(slow), before.node(slow));
            now.renewals_answered > before.renewals_answered + 30 && now.new_leases > before.new_leases
        })?;
    stage.figures.insert("slow_disk_renewal_wait_ms_max", report.renewal_wait_ms_max as f64);
    ensure!(stage.number(slow, "blocks_held")? > 0, "it lost its blocks, though it is alive");
    let gone = stage.others(&[slow]).into_iter().next().context("no other node runs")?;
    machines::kill(stage, gone)
}
