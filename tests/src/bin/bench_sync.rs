//! The benchmark behind `cargo xtask bench sync`: what replication puts on the wire, and how fast a receiver takes it up:
//! change log, columns, zstd, and on the other side record, table and durable store, without links; then a node that is told
//! everything by a real daemon over a real link, without a cap and under one.

use std::{collections::HashMap, net::Ipv4Addr, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use dhcp_tests::bench::{
    catch_up,
    leases::{LEASE_SECS, lease},
    median, teach,
};
use dhcp_user::{
    lease::{
        store::{Batch, LeaseStore as _, LogStore, Options},
        table::LeaseTable,
    },
    site::replication::{self, Asked, ChangeLog, Cursor, Update},
    time::{Span, Timestamp},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

const FIRST: u32 = 0xc612_0000;
/// A quarter of a segment of the store holds as many.
const COMMIT: usize = 4_096;
const SNAPSHOT_BATCH: usize = 32_768;
const RECEIVER: usize = 0;
/// Leases by which it is measured how fast a kernel is taught.
const TAUGHT: usize = 20_000;

/// Measures replication. `cargo xtask bench sync` starts this.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Leases.
    #[arg(long, default_value_t = 131_072)]
    leases: u32,
    /// Updates in a batch of steady renewals.
    #[arg(long, default_value_t = 1_000)]
    batch_size: usize,
    /// Batches of steady renewals.
    #[arg(long, default_value_t = 200)]
    batches: usize,
    /// The cap that is to hold, Mbit/s.
    #[arg(long, default_value_t = 10)]
    cap: u32,
    /// Leave the real daemons out, which take root.
    #[arg(long)]
    no_daemons: bool,
}

#[derive(Debug, serde::Serialize)]
struct Figures {
    leases: u32,
    batch_size: usize,
    bytes_per_update: f64,
    bytes_per_update_plain: f64,
    catchup_bytes_per_lease: f64,
    catchup_secs: f64,
    applied_per_s: f64,
    taught_per_s: f64,
    #[serde(flatten)]
    linked: Option<Linked>,
}

/// With real daemons.
#[derive(Debug, serde::Serialize)]
struct Linked {
    /// From the first batch to the last acknowledgement, over TLS, durable at the receiver.
    catchup_1m_secs: f64,
    /// The same leases under the cap.
    cap_catchup_secs: f64,
    /// The cap, Mbit/s.
    cap_mbit_per_s: u32,
    /// Seconds, wherever they begin, in which more than the cap left the sender's interface. Must be 0.
    cap_exceeded_secs: u32,
    /// The most that left it in any second, Mbit/s.
    cap_highest_mbit_per_s: f64,
}

fn linked(arguments: &Arguments) -> Result<Linked> {
    let open = catch_up::measure(arguments.leases, None)?;
    let capped = catch_up::measure(arguments.leases, Some(arguments.cap))?;
    Ok(Linked {
        // Of as many leases as were asked for; the command asks for a million.
        catchup_1m_secs: open.secs,
        cap_catchup_secs: capped.secs,
        cap_mbit_per_s: arguments.cap,
        cap_exceeded_secs: capped.exceeded_secs,
        cap_highest_mbit_per_s: capped.highest_mbit_per_s,
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut figures = measure(&arguments)?;
    if !arguments.no_daemons {
        figures.linked = Some(linked(&arguments)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        println!(
            "steady renewals: {:.2} octets an update ({:.2} without compression and deduplication)\n\
             catch-up of {} leases: {:.2} octets a lease, {:.2} s, {:.0} applied a second, durably\n\
             {:.0} renewals a second taught to a standby's kernel before they come",
            figures.bytes_per_update,
            figures.bytes_per_update_plain,
            figures.leases,
            figures.catchup_bytes_per_lease,
            figures.catchup_secs,
            figures.applied_per_s,
            figures.taught_per_s,
        );
        if let Some(linked) = &figures.linked {
            println!(
                "two daemons over TLS: all of them in {:.2} s; in {:.2} s under a cap of {} Mbit/s, which was exceeded in {} seconds \
                 (at most {:.2} Mbit/s in any)",
                linked.catchup_1m_secs,
                linked.cap_catchup_secs,
                linked.cap_mbit_per_s,
                linked.cap_exceeded_secs,
                linked.cap_highest_mbit_per_s,
            );
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Figures> {
    let mut rng = SmallRng::seed_from_u64(1);
    let start = Timestamp::ZERO + Span::from_secs(1_764_000_000);
    let mut sender = LeaseTable::default();
    let (mut log, mut asked) = (ChangeLog::new(1), HashMap::new());
    for index in 0..arguments.leases {
        let granted_at = start - Span(rng.random_range(0..LEASE_SECS / 2 * 1_000_000_000));
        let lease = lease(Ipv4Addr::from_bits(FIRST + index), index, granted_at, &mut rng);
        log.touch(lease.address, 1);
        asked.insert(lease.address, teach::asked(&lease)?);
        sender.put(lease);
    }
    let mut cursor = log.resume(RECEIVER, Cursor::default());

    // Catch-up, from the log to the receiver's disk.
    let folder = tempfile::tempdir().context("no folder for the receiver's leases")?;
    let (mut store, _) = LogStore::open(folder.path(), &Options::default(), &mut drop)?;
    let mut receiver = LeaseTable::default();
    let (mut octets, mut applying) = (0, 0.0);
    let began = Instant::now();
    loop {
        let (packed, next, count) = batch(&mut log, &sender, &asked, cursor, SNAPSHOT_BATCH, start)?;
        if count == 0 {
            break;
        }
        octets += packed.len();
        cursor = next;
        let at = Instant::now();
        apply(&packed, &mut receiver, &mut store)?;
        applying += at.elapsed().as_secs_f64();
    }
    let catchup_secs = began.elapsed().as_secs_f64();
    anyhow::ensure!(receiver.len() == sender.len(), "{} leases arrived", receiver.len());

    // Steady renewals: so many leases renew every half lease time, in no order.
    let (mut sizes, mut plains) = (Vec::new(), Vec::new());
    let gap_ns = LEASE_SECS / 2 * 1_000_000_000 / u64::from(arguments.leases);
    let mut now = start;
    for _ in 0..arguments.batches {
        let mut singly = Vec::new();
        while singly.len() < arguments.batch_size {
            now = now + Span(gap_ns);
            let address = Ipv4Addr::from_bits(FIRST + rng.random_range(0..arguments.leases));
            let lease = Span::from_secs(LEASE_SECS);
            sender.extend(address, now, now + lease, now + lease + lease);
            let renewed = sender.get(address).context("no such lease")?;
            singly.push(Update::of(renewed, 1, true));
            log.touch(address, 1);
        }
        let (packed, next, count) = batch(&mut log, &sender, &asked, cursor, arguments.batch_size, now)?;
        cursor = next;
        apply(&packed, &mut receiver, &mut store)?;
        sizes.push(packed.len() as f64 / count as f64);
        let updates = singly.len();
        plains.push(replication::encode(&mut singly, now).len() as f64 / updates as f64);
    }
    let teachable = receiver.iter().filter(|lease| lease.address >= teach::FIRST);
    Ok(Figures {
        leases: arguments.leases,
        batch_size: arguments.batch_size,
        bytes_per_update: median(sizes),
        bytes_per_update_plain: median(plains),
        catchup_bytes_per_lease: octets as f64 / f64::from(arguments.leases),
        catchup_secs,
        applied_per_s: f64::from(arguments.leases) / applying,
        taught_per_s: teach::taught_per_s(teachable.take(TAUGHT), LEASE_SECS)?,
        linked: None,
    })
}

/// A batch as it goes out, the cursor after it, and how many updates it has; taken for acknowledged at once.
fn batch(
    log: &mut ChangeLog,
    leases: &LeaseTable,
    asked: &HashMap<Ipv4Addr, Asked>,
    cursor: Cursor,
    max: usize,
    now: Timestamp,
) -> Result<(Vec<u8>, Cursor, usize)> {
    let (changes, next) = log.after(RECEIVER, cursor, max);
    let mut updates = Vec::with_capacity(changes.len());
    for change in &changes {
        let lease = leases.get(change.address).context("no such lease")?;
        let known = asked.get(&change.address).filter(|_| change.anew);
        let asked = known.cloned().unwrap_or_default();
        updates.push(Update { asked, ..Update::of(lease, 1, change.anew) });
    }
    let plain = replication::encode(&mut updates, now);
    for change in &changes {
        log.acknowledged(RECEIVER, change.address, change.seq, change.identity);
    }
    Ok((replication::compress(&plain)?, next, updates.len()))
}

fn apply(packed: &[u8], leases: &mut LeaseTable, store: &mut LogStore) -> Result<()> {
    let (updates, _) = replication::decode(&replication::decompress(packed)?)?;
    let mut batch = Batch::default();
    for update in updates {
        let known = leases.get(update.address);
        let record = replication::updated(update, known).context("times of an unknown lease")?;
        batch.leases.push(record.clone());
        leases.put(record);
        if batch.leases.len() == COMMIT {
            store.commit(&std::mem::take(&mut batch))?;
        }
    }
    if !batch.is_empty() {
        store.commit(&batch)?;
    }
    Ok(())
}
