//! What all links of a node share: who it is, whom it knows, what it counts, and the connection that is in use with each
//! of the others.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand::RngCore as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    counts::Counts,
    hello::Hello,
    round_trip::{Offset, RoundTrip},
    shaper::Shaper,
    terms::Terms,
    tls::Tls,
    wire::{Lane, Message},
};
use crate::{
    site::{
        replication,
        roster::{Node, NodeKey, Roster},
    },
    time::{Span, Timestamp},
};

/// Octets that wait to be sent to one node, at most.
const QUEUED_MAX: usize = 64 << 20;
/// Messages that wait on each lane, at most.
pub(super) const QUEUE: [usize; 3] = [1_024, 1_024, 256];
/// KiB received from all nodes together that wait to be handled, at most.
const ROOM_KIB: usize = 96 << 10;
/// What is shorter is not worth compressing, octets.
const PACK_MIN: usize = 128;
/// The kind of a message is its first octet; the links' own are these.
pub(super) const PING: u8 = 0;
/// The answer to [`PING`].
pub(super) const PONG: u8 = 1;

/// What the links tell.
pub enum LinkEvent {
    /// There is a link to this node, with a number higher than all before; what was under way on an earlier one is lost.
    Up(NodeKey, u64, Hello),
    /// The link of that number is there no more.
    Down(NodeKey, u64),
    /// A message came.
    Message {
        /// From whom.
        from: NodeKey,
        /// Over which link.
        number: u64,
        /// Its kind: above 1.
        kind: u8,
        /// Its content.
        octets: Vec<u8>,
        /// Room for another when this is dropped.
        room: OwnedSemaphorePermit,
    },
}

impl fmt::Debug for LinkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(node, number, _) => write!(f, "Up({node:?}, {number})"),
            Self::Down(node, number) => write!(f, "Down({node:?}, {number})"),
            Self::Message { from, kind, octets, .. } => {
                write!(f, "Message({from:?}, {kind}, {} octets)", octets.len())
            }
        }
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How often a node is asked for its clock.
    pub ping_every: Duration,
    /// Silence after which a connection is given up.
    pub silence_max: Duration,
    /// How long a greeting may take, TLS included.
    pub greeting_max: Duration,
    /// How long the other end may take to take a chunk.
    pub write_max: Duration,
    /// The first wait before a node is called again; doubled each time.
    pub again_min: Duration,
    /// The longest such wait.
    pub again_max: Duration,
    /// A link that lasted this long was a good one: the next call is made soon, and the next failure is news.
    pub lasted: Duration,
}

/// Who a node is among the others.
#[derive(Debug)]
pub struct Identity {
    /// All nodes, and this one.
    pub roster: Roster,
    /// What must agree.
    pub terms: Terms,
    /// Its cluster, if it has been part of one.
    pub cluster: Option<[u8; 16]>,
    /// Given when its state was made.
    pub incarnation: u64,
    /// Certificates; `None` without encryption.
    pub tls: Option<Tls>,
}

/// The time on this node's timeline.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all links of a node share.
pub struct Shared {
    pub(in crate::site) roster: Roster,
    terms: Terms,
    cluster: RwLock<Option<[u8; 16]>>,
    incarnation: u64,
    pub(in crate::site) tls: Option<Tls>,
    pub(in crate::site) shaper: Shaper,
    pub(in crate::site) counts: Counts,
    pub(in crate::site) now: Now,
    pub(in crate::site) timing: Timing,
    pub(in crate::site) events: mpsc::Sender<LinkEvent>,
    pub(in crate::site) room: Arc<Semaphore>,
    compress: bool,
    peers: BTreeMap<NodeKey, Peer>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("me", &self.roster.me().name).finish_non_exhaustive()
    }
}

/// What is known of a node, and the way to it.
#[derive(Debug, Default)]
pub(super) struct Peer {
    state: Mutex<PeerState>,
}

#[derive(Debug, Default)]
pub(super) struct PeerState {
    pub link: Option<Link>,
    pub round_trip: RoundTrip,
    pub heard: Option<Instant>,
    pub trouble: Option<String>,
    links: u64,
}

/// The way into a connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub number: u64,
    pub lanes: [mpsc::Sender<Message>; 3],
    pub queued: Arc<AtomicUsize>,
    pub cut: mpsc::Sender<Cut>,
}

/// Why a link is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// More waits for the node, or from it, than may.
    Behind,
    /// What it says makes no sense.
    Nonsense,
}

/// What a connection's tasks have of its [`Link`].
#[derive(Debug)]
pub(super) struct Ends {
    pub queues: [mpsc::Receiver<Message>; 3],
    pub cut: mpsc::Receiver<Cut>,
}

/// Why a message is not sent. What it tells must be told again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no link.
    #[error("there is no link to that node")]
    Down,
    /// The node is slower than what it is told.
    #[error("too much waits for that node already")]
    Full,
    /// No lane takes a message that long.
    #[error("the message is too long")]
    TooLong,
}

/// How a link is.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The node.
    pub node: Node,
    /// Whether there is a link.
    pub up: bool,
    /// How long ago something came from it; `None` if nothing ever did.
    pub silent: Option<Duration>,
    /// The round trip, lately.
    pub round_trip: Option<Span>,
    /// How to convert its moments.
    pub offset: Option<Offset>,
    /// Why there is no link, by the last attempt.
    pub trouble: Option<String>,
    /// Octets that wait to be sent.
    pub queued: usize,
    /// How many links there have been since the start: another number is another link.
    pub links: u64,
}

