//! What consensus says, and what a node proposes: that it lives on, that another does not, that a newcomer has everything
//! (docs/sites.md, rules 1, 5 and 6).

use super::{Node, Output, settings::DRIFT};
use crate::{
    engine::{Engine, kept_from_others},
    server::work::Work,
    site::{
        authority::{Authority, Held},
        blocks::BlockId,
        delegation::{BLOCKS_PER_COMMAND_MAX, Command, Delegations, NodeId, Presence},
        replication::Milestone,
    },
    time::{Span, Timestamp},
};

/// Renewals under way that are remembered.
const STAMPS_MAX: usize = 16;
/// How often a proposal that was not seen applied is made again.
const PROPOSE_AGAIN: Span = Span::from_secs(1);
/// How long the nodes after the first leave founding to those before them, each.
const FOUND_AFTER: Span = Span::from_secs(3);

impl Node {
    pub(super) fn on_restored(
        &mut self,
        now: Timestamp,
        index: u64,
        state: Delegations,
        engine: &mut Engine,
        work: &mut Work,
    ) {
        if self.restored && index <= self.applied_index {
            return;
        }
        if !self.restored {
            // A founder whose store was not marked in time knows more than anybody.
            let founded = state.is_in(self.settings.me) && state.members_in().count() == 1;
            self.own_leases = !founded && self.has_leases_of_its_own(engine);
        }
        let removed = state.any_struck();
        (self.state, self.applied_index, self.restored) = (state, index, true);
        if removed {
            // When that was is not known.
            self.struck(now, engine);
        }
        self.follow(now, engine, work);
    }

    pub(super) fn on_applied(
        &mut self,
        now: Timestamp,
        index: u64,
        command: &Command,
        engine: &mut Engine,
        work: &mut Work,
    ) {
        if !self.restored || index <= self.applied_index {
            return;
        }
        self.applied_index = index;
        if self.state.apply(command).is_err() {
            return;
        }
        match command {
            Command::Renew { node, stamp, .. } => {
                let renewals = self.state.member(*node).map_or(0, |member| member.renewals);
                self.heard.insert(*node, (renewals, now));
                if *node == self.settings.me {
                    self.renewed(now, *stamp, engine);
                }
            }
            Command::Join { node, .. } => {
                // It cannot have renewed yet: its silence begins now.
                let renewals = self.state.member(*node).map_or(0, |member| member.renewals);
                self.heard.insert(*node, (renewals, now));
                if *node == self.settings.me {
                    // What it proposed before it was put out does not count, and is no reason to wait.
                    self.stamps.clear();
                }
                self.follow(now, engine, work);
            }
            Command::Found { founder, store, .. } if *founder == self.settings.me => {
                self.own_leases = false;
                // Another store is one that was lost since: this may be heard long after.
                if *store == self.own_store() {
                    self.mark_first(work);
                }
                self.follow(now, engine, work);
            }
            Command::Strike { .. } => {
                self.struck(now, engine);
                self.follow(now, engine, work);
            }
            _ => self.follow(now, engine, work),
        }
    }

    /// A node that was removed may be running still, cut off or with its program in the kernel only, and renew what it
    /// knows: until all of that has ended, what is given back rests until its horizon (rule 4).
    fn struck(&mut self, now: Timestamp, engine: &Engine) {
        let reach = engine.leases().iter().map(kept_from_others).max().unwrap_or(now);
        self.struck_until = self.struck_until.max(reach);
    }

    /// Our own renewal is applied: what we hold lasts from when it was proposed.
    fn renewed(&mut self, now: Timestamp, stamp: u64, engine: &mut Engine) {
        let Some(&(_, proposed_at)) = self.stamps.iter().find(|(known, _)| *known == stamp) else { return };
        let until = match self.state.moves_by_itself() {
            true => proposed_at + self.settings.delegation,
            // Nothing moves by itself then.
            false => Timestamp(u64::MAX),
        };
        if now >= self.held_until {
            self.entitled_since = now;
        }
        // From for ever back to a time: there are more nodes now, and they wait for this renewal before they put us out.
        self.held_until = match self.held_until {
            Timestamp(u64::MAX) => until,
            before => before.max(until),
        };
        if let Some(authority) = engine.authority_mut() {
            authority.set_held_until(self.held_until);
        }
    }

