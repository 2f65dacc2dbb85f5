//! Between links, consensus and the node: who is told what, in which order (`site::node` says what it relies on).
//!
//! A link has a number. What the node sends goes only over the link that it knew of when it sent: the service echoes each
//! `Connected` in the queue of the node's outputs ([`FromNode::Linked`]), so that the pump knows which one that was.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::TrySendError,
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::sleep,
};

use super::{Ends, Sites, orders};
use crate::{
    server::service::Event,
    site::{
        consensus::{
            calls::{ANSWER, QUESTION},
            cluster::Entry,
            council::Council,
            machine::Agreed,
        },
        delegation::NodeId,
        link::{
            shared::{Cut, LinkEvent, SendError, Shared},
            wire::Lane,
        },
        node::{Input, Message, Output},
        roster::NodeKey,
    },
};

/// Kind of a link's message: one between nodes about leases.
pub const NODE: u8 = 4;
/// Kind of a link's message: what an operator wants of a node.
pub const ORDER: u8 = 5;
/// How long until the service's queue is looked at again when it is full.
const FULL_AGAIN: Duration = Duration::from_millis(2);
/// Messages that came early, and octets of one, at most; beyond that their link begins anew.
const EARLY_MAX: usize = 256;
const EARLY_OCTETS_MAX: usize = 64 << 10;

/// What comes from the node, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// It has been told of the link of this number; what follows for that peer goes over it.
    Linked(NodeId, u64),
    /// It wants this done.
    Output(Output),
}

/// The queue from the node to the pump, which never keeps the service waiting.
#[derive(Clone, Debug)]
pub struct ToPump {
    queue: Sender<FromNode>,
    overflowed: Arc<AtomicBool>,
}

/// Its other end.
#[derive(Debug)]
pub struct FromService {
    queue: Receiver<FromNode>,
    overflowed: Arc<AtomicBool>,
}

/// A queue of this many.
pub fn queue(len: usize) -> (ToPump, FromService) {
    let ((to, from), overflowed) = (channel(len), Arc::<AtomicBool>::default());
    let pushed = ToPump { queue: to, overflowed: Arc::clone(&overflowed) };
    (pushed, FromService { queue: from, overflowed })
}

impl ToPump {
    /// Hands something on. If it finds no room it is lost, and all links with it, so that everything is told anew.
    pub fn push(&self, what: FromNode) {
        if self.queue.try_send(what).is_err() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
    }
}

/// A link, as far as the node is concerned.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// The number of the link there is.
    link: Option<u64>,
    /// The number of the link the node was told of.
    told: Option<u64>,
    /// The number of the link the node knew of when it sent what is being sent now.
    over: Option<u64>,
}

/// The pump.
#[derive(Debug)]
pub struct Pump {
    links: Arc<Shared>,
    ends: Ends,
    from_links: Receiver<LinkEvent>,
    from_council: Receiver<Agreed>,
    peers: BTreeMap<NodeKey, Peer>,
    /// The numbers the cluster gave its nodes; none before it has begun.
    numbers: BTreeMap<NodeKey, NodeId>,
    /// What came over links before this node knew of the cluster and its numbers, as others did already: not to be lost, for
    /// it is not said again.
    early: VecDeque<(NodeKey, Vec<u8>)>,
    /// The state the node is told of once there are numbers.
    waiting: Option<Input>,
}

impl Pump {
    /// A pump between these.
    pub fn new(
        links: Arc<Shared>,
        ends: Ends,
        from_links: Receiver<LinkEvent>,
        from_council: Receiver<Agreed>,
    ) -> Self {
        Self {
            links,
            ends,
            from_links,
            from_council,
            peers: BTreeMap::new(),
            numbers: BTreeMap::new(),
            early: VecDeque::new(),
            waiting: None,
        }
    }

    /// Takes up what is agreed while something else goes on, which may wait for that.
    pub async fn beside<T>(mut self, other: impl Future<Output = T>) -> (Self, T) {
        tokio::pin!(other);
        let done = loop {
            tokio::select! {
                Some(agreed) = self.from_council.recv() => self.agreed(agreed).await,
                done = &mut other => break done,
            }
        };
        (self, done)
    }

    /// Pumps until the service is gone.
    pub async fn run(mut self, sites: &Arc<Sites>) {
        let council = Arc::clone(&sites.council);
        loop {
            tokio::select! {
                biased;
                agreed = self.from_council.recv() => match agreed {
                    Some(agreed) => self.agreed(agreed).await,
                    None => return,
                },
                output = self.ends.from_node.queue.recv() => match output {
                    Some(output) => {
                        if self.ends.from_node.overflowed.swap(false, Ordering::Relaxed) {
                            self.cut_all();
                        }
                        self.carry_out(&council, output);
                    }
                    None => return,
                },
                event = self.from_links.recv() => match event {
                    Some(event) => self.linked(sites, event).await,
                    None => return,
                },
            }
        }
    }

    /// The node is told which numbers the cluster gave, and of the links to those that have one now.
    async fn numbered(&mut self, cluster: [u8; 16], numbers: Vec<(NodeKey, NodeId)>) {
        self.numbers = numbers.into_iter().collect();
        let nodes = self.links.roster.nodes().iter().enumerate();
        let known = nodes.filter_map(|(at, node)| Some((at, *self.numbers.get(&node.key)?)));
        self.tell(Input::Numbered(cluster, known.collect())).await;
        if let Some(restored) = self.waiting.take() {
            self.tell(restored).await;
        }
        let linked: Vec<NodeKey> = self.peers.keys().copied().collect();
        for key in linked {
            self.tell_of_link(key).await;
        }
    }