impl Shared {
    /// Links of a node, none of them there yet.
    pub fn new(
        identity: Identity,
        shaper: Shaper,
        compress: bool,
        timing: Timing,
        now: Now,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let Identity { roster, terms, cluster, incarnation, tls } = identity;
        let peers = roster.others().map(|node| (node.key, Peer::default())).collect();
        Self {
            roster,
            terms,
            cluster: RwLock::new(cluster),
            incarnation,
            tls,
            shaper,
            counts: Counts::default(),
            now,
            timing,
            events,
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            compress,
            peers,
        }
    }

    /// What this node says first on another connection.
    pub fn hello(&self) -> Hello {
        Hello {
            node: self.roster.me().name.clone(),
            cluster: *self.cluster.read().unwrap_or_else(PoisonError::into_inner),
            incarnation: self.incarnation,
            encryption: self.tls.is_some(),
            nonce: rand::rng().next_u64(),
            terms: self.terms.clone(),
        }
    }

    /// This node is part of a cluster from now on.
    pub fn set_cluster(&self, cluster: [u8; 16]) {
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
    }

    pub(super) fn peer(&self, key: NodeKey) -> Option<MutexGuard<'_, PeerState>> {
        Some(self.peers.get(&key)?.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new connection to a node is in use from now on, and an earlier one no more; the queues to send from.
    pub(super) fn adopt(&self, key: NodeKey) -> Option<(Link, Ends)> {
        let [(control, a), (urgent, b), (bulk, c)] = QUEUE.map(mpsc::channel);
        let (cut, to_cut) = mpsc::channel(1);
        let mut peer = self.peer(key)?;
        peer.links += 1;
        let link = Link { number: peer.links, lanes: [control, urgent, bulk], queued: Arc::default(), cut };
        peer.link = Some(link.clone());
        peer.round_trip = RoundTrip::default();
        peer.heard = Some(Instant::now());
        peer.trouble = None;
        Some((link, Ends { queues: [a, b, c], cut: to_cut }))
    }

    /// A connection ended; whether it was the one in use.
    pub(super) fn abandon(&self, key: NodeKey, number: u64) -> bool {
        let Some(mut peer) = self.peer(key) else { return false };
        let current = peer.link.as_ref().is_some_and(|link| link.number == number);
        if current {
            peer.link = None;
        }
        current
    }

    /// Ends the link to a node; another will be made.
    pub fn cut(&self, node: NodeKey, why: Cut) {
        if let Some(link) = self.peer(node).and_then(|peer| peer.link.clone()) {
            // If it is full the link is being cut already.
            let _ = link.cut.try_send(why);
        }
    }

    /// The number of the link to a node.
    pub fn number(&self, node: NodeKey) -> Option<u64> {
        self.peer(node)?.link.as_ref().map(|link| link.number)
    }

    /// Sends a message of a kind to a node, or not at all; it may still be lost with the connection. With `over`, only over
    /// the link of that number.
    ///
    /// # Errors
    /// If it is not sent.
    pub fn send(
        &self,
        to: NodeKey,
        over: Option<u64>,
        lane: Lane,
        kind: u8,
        content: &[u8],
    ) -> Result<(), SendError> {
        let link = self.peer(to).and_then(|peer| peer.link.clone());
        let link = link.filter(|link| over.is_none_or(|over| over == link.number)).ok_or(SendError::Down)?;
        let mut octets = Vec::with_capacity(content.len() + 1);
        octets.push(kind);
        octets.extend_from_slice(content);
        if octets.len() > lane.message_max() {
            return Err(SendError::TooLong);
        }
        let plain = octets.len();
        let mut message = Message { lane, packed: false, octets };
        if self.compress && lane != Lane::Control && plain >= PACK_MIN {
            // Without memory for zstd it goes as it is.
            if let Ok(packed) = replication::compress(&message.octets)
                && packed.len() < plain
            {
                message = Message { lane, packed: true, octets: packed };
            }
        }
        let len = message.octets.len();
        let queue = link.lanes.get(lane.index()).ok_or(SendError::Down)?;
        // Before it is queued: whoever takes it out counts it out.
        let queued = link.queued.fetch_add(len, Relaxed);
        if queued + len > QUEUED_MAX || queue.try_send(message).is_err() {
            link.queued.fetch_sub(len, Relaxed);
            Counts::add(&self.counts.dropped, 1);
            return Err(SendError::Full);
        }
        if lane != Lane::Control {
            Counts::add(&self.counts.plain, plain as u64);
            Counts::add(&self.counts.packed, len as u64);
        }
        Ok(())
    }

    /// How all links are, in the order of the configuration.
    pub fn status(&self) -> Vec<PeerStatus> {
        let of = |node: &Node| {
            let peer = self.peer(node.key)?;
            Some(PeerStatus {
                node: node.clone(),
                up: peer.link.is_some(),
                silent: peer.heard.map(|at| at.elapsed()),
                round_trip: peer.round_trip.median(),
                offset: peer.round_trip.offset(),
                trouble: peer.trouble.clone(),
                queued: peer.link.as_ref().map_or(0, |link| link.queued.load(Relaxed)),
                links: peer.links,
            })
        };
        self.roster.others().filter_map(of).collect()
    }

    /// How to convert a node's moments; `None` without a link that is quick enough to carry leases.
    pub fn offset(&self, key: NodeKey) -> Option<Offset> {
        let offset = self.peer(key)?.round_trip.offset()?;
        (offset.round_trip <= super::round_trip::ROUND_TRIP_MAX).then_some(offset)
    }
}
