//! A disk in memory that keeps no more than the store may rely on (`disk::Disk`), remembers every moment at which the
//! power could fail, and fails calls on command.
//!
//! What is written and not flushed survives a power cut sector by sector, each sector in any of the states it had since
//! it was last flushed; so do lengths; names are kept or lost operation by operation.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::{Rng as _, rngs::SmallRng};
use rustix::io::Errno;

use crate::lease::store::disk::{Disk, DiskFile, How};

const SECTOR: usize = 512;

type Sector = Arc<[u8; SECTOR]>;

/// Versions since the last flush, each with the moment it was made.
type Versions<T> = Vec<(u64, T)>;

#[derive(Clone, Debug, Default)]
struct Inode {
    durable_len: u64,
    lens: Versions<u64>,
    durable: BTreeMap<usize, Sector>,
    pending: BTreeMap<usize, Versions<Sector>>,
    /// Read as if it were there, and lost: what a failed flush left in the page cache, called clean.
    cached: BTreeMap<usize, Sector>,
}

#[derive(Clone, Copy, Debug)]
enum Naming {
    Made,
    Renamed,
    Removed,
}

/// All of the disk, what is durable and what is not.
#[derive(Clone, Debug, Default)]
pub struct Image {
    inodes: Vec<Inode>,
    durable_names: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    namings: Versions<(Naming, String, usize)>,
}

/// What of it survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Only what was flushed.
    Flushed,
    /// Everything.
    Everything,
    /// Everything up to some moment.
    Prefix,
    /// Any sector, length and name for itself.
    Any,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which changing call, counted from 0.
    pub at: u64,
    /// Whether every later one fails too.
    pub lasting: bool,
    /// With what.
    pub errno: Errno,
}

/// A moment at which the power could have failed.
#[derive(Clone, Debug)]
pub struct Moment {
    pub image: Image,
    pub acknowledged: u64,
}

struct State {
    image: Image,
    calls: u64,
    reads: u64,
    failing_read: Option<u64>,
    moments: Option<Vec<Moment>>,
    acknowledged: u64,
    fault: Option<Fault>,
    rng: SmallRng,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct PowerDisk(Arc<Mutex<State>>);

impl Inode {
    fn len(&self) -> u64 {
        self.lens.last().map_or(self.durable_len, |(_, len)| *len)
    }

    fn sector(&self, at: usize) -> [u8; SECTOR] {
        let pending = self.pending.get(&at).and_then(|versions| versions.last()).map(|(_, sector)| sector);
        pending
            .or_else(|| self.cached.get(&at))
            .or_else(|| self.durable.get(&at))
            .map_or([0; SECTOR], |s| **s)
    }

    fn write(&mut self, now: u64, octets: &[u8], offset: usize) {
        let mut done = 0;
        while done < octets.len() {
            let (at, within) = ((offset + done) / SECTOR, (offset + done) % SECTOR);
            let count = (SECTOR - within).min(octets.len() - done);
            let mut sector = self.sector(at);
            sector[within..within + count].copy_from_slice(&octets[done..done + count]);
            self.pending.entry(at).or_default().push((now, Arc::new(sector)));
            done += count;
        }
        if (offset + octets.len()) as u64 > self.len() {
            self.lens.push((now, (offset + octets.len()) as u64));
        }
    }

    fn empty(&mut self, now: u64) {
        let sectors: Vec<_> = self.durable.keys().chain(self.pending.keys()).copied().collect();
        self.cached.clear();
        for at in sectors {
            self.pending.entry(at).or_default().push((now, Arc::new([0; SECTOR])));
        }
        self.lens.push((now, 0));
    }

    fn flush(&mut self) {
        for (at, mut versions) in std::mem::take(&mut self.pending) {
            let (_, sector) = versions.pop().unwrap();
            self.cached.remove(&at);
            self.durable.insert(at, sector);
        }
        self.durable_len = self.len();
        self.lens.clear();
    }

