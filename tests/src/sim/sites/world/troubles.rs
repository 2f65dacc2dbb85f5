//! What goes wrong, when it does.

use super::*;

impl World {
    pub(super) fn begin_fault(&mut self, number: usize) {
        let Some(&(_, fault)) = self.scenario.faults.get(number) else { return };
        self.note(|| format!("fault: {fault:?}"));
        let now_ns = self.now_ns;
        let calm_ns = self.scenario.base.calm_from_ns;
        let until = |for_ns: u64| (now_ns + for_ns).min(calm_ns);
        match fault {
            Fault::Kill { node, after_commits, down_ns } => match after_commits {
                Some(commits) => {
                    let kept = self.rng.random_bool(0.5);
                    self.machines[node].disk.lock().fuse = Some((commits, kept));
                }
                None => self.die(node, down_ns, false),
            },
            Fault::MachineDown { node, down_ns } => self.die(node, down_ns, true),
            Fault::LoseDisk { node, down_ns } => {
                let state = self.consensus.state(self.consensus.len());
                // Of what the only node that is in loses, nobody has anything.
                if state.members_in().any(|other| usize::from(other.0) != node) {
                    self.die(node, down_ns, true);
                    self.machines[node].lose_disk(now_ns);
                    self.outcome.disks_lost += 1;
                }
            }
            Fault::Pause { node, for_ns } => {
                self.machines[node].paused_until_ns = until(for_ns);
                let fetched_ns = now_ns + self.rng.random_range(SEC / 2..GIVEN_UP_AFTER_NS * 2);
                self.schedule(fetched_ns, Event::Fetch(node));
            }
            Fault::CutSite { site, for_ns } => self.cut_off(site, until(for_ns)),
            Fault::CutOneWay { from, to, for_ns } => {
                if let Some(pair) = self.pairs.get_mut(&(from.min(to), from.max(to)))
                    && let Some(way) = pair.ways.get_mut(usize::from(from > to))
                {
                    way.cut_until_ns = until(for_ns);
                }
            }
            Fault::Flap { one, other, for_ns } => {
                if let Some(pair) = self.pairs.get_mut(&(one.min(other), one.max(other))) {
                    pair.ways.iter_mut().for_each(|way| way.flap_until_ns = until(for_ns));
                }
            }
            Fault::Slow { node, by_ns, for_ns } => self.machines[node].slow = (until(for_ns), by_ns),
            Fault::Lag { node, by_ns, for_ns } => self.machines[node].lag = (until(for_ns), by_ns),
            Fault::Roam { percent } => {
                for index in 0..self.attached.len() {
                    if self.rng.random_range(0..100) < percent {
                        self.attached[index] = self.rng.random_range(0..self.machines.len());
                    }
                }
            }
            Fault::FullDisk { node, commits } => self.machines[node].disk.lock().full_for = commits,
            Fault::SlowDisk { node, by_ns, for_ns } => self.machines[node].slow_disk = (until(for_ns), by_ns),
            Fault::Drain { node, for_ns } => {
                let until_ns = until(for_ns);
                self.tell(node, Input::Order(Order::Drain));
                self.schedule(until_ns, Event::Undrain(node));
            }
            Fault::OtherPools { node, down_ns } => {
                self.die(node, down_ns, false);
                self.machines[node].later = true;
            }
            Fault::PartnerDown { node, told_after_ns, down_ns } => {
                // Off for certain is off until the operator says that it may be on again.
                let told_ns = now_ns + told_after_ns;
                self.die(node, down_ns, true);
                if told_ns < now_ns + down_ns && told_ns < calm_ns {
                    self.schedule(told_ns, Event::Lost(vec![node], told_ns));
                }
            }
            Fault::SiteDown { site, cut_off, told_after_ns, down_ns } => {
                let lost: Vec<usize> =
                    (0..self.machines.len()).filter(|node| self.scenario.site_of(*node) == site).collect();
                if cut_off {
                    self.cut_off(site, until(down_ns));
                } else {
                    lost.iter().for_each(|node| self.die(*node, down_ns, true));
                }
                self.schedule(now_ns + told_after_ns, Event::Lost(lost, until(down_ns)));
            }
        }
    }

    fn cut_off(&mut self, site: usize, until_ns: u64) {
        for (&(one, other), pair) in &mut self.pairs {
            if (self.scenario.site_of(one) == site) != (self.scenario.site_of(other) == site) {
                pair.ways.iter_mut().for_each(|way| way.cut_until_ns = until_ns);
            }
        }
    }

    /// An operator who has seen that half of the machines are lost tells the others, who decide from then on. Of two nodes a lost one
    /// is off; of more it may run, cut off. All that are left must be there, and linked with one another and none of the lost:
    /// the operator goes on trying until then.
    pub(super) fn lost(&mut self, lost: Vec<usize>, until_ns: u64) {
        let (now_ns, two) = (self.now_ns, self.machines.len() == 2);
        if self.deciders.len() != self.machines.len() {
            return;
        }
        let left: Vec<usize> = (0..self.machines.len()).filter(|node| !lost.contains(node)).collect();
        let gone = |node: &usize| {
            let off = now_ns < self.machines[*node].down_until_ns;
            off || (!two && left.iter().all(|other| !self.open_between(*node, *other)))
        };
        let there = |node: &usize| {
            let linked = left.iter().all(|other| other == node || self.open_between(*node, *other));
            self.machines[*node].runs(now_ns) && linked
        };
        if lost.iter().all(gone) && left.iter().all(there) {
            self.note(|| format!("nodes {left:?} are told that nodes {lost:?} are down for certain"));
            for &survivor in &left {
                for &node in &lost {
                    self.tell(survivor, Input::Order(Order::PartnerDown(NodeId(node as u16))));
                }
            }
            self.deciders = left;
        } else if now_ns < until_ns {
            self.schedule(now_ns + SEC, Event::Lost(lost, until_ns));
        }
    }

    /// Who was lost and is back decides again: all are in, and linked with one another.
    pub(super) fn take_back(&mut self) {
        let all = self.machines.len();
        if self.deciders.len() == all {
            return;
        }
        let linked = |one: usize| (0..all).all(|other| one == other || self.open_between(one, other));
        let there = (0..all).all(|node| self.machines[node].runs(self.now_ns) && linked(node));
        if there && self.consensus.state(self.consensus.len()).members_in().count() == all {
            self.note(|| "all nodes decide again".to_owned());
            self.deciders = (0..all).collect();
        }
    }
}