    /// Brings everything in line with the cluster's state.
    pub(super) fn follow(&mut self, now: Timestamp, engine: &mut Engine, work: &mut Work) {
        let me = self.settings.me;
        for (node, member) in self.state.members() {
            let heard = self.heard.entry(node).or_insert((member.renewals, now));
            if heard.0 != member.renewals {
                *heard = (member.renewals, now);
            }
        }
        let others = self.state.members().filter(|(node, _)| *node != me).count();
        let alone = self.state.audience(me).next().is_none();
        if !self.state.is_in(me) {
            self.held_until = Timestamp::ZERO;
        }
        let Some(authority) = engine.authority_mut() else { return };
        authority.set_alone(alone, others == 0);
        authority.set_held_until(self.held_until);
        let sound = authority.blocks().digest() == self.state.digest();
        authority.set_strange(!sound);
        let trusted = sound && self.state.is_in(me) && self.is_marked();
        let blocks = authority.blocks().len();
        self.mine.resize(blocks, None);
        self.epochs.resize(blocks, 0);
        let (mut changed, mut moved) = (false, Vec::new());
        for index in 0..blocks {
            let Ok(block) = u32::try_from(index).map(BlockId) else { break };
            let delegation = self.state.block(block);
            let ours = delegation.filter(|held| held.holder == me && trusted);
            let epoch = delegation.map_or(0, |held| held.epoch);
            if let Some(known) = self.epochs.get_mut(index).filter(|known| **known != epoch) {
                *known = epoch;
                if ours.is_none() {
                    moved.push(block);
                }
            }
            let before = self.mine.get(index).copied().flatten();
            if before == ours.map(|held| held.epoch) {
                continue;
            }
            changed = true;
            self.forget_moving(block);
            let held = ours.map(|held| match held.taken_over {
                // Whatever its last holder promised unheard ended before it was put out, and reaches no further than
                // the MCLT from there: by a clock that may have run slower than ours (rules 2 and 5).
                true => {
                    let mclt = self.settings.mclt.max(delegation.map_or(Span::ZERO, |held| held.unheard));
                    self.counts.taken_over += 1;
                    Held { since: now, closed_until: now + mclt + Span(mclt.0 / DRIFT) }
                }
                false => Held::OPEN,
            });
            if let Some(slot) = self.mine.get_mut(index) {
                *slot = ours.map(|held| held.epoch);
            }
            engine.hold(now, block, held);
            let Some(range) = engine.authority().and_then(|authority| authority.blocks().get(block).copied())
            else {
                continue;
            };
            self.forget_returned(range.first, range.last);
            if held.is_some() {
                let leases: Vec<_> =
                    engine.leases().between(range.first, range.last).map(|lease| lease.address).collect();
                for address in leases {
                    self.touch(engine, address, true);
                }
            }
        }
        if changed || !moved.is_empty() {
            self.upheavals += 1;
            self.drop_suspended(engine, work);
        }
        for block in moved {
            self.tell_again(engine, block);
        }
        let joining: Vec<(NodeId, u32)> = self
            .state
            .members()
            .filter(|(_, member)| matches!(member.presence, Presence::Joining { .. }))
            .map(|(node, member)| (node, member.attempt))
            .collect();
        self.began.retain(|node, _| joining.iter().any(|(other, _)| other == node));
        for (node, attempt) in joining {
            if self.began.get(&node).is_none_or(|began| began.0 != attempt) {
                self.began.insert(node, (attempt, None));
            }
        }
    }

    /// Where a newcomer's acknowledgements begin to count: after all that is ours is in the log. So not while there are leases in
    /// memory that found no room on the disk. They are not in it, and their horizons may be from a time when nobody was
    /// to be asked: what is promised by them when there is room again the newcomer would not have heard of.
    pub(super) fn begin_to_wait(&mut self) {
        for (_, milestone) in self.began.values_mut() {
            milestone.get_or_insert_with(|| Milestone::now(&self.log));
        }
    }

