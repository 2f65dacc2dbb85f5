//! How clients ask for their renewals: noted where they are granted leases, told to the others with the lease, and taken up
//! there so that a standby's kernel knows each client's next request before it comes.

use std::net::Ipv4Addr;

use dhcp_common::abi::Form;

use super::Node;
use crate::{
    lease::record::{LeaseRecord, LeaseState},
    site::replication::{Asked, Identity, Template},
};

impl Node {
    /// Takes note of how a client that was granted a lease here will ask for its renewal, by one of two ways; to be called
    /// before the lease is [`committed`](Self::committed).
    pub fn asked(&mut self, address: Ipv4Addr, form: Form, template: Option<Template>) {
        self.asked.note(address, form, template);
    }

    /// A digest of all that is told of a lease beside its times.
    pub(super) fn digest_of(&self, shown: &LeaseRecord) -> u64 {
        Identity::of(shown).digest() ^ self.asked.digest(shown.address)
    }

    /// How a client asks, if its lease is one to renew.
    pub(super) fn asked_of(&self, shown: &LeaseRecord) -> Asked {
        if shown.state == LeaseState::Bound { self.asked.of(shown.address) } else { [None, None] }
    }

    /// Takes up what a peer says of a lease: `told` is how its client asks, if the peer told all of it; `before` what was
    /// known of the lease.
    pub(super) fn learn_of(
        &mut self,
        record: &LeaseRecord,
        told: Option<Asked>,
        before: Option<&LeaseRecord>,
    ) {
        let address = record.address;
        if record.state != LeaseState::Bound {
            self.asked.forget(address);
            self.untaught.remove(&address);
            return;
        }
        if before.is_some_and(|before| before.client != record.client) {
            self.asked.forget(address);
        }
        let whole = told.is_some();
        let news = told.is_some_and(|told| self.asked.adopt(address, told));
        let known = |forms: &[Option<_>; 2]| forms.iter().any(Option::is_some);
        let lost = before.is_some_and(|before| known(&before.forms)) && !known(&record.forms);
        // Mere times of a lease whose renewals cannot be taught are no reason to try again.
        if news || lost || whole && !known(&record.forms) {
            let template = self.asked.of(address).iter().any(Option::is_some);
            if template {
                self.untaught.insert(address);
            }
        }
    }

    /// Leases whose renewals the kernel is to be taught, with how their clients ask: so many at most.
    pub fn take_untaught(&mut self, max: usize) -> Vec<(Ipv4Addr, Asked)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(address) = self.untaught.pop_first()
        {
            taken.push((address, self.asked.of(address)));
        }
        taken
    }

    /// Whether there are such.
    pub fn has_untaught(&self) -> bool {
        !self.untaught.is_empty()
    }

    /// What the kernel knew of renewals is void: it is to be taught anew.
    pub fn teach_anew(&mut self) {
        self.untaught.extend(self.asked.addresses());
    }

    /// Counts leases whose renewals the kernel was taught.
    pub(crate) const fn count_taught(&mut self, leases: u64) {
        self.counts.taught += leases;
    }
}
