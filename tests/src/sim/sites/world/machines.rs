//! Machines that start, turn and die.

use super::*;

impl World {
    pub(super) fn start(&mut self, node: usize) {
        let now_ns = self.now_ns;
        let config = self.scenario.config(self.machines[node].later);
        let mut settings = self.scenario.settings(node);
        // It takes its delegations to last for longer than the others would wait, did it not say so.
        let longer = match self.planted {
            Some(Planted::TakeOverEarly) => Some(900),
            _ => self.scenario.even_delegation_secs,
        };
        if let Some(secs) = longer.filter(|_| node.is_multiple_of(2)) {
            settings.delegation = Span::from_secs(secs);
        }
        let unnoticed =
            self.planted.filter(|planted| *planted == Planted::LostDiskUnnoticed).and_then(|_| {
                let state = self.consensus.state(self.consensus.len());
                Some(state.member(NodeId(node as u16))?.store)
            });
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.keeper.is_some() || now_ns < machine.start_ns || now_ns < machine.down_until_ns {
            return;
        }
        match machine.start(now_ns, &config, settings, unnoticed, &mut self.rng) {
            Ok(()) => {
                // The state machine's last snapshot may be older than what was applied.
                let index = machine.applied - self.rng.random_range(0..=machine.applied.min(4));
                machine.applied = index;
                let state = Box::new(self.consensus.state(index));
                machine.inputs.push_back(Input::Restored { index, state });
                self.note(|| format!("node {node} starts at command {index}"));
            }
            Err(error) => {
                self.note(|| format!("node {node} dies as it starts: {error}"));
                self.die(node, SEC, false);
            }
        }
    }

    pub(super) fn die(&mut self, node: usize, down_ns: u64, machine_too: bool) {
        let now_ns = self.now_ns;
        let calm_ns = self.scenario.base.calm_from_ns.max(now_ns + SEC);
        let down_ns = down_ns.min(calm_ns - now_ns);
        self.outcome.crashes += 1;
        self.note(|| format!("node {node} dies for {} ms, machine too: {machine_too}", down_ns / MS));
        if let Some(machine) = self.machines.get_mut(node) {
            machine.die(now_ns, down_ns, machine_too);
        }
        for other in 0..self.machines.len() {
            let Some(pair) = self.pairs.get_mut(&(node.min(other), node.max(other))) else { continue };
            if pair.connected {
                pair.tear();
                self.tell(other, Input::Lost(NodeId(node as u16)));
            }
        }
        self.schedule(now_ns + down_ns, Event::Start(node));
        let fetched_ns = now_ns + self.rng.random_range(SEC / 2..4 * SEC);
        self.schedule(fetched_ns, Event::Fetch(node));
    }

    pub(super) fn tell(&mut self, node: usize, input: Input) {
        if let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.keeper.is_some()) {
            machine.inputs.push_back(input);
        }
    }

    pub(super) fn turn(&mut self, node: usize) {
        let (now_ns, planted) = (self.now_ns, self.planted);
        if !self.machines[node].runs(now_ns) || now_ns < self.machines[node].flushing_until_ns {
            return;
        }
        if let Some(turned) = self.machines[node].flushed(now_ns) {
            self.carry_on(node, turned);
        }
        self.collect(node);
        let commits = self.machines[node].disk.lock().commits;
        match self.machines[node].turn(now_ns, planted) {
            Ok(turned) => match self.machines[node].flush(turned, commits, now_ns, &mut self.rng) {
                Some(turned) => self.carry_on(node, turned),
                None => {
                    self.outcome.slow_flushes += 1;
                    let flushed_ns = self.machines[node].flushing_until_ns;
                    self.schedule(flushed_ns, Event::Soon(node));
                }
            },
            Err(error) => {
                self.note(|| format!("node {node}: {error}"));
                let down_ns = self.rng.random_range(SEC..10 * SEC);
                self.die(node, down_ns, false);
            }
        }
    }

    /// What a turn came to takes effect.
    fn carry_on(&mut self, node: usize, Turned { at_ns, send, site }: Turned) {
        for output in site {
            self.output(node, output);
        }
        for reply in send {
            self.leave(node, &reply.frame, Some(at_ns));
        }
        self.look_for_the_forgotten(node);
    }

    /// Takes in what has arrived for a machine.
    pub(super) fn collect(&mut self, node: usize) {
        for other in 0..self.machines.len() {
            let now_ns = self.now_ns;
            let direction = usize::from(other > node);
            while let Some(message) = self
                .pairs
                .get_mut(&(node.min(other), node.max(other)))
                .and_then(|pair| pair.arrived(direction, now_ns))
            {
                self.hear(node, other, message);
            }
        }
    }

    pub(super) fn hear(&mut self, node: usize, from: usize, message: Message) {
        let peer = NodeId(from as u16);
        match (&message, self.planted) {
            (Message::Updates { after, until, .. }, Some(Planted::AcknowledgeBeforeDurable)) => {
                let cursor = Cursor { log: after.log, seq: *until };
                self.send(node, from, Message::Acknowledge { cursor });
            }
            (Message::Acknowledge { cursor }, Some(Planted::OneForAll)) => {
                for third in (0..self.machines.len()).filter(|third| *third != node && *third != from) {
                    let copy = Message::Acknowledge { cursor: *cursor };
                    self.tell(node, Input::Message(NodeId(third as u16), copy));
                }
            }
            (Message::Told { asked_at, clock, free }, Some(Planted::ClockMisread)) => {
                let clock = *clock - Span::from_secs(30);
                let told = Message::Told { asked_at: *asked_at, clock, free: *free };
                self.tell(node, Input::Message(peer, told));
                return;
            }
            _ => {}
        }
        self.tell(node, Input::Message(peer, message));
    }
}
