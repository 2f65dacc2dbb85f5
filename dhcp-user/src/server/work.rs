//! What must be done for a number of messages, gathered so that they share one flush.

use std::net::Ipv4Addr;

use dhcp_common::abi::Form;

use crate::{
    audit::AuditEvent,
    engine::Effects,
    lease::{
        record::LeaseRecord,
        store::{Batch, StoredAnswer},
    },
    probe::Question,
    site::replication::Template,
};

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Index of the interface in the configuration.
    pub interface: usize,
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Of which address it says what must be durable before it is said; of none in particular if that is 0.0.0.0, as in a
    /// DHCPNAK. An OFFER promises nothing (RFC 2131 section 3.1), a probe neither.
    pub promises: Option<Ipv4Addr>,
}

/// Work to be done in the order of the fields: made durable, told to the kernel, sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Work {
    /// To be made durable before anything below happens.
    pub batch: Batch,
    /// Leases taken over from other nodes, to be made durable with the batch.
    pub adopted: Vec<LeaseRecord>,
    /// How clients that were granted leases will ask for their renewals, for the other nodes to hear.
    pub asked: Vec<(Ipv4Addr, Form, Option<Template>)>,
    /// Answers the kernel must have before the leases that name them.
    pub answers: Vec<u32>,
    /// Leases the kernel may know, as the engine has them then.
    pub publish: Vec<Ipv4Addr>,
    /// Leases the kernel must forget; after a grace period the engine is told.
    pub withdraw: Vec<Ipv4Addr>,
    /// Those of them that stay if the batch does not become durable.
    pub replaced: Vec<Ipv4Addr>,
    /// Leases that were given back, for the other nodes to hear.
    pub returned: Vec<Ipv4Addr>,
    /// What the audit log is to say before the replies leave.
    pub audit: Vec<AuditEvent>,
    /// Questions whether addresses are in use.
    pub ask: Vec<Question>,
    /// Replies.
    pub send: Vec<Outgoing>,
}

impl Work {
    /// Takes up an engine's effects, but for the reply.
    pub fn take(&mut self, effects: Effects) {
        self.batch.leases.extend(effects.commit);
        self.publish.extend(effects.publish);
        self.withdraw.extend(effects.withdraw);
        self.replaced.extend(effects.replaced);
        self.returned.extend(effects.returned);
    }

    /// Takes up a new answer.
    pub fn add_answer(&mut self, id: u32, bytes: Vec<u8>) {
        self.batch.answers.push(StoredAnswer { id, bytes });
        self.answers.push(id);
    }

    /// Takes out the replies that promise nothing, which need not wait for a flush.
    pub fn take_offers(&mut self) -> Vec<Outgoing> {
        self.send.extract_if(.., |outgoing| outgoing.promises.is_none()).collect()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
            && self.adopted.is_empty()
            && self.publish.is_empty()
            && self.withdraw.is_empty()
            && self.returned.is_empty()
            && self.audit.is_empty()
            && self.ask.is_empty()
            && self.send.is_empty()
    }
}
