//! Clients, and what leaves for them.

use super::*;

impl World {
    pub(super) fn carry_out(&mut self, index: u16, deeds: Deeds) {
        let Some(client) = self.clients.get(usize::from(index)) else { return };
        let (wake_ns, xid, last, state) = (client.wake_ns, client.xid(), client.transactions, client.state);
        self.schedule(wake_ns, Event::Wake(index));
        if let Some(address) = deeds.gives_back {
            self.oracle.given_back(index, address, last);
            self.note(|| format!("client {index} gives {address} back"));
        }
        let node = self.attached[usize::from(index)];
        for (frame, asks_for) in deeds.send {
            self.oracle.asked(xid, asks_for);
            self.note(|| format!("client {index} sends {xid:08x} to node {node} ({state:?}, {asks_for:?})"));
            self.travel(|| Event::Arrive(node, frame.clone()));
        }
    }

    pub(super) fn arrive(&mut self, node: usize, frame: Vec<u8>) {
        let now_ns = self.now_ns;
        let Some(machine) = self.machines.get_mut(node) else { return };
        match machine.arrive(now_ns, frame) {
            Some(answer) => {
                self.outcome.renewals_by_kernel += 1;
                self.leave(node, &answer, None);
            }
            None => {
                // Frames that come within a moment share a turn.
                let soon_ns = now_ns + 2 * MS;
                if self.machines[node].frames.len() == 1 {
                    self.schedule(soon_ns, Event::Soon(node));
                }
            }
        }
    }

    /// A reply leaves, that the daemon let go in its turn at a moment, or the kernel at once.
    pub(super) fn leave(&mut self, node: usize, frame: &[u8], let_go_ns: Option<u64>) {
        let by_kernel = let_go_ns.is_none();
        let message = match Dhcp::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let what = format!("a reply that left is no sound DHCP frame: {error:#}");
                return self.violated("sound-reply", what, None, &[]);
            }
        };
        let now_ns = self.now_ns;
        let index = (message.xid >> 16) as u16;
        let by = if by_kernel { "kernel" } else { "daemon" };
        self.note(|| {
            format!(
                "node {node}: {by} answers {:08x} with type {}, {}, lease {:?} s",
                message.xid,
                message.kind(),
                message.yiaddr,
                message.option_u32(51)
            )
        });
        if !by_kernel && message.kind() == 5 {
            self.outcome.acks_by_daemon += 1;
            self.served.insert((node, index, message.yiaddr));
        } else if by_kernel && !self.served.contains(&(node, index, message.yiaddr)) {
            self.outcome.warm_renewals += 1;
        }
        let decided_ns = match by_kernel {
            true => now_ns,
            false => self.machines[node].decided_ns(message.xid, now_ns),
        };
        let machine = &self.machines[node];
        // A promise is so many seconds of the clock that made it, which drifts.
        let drift = Span::from_millis(200);
        let to_timeline = |true_ns: u64| machine.timestamp(true_ns) - drift;
        let mut configs = vec![self.scenario.config(self.machines[node].later)];
        if self.outcome.recuts != 0 {
            configs.push(self.scenario.config(true));
        }
        let disk = machine.disk.lock();
        let evidence = Evidence {
            durable: disk.store.durable(),
            timeline: &to_timeline,
            configs: &configs,
            now_ns,
            decided_ns,
            by_kernel,
        };
        let judged = self.oracle.left(&message, &evidence);
        drop(disk);
        if let Err((invariant, what, clients)) = judged {
            return self.violated(invariant, format!("node {node}: {what}"), Some(message.yiaddr), &clients);
        }
        if let Some(let_go_ns) = let_go_ns.filter(|_| self.scenario.sync && message.kind() == 5) {
            self.look_at_the_peers(node, &message, decided_ns, let_go_ns);
        }
        self.travel(|| Event::Deliver(index, Box::new(message.clone())));
    }

    /// A frame is under way, if it is not lost; doubled it arrives twice.
    fn travel(&mut self, arrival: impl Fn() -> Event) {
        let rates = self.rates();
        let journeys: Vec<u64> = network::journeys(&mut self.rng, &rates).collect();
        for journey in journeys {
            self.schedule(self.now_ns + journey, arrival());
        }
    }
}
