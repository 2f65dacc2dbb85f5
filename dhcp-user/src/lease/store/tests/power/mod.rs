//! The power fails at every write and flush of a long life, with every kind of outcome, and again while the store
//! recovers; disks fail at every call. Nothing acknowledged is ever lost without a word.

mod disk;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustix::io::Errno;

use self::disk::{Fault, Image, Moment, Outcome, PowerDisk};
use super::*;
use crate::lease::store::{
    LeaseStore as _,
    directory::Directory,
    disk::{Disk as _, How},
};

/// Batches of the recorded life: through some ten segments, cleaned and used again.
const BATCHES: u64 = 320;
/// How the power cut at each moment may end.
const OUTCOMES: [Outcome; 5] =
    [Outcome::Flushed, Outcome::Everything, Outcome::Prefix, Outcome::Any, Outcome::Any];

fn open_on(disk: &PowerDisk) -> Result<(LogStore, Contents, Recovered), StoreError> {
    let path = Path::new("/store");
    everything(|each| LogStore::open_in(Directory::on(path, Box::new(disk.clone())), &SMALL, each))
}

fn size_of(write: u64) -> u32 {
    // Now and then a large batch, which does not fit at a segment's end.
    if write.is_multiple_of(29) { 120 } else { (write % 50) as u32 + 1 }
}

/// What there is after each number of batches.
fn models(batches: u64) -> Vec<Contents> {
    let mut all = vec![Contents::default()];
    for write in 1..=batches {
        let mut next = all.last().unwrap().clone();
        next.apply(&batch(write, size_of(write)));
        all.push(next);
    }
    all
}

/// One step of a life: a batch, and now and then a seal, an orderly end or a crash of the program alone.
fn live(disk: &PowerDisk, store: LogStore, write: u64) -> LogStore {
    let mut store = store;
    store.commit(&batch(write, size_of(write))).unwrap();
    disk.acknowledge(write);
    if write.is_multiple_of(37) {
        store.seal().unwrap();
    }
    if write.is_multiple_of(61) {
        if write.is_multiple_of(2) {
            store.close().unwrap();
        } else {
            crash(store);
        }
        store = open_on(disk).unwrap().0;
    }
    store
}

/// Every moment of a life.
fn recorded(batches: u64) -> Vec<Moment> {
    let disk = PowerDisk::new(Image::default(), SmallRng::seed_from_u64(0));
    disk.record();
    let mut store = open_on(&disk).unwrap().0;
    for write in 1..=batches {
        store = live(&disk, store, write);
    }
    store.close().unwrap();
    disk.moments()
}

/// Opens what a power cut left: all that was acknowledged is there, and of what was not at most the batch in flight.
/// Returns how many batches there are.
fn recover(disk: &PowerDisk, acknowledged: u64, models: &[Contents], what: &str) -> (LogStore, u64) {
    let (store, contents, recovered) = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = recovered.report.sequence;
    assert!(
        (acknowledged..=acknowledged + 1).contains(&found),
        "{what}: {acknowledged} acknowledged, {found} found"
    );
    assert!(contents == models[found as usize], "{what}: batch {found} is not what was written");
    (store, found)
}

/// The power fails at a moment, again at some moment of the recovery and of what follows, and once more after that.
fn cut(moment: &Moment, outcome: Outcome, models: &[Contents], rng: &mut SmallRng, what: &str) {
    let image = moment.image.after_power_cut(outcome, rng);
    let disk = PowerDisk::new(image, SmallRng::seed_from_u64(rng.random()));
    disk.acknowledge(moment.acknowledged);
    disk.record();
    let (mut store, found) = recover(&disk, moment.acknowledged, models, what);
    disk.acknowledge(found);
    let mut write = found;
    for _ in 0..2 {
        write += 1;
        store
            .commit(&batch(write, size_of(write)))
            .unwrap_or_else(|error| panic!("{what}, going on: {error}"));
        disk.acknowledge(write);
    }
    crash(store);
    let moments = disk.moments();
    let again = &moments[rng.random_range(0..moments.len())];
    let outcome = OUTCOMES[rng.random_range(0..OUTCOMES.len())];
    let disk = PowerDisk::new(again.image.after_power_cut(outcome, rng), SmallRng::seed_from_u64(0));
    let (mut store, found) = recover(&disk, again.acknowledged, models, &format!("{what}, and again"));
    store.commit(&batch(found + 1, size_of(found + 1))).unwrap();
    crash(store);
    let disk =
        PowerDisk::new(disk.image().after_power_cut(Outcome::Flushed, rng), SmallRng::seed_from_u64(0));
    let (store, last) = recover(&disk, found + 1, models, &format!("{what}, and a third time"));
    assert_eq!(last, found + 1);
    crash(store);
}

