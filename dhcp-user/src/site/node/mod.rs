//! A node of a cluster, pure: what it is told of time, consensus, peers and what became durable goes in, what is to be
//! proposed and sent comes out. It decides who may do what with which address (`docs/sites.md`); leases themselves it asks
//! the engine for, through the keeper.
//!
//! * [`settings`]: what is fixed while it runs; [`message`]: what nodes tell each other; [`view`]: what is shown of it.
//! * `delegate`: consensus, and what is proposed; `hand_on`: where blocks go; `tell`: changes to the peers, `ahead`:
//!   those somebody waits for; `ends`: how far behind each is; `adopt`: theirs; `account`: what the audit log is told of that;
//!   `recut`: other pools; `asked`: how clients ask for their renewals; `shared`: who has a site's addresses.
//!
//! **How it is driven.** The node lives in the keeper, in the service's thread. The driver, which has the links and the
//! consensus, hands [`Input`]s to the service and carries out the [`Output`]s that come back with each
//! [`Aftermath`](crate::server::keeper::Aftermath), in their order. What it must keep to:
//!
//! * Commands are applied in the order of the log, each after it is durable, none twice, from [`Input::Restored`] on.
//! * Messages of a peer come in the order in which it sent them, and only those of the present connection: between
//!   [`Input::Lost`] and the next [`Input::Connected`] none, and never one that was sent over an earlier connection.
//! * Whom a message comes from is what the link proved, not what the message says.
//! * An output that cannot be carried out is dropped: proposals are made again, and [`Input::Lost`] ends what was sent.
//!   A peer whose queue is full is disconnected.

mod account;
mod adopt;
mod ahead;
mod asked;
mod delegate;
mod ends;
mod hand_on;
mod membership;
pub mod message;
mod peer;
mod recut;
pub mod settings;
mod shared;
mod tell;
pub mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::Ipv4Addr,
};

pub use membership::ClusterId;
pub use message::Message;
pub use settings::{Place, Settings, SiteFacts};
pub use view::{Role, View};

use self::{
    ends::Ends,
    hand_on::Moving,
    membership::Mark,
    peer::{Arrived, Peer},
    tell::{Returned, Waiting},
    view::{Counts, PeerView, Standing},
};
use super::{
    delegation::{Command, Delegations, NodeId, Presence},
    replication::{Book, ChangeLog, Cursor, Milestone},
};
use crate::{
    engine::Engine,
    server::{unsaved::Unsaved, work::Work},
    time::Timestamp,
};

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The consensus log's state up to `index`, after a start or in the place of commands that are no longer kept.
    Restored {
        /// The index of the last command in it; 0 if there is none.
        index: u64,
        /// The state.
        state: Box<Delegations>,
    },
    /// A command of the log, durable and agreed.
    Applied {
        /// Its index, greater than that of the one before. Indices without a command for us are left out.
        index: u64,
        /// The command; it may be void.
        command: Command,
    },
    /// The cluster's name, and the numbers it gave the nodes at these places of the configuration; what has none is not
    /// known yet. Comes before [`Restored`](Self::Restored), and again when there are more; without it places are numbers.
    Numbered(ClusterId, Vec<(usize, NodeId)>),
    /// There is a connection to a peer, in both directions, and it is who it says.
    Connected(NodeId),
    /// It is gone.
    Lost(NodeId),
    /// A message of a peer.
    Message(NodeId, Message),
    /// What an operator wants.
    Order(Order),
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hand all blocks on, in order, and ask for none.
    Drain,
    /// Ask for blocks again.
    Resume,
    /// A node is down: take its blocks over. If there are three or more, when its delegations have ended, as failover by
    /// itself does. If two are all there are, at once: if it is not down then, addresses will be doubled.
    PartnerDown(NodeId),
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be proposed to the cluster; it is proposed again if it is not seen applied.
    Propose(Command),
    /// To be sent to a peer that is connected.
    Send(NodeId, Message),
}

