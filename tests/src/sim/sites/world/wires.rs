//! Links between machines, and the consensus log over them.

use super::*;

impl World {
    pub(super) fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Propose(command) => self.propose(node, command),
            Output::Send(to, message) => self.send(node, usize::from(to.0), message),
        }
    }

    pub(super) fn propose(&mut self, node: usize, mut command: Command) {
        if let (Some(Planted::TakeOverEarly), Command::Renew { lasts, .. }) = (self.planted, &mut command) {
            *lasts = Span::ZERO;
        }
        if !matches!(command, Command::Renew { .. }) {
            self.note(|| format!("node {node} proposes {command:?}"));
        }
        // Some are lost, some linger: whoever proposed may be dead by the time they come true.
        let delay_ns = match self.rng.random_range(0..100) {
            0..3 if !self.calm() => return,
            3..8 if !self.calm() => self.rng.random_range(SEC..15 * SEC),
            _ => self.rng.random_range(2 * MS..300 * MS),
        };
        let at_ns = self.now_ns + delay_ns;
        self.schedule(at_ns, Event::Agree(node, command, at_ns + 10 * SEC));
    }

    pub(super) fn agree(&mut self, node: usize, command: Command, until_ns: u64) {
        if self.reaches_majority(node) {
            if let (Some(Planted::InAtOnce), Command::Join { node: joining, .. }) = (self.planted, &command) {
                let state = self.consensus.state(self.consensus.len());
                let attempt = state.member(*joining).map_or(0, |member| member.attempt) + 1;
                self.consensus.agree(command.clone());
                for by in state.members_in().collect::<Vec<_>>() {
                    self.consensus.agree(Command::Confirm { node: *joining, attempt, by });
                }
                return;
            }
            if !matches!(command, Command::Renew { .. }) {
                self.note(|| format!("agreed: {command:?}"));
            }
            if matches!(command, Command::Recut(_)) {
                let mut state = self.consensus.state(self.consensus.len());
                self.outcome.recuts += u64::from(state.apply(&command).is_ok());
            }
            self.consensus.agree(command);
        } else if self.now_ns < until_ns {
            let again_ns = self.now_ns + self.rng.random_range(100 * MS..SEC);
            self.schedule(again_ns, Event::Agree(node, command, until_ns));
        }
    }

    pub(super) fn open_between(&self, one: usize, other: usize) -> bool {
        // Nodes with other pools do not greet.
        let alike = self.machines[one].later == self.machines[other].later;
        let pair = self.pairs.get(&(one.min(other), one.max(other))).filter(|_| alike);
        pair.is_some_and(|pair| pair.ways.iter().all(|way| way.is_open(self.now_ns)))
    }

    /// Whether a machine's daemon runs and reaches, itself included, more than half of those that decide.
    pub(super) fn reaches_majority(&self, node: usize) -> bool {
        let runs = |node: usize| self.machines[node].runs(self.now_ns);
        let reached = |other: &&usize| runs(**other) && (**other == node || self.open_between(node, **other));
        runs(node) && self.deciders.iter().filter(reached).count() * 2 > self.deciders.len()
    }

    pub(super) fn learn(&mut self, node: usize) {
        let now_ns = self.now_ns;
        if self.reaches_majority(node) {
            let all = self.consensus.len();
            let machine = &mut self.machines[node];
            let behind = all.saturating_sub(machine.applied);
            // Mostly everything, now and then only some of it.
            let few = if self.rng.random_bool(0.8) { behind } else { self.rng.random_range(0..=behind) };
            for _ in 0..few {
                machine.applied += 1;
                let index = machine.applied;
                if let Some(command) = self.consensus.get(index) {
                    machine.inputs.push_back(Input::Applied { index, command: command.clone() });
                }
            }
        }
        let (until_ns, by_ns) = self.machines[node].lag;
        let late_ns = if now_ns < until_ns { by_ns } else { 0 };
        let next_ns = now_ns + self.rng.random_range(20 * MS..250 * MS) + late_ns;
        self.schedule(next_ns, Event::Learn(node));
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let now_ns = self.now_ns;
        let (slow_until_ns, by_ns) = self.machines[from].slow;
        let extra_ns = if now_ns < slow_until_ns { self.rng.random_range(0..by_ns.max(1)) } else { 0 };
        let jitter_ns = self.rng.random_range(0..5 * MS);
        let Some(pair) = self.pairs.get_mut(&(from.min(to), from.max(to))) else { return };
        if pair.connected
            && let Some(way) = pair.ways.get_mut(usize::from(from > to))
        {
            let at_ns = way.send(now_ns, pair.latency_ns + extra_ns + jitter_ns, message);
            self.schedule(at_ns, Event::Soon(to));
        }
    }

    pub(super) fn watch(&mut self) {
        let now_ns = self.now_ns;
        let keys: Vec<(usize, usize)> = self.pairs.keys().copied().collect();
        for (one, other) in keys {
            let alike = self.machines[one].later == self.machines[other].later;
            let up = alike && [one, other].iter().all(|node| self.machines[*node].runs(now_ns));
            let Some(pair) = self.pairs.get_mut(&(one, other)) else { continue };
            if let Some(made) = pair.watch(now_ns, up) {
                let (first, second) = (NodeId(one as u16), NodeId(other as u16));
                let input = |peer| if made { Input::Connected(peer) } else { Input::Lost(peer) };
                self.note(|| format!("nodes {one} and {other}: connected {made}"));
                self.tell(one, input(second));
                self.tell(other, input(first));
            }
        }
    }
}