/// Seeds beside the first and places to look at, for a longer run (`cargo xtask power-loss`).
fn seeds() -> u64 {
    std::env::var("POWER_LOSS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

#[test]
fn power_fails_at_every_write_and_flush() {
    let models = models(BATCHES + 8);
    let moments = recorded(BATCHES);
    assert!(moments.len() > 1_200, "{} moments", moments.len());
    let mut cuts = 0_u64;
    for seed in 0..seeds() {
        let mut rng = SmallRng::seed_from_u64(seed);
        for (number, moment) in moments.iter().enumerate() {
            for outcome in OUTCOMES {
                cut(
                    moment,
                    outcome,
                    &models,
                    &mut rng,
                    &format!("seed {seed}, moment {number}, {outcome:?}"),
                );
                cuts += 1;
            }
        }
    }
    println!(
        r#"{{"moments": {}, "outcomes": {cuts}, "power_cuts": {}, "acknowledged_lost": 0}}"#,
        moments.len(),
        3 * cuts
    );
}

/// Runs a life in which calls fail; whatever happens then, a restart and a power cut later nothing is lost.
fn fail(fault: Fault, models: &[Contents], rng: &mut SmallRng) -> &'static str {
    let what = format!("{fault:?}");
    let disk = PowerDisk::new(Image::default(), SmallRng::seed_from_u64(fault.at));
    disk.fail(Some(fault));
    let mut acknowledged = 0;
    let mut kind = "unnoticed";
    if let Ok((mut store, ..)) = open_on(&disk) {
        for write in 1..=FAILING_BATCHES {
            let next = batch(write, size_of(write));
            match store.commit(&next) {
                Ok(()) => acknowledged = write,
                Err(StoreError::Full { .. }) => {
                    // Nothing was written; with room again it goes on by itself.
                    kind = "full";
                    disk.fail(None);
                    store.commit(&next).unwrap_or_else(|error| panic!("{what}, with room: {error}"));
                    acknowledged = write;
                }
                Err(error) => {
                    kind = "poisoned";
                    assert!(matches!(error, StoreError::Io { .. }), "{what}: {error}");
                    let error = store.commit(&next).unwrap_err();
                    assert!(matches!(error, StoreError::Poisoned { .. }), "{what}: {error}");
                    break;
                }
            }
        }
        crash(store);
    }
    disk.fail(None);
    // The program starts again, with the page cache as it is; then the power fails.
    let (mut store, found) = recover(&disk, acknowledged, models, &what);
    let next = found + 1;
    store.commit(&batch(next, size_of(next))).unwrap();
    crash(store);
    for outcome in OUTCOMES {
        let disk = PowerDisk::new(disk.image().after_power_cut(outcome, rng), SmallRng::seed_from_u64(0));
        let (store, last) = recover(&disk, next, models, &format!("{what}, then a power cut: {outcome:?}"));
        assert_eq!(last, next);
        crash(store);
    }
    kind
}

/// Three batches, perhaps sealed; a power cut that loses all that was not flushed; and then the last batch is spoilt.
fn spoilt_at_the_end(sealed: bool) -> Result<u64, StoreError> {
    let mut rng = SmallRng::seed_from_u64(3);
    let disk = PowerDisk::new(Image::default(), SmallRng::seed_from_u64(3));
    let mut store = open_on(&disk)?.0;
    for write in 1..=3 {
        store.commit(&batch(write, 5))?;
    }
    if sealed {
        store.seal()?;
    }
    crash(store);
    let image = disk.image().after_power_cut(Outcome::Flushed, &mut rng);
    let disk = PowerDisk::new(image, SmallRng::seed_from_u64(3));
    let path = Path::new("/store/segment-0000000001.log");
    let file = disk.open(path, How::Existing).unwrap();
    let mut octets = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut octets, 0).unwrap();
    let last = octets.iter().rposition(|octet| *octet != 0).unwrap();
    file.write_all_at(&[octets[last] ^ 1], last as u64).unwrap();
    let (store, contents, recovered) = open_on(&disk)?;
    crash(store);
    let found = recovered.report.sequence;
    let mut model = Contents::default();
    (1..=found).for_each(|write| model.apply(&batch(write, 5)));
    assert_eq!(contents, model);
    Ok(found)
}