/// A node.
pub struct Node {
    settings: Settings,
    /// All nodes as configured, and which of them this is.
    configured: Vec<Place>,
    my_place: usize,
    cluster: ClusterId,
    mark: Mark,
    /// What this node may do has changed without a command.
    changed_standing: bool,
    /// The nodes of which an operator said that they are down, and their last renewals then: a later one makes that void.
    said_down: BTreeMap<NodeId, u64>,
    /// It has leases nobody else knows of, from before there was a cluster, and so does not join.
    own_leases: bool,
    /// How far it was in the others' logs when it started.
    known: Vec<(NodeId, Cursor)>,
    state: Delegations,
    applied_index: u64,
    /// The consensus log's state is known since the start.
    restored: bool,
    /// Leases on disk were taken up when this command had been applied: before it is applied again, none are.
    adopted_under: u64,
    log: ChangeLog,
    ends: Ends,
    peers: Vec<Peer>,
    /// The epochs under which blocks are held, as the engine was told.
    mine: Vec<Option<u32>>,
    /// The epochs of all blocks when they were last looked at.
    epochs: Vec<u32>,
    /// How often blocks have changed hands.
    upheavals: u64,
    held_until: Timestamp,
    /// Since when that has been without a gap.
    entitled_since: Timestamp,
    /// Renewals proposed, by their stamps.
    stamps: VecDeque<(u64, Timestamp)>,
    renewals_proposed: u64,
    /// The last renewal of each node that was applied, and when.
    heard: BTreeMap<NodeId, (u64, Timestamp)>,
    /// For each attempt to join, what it is waited for; `None` as long as that is not all in the log.
    began: BTreeMap<NodeId, (u32, Option<Milestone>)>,
    unfounded_since: Option<Timestamp>,
    proposed: HashMap<&'static str, Timestamp>,
    /// Leases whose horizons move when everybody has acknowledged a change.
    awaiting: BTreeMap<Ipv4Addr, Waiting>,
    /// Changes that somebody waits for everybody to know: of those, and of leases whose replies are held.
    pressing: BTreeMap<u64, Ipv4Addr>,
    /// Some peer has acknowledged something since that was last looked at, and some have something ahead of its turn.
    heard_ahead: bool,
    returned: BTreeMap<Ipv4Addr, Returned>,
    /// Until when nodes that were removed may still answer what they know of.
    struck_until: Timestamp,
    /// Rises when a peer turns out to have been started anew.
    incarnation: u64,
    /// Leases the kernel was told to forget for a peer's sake, and has not yet.
    forgetting: BTreeSet<Ipv4Addr>,
    /// Peers of whom something was taken up that is not durable yet, with where we were before.
    undurable: Vec<(usize, Cursor)>,
    /// Peers that are objected to and whose grants were taken up nevertheless, which is not durable yet: up to there.
    hearing: Vec<(usize, Cursor)>,
    moving: Option<Moving>,
    no_moves_until: Timestamp,
    /// How clients ask for their renewals.
    asked: Book,
    /// Leases whose renewals the kernel is to be taught from that.
    untaught: BTreeSet<Ipv4Addr>,
    /// When blocks of a pool were last asked for, and how many have been asked.
    wishes: HashMap<usize, (Timestamp, usize)>,
    /// Who is short of addresses in which pool: since when, and by how many blocks.
    wanted: BTreeMap<(NodeId, usize), (Timestamp, u32)>,
    next_look: Timestamp,
    draining: bool,
    stopping: bool,
    counts: Counts,
    out: Vec<Output>,
}

impl Node {
    /// A node that has just been started: `log_id` is random and not 0, `cursors` is what the store held under
    /// [`MetaKey::SiteCursors`](crate::lease::store::MetaKey::SiteCursors), `mark` under
    /// [`MetaKey::SiteMember`](crate::lease::store::MetaKey::SiteMember). It does nothing before [`Input::Restored`].
    pub fn new(settings: Settings, log_id: u64, cursors: Option<&[u8]>, mark: Option<&[u8]>) -> Self {
        let (adopted_under, known) = cursors.and_then(adopt::decode_cursors).unwrap_or_default();
        let configured = settings.nodes.clone();
        let my_place = configured.iter().position(|place| place.node == settings.me).unwrap_or(usize::MAX);
        let mut node = Self {
            settings,
            configured,
            my_place,
            cluster: ClusterId::default(),
            mark: Mark::stored(mark),
            changed_standing: false,
            said_down: BTreeMap::new(),
            own_leases: false,
            known,
            state: Delegations::default(),
            applied_index: 0,
            restored: false,
            adopted_under,
            log: ChangeLog::new(log_id.max(1)),
            ends: Ends::default(),
            peers: Vec::new(),
            mine: Vec::new(),
            epochs: Vec::new(),
            upheavals: 0,
            held_until: Timestamp::ZERO,
            entitled_since: Timestamp::ZERO,
            stamps: VecDeque::new(),
            renewals_proposed: 0,
            heard: BTreeMap::new(),
            began: BTreeMap::new(),
            unfounded_since: None,
            proposed: HashMap::new(),
            awaiting: BTreeMap::new(),
            pressing: BTreeMap::new(),
            heard_ahead: false,
            returned: BTreeMap::new(),
            struck_until: Timestamp::ZERO,
            incarnation: 0,
            forgetting: BTreeSet::new(),
            undurable: Vec::new(),
            hearing: Vec::new(),
            moving: None,
            no_moves_until: Timestamp::ZERO,
            asked: Book::default(),
            untaught: BTreeSet::new(),
            wishes: HashMap::new(),
            wanted: BTreeMap::new(),
            next_look: Timestamp::ZERO,
            draining: false,
            stopping: false,
            counts: Counts::default(),
            out: Vec::new(),
        };
        let numbers: Vec<_> =
            node.configured.iter().enumerate().map(|(at, place)| (at, place.node)).collect();
        node.on_numbered(ClusterId::default(), &numbers);
        node
    }

