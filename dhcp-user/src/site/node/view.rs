//! What is shown of a node: the state of its site, of its peers, and how far each is behind.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::{Span, Timestamp};

/// What a node does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// There is no cluster yet, or it is not known.
    Waiting,
    /// It is no member of the cluster.
    Stranger,
    /// Its pools are not those of the cluster: it holds nothing.
    Differs,
    /// It has leases from before it belonged to the cluster, which nobody else knows of, and so does not join.
    HasLeases,
    /// It is out and serves what it knows, within the horizons it knows.
    Out,
    /// It is told everything.
    Joining,
    /// It is in, and its delegations have ended because the majority cannot be reached.
    Cut,
    /// It is in and holds its blocks.
    Active,
    /// It is in and hands its blocks on, for an operator wants that.
    Draining,
}

impl Role {
    /// Why a node that does this is not all that it is to be, and the way out; `None` if it is.
    pub const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Active | Self::Draining => None,
            Self::Waiting => Some(
                "this node waits for the cluster: a majority has not begun together yet, or none of it has been heard",
            ),
            Self::Stranger => Some(
                "this node is no member of the cluster: it gives no addresses out; `site member add` on a member makes it one",
            ),
            Self::Differs => Some(
                "this node's pools are not the cluster's: it gives no addresses out. They become the cluster's when a \
                 majority has been started with them; else put the old ones back",
            ),
            Self::HasLeases => Some(
                "this node has leases from before there was a cluster, and others may give their addresses away: only one \
                 node may begin with leases; let these end elsewhere, and start it with an empty store",
            ),
            Self::Out => Some(
                "this node was put out: it gives no addresses to new clients until it has been told everything",
            ),
            Self::Joining => {
                Some("this node is being told everything, and gives no addresses to new clients before that")
            }
            Self::Cut => Some("cut off from the majority: no addresses are given to new clients"),
        }
    }
}

/// What a node shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What it does.
    pub role: Role,
    /// The last command applied.
    pub applied_index: u64,
    /// Until when its delegations last.
    pub held_until: Timestamp,
    /// How many blocks it holds.
    pub blocks_held: u32,
    /// Of these, how many it has taken over and may not give out of yet.
    pub blocks_closed: u32,
    /// How many blocks there are.
    pub blocks: u32,
    /// The highest epoch of any block: it rises whenever one moves.
    pub epoch: u32,
    /// Leases that wait for acknowledgements before their horizons move.
    pub awaiting: u64,
    /// Whether the addresses that the nodes of the site share are on this one; `None` without such.
    pub shared_addresses_here: Option<bool>,
    /// All other nodes.
    pub peers: Vec<PeerView>,
    /// What was counted since the start.
    pub counts: Counts,
}

/// What a peer can be counted on for, as the cluster agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is no member yet.
    Stranger,
    /// For nothing.
    Out,
    /// It is being told everything.
    Joining,
    /// It has everything and may hold blocks.
    In,
}

/// What a node shows of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its number.
    pub node: u16,
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// What it can be counted on for.
    pub standing: Standing,
    /// Whether it has been silent for longer than the detection interval.
    pub suspect: bool,
    /// How many blocks it holds.
    pub blocks_held: u32,
    /// Addresses it has free, as it last said.
    pub free: u64,
    /// It has not acknowledged the last changes of no more leases than this; 0 if it has everything.
    pub lag_updates: u64,
    /// For how long it has not had everything, seconds; 0 if it has.
    pub lag_secs: u64,
    /// When it last had, or we last had, everything of the other.
    pub last_sync: Option<Timestamp>,
    /// The last round trip, nanoseconds, halved.
    pub latency: Option<Span>,
    /// Updates sent to it.
    pub updates_sent: u64,
    /// Octets of updates sent to it, before compression.
    pub octets_sent: u64,
    /// Updates of it that were taken up.
    pub updates_received: u64,
    /// Octets of these.
    pub octets_received: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How often this node found that its store was not the one it had joined with.
    pub stores_lost: u64,
    /// Changes that were not told one by one, for a later one of the same lease followed.
    pub superseded: u64,
    /// Updates ignored because their sender holds their block no more.
    pub overtaken: u64,
    /// Messages that made no sense.
    pub nonsense: u64,
    /// Batches that were not taken up because of a long round trip or an unknown clock.
    pub too_slow: u64,
    /// Batches sent back because the sender does not know yet what was granted here.
    pub objections: u64,
    /// Replies held until peers had what they promise.
    pub held_replies: u64,
    /// Replies not sent because peers did not acknowledge in time.
    pub unacknowledged_replies: u64,
    /// Blocks taken over.
    pub taken_over: u64,
    /// Blocks handed on.
    pub handed_on: u64,
    /// Times blocks stayed where they were, for not everybody acknowledged what their leases are.
    pub moves_given_up: u64,
    /// Ways in which clients ask for renewals that are known at present, each once.
    pub templates: u64,
    /// Ways there was no room for: these clients' first renewal after a take-over goes through the daemon.
    pub templates_left_out: u64,
    /// Leases of other nodes whose renewals the kernel here was taught before their clients ever came.
    pub taught: u64,
}