#[test]
fn once_sealed_no_power_cut_hides_a_loss() {
    // The log alone cannot tell it from a batch that was being written when the power failed, and was not acknowledged.
    assert_eq!(spoilt_at_the_end(false).unwrap(), 2);
    let error = spoilt_at_the_end(true).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// Batches of the lives in which disks fail.
const FAILING_BATCHES: u64 = 130;

#[test]
fn disks_fail_at_every_call() {
    let models = models(FAILING_BATCHES + 8);
    let disk = PowerDisk::new(Image::default(), SmallRng::seed_from_u64(0));
    let mut store = open_on(&disk).unwrap().0;
    for write in 1..=FAILING_BATCHES {
        store.commit(&batch(write, size_of(write))).unwrap();
    }
    crash(store);
    let calls = disk.calls();
    assert!(calls > 400, "{calls} calls");
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut poisoned, mut full) = (0, 0);
    for at in 0..calls {
        // Every call fails with an I/O error; every third also for want of room or because all became read-only.
        for (errno, lasting, every) in
            [(Errno::IO, false, 1), (Errno::NOSPC, true, 3), (Errno::ROFS, true, 3)]
        {
            if at % every == 0 {
                match fail(Fault { at, lasting, errno }, &models, &mut rng) {
                    "poisoned" => poisoned += 1,
                    "full" => full += 1,
                    _ => {}
                }
            }
        }
    }
    assert!(poisoned > calls && full > 0, "{poisoned} poisoned, {full} full of {calls}");
}

#[test]
fn disks_fail_to_be_read() {
    let models = models(FAILING_BATCHES + 8);
    // A life with cleaning, and a restart at its end: whatever cannot be read, nothing is taken for not there.
    let life = |failing: Option<u64>| {
        let disk = PowerDisk::new(Image::default(), SmallRng::seed_from_u64(0));
        disk.fail_read(failing);
        let mut acknowledged = 0;
        let mut failed = false;
        let mut store = None;
        for write in 1..=FAILING_BATCHES {
            let mut opened = match store.take().map_or_else(|| open_on(&disk).map(|(store, ..)| store), Ok) {
                Ok(opened) => opened,
                Err(error) => {
                    assert!(matches!(error, StoreError::Io { .. }), "{error}");
                    failed = true;
                    break;
                }
            };
            match opened.commit(&batch(write, size_of(write))) {
                Ok(()) => acknowledged = write,
                Err(error) => {
                    assert!(matches!(error, StoreError::Io { .. }), "{error}");
                    failed = true;
                    crash(opened);
                    break;
                }
            }
            if write == FAILING_BATCHES - 2 { crash(opened) } else { store = Some(opened) }
        }
        store.into_iter().for_each(crash);
        let reads = disk.reads();
        disk.fail_read(None);
        let (store, found) = recover(&disk, acknowledged, &models, &format!("read {failing:?} failed"));
        assert!(failed || found == FAILING_BATCHES);
        crash(store);
        (reads, failed)
    };
    let (reads, _) = life(None);
    let failed = (0..reads).filter(|at| life(Some(*at)).1).count() as u64;
    assert!(reads > 50 && failed > reads / 2, "{failed} of {reads} reads failed a life");
}
