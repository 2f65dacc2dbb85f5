//! A node without anything is told a million leases by a real daemon over a real link (TCP, TLS, certificates of both),
//! without a cap and with one; and whether the cap holds is looked at on the interface itself, not asked of the sender.

use std::{
    fs,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use dhcp_user::{
    lease::store::{Batch, LeaseStore as _, LogStore, Options},
    time::{Span, Timestamp},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::leases::{LEASE_SECS, lease};
use crate::{
    cluster::{Cluster, Node},
    lab::set,
    wait::wait_for,
};

/// The first address; nothing of this goes onto a network.
const FIRST: u32 = 0x0a00_0100;
/// A batch of the store's.
const COMMIT: usize = 4_096;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the interface's counter is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// Octets a second that a Mbit/s is.
const MBIT: u64 = 125_000;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct CatchUp {
    /// From the first batch sent to the last acknowledged, seconds.
    pub secs: f64,
    /// Octets that left the sender's interface in the meantime, headers included.
    pub wire_octets: u64,
    /// Seconds, none overlapping another, in which more left than the cap allows.
    pub exceeded_secs: u32,
    /// The most that left in any second, Mbit/s.
    pub highest_mbit_per_s: f64,
}

/// Has a node be told so many leases, with a cap in Mbit/s or without.
///
/// # Errors
///
/// Without root, or when the nodes do not find one another.
pub fn measure(leases: u32, cap_mbit_per_s: Option<u32>) -> Result<CatchUp> {
    let last = Ipv4Addr::from_bits(FIRST + leases.max(1) - 1);
    let pool = json!([{"range": format!("{}-{last}", Ipv4Addr::from_bits(FIRST))}]);
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1)], |config| {
        set(config, "/dhcp/subnets", json!([{"subnet": "10.0.0.0/8", "pools": pool}]));
        set(config, "/dhcp/lease_secs", json!(LEASE_SECS));
        if let Some(cap) = cap_mbit_per_s {
            let bandwidth = json!({"optimization": true, "max_bandwidth": cap});
            set(config, "/dhcp/datacenter/multi_site/bandwidth", bandwidth);
        }
    })?;
    let [sender, _] = cluster.nodes.as_slice() else { return Err(anyhow!("not two nodes")) };
    fill(sender, leases)?;
    // The one with the leases founds the cluster: the other comes to it.
    cluster.nodes.iter_mut().try_for_each(Node::spawn)?;
    let watched = cluster.nodes.first().and_then(|node| node.daemon.as_ref()).context("no daemon")?.id();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(watched, &stop));
        let told = told(&mut cluster, leases);
        stop.store(true, Ordering::Relaxed);
        let samples = sampler.join().map_err(|_| anyhow!("the sampler panicked"))??;
        let (began, ended) = told?;
        Ok(judge(&samples, began, ended, cap_mbit_per_s))
    })
}

/// Puts leases into a node's store, as if it had granted them lately.
fn fill(node: &Node, leases: u32) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the wall clock is before 1970")?;
    let now = Timestamp::ZERO + Span::from_secs(now.as_secs());
    let (mut store, _) = LogStore::open(&node.server.store(), &Options::default(), &mut drop)?;
    let mut rng = SmallRng::seed_from_u64(1);
    let mut batch = Batch::default();
    for index in 0..leases {
        let granted_at = now - Span(rng.random_range(0..LEASE_SECS / 2 * 1_000_000_000));
        batch.leases.push(lease(Ipv4Addr::from_bits(FIRST + index), index, granted_at, &mut rng));
        if batch.leases.len() == COMMIT {
            store.commit(&std::mem::take(&mut batch))?;
        }
    }
    if !batch.is_empty() {
        store.commit(&batch)?;
    }
    Ok(())
}