    /// A flush that fails: any of it may have got there, the rest never will by itself, and can be read all the same.
    fn fail_to_flush(&mut self, rng: &mut SmallRng) {
        for (at, versions) in std::mem::take(&mut self.pending) {
            self.cached.insert(at, Arc::new(**versions.last().map(|(_, sector)| sector).unwrap()));
            let kept = rng.random_range(0..=versions.len());
            if let Some((_, sector)) = kept.checked_sub(1).map(|kept| &versions[kept]) {
                self.durable.insert(at, Arc::clone(sector));
            }
        }
    }
}

/// How many of some versions survive.
fn kept<T>(versions: &Versions<T>, outcome: Outcome, until: u64, rng: &mut SmallRng) -> usize {
    match outcome {
        Outcome::Flushed => 0,
        Outcome::Everything => versions.len(),
        Outcome::Prefix => versions.iter().take_while(|(made, _)| *made <= until).count(),
        Outcome::Any => rng.random_range(0..=versions.len()),
    }
}

impl Image {
    /// What is there when the power is back.
    pub fn after_power_cut(&self, outcome: Outcome, rng: &mut SmallRng) -> Self {
        let made =
            self.inodes.iter().flat_map(|inode| inode.pending.values().flatten().map(|(made, _)| *made));
        let made: Vec<_> = made.chain(self.namings.iter().map(|(made, _)| *made)).collect();
        let until = if made.is_empty() { 0 } else { made[rng.random_range(0..made.len())] };
        let inodes = self.inodes.iter().map(|inode| {
            let mut durable = inode.durable.clone();
            for (at, versions) in &inode.pending {
                if let Some(last) = kept(versions, outcome, until, rng).checked_sub(1) {
                    durable.insert(*at, Arc::clone(&versions[last].1));
                }
            }
            let len = kept(&inode.lens, outcome, until, rng).checked_sub(1);
            let durable_len = len.map_or(inode.durable_len, |last| inode.lens[last].1);
            durable.retain(|at, _| ((at * SECTOR) as u64) < durable_len);
            Inode { durable_len, durable, ..Inode::default() }
        });
        let inodes = inodes.collect();
        let mut names = self.durable_names.clone();
        for (made, (naming, name, inode)) in &self.namings {
            let survives = match outcome {
                Outcome::Flushed => false,
                Outcome::Everything => true,
                Outcome::Prefix => *made <= until,
                Outcome::Any => rng.random(),
            };
            if survives {
                match naming {
                    Naming::Made => drop(names.insert(name.clone(), *inode)),
                    Naming::Renamed => {
                        names.retain(|_, named| named != inode);
                        names.insert(name.clone(), *inode);
                    }
                    Naming::Removed => names.retain(|known, named| known != name || named != inode),
                }
            }
        }
        Self { inodes, durable_names: names.clone(), names, namings: Vec::new() }
    }
}

impl PowerDisk {
    /// A disk as it is when the power is back.
    pub fn new(image: Image, rng: SmallRng) -> Self {
        let state = State {
            image,
            calls: 0,
            reads: 0,
            failing_read: None,
            moments: None,
            acknowledged: 0,
            fault: None,
            rng,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From here on every moment is remembered.
    pub fn record(&self) {
        let mut state = self.state();
        state.moments = Some(Vec::new());
        state.remember();
    }

    /// The moments remembered.
    pub fn moments(&self) -> Vec<Moment> {
        self.state().moments.take().unwrap_or_default()
    }

    /// Notes that so many batches are acknowledged.
    pub fn acknowledge(&self, batches: u64) {
        let mut state = self.state();
        state.acknowledged = batches;
        state.remember();
    }

    /// Has a call fail.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Has a call that only looks fail, counted from 0: opening what is there, reading, listing.
    pub fn fail_read(&self, at: Option<u64>) {
        self.state().failing_read = at;
    }

    /// How many calls only looked.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many calls changed it.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// As it is now.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State, u64) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        state.count()?;
        let now = state.calls;
        let done = change(&mut state, now);
        state.remember();
        done
    }
}

impl State {
    fn remember(&mut self) {
        let moment = Moment { image: self.image.clone(), acknowledged: self.acknowledged };
        self.moments.iter_mut().for_each(|moments| moments.push(moment.clone()));
    }

    /// Counts a call that only looks.
    fn look(&mut self) -> io::Result<()> {
        self.reads += 1;
        if self.failing_read == Some(self.reads - 1) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    /// Counts a call, which may be the one that fails.
    fn count(&mut self) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        match self.fault {
            Some(fault) if call == fault.at || fault.lasting && call > fault.at => Err(fault.errno.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for PowerDisk {
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn DiskFile>> {
        self.state().look()?;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let known = self.state().image.names.get(&name).copied();
        let inode = match (known, how) {
            (None, How::Existing) => return Err(Errno::NOENT.into()),
            (Some(inode), How::Existing | How::Create) => inode,
            (Some(inode), How::Empty) => {
                self.change(|state, now| {
                    state.image.inodes[inode].empty(now);
                    Ok(())
                })?;
                inode
            }
            (None, _) => {
                let inode = self.state().image.inodes.len();
                self.change(|state, now| {
                    state.image.inodes.push(Inode::default());
                    state.image.names.insert(name.clone(), inode);
                    state.image.namings.push((now, (Naming::Made, name, inode)));
                    Ok(())
                })?;
                inode
            }
        };
        Ok(Box::new(PowerFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let [from, to] = [from, to].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        self.change(|state, now| {
            let inode = state.image.names.remove(&from).ok_or(Errno::NOENT)?;
            assert_eq!(state.image.names.insert(to.clone(), inode), None, "{from} is renamed over {to}");
            state.image.namings.push((now, (Naming::Renamed, to, inode)));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.change(|state, now| {
            let inode = state.image.names.remove(&name).ok_or(Errno::NOENT)?;
            state.image.namings.push((now, (Naming::Removed, name, inode)));
            Ok(())
        })
    }

    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.look()?;
        Ok(state.image.names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.change(|state, _| {
            state.image.durable_names = state.image.names.clone();
            state.image.namings.clear();
            Ok(())
        })
    }
}

struct PowerFile {
    disk: PowerDisk,
    inode: usize,
}

impl DiskFile for PowerFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.look()?;
        Ok(state.image.inodes[self.inode].len())
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.look()?;
        let inode = &state.image.inodes[self.inode];
        let count = octets.len().min(inode.len().saturating_sub(offset) as usize);
        let mut done = 0;
        while done < count {
            let (at, within) = ((offset as usize + done) / SECTOR, (offset as usize + done) % SECTOR);
            let some = (SECTOR - within).min(count - done);
            octets[done..done + some].copy_from_slice(&inode.sector(at)[within..within + some]);
            done += some;
        }
        Ok(count)
    }

    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let counted = state.count();
        let now = state.calls;
        // A write that fails may have come some way.
        let done = if counted.is_ok() { octets.len() } else { state.rng.random_range(0..=octets.len()) };
        state.image.inodes[self.inode].write(now, &octets[..done], offset as usize);
        state.remember();
        counted
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.disk.change(|state, now| {
            let inode = &mut state.image.inodes[self.inode];
            if bytes > inode.len() {
                inode.lens.push((now, bytes));
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let counted = state.count();
        let State { image, rng, .. } = &mut *state;
        let inode = &mut image.inodes[self.inode];
        match counted {
            Ok(()) => inode.flush(),
            Err(_) => inode.fail_to_flush(rng),
        }
        state.remember();
        counted
    }
}
