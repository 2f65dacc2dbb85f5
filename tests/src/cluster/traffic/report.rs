//! What the clients of a cluster saw.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::Serialize;

use crate::torture::ledger::Broken;

/// What one node answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounts {
    /// Renewals sent to it.
    pub renewals_sent: u64,
    /// Renewals it answered by an ACK.
    pub renewals_answered: u64,
    /// Leases it granted to new clients.
    pub new_leases: u64,
    /// The last of these, boot clock; 0: none.
    pub last_new_boot_ns: u64,
    /// The last ACK of any kind, boot clock; 0: none.
    pub last_ack_boot_ns: u64,
    /// NAKs, in error or not.
    pub naks: u64,
    /// Questions it left without an answer.
    pub unanswered: u64,
}

/// What was seen so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Clients there are.
    pub clients: u64,
    /// Clients with a lease that has not run out.
    pub bound: u64,
    /// The same by site.
    pub bound_by_site: Vec<u64>,
    /// Renewals sent.
    pub renewals_sent: u64,
    /// Renewals answered by an ACK for their address.
    pub renewals_answered: u64,
    /// Of these, by a node of another site than the client's.
    pub renewals_answered_elsewhere: u64,
    /// The longest a client that went on asking waited for the answer to its renewal, milliseconds, since it is
    /// measured anew.
    pub renewal_wait_ms_max: u64,
    /// Leases granted to new clients.
    pub new_leases: u64,
    /// Addresses that were released.
    pub releases: u64,
    /// Clients that went without a word.
    pub vanished: u64,
    /// Leases that ran out because nobody renewed them in time.
    pub ran_out: u64,
    /// Leases granted for less than the configured time, as the MCLT has it.
    pub short_leases: u64,
    /// NAKs, in error or not.
    pub naks: u64,
    /// Questions that a node left without an answer.
    pub unanswered: u64,
    /// Replies that came when their client had given up on them.
    pub late_replies: u64,
    /// Addresses that were granted to more than one client, one after the other.
    pub reused_addresses: u64,
    /// Frames that are no sound DHCP reply to one of the clients. Must be 0.
    pub unsound_replies: u64,
    /// What was broken: must be all 0.
    #[serde(flatten)]
    pub broken: Broken,
    /// By node.
    pub nodes: Vec<NodeCounts>,
    /// Which node last granted each address to a new client, and when: whose it was then.
    #[serde(skip)]
    pub granted_by: BTreeMap<Ipv4Addr, (usize, u64)>,
    /// The first violations, in words.
    pub told: Vec<String>,
}

impl Report {
    /// Nothing seen yet, of so many nodes and sites.
    pub fn of(nodes: usize, sites: usize) -> Self {
        Self { nodes: vec![NodeCounts::default(); nodes], bound_by_site: vec![0; sites], ..Self::default() }
    }

    /// Whether anything happened that must not.
    pub fn violated(&self) -> bool {
        self.broken != Broken::default() || self.unsound_replies > 0
    }

    /// A node's counts; none of a node there is not.
    pub fn node(&self, number: usize) -> NodeCounts {
        self.nodes.get(number).copied().unwrap_or_default()
    }
}