    /// The node is told of a link, if it has not been, and the other end has a number.
    async fn tell_of_link(&mut self, key: NodeKey) {
        let (Some(&node), Some(peer)) = (self.numbers.get(&key), self.peers.get_mut(&key)) else { return };
        if let Some(number) = peer.link.filter(|_| peer.told.is_none()) {
            peer.told = Some(number);
            self.deliver(Event::Linked(node, number)).await;
            let early = std::mem::take(&mut self.early);
            for (from, octets) in early {
                match from == key {
                    true => self.told(from, &octets).await,
                    false => self.early.push_back((from, octets)),
                }
            }
        }
    }

    async fn agreed(&mut self, agreed: Agreed) {
        match agreed {
            Agreed::Named(cluster, numbers) => {
                self.links.set_cluster(cluster);
                self.numbered(cluster, numbers).await;
            }
            Agreed::Restored { index, state } => {
                let restored = Input::Restored { index, state };
                if self.numbers.is_empty() {
                    self.waiting = Some(restored);
                } else {
                    self.tell(restored).await;
                }
            }
            Agreed::Applied { index, command } => self.tell(Input::Applied { index, command }).await,
        }
    }

    async fn linked(&mut self, sites: &Arc<Sites>, event: LinkEvent) {
        let council = &sites.council;
        match event {
            LinkEvent::Up(key, number, hello) => {
                council.linked(key, &hello);
                self.lose(key).await;
                self.peers.entry(key).or_default().link = Some(number);
                self.tell_of_link(key).await;
            }
            LinkEvent::Down(key, number) => {
                if self.peers.get(&key).and_then(|peer| peer.link) == Some(number) {
                    council.lost(key);
                    self.lose(key).await;
                }
            }
            LinkEvent::Message { from, number, kind, octets, room } => {
                if self.peers.get(&from).and_then(|peer| peer.link) != Some(number) {
                    return;
                }
                match kind {
                    QUESTION => council.asked(from, &octets),
                    ANSWER => council.answered(from, &octets),
                    NODE => self.told(from, &octets).await,
                    ORDER => orders::received(sites, from, &octets).await,
                    _ => self.links.cut(from, Cut::Nonsense),
                }
                drop(room);
            }
        }
    }

    async fn told(&mut self, from: NodeKey, octets: &[u8]) {
        let known = self.peers.get(&from).is_some_and(|peer| peer.told.is_some());
        let Some(&node) = self.numbers.get(&from).filter(|_| known) else {
            if self.early.len() < EARLY_MAX && octets.len() <= EARLY_OCTETS_MAX {
                self.early.push_back((from, octets.to_vec()));
            } else {
                self.links.cut(from, Cut::Behind);
            }
            return;
        };
        match Message::decode(octets) {
            Ok(message) => self.tell(Input::Message(node, message)).await,
            Err(_) => self.links.cut(from, Cut::Nonsense),
        }
    }

    fn cut_all(&self) {
        tracing::warn!("this node says more than its links take: all begin anew");
        self.links.roster.others().for_each(|node| self.links.cut(node.key, Cut::Behind));
    }

    /// A link is gone: the node hears of it if it has heard of the link.
    async fn lose(&mut self, key: NodeKey) {
        self.early.retain(|(from, _)| *from != key);
        let peer = self.peers.entry(key).or_default();
        peer.link = None;
        if peer.told.take().is_some()
            && let Some(&node) = self.numbers.get(&key)
        {
            self.tell(Input::Lost(node)).await;
        }
    }

    fn carry_out(&mut self, council: &Arc<Council>, output: FromNode) {
        let key = |numbers: &BTreeMap<NodeKey, NodeId>, node: NodeId| {
            numbers.iter().find(|(_, number)| **number == node).map(|(key, _)| *key)
        };
        match output {
            FromNode::Linked(node, number) => {
                if let Some(key) = key(&self.numbers, node) {
                    self.peers.entry(key).or_default().over = Some(number);
                }
            }
            FromNode::Output(Output::Propose(command)) => council.propose(Entry::Blocks(command)),
            FromNode::Output(Output::Send(node, message)) => {
                let Some(key) = key(&self.numbers, node) else { return };
                let Some(over) = self.peers.get(&key).and_then(|peer| peer.over) else { return };
                // Clocks are asked past all that waits: an answer that waited tells nothing.
                let lane = match message {
                    Message::Ask { .. } | Message::Told { .. } => Lane::Urgent,
                    _ => Lane::Bulk,
                };
                match self.links.send(key, Some(over), lane, NODE, &message.encode()) {
                    Ok(()) | Err(SendError::Down) => {}
                    Err(SendError::Full | SendError::TooLong) => self.links.cut(key, Cut::Behind),
                }
            }
        }
    }

    async fn tell(&self, input: Input) {
        self.deliver(Event::Site(input)).await;
    }

    /// Hands an event to the service, however long its queue is full: nothing of this may be lost.
    async fn deliver(&self, event: Event) {
        deliver(&self.ends.service, event).await;
    }
}

/// Hands an event to the service, however long its queue is full.
pub(super) async fn deliver(service: &std::sync::mpsc::SyncSender<Event>, mut event: Event) {
    loop {
        event = match service.try_send(event) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(event)) => event,
        };
        sleep(FULL_AGAIN).await;
    }
}