    fn known_cursor(&self, node: NodeId) -> Cursor {
        self.known.iter().find(|(other, _)| *other == node).map_or_else(Cursor::default, |known| known.1)
    }

    /// What is fixed.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The cluster's state, as far as it is applied here.
    pub const fn state(&self) -> &Delegations {
        &self.state
    }

    /// The number of the last change of this node's log.
    pub fn log_end(&self) -> u64 {
        self.log.end().seq
    }

    /// How often blocks have changed hands: what peers acknowledged of a promise made before that may have been overtaken.
    pub const fn upheavals(&self) -> u64 {
        self.upheavals
    }

    /// Takes up what a node is told; what that asks of store and kernel is added to `work`.
    pub fn take_input(&mut self, now: Timestamp, input: Input, engine: &mut Engine, work: &mut Work) {
        match input {
            Input::Restored { index, state } => self.on_restored(now, index, *state, engine, work),
            Input::Applied { index, command } => self.on_applied(now, index, &command, engine, work),
            Input::Numbered(cluster, numbers) => self.on_numbered(cluster, &numbers),
            Input::Connected(node) => {
                let own_log = self.log.end().log;
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
                    peer.reset(true);
                    self.out.extend(peer.ask_again(now, own_log).map(|message| Output::Send(node, message)));
                }
                self.drop_suspended(engine, work);
            }
            Input::Lost(node) => {
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
                    peer.reset(false);
                }
                self.drop_suspended(engine, work);
            }
            Input::Message(from, message) => self.on_message(now, from, message, engine),
            Input::Order(order) => self.on_order(order),
        }
    }

    fn on_message(&mut self, now: Timestamp, from: NodeId, message: Message, engine: &mut Engine) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from && peer.connected) else {
            self.counts.nonsense += 1;
            return;
        };
        match message {
            Message::Ask { asked_at } => {
                let subnets = engine.config().subnets.len();
                let free = (0..subnets).map(|subnet| engine.free_addresses(subnet)).sum();
                self.out.push(Output::Send(from, Message::Told { asked_at, clock: now, free }));
            }
            Message::Told { asked_at, clock, free } => peer.told(now, asked_at, clock, free),
            Message::Resume { cursor, log } => self.on_resume(now, from, cursor, log),
            Message::Updates { after, until, octets } => {
                self.on_updates(now, from, Arrived { after, until, octets });
            }
            Message::Acknowledge { cursor } => self.on_acknowledge(now, from, cursor),
            Message::Heard { cursor } => self.on_heard(from, cursor),
            Message::Want { pool, blocks } => self.on_want(now, from, pool, blocks, engine),
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Drain => self.draining = true,
            Order::Resume => self.draining = false,
            Order::PartnerDown(node) => {
                let renewals = self.state.member(node).map_or(0, |member| member.renewals);
                self.said_down.insert(node, renewals);
            }
        }
    }

    /// Lets time pass, and takes up what has come: to be called after every batch of inputs, and several times a second.
    /// One batch of each peer at most is taken up by a call, and none while there are leases in memory that found no room on
    /// the disk: what is judged by them, and acknowledged, would not outlast this process.
    pub fn turn(&mut self, now: Timestamp, engine: &mut Engine, unsaved: &Unsaved, work: &mut Work) {
        if std::mem::take(&mut self.changed_standing) {
            self.follow(now, engine, work);
        }
        if unsaved.is_empty() {
            self.begin_to_wait();
        }
        self.take_up(now, engine, unsaved.is_empty(), work);
        self.advance(now, engine, work);
        self.propose(now, engine, work);
        self.hand_on(now, engine, unsaved);
        for peer in &mut self.peers {
            if let Some(question) = peer.ask(now) {
                self.out.push(Output::Send(peer.node, question));
            }
        }
    }

    /// Tells the peers, and gives out what is to be done. What is in the engine is durable now, but for `unsaved`.
    pub fn outputs(&mut self, now: Timestamp, engine: &Engine, unsaved: &Unsaved) -> Vec<Output> {
        let end = self.log.end().seq;
        self.ends.note(now, end);
        for peer in &mut self.peers {
            if peer.acked < end {
                peer.behind_since.get_or_insert(now);
                // After a loss of the link it is not known what it has: it lacks no more than before.
                let since = peer.lacks_since.map(|since| since.max(self.ends.lacking_since(peer.acked)));
                peer.lacks_since = since.or(Some(now));
            } else {
                peer.lacks_since = None;
            }
        }
        self.pump(now, engine, unsaved);
        std::mem::take(&mut self.out)
    }

    /// Whether something that came can be taken up at once, so that another turn is worth while.
    pub fn has_more(&self) -> bool {
        self.peers.iter().any(|peer| !peer.arrived.is_empty())
    }

    /// What is shown of the node.
    pub fn view(&self, now: Timestamp, engine: &Engine) -> View {
        let me = self.settings.me;
        let authority = engine.authority();
        let held_by = |node| self.state.blocks().filter(|held| held.holder == node).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let closed = authority.map_or(0, |authority| {
            let blocks = (0..).map(super::blocks::BlockId).take(authority.blocks().len());
            blocks.filter(|b| authority.held(*b).is_some_and(|held| now < held.closed_until)).count()
        });
        let digest = authority.map(|authority| authority.blocks().digest());
        let role = match self.state.member(me).map(|member| &member.presence) {
            _ if !self.restored || !self.state.is_founded() => Role::Waiting,
            _ if digest != Some(self.state.digest()) => Role::Differs,
            None => Role::Stranger,
            Some(_) if self.restored && self.own_leases => Role::HasLeases,
            Some(Presence::Out) => Role::Out,
            Some(Presence::Joining { .. }) => Role::Joining,
            Some(Presence::In) if now >= self.held_until => Role::Cut,
            Some(Presence::In) if self.draining => Role::Draining,
            Some(Presence::In) => Role::Active,
        };
        let end = self.log.end();
        let peers = self.peers.iter().map(|peer| {
            let place = self.settings.place(peer.node);
            let site = place.and_then(|place| self.settings.sites.get(place.site));
            let lag = self.log.lag_at_most(Cursor { seq: peer.acked, ..end });
            PeerView {
                node: peer.node.0,
                name: place.map(|place| place.name.clone()).unwrap_or_default(),
                site: site.map(|site| site.name.clone()).unwrap_or_default(),
                connected: peer.connected,
                standing: match self.state.member(peer.node).map(|member| &member.presence) {
                    None => Standing::Stranger,
                    Some(Presence::Out) => Standing::Out,
                    Some(Presence::Joining { .. }) => Standing::Joining,
                    Some(Presence::In) => Standing::In,
                },
                suspect: self.is_suspect(now, peer.node),
                blocks_held: count(held_by(peer.node)),
                free: peer.free,
                lag_updates: lag,
                lag_secs: peer.lacks_since.filter(|_| lag > 0).map_or(0, |since| now.since(since).as_secs()),
                last_sync: peer.last_sync,
                latency: peer.latency,
                updates_sent: peer.traffic.updates_sent,
                octets_sent: peer.traffic.octets_sent,
                updates_received: peer.traffic.updates_received,
                octets_received: peer.traffic.octets_received,
            }
        });
        View {
            role,
            applied_index: self.applied_index,
            held_until: self.held_until,
            // By pools that are not its own it holds nothing, whatever the log said last.
            blocks_held: if role == Role::Differs { 0 } else { count(held_by(me)) },
            blocks_closed: count(closed),
            blocks: count(self.state.blocks().len()),
            epoch: self.state.blocks().map(|held| held.epoch).max().unwrap_or(0),
            awaiting: self.awaiting.len() as u64,
            shared_addresses_here: None,
            peers: peers.collect(),
            counts: Counts {
                superseded: self.log.superseded(),
                templates: self.asked.len() as u64,
                templates_left_out: self.asked.left_out(),
                ..self.counts
            },
        }
    }

    /// Counts replies held, or not sent, for peers had not acknowledged what they promise.
    pub(crate) const fn count_replies(&mut self, held: u64, unacknowledged: u64) {
        self.counts.held_replies += held;
        self.counts.unacknowledged_replies += unacknowledged;
    }
}

#[cfg(test)]
mod tests;