    /// Proposes what is due.
    pub(super) fn propose(&mut self, now: Timestamp, engine: &Engine, work: &mut Work) {
        let me = self.settings.me;
        if !self.restored {
            return;
        }
        if !self.state.is_founded() {
            self.propose_founding(now, engine);
            return;
        }
        let digest = engine.authority().map(|authority| authority.blocks().digest());
        if digest != Some(self.state.digest()) {
            self.propose_recut(now, engine);
            return;
        }
        match self.state.member(me).map(|member| &member.presence) {
            None => return,
            Some(Presence::Out) => {
                if self.again(now, "join") {
                    let store = if self.own_leases { None } else { self.mark_first(work) };
                    let Some(store) = store else { return };
                    self.out.push(Output::Propose(Command::Join { node: me, store }));
                }
                return;
            }
            Some(Presence::Joining { .. } | Presence::In) if !self.is_marked() => {
                self.propose_after_loss(now, work);
                return;
            }
            Some(Presence::Joining { .. } | Presence::In) => {}
        }
        self.propose_renewal(now);
        if !self.state.is_in(me) {
            return;
        }
        self.propose_pools(now, engine);
        self.propose_standing(now);
        self.propose_said_down(now);
        if self.again(now, "confirm") {
            self.propose_confirmations();
        }
        if now < self.held_until && self.again(now, "put out") {
            self.propose_putting_out(now);
            self.propose_opening(now, engine);
        }
    }

    fn propose_founding(&mut self, now: Timestamp, engine: &Engine) {
        let Some(blocks) = engine.authority().map(Authority::blocks) else { return };
        let mut rank =
            self.settings.nodes.iter().filter(|place| place.node < self.settings.me).count() as u64;
        let since = *self.unfounded_since.get_or_insert(now);
        // Who has leases goes first: the founder's are the only ones from before that are kept.
        if !self.own_leases {
            rank += 1;
        }
        let due = now >= since + Span(FOUND_AFTER.0.saturating_mul(rank));
        if due && self.again(now, "found") {
            let nodes = self.settings.nodes.iter().map(|place| place.node).collect();
            let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
            let digest = blocks.digest();
            let (founder, store) = (self.settings.me, self.own_store());
            let command = Command::Found { founder, store, nodes, blocks: count, digest };
            self.out.push(Output::Propose(command));
        }
    }

    fn propose_renewal(&mut self, now: Timestamp) {
        // In time for the delegations, and for nobody to think it silent.
        let every = Span((self.settings.delegation.0 / 4).min(self.settings.detection.0 / 2));
        let last = self.stamps.back().map(|(_, at)| *at);
        let eternal = self.held_until == Timestamp(u64::MAX) && !self.state.moves_by_itself();
        if eternal || last.is_some_and(|at| now < at + every) {
            return;
        }
        let stamp = self.log.end().log.wrapping_add(self.renewals_proposed);
        self.renewals_proposed += 1;
        self.stamps.push_back((stamp, now));
        if self.stamps.len() > STAMPS_MAX {
            self.stamps.pop_front();
        }
        let (lasts, mclt) = (self.settings.delegation, self.settings.mclt);
        self.out.push(Output::Propose(Command::Renew { node: self.settings.me, stamp, lasts, mclt }));
    }

    /// Has nodes put out of which an operator said that they are down, again and again until that is agreed on, or they have
    /// shown that they are not.
    fn propose_said_down(&mut self, now: Timestamp) {
        let state = &self.state;
        self.said_down.retain(|node, renewals| {
            let member = state.member(*node);
            member.is_some_and(|member| member.presence != Presence::Out && member.renewals == *renewals)
        });
        if self.said_down.is_empty() || !self.again(now, "said down") {
            return;
        }
        for (&node, &renewals) in &self.said_down {
            // Where delegations end nobody's word is needed for that, and an operator who errs does no harm.
            let heirs = match self.state.moves_by_itself() {
                true if self.may_put_out(now) && self.is_silent(now, node) => self.heirs_of(now, node),
                true => continue,
                false => vec![self.settings.me],
            };
            self.out.push(Output::Propose(Command::PutOut { node, renewals, heirs }));
        }
    }

    fn propose_confirmations(&mut self) {
        for (&node, (attempt, milestone)) in &mut self.began {
            let confirmed = match self.state.member(node).map(|member| &member.presence) {
                Some(Presence::Joining { confirmed }) => confirmed.contains(&self.settings.me),
                _ => true,
            };
            let acked = self.peers.iter().find(|peer| peer.node == node).map_or(0, |peer| peer.acked);
            let reached = milestone.as_mut().is_some_and(|milestone| milestone.is_reached(&self.log, acked));
            if !confirmed && reached {
                let (attempt, by) = (*attempt, self.settings.me);
                self.out.push(Output::Propose(Command::Confirm { node, attempt, by }));
            }
        }
    }