/// Waits until the other has everything: when the first batch was sent, and when the last was acknowledged.
fn told(cluster: &mut Cluster, leases: u32) -> Result<(Instant, Instant)> {
    cluster.nodes.iter_mut().try_for_each(Node::wait_ready)?;
    let [sender, receiver] = cluster.nodes.as_slice() else { return Err(anyhow!("not two nodes")) };
    let mut seen = Value::Null;
    let mut peer = |what: &str, wanted: &dyn Fn(&Value) -> bool| -> Result<Instant> {
        let found = wait_for(PATIENCE, what, || {
            seen = sender.get("sites/b")?;
            Ok(seen.pointer("/members/0").is_some_and(wanted).then(Instant::now))
        });
        found.with_context(|| format!("{seen:#}\n{}\n{}", sender.log(), receiver.log()))
    };
    let count = |member: &Value, key: &str| member.get(key).and_then(Value::as_u64);
    let began = peer("the first batch", &|member| count(member, "updates_sent") > Some(0))?;
    let ended = peer("the last acknowledgement", &|member| {
        count(member, "lag_updates") == Some(0) && count(member, "updates_sent") >= Some(leases.into())
    })?;
    let stats = receiver.get("stats")?;
    let bound = stats.pointer("/leases/bound").and_then(Value::as_u64);
    ensure!(bound == Some(leases.into()), "of {leases} leases {bound:?} arrived: {stats}");
    Ok((began, ended))
}

/// A reading of the interface's counter, between two moments.
#[derive(Clone, Copy, Debug)]
struct Sample {
    before: Instant,
    after: Instant,
    octets: u64,
}

/// Reads what leaves by `l0` in the network namespace of a process, again and again.
fn sample(process: u32, stop: &AtomicBool) -> Result<Vec<Sample>> {
    let file = format!("/proc/{process}/net/dev");
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let before = Instant::now();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let after = Instant::now();
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("l0:"));
        let octets = line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
        samples.push(Sample { before, after, octets: octets.with_context(|| format!("{file} has no l0"))? });
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples)
}

fn judge(samples: &[Sample], began: Instant, ended: Instant, cap_mbit_per_s: Option<u32>) -> CatchUp {
    let cap = cap_mbit_per_s.map_or(u64::MAX, |mbit| u64::from(mbit) * MBIT);
    let (mut highest, mut exceeded_secs, mut counted_until) = (0, 0, None);
    let mut to = 0;
    for from in samples {
        // The last reading that was certainly taken within a second of this one's beginning.
        while samples.get(to + 1).is_some_and(|next| next.after <= from.before + Duration::from_secs(1)) {
            to += 1;
        }
        let Some(end) = samples.get(to) else { break };
        let octets = end.octets.saturating_sub(from.octets);
        highest = highest.max(octets);
        if octets > cap && counted_until.is_none_or(|until| from.before >= until) {
            exceeded_secs += 1;
            counted_until = Some(end.after);
        }
    }
    let at = |moment: Instant| {
        let found = samples.iter().take_while(|sample| sample.after <= moment).last();
        found.map_or(0, |sample| sample.octets)
    };
    CatchUp {
        secs: ended.duration_since(began).as_secs_f64(),
        wire_octets: at(ended).saturating_sub(at(began)),
        exceeded_secs,
        highest_mbit_per_s: highest as f64 / MBIT as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading every 100 ms; so many octets between two.
    fn samples(steps: &[u64]) -> Vec<Sample> {
        let start = Instant::now();
        let mut octets = 0;
        (0..)
            .zip(steps)
            .map(|(at, step)| {
                octets += step;
                let before = start + Duration::from_millis(100) * at;
                Sample { before, after: before, octets }
            })
            .collect()
    }

    #[test]
    fn a_second_over_the_cap_is_found_wherever_it_begins_and_counted_once() {
        let (quiet, busy) = (10_000, 30_000);
        let mut steps = vec![quiet; 40];
        steps[15..20].fill(busy);
        let seen = samples(&steps);
        let (began, ended) = (seen[0].before, seen[39].before);
        // 5 busy tenths and 5 quiet ones: 200,000 octets in the worst second, 1.6 Mbit/s.
        let judged = judge(&seen, began, ended, Some(1));
        assert_eq!((judged.exceeded_secs, judged.highest_mbit_per_s), (1, 1.6));
        assert_eq!(judged.wire_octets, seen[39].octets - seen[0].octets);
        assert_eq!(judge(&seen, began, ended, Some(2)).exceeded_secs, 0);
        assert_eq!(judge(&seen, began, ended, None).exceeded_secs, 0);
    }
}
