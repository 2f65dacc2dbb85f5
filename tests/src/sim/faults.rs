//! What goes wrong, when it does.

use dhcp_user::{lease::store::MetaKey, timeline::Anchor};
use rand::Rng as _;

use super::{
    scenario::{Fault, MS},
    world::{Death, Input, World},
};

impl World {
    /// A fault of the scenario begins.
    pub(super) fn begin_fault(&mut self, number: usize) {
        let Some(&(_, fault)) = self.scenario.faults.get(number) else { return };
        // To a machine that sleeps nothing happens but that its power may go.
        if self.asleep() && !matches!(fault, Fault::PowerLoss { .. } | Fault::Partition { .. }) {
            return;
        }
        self.note(None, None, || format!("fault: {fault:?}"));
        // Nothing lasts into the calm.
        let until = |for_ns: u64| (self.now_ns + for_ns).min(self.scenario.calm_from_ns);
        match fault {
            Fault::Kill { after_writes, down_ns, variant, unload } => {
                let death = Death { down_ns, power: None, variant, unload };
                match after_writes {
                    Some(writes) => self.fuse = Some((writes, death)),
                    None => self.die(death),
                }
            }
            Fault::PowerLoss { down_ns, clock_mended } => {
                self.die(Death { down_ns, power: Some(clock_mended), variant: None, unload: false });
            }
            // After a reboot the wall clock alone tells how long the machine was away: until a start has noted where the
            // timeline stands in this boot, nothing can be held against a clock that is then set ahead.
            Fault::WallStep { by_ns } if self.boot_is_noted() => self.machine.wall_error_ns += by_ns,
            Fault::WallStep { .. } => {}
            Fault::SlowDisk { up_to_ns, for_ns } => self.conditions.slow_disk = (until(for_ns), up_to_ns),
            Fault::FullDisk { percent, for_ns } => self.conditions.full_disk = (until(for_ns), percent),
            Fault::FlushFails { kept } => self.conditions.flush_fails = Some(kept),
            Fault::Reload { variant } => {
                self.variant = variant;
                if self.listener.is_some() {
                    self.inbox.push_back(Input::Reload(variant));
                }
            }
            Fault::Suspend { for_ns } => {
                let until_ns = until(for_ns);
                self.conditions.slept_ns += until_ns.saturating_sub(self.now_ns);
                self.conditions.asleep_until_ns = until_ns;
            }
            Fault::Hang { for_ns } => self.conditions.hang_until_ns = until(for_ns),
            Fault::Partition { by, rest, for_ns } => self.conditions.partition = (until(for_ns), by, rest),
            Fault::Stall { percent, up_to_ns, for_ns } => {
                self.conditions.stall = (until(for_ns), percent, up_to_ns);
            }
            Fault::DeclineStorm { percent, for_ns } => self.conditions.decline = (until(for_ns), percent),
        }
    }

    fn boot_is_noted(&self) -> bool {
        self.machine.up && self.anchor_of_this_boot().is_some()
    }

    fn anchor_of_this_boot(&self) -> Option<Anchor> {
        let anchor = Anchor::decode(self.disk.durable().meta.get(&MetaKey::TimelineAnchor)?).ok()?;
        (anchor.boot_id == self.boot_id()).then_some(anchor)
    }

    /// How wrong the wall clock was when a daemon last noted what it shows.
    pub(super) fn wall_error_noted_ns(&self) -> i64 {
        self.anchor_of_this_boot().map_or(self.machine.wall_error_noted_ns, |anchor| {
            self.wall_error_of(anchor.latest.0.saturating_add_signed(-anchor.offset_ns), anchor.wall_ns)
        })
    }

    fn die(&mut self, death: Death) {
        if self.listener.is_some() {
            if death.power.is_some() {
                self.conditions.asleep_until_ns = 0;
            }
            self.death.get_or_insert(death);
        }
    }

    /// How long the program that has just begun stands still.
    pub(super) fn stall_ns(&mut self) -> u64 {
        let (until_ns, percent, up_to_ns) = self.conditions.stall;
        if self.now_ns < until_ns && self.rng.random_range(0..100) < percent {
            self.rng.random_range(MS / 10..up_to_ns)
        } else {
            0
        }
    }

    /// How long the flush that has just begun takes.
    pub(super) fn flush_ns(&mut self) -> u64 {
        let (until_ns, up_to_ns) = self.conditions.slow_disk;
        let longest = if self.now_ns < until_ns { up_to_ns } else { 3 * MS };
        self.rng.random_range(MS / 5..longest)
    }
}
