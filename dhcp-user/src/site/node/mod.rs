//! A node of a cluster, pure: what it is told of time, consensus, peers and what became durable goes in, what is to be
//! proposed and sent comes out. It decides who may do what with which address (`docs/sites.md`); leases themselves it asks
//! the engine for, through the keeper.
//!
//! * [`settings`]: what is fixed while it runs; [`message`]: what nodes tell each other; [`view`]: what is shown of it.
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

pub mod message;
pub mod settings;
pub mod view;

pub use message::Message;
pub use settings::{Place, Settings, SiteFacts};
pub use view::View;

use super::delegation::{Command, Delegations, NodeId};

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
    /// The other node is down for certain, and two are all there are: take its blocks over. If it is not down, addresses
    /// will be doubled.
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
