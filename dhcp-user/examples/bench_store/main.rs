//! Measures the durable lease store, and beside it the disk itself and the stores it was chosen over.
//!
//! ```text
//! cargo run --release -p dhcp-user --features store-candidates --example bench_store -- \
//!     --dir DIR [--leases 1000000] [--seconds 3] [--batches 1,100,500,1000,5000] [--stores log,append,redb,fjall,heed]
//! ```
//!
//! Prints one JSON object per store. Each store is filled, updated and loaded again in processes of its own, so that
//! memory and `/proc/self/io` speak of it alone. Nothing but benches belongs here.

mod candidates;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use dhcp_user::{
    lease::{
        record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
        store::encode_lease,
    },
    time::Timestamp,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

/// First address of the benchmark's pool.
const FIRST: u32 = 0xc612_0000;
const FILL_BATCH: u32 = 5_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut options: HashMap<&str, &str> = HashMap::new();
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair.concat()) };
        options.insert(name.trim_start_matches("--"), value);
    }
    let get = |name: &str, default: &'static str| options.get(name).copied().unwrap_or(default).to_owned();
    let dir = PathBuf::from(options.get("dir").context("--dir DIR: where the stores are made")?);
    let leases: u32 = get("leases", "1000000").parse()?;
    let seconds: f64 = get("seconds", "3").parse()?;
    let batches = get("batches", "1,100,500,1000,5000");
    let sizes = batches.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    match options.get("phase") {
        Some(&"update") => update(&get("stores", "log"), &dir, leases, seconds, &sizes),
        Some(&"load") => load(&get("stores", "log"), &dir),
        Some(other) => bail!("no phase {other}"),
        None => all(&get("stores", "append,log,redb,fjall,heed"), &dir, leases, seconds, &batches),
    }
}

/// Runs each store's phases in processes of their own.
fn all(stores: &str, dir: &Path, leases: u32, seconds: f64, batches: &str) -> Result<()> {
    for store in stores.split(',') {
        let at = dir.join(format!("bench-{store}"));
        if at.exists() {
            bail!("{} is there already: remove it or name another --dir", at.display());
        }
        let phase = |name: &str| -> Result<Value> {
            let done = Command::new(std::env::current_exe()?)
                .args(["--phase", name, "--stores", store, "--batches", batches])
                .args(["--leases", &leases.to_string(), "--seconds", &seconds.to_string()])
                .arg("--dir")
                .arg(&at)
                .output()?;
            if !done.status.success() {
                bail!("{store}, {name}: {}", String::from_utf8_lossy(&done.stderr));
            }
            Ok(serde_json::from_slice(&done.stdout)?)
        };
        let mut result = json!({ "store": store, "leases": leases });
        let measured = phase("update").and_then(|update| {
            result["update"] = update;
            if store != "append" {
                result["load_warm"] = phase("load")?;
                forget_pages(&at)?;
                result["load_cold"] = phase("load")?;
            }
            Ok(())
        });
        if let Err(error) = measured {
            result["error"] = error.to_string().into();
        }
        println!("{result}");
        fs::remove_dir_all(&at)?;
    }
    Ok(())
}

fn update(store: &str, dir: &Path, leases: u32, seconds: f64, sizes: &[usize]) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut store = candidates::open(store, dir, &mut |_, _| {})?;
    let mut rng = SmallRng::seed_from_u64(1);
    let filling = Instant::now();
    for from in (0..leases).step_by(FILL_BATCH as usize) {
        let batch: Vec<_> =
            (from..leases.min(from + FILL_BATCH)).map(|i| lease(FIRST + i, &mut rng)).collect();
        store.commit(batch)?;
    }
    let fill_seconds = filling.elapsed().as_secs_f64();
    let mut results = Vec::new();
    for &size in sizes {
        // Warm first: a quarter of the time of the same.
        run(&mut *store, leases, size, seconds / 4.0, &mut rng)?;
        results.push(run(&mut *store, leases, size, seconds, &mut rng)?);
    }
    let value_bytes = {
        let mut out = Vec::new();
        encode_lease(&lease(FIRST, &mut rng), &mut out)?;
        out.len()
    };
    let rss_mib = status_kib("VmRSS")? / 1024;
    drop(store);
    println!(
        "{}",
        json!({
            "value_bytes": value_bytes, "fill_seconds": round(fill_seconds), "batches": results,
            "rss_mib": rss_mib, "disk_mib": disk_bytes(dir)? >> 20,
        })
    );
    Ok(())
}

