//! What earlier programs left behind: their marks, found wherever such a program may have made them.
//!
//! A daemon that was killed in the middle of a start leaves more than one set of maps in use: of two interfaces one runs
//! the program it brought, the other still the program before. So no set is believed to be *the* one: every mark is a fact,
//! whichever map it stands in, and all of them are read. Sets go when what they say is durable; one that no link runs
//! any more may go before that, once the store says that marks up to now may be missing.

use std::{fs, os::fd::AsFd, path::Path};

use aya::{
    maps::MapData,
    programs::links::{FdLink, PinnedLink},
};
use dhcp_common::abi::{self, Control, LeaseEntry, name};

use super::{
    error::FastPathError,
    kernel::{Mark, marks},
    memory::MappedArray,
    pin_set::PinSet,
    pins::{self, PinDirectory},
};

/// The maps of earlier programs.
#[derive(Debug)]
pub struct Predecessor {
    pins: PinDirectory,
    sets: Vec<PinSet>,
    leases: Vec<MappedArray<LeaseEntry>>,
}

impl Predecessor {
    /// Opens all lease maps pinned by earlier daemons; `None` if there are none.
    ///
    /// # Errors
    /// If they are of another layout or cannot be read.
    pub fn open(pins: &PinDirectory) -> Result<Option<Self>, FastPathError> {
        let sets = pins.sets()?;
        let leases = open_all(pins.path(), &sets)?;
        if leases.is_empty() {
            sets.iter().try_for_each(PinSet::remove)?;
            return Ok(None);
        }
        Ok(Some(Self { pins: pins.clone(), sets, leases }))
    }

    /// Every lease renewed by a program of any of the maps.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        self.leases.iter().flat_map(|leases| marks(leases, 0..leases.len(), 0))
    }

    /// Removes the pins of sets whose programs no link runs; what they say can still be read here. To be called when the
    /// store says that marks up to now may be missing: starts that are cut short again and again then leave no more
    /// sets than there are links.
    ///
    /// # Errors
    /// If pins cannot be read or removed.
    pub fn remove_unused(&mut self) -> Result<(), FastPathError> {
        let mut running = Vec::new();
        for interface in self.pins.linked_interfaces()? {
            match program_of(&self.pins.link(&interface)) {
                Some(program) => running.push(program),
                // Not to be told: every set may be in use.
                None => return Ok(()),
            }
        }
        let mut used = Vec::new();
        for set in std::mem::take(&mut self.sets) {
            if set.programs()?.iter().any(|program| running.contains(program)) {
                used.push(set);
            } else {
                // Not to be removed again later: its name may be another's by then.
                set.remove()?;
            }
        }
        self.sets = used;
        Ok(())
    }

    /// Removes the pins of all sets: what they say is durable, and no program uses them.
    ///
    /// # Errors
    /// If a pin stays.
    pub fn remove(&self) -> Result<(), FastPathError> {
        self.sets.iter().try_for_each(PinSet::remove)
    }
}

/// Whether a start would take over what is pinned at `path`, as far as the layout of maps goes: how many sets of maps there are.
/// Nothing is changed, and a daemon may be running on them.
///
/// # Errors
/// As [`Predecessor::open`].
pub fn check(path: &Path) -> Result<usize, FastPathError> {
    if !path.is_dir() {
        return Ok(0);
    }
    Ok(open_all(path, &pins::sets_in(path)?)?.len())
}

/// Opens all maps of leases that were finished.
fn open_all(path: &Path, sets: &[PinSet]) -> Result<Vec<MappedArray<LeaseEntry>>, FastPathError> {
    let (mut leases, mut known) = (Vec::new(), Vec::new());
    let in_sets = sets.iter().map(|set| (set.map("control"), set.map("leases")));
    // Named maps are in a set too, unless they are of a version that knew no sets.
    for (control, map) in in_sets.chain([(path.join("control"), path.join("leases"))]) {
        // A set without them was never finished, and its programs were never attached.
        if !control.exists() || !map.exists() {
            continue;
        }
        if let Some((id, opened)) = open_leases(path, &control, &map, &known)? {
            known.push(id);
            leases.push(opened);
        }
    }
    Ok(leases)
}

/// Opens a map of leases that was finished and whose identifier is not among `known`.
fn open_leases(
    pins: &Path,
    control: &Path,
    leases: &Path,
    known: &[u32],
) -> Result<Option<(u32, MappedArray<LeaseEntry>)>, FastPathError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |error| FastPathError::PinnedMap { path, error }
    };
    let mmap = |map| move |error| FastPathError::Mmap { map, error };
    let other_abi = |found| FastPathError::OtherAbi { path: pins.to_owned(), found, expected: abi::VERSION };
    let map = MapData::from_pin(control).map_err(unusable(control))?;
    let info = map.info().map_err(unusable(control))?;
    if info.value_size() as usize != size_of::<Control>() {
        // The version stands where it always did, in the fourth word, if there is one at all.
        return Err(other_abi(0));
    }
    let mapped = MappedArray::<Control>::new(map.fd().as_fd(), 1).map_err(mmap(name::CONTROL))?;
    let found = mapped.read().abi_version;
    if found == 0 {
        // Written before any program is attached: whoever made this one was killed before.
        return Ok(None);
    }
    if found != abi::VERSION {
        return Err(other_abi(found));
    }
    let map = MapData::from_pin(leases).map_err(unusable(leases))?;
    let info = map.info().map_err(unusable(leases))?;
    if known.contains(&info.id()) {
        return Ok(None);
    }
    if info.value_size() as usize != size_of::<LeaseEntry>() {
        return Err(other_abi(0));
    }
    let mapped = MappedArray::new(map.fd().as_fd(), info.max_entries()).map_err(mmap(name::LEASES))?;
    Ok(Some((info.id(), mapped)))
}

/// The identifier of the program a pinned link runs, as the descriptor of the link tells in `/proc`. To open programs and
/// maps by their identifiers takes CAP_SYS_ADMIN, which the daemon does not have.
fn program_of(link: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(link).ok()?);
    let ours = link.info().ok()?.id();
    let descriptors = fs::read_dir("/proc/self/fdinfo").ok()?;
    descriptors.flatten().find_map(|entry| {
        // Descriptors of other threads come and go.
        let text = fs::read_to_string(entry.path()).ok()?;
        (field(&text, "link_id:")? == ours).then(|| field(&text, "prog_id:")).flatten()
    })
}

fn field(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