    fn propose_putting_out(&mut self, now: Timestamp) {
        if !self.may_put_out(now) {
            return;
        }
        let silent: Vec<(NodeId, u64)> = self
            .state
            .members()
            .filter(|(node, member)| *node != self.settings.me && member.presence != Presence::Out)
            // One that joins holds nothing, and is waited for by all.
            .filter(|(_, member)| self.settings.failover || member.presence != Presence::In)
            .filter(|(node, _)| self.is_silent(now, *node))
            .map(|(node, member)| (node, member.renewals))
            .collect();
        for (node, renewals) in silent {
            let heirs = self.heirs_of(now, node);
            self.out.push(Output::Propose(Command::PutOut { node, renewals, heirs }));
        }
    }

    /// Whether the silence of others says something of them. If consensus itself stood still, everybody's renewals are late:
    /// ours must have been on time for a while.
    fn may_put_out(&self, now: Timestamp) -> bool {
        let on_time = now < self.held_until && now >= self.entitled_since + self.settings.detection;
        self.state.moves_by_itself() && on_time
    }

    /// Whether a node has not renewed for so long that its delegations have ended.
    pub(super) fn is_silent(&self, now: Timestamp, node: NodeId) -> bool {
        let (Some(member), Some(&(renewals, at))) = (self.state.member(node), self.heard.get(&node)) else {
            return false;
        };
        // Of two nodes with different settings, as while one after the other is started with new ones, the longer counts.
        let lasts = member.lasts.max(self.settings.delegation);
        let ended =
            Span(lasts.0.saturating_add(lasts.0 / DRIFT * 2).saturating_add(Span::from_millis(100).0));
        member.renewals == renewals && now >= at + ended.max(self.settings.failover_timeout)
    }

    /// Who takes a node's blocks: the others of its site, else those of the first site of `preferred_sites` that has any.
    pub(super) fn heirs_of(&self, now: Timestamp, node: NodeId) -> Vec<NodeId> {
        let site = self.settings.place(node).map(|place| place.site);
        self.heirs_in(now, node, site.into_iter().chain(self.settings.heirs.iter().copied()))
    }

    /// Who takes this node's blocks when its site is taken out of service: the others of the site are on their way out too.
    pub(super) fn heirs_elsewhere(&self, now: Timestamp) -> Vec<NodeId> {
        let me = self.settings.me;
        let site = self.settings.place(me).map(|place| place.site);
        self.heirs_in(now, me, self.settings.heirs.iter().copied().filter(|heir| Some(*heir) != site))
    }

    fn heirs_in(&self, now: Timestamp, node: NodeId, sites: impl Iterator<Item = usize>) -> Vec<NodeId> {
        for site in sites {
            let heirs: Vec<NodeId> = self
                .settings
                .nodes
                .iter()
                .filter(|place| place.site == site && place.node != node)
                .map(|place| place.node)
                .filter(|other| self.state.is_in(*other) && !self.is_suspect(now, *other))
                .collect();
            if !heirs.is_empty() {
                return heirs;
            }
        }
        Vec::new()
    }

    /// Whether a node has been silent for longer than the detection interval.
    pub(super) fn is_suspect(&self, now: Timestamp, node: NodeId) -> bool {
        node != self.settings.me
            && self.state.moves_by_itself()
            && self.heard.get(&node).is_none_or(|(_, at)| now >= *at + self.settings.detection)
    }

    fn propose_opening(&mut self, now: Timestamp, engine: &Engine) {
        let Some(authority) = engine.authority() else { return };
        let me = self.settings.me;
        let open = |block: BlockId| authority.held(block).is_some_and(|held| now >= held.closed_until);
        let blocks: Vec<(BlockId, u32)> = (0..)
            .map(BlockId)
            .zip(self.state.blocks())
            .filter(|(block, held)| held.holder == me && held.taken_over && open(*block))
            .map(|(block, held)| (block, held.epoch))
            .take(BLOCKS_PER_COMMAND_MAX)
            .collect();
        if !blocks.is_empty() {
            self.out.push(Output::Propose(Command::Open { by: me, blocks }));
        }
    }

    /// Whether a proposal of a kind is due (again).
    pub(super) fn again(&mut self, now: Timestamp, what: &'static str) -> bool {
        let due = self.proposed.get(what).is_none_or(|at| now >= *at + PROPOSE_AGAIN);
        if due {
            self.proposed.insert(what, now);
        }
        due
    }
}
