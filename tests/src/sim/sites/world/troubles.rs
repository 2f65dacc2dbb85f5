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
                    self.machines[node].lose_disk();
                    self.outcome.disks_lost += 1;
                }
            }
            Fault::Pause { node, for_ns } => {
                self.machines[node].paused_until_ns = until(for_ns);
                let fetched_ns = now_ns + self.rng.random_range(SEC / 2..GIVEN_UP_AFTER_NS * 2);
                self.schedule(fetched_ns, Event::Fetch(node));
            }
            Fault::CutSite { site, for_ns } => {
                for (&(one, other), pair) in &mut self.pairs {
                    if (self.scenario.site_of(one) == site) != (self.scenario.site_of(other) == site) {
                        pair.ways.iter_mut().for_each(|way| way.cut_until_ns = until(for_ns));
                    }
                }
            }
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
                    self.schedule(told_ns, Event::PartnerDown(node));
                }
            }
        }
    }

    /// An operator who has seen that a machine is off tells the other of two, which decides alone from then on.
    pub(super) fn partner_down(&mut self, node: usize) {
        let survivor = 1 - node;
        let off = self.now_ns < self.machines[node].down_until_ns;
        if off && self.alone.is_none() && self.machines[survivor].runs(self.now_ns) {
            self.note(|| format!("node {survivor} is told that node {node} is down for certain"));
            self.alone = Some(survivor);
            self.tell(survivor, Input::Order(Order::PartnerDown(NodeId(node as u16))));
        }
    }
}
