//! What must hold beside the ledger: peers know in time, nobody is forgotten, everything converges.

use super::*;

/// Clocks, whole seconds on the wire, and the time between a command and its being heard of.
const ALLOWANCE: Span = Span::from_secs(6);

impl World {
    /// In mode `sync`: whoever may take over from the node that has just promised has the promise on its disk.
    pub(super) fn look_at_the_peers(&mut self, node: usize, message: &Dhcp, decided_ns: u64, let_go_ns: u64) {
        let Some(secs) = message.option_u32(51) else { return };
        let client = (message.xid >> 16) as u16;
        let address = message.yiaddr;
        let until_ns = decided_ns + u64::from(secs) * SEC;
        let Some(site) = self.machines[node].keeper.as_ref().and_then(|keeper| keeper.site.as_ref()) else {
            return;
        };
        if !self.holds(node, address) {
            return;
        }
        let audience: Vec<NodeId> = site.state().audience(NodeId(node as u16)).collect();
        for peer in audience {
            let machine = &self.machines[usize::from(peer.0)];
            // It had the promise on its disk, and lost that while the reply waited for this machine's.
            if machine.disk_lost_ns > let_go_ns {
                continue;
            }
            let wanted = machine.timestamp(until_ns.saturating_sub(6 * SEC));
            let known = {
                let disk = machine.disk.lock();
                disk.store.durable().leases.get(&address).cloned()
            };
            let held = known.as_ref().is_some_and(|lease| {
                let bound = lease.state == LeaseState::Bound;
                let theirs = lease.hardware.as_ethernet() == Some(client_mac(client));
                // It may have given the address back since.
                theirs && (!bound || lease.reach() >= wanted)
            });
            if !held {
                let known = known.map(|lease| (lease.state, lease.hardware, lease.reach()));
                let what = format!(
                    "node {node} promised {address} to client {client}, and node {} does not know: it has \
                     {known:?}, not {wanted:?}",
                    peer.0
                );
                return self.violated("peers-know-before-ack", what, Some(address), &[client]);
            }
        }
    }

    /// A holder's horizon is no further than whoever may take over has on its disk, or the MCLT from now (docs/sites.md,
    /// rule 2): by its own clock, give or take what clocks are allowed to differ.
    pub(super) fn look_at_the_horizons(&mut self, node: usize) {
        // What a lost disk had was acknowledged all the same.
        if self.outcome.disks_lost != 0 {
            return;
        }
        let Some(keeper) = &self.machines[node].keeper else { return };
        let (Some(site), Some(authority)) = (&keeper.site, keeper.core.engine.authority()) else { return };
        let now = self.machines[node].timestamp(self.now_ns);
        let unheard = Span::from_secs(self.scenario.mclt_secs);
        let far = keeper.core.engine.leases().iter().filter(|lease| {
            // What was taken out of all pools nobody promises any more.
            let held = authority.holds(lease.address) && authority.right(now, lease.address) == Right::Holder;
            held && lease.state == LeaseState::Bound && lease.horizon > now + unheard + ALLOWANCE
        });
        let peers = || site.state().members_in().map(|peer| usize::from(peer.0)).filter(|peer| *peer != node);
        let unknown = far.into_iter().find_map(|lease| {
            let left = lease.horizon.since(now);
            let peer = peers().find(|peer| {
                let machine = &self.machines[*peer];
                let disk = machine.disk.lock();
                let known = disk.store.durable().leases.get(&lease.address);
                let known =
                    known.map_or(Span::ZERO, |known| known.reach().since(machine.timestamp(self.now_ns)));
                known.0 + ALLOWANCE.0 < left.0
            })?;
            Some((lease.address, left.as_secs(), peer))
        });
        if let Some((address, left_secs, peer)) = unknown {
            let what = format!(
                "node {node} may promise {address} for {left_secs} s more, and node {peer} has not heard of it"
            );
            self.violated("horizons-are-known", what, Some(address), &[]);
        }
    }

    /// Whether a node's own view is that it holds an address's block.
    pub(super) fn holds(&self, node: usize, address: Ipv4Addr) -> bool {
        let keeper = self.machines[node].keeper.as_ref();
        keeper.and_then(|keeper| keeper.core.engine.authority()).is_some_and(|authority| {
            authority.blocks().of_address(address).and_then(|block| authority.held(block)).is_some()
        })
    }

    pub(super) fn look_for_the_forgotten(&mut self, node: usize) {
        if !self.calm() || self.planted.is_some() {
            return;
        }
        let now_ns = self.now_ns;
        let Some(keeper) = &self.machines[node].keeper else { return };
        for (subnet, full_ns) in self.full_ns[node].iter_mut().enumerate() {
            if keeper.core.engine.free_addresses(subnet) == 0 {
                *full_ns = now_ns;
            }
        }
        // A daemon that dies at its next commit may do so late in the calm, and blocks are closed to new clients for the
        // MCLT after each start.
        let started_ns = self.machines.iter().map(|machine| machine.start_ns).max().unwrap_or(0);
        let calm_ns = self.scenario.base.calm_from_ns.max(started_ns) + self.scenario.mclt_secs * SEC;
        let full = self.full_ns[node];
        let forgotten = self.clients.iter().find_map(|client| {
            let full_ns = *full.get(usize::from(client.style.relayed))?;
            let since_ns = client.asking_since_ns?.max(calm_ns).max(full_ns);
            let here = self.attached[usize::from(client.index)] == node;
            (here && now_ns.saturating_sub(since_ns) > PATIENCE_NS).then_some(client.index)
        });
        if let Some(client) = forgotten {
            let what = format!(
                "client {client} has been asking node {node} for {} s, and addresses are free",
                PATIENCE_NS / SEC
            );
            self.violated("liveness", what, None, &[client]);
        }
    }

    /// At the end of a long calm everybody is in, and has been told everything.
    pub(super) fn look_at_the_end(&mut self) {
        for node in 0..self.machines.len() {
            let machine = &self.machines[node];
            let view = machine.keeper.as_ref().and_then(|keeper| {
                Some(keeper.site.as_ref()?.view(machine.timestamp(self.now_ns), &keeper.core.engine))
            });
            let Some(view) = view else {
                return self.violated("converges", format!("node {node} does not run"), None, &[]);
            };
            let late = view.peers.iter().any(|peer| peer.lag_secs > self.scenario.interval_secs + 10);
            if view.role != Role::Active || late || view.blocks_closed != 0 {
                return self.violated("converges", format!("node {node} at the end: {view:?}"), None, &[]);
            }
        }
    }
}