fn run(
    store: &mut dyn candidates::Candidate,
    leases: u32,
    size: usize,
    seconds: f64,
    rng: &mut SmallRng,
) -> Result<Value> {
    let mut micros: Vec<f64> = Vec::new();
    let written_before = written_bytes()?;
    let start = Instant::now();
    let mut busy = Duration::ZERO;
    while start.elapsed().as_secs_f64() < seconds {
        let batch: Vec<_> = (0..size).map(|_| lease(FIRST + rng.random_range(0..leases), rng)).collect();
        let commit = Instant::now();
        store.commit(batch)?;
        let took = commit.elapsed();
        busy += took;
        micros.push(took.as_secs_f64() * 1e6);
    }
    let written_after = written_bytes()?;
    let updates = (micros.len() * size) as f64;
    let written = |i: usize| (written_after[i] - written_before[i]) as f64 / updates;
    micros.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let place = ((micros.len() - 1) as f64 * part) as usize;
        micros.get(place).copied().unwrap_or(f64::NAN).round()
    };
    Ok(json!({
        "batch": size, "commits": micros.len(),
        "commits_per_s": (micros.len() as f64 / busy.as_secs_f64()).round(),
        "updates_per_s": (updates / busy.as_secs_f64()).round(),
        "p50_us": at(0.5), "p99_us": at(0.99), "max_us": at(1.0),
        "bytes_passed_per_update": written(0).round(), "bytes_dirtied_per_update": written(1).round(),
    }))
}

fn load(store: &str, dir: &Path) -> Result<()> {
    let start = Instant::now();
    let (mut count, mut horizons) = (0_u64, 0_u64);
    let opened = candidates::open(store, dir, &mut |_, horizon| {
        count += 1;
        horizons ^= horizon;
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let result = json!({
        "leases": count, "seconds": round(seconds), "rss_mib": status_kib("VmRSS")? / 1024,
        "peak_mib": status_kib("VmHWM")? / 1024, "check": horizons,
    });
    drop(opened);
    println!("{result}");
    Ok(())
}

/// A lease as a datacenter has them: an Ethernet client, a host name, a relay's circuit-id, one known renewal.
fn lease(address: u32, rng: &mut SmallRng) -> LeaseRecord {
    let [_, a, b, c] = address.to_be_bytes();
    let now = 1_764_000_000_000_000_000 + rng.random_range(0..1_u64 << 40);
    LeaseRecord {
        address: address.into(),
        state: LeaseState::Bound,
        client: ClientKey::Hardware(HardwareAddress::ethernet([2, 0, 0, a, b, c])),
        hardware: HardwareAddress::ethernet([2, 0, 0, a, b, c]),
        hostname: format!("rack{a:03}-node{b:03}{c:03}").into_bytes().into(),
        relay_information: (*b"\x01\x14leaf-12:Ethernet1/33").into(),
        granted_at: Timestamp(now),
        expires: Timestamp(now + 3_600_000_000_000),
        horizon: Timestamp(now + 7_200_000_000_000),
        kept_until: Timestamp::ZERO,
        forms: [
            None,
            Some(KnownForm { fingerprint: rng.random(), answer: rng.random_range(0..100), echo_sum: 3 }),
        ],
    }
}

/// Octets handed to the system and octets of pages dirtied; the latter counts whole large folios of a file written
/// over, of which ext4 then writes the blocks that changed.
fn written_bytes() -> Result<[u64; 2]> {
    let io = fs::read_to_string("/proc/self/io")?;
    let field = |name: &str| -> Result<u64> {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.context("/proc/self/io is not as expected")?.parse()?)
    };
    Ok([field("wchar: ")?, field("write_bytes: ")?])
}

fn status_kib(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with(name)).context("no such line in /proc/self/status")?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    files(dir)?.iter().map(|file| Ok(fs::metadata(file)?.blocks() * 512)).sum()
}

/// Drops the files' pages from the cache, so that the next load reads the disk.
fn forget_pages(dir: &Path) -> Result<()> {
    for path in files(dir)? {
        let file = fs::File::open(path)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
