//! The judging of every reply that comes to a cluster's clients.

use anyhow::Result;

use super::clients::{Clients, Held, Open};
use crate::{
    parse::Message,
    torture::{
        boot_ns,
        ledger::SECOND_NS,
        played::{self, Answer, Asked, Heard, mac},
    },
};

impl Clients {
    pub(super) fn judge(&mut self, node: usize, frame: &[u8]) -> Result<()> {
        let now = boot_ns();
        let (message, identity) = match played::hear(frame, self.next_identity) {
            // Other clients may be on the same cable.
            Heard::Nothing | Heard::Stranger(_) => return Ok(()),
            Heard::Unsound(what) => return self.unsound(&what),
            Heard::Reply(message, identity) => (message, identity),
        };
        let open = self.questions.get(message.xid);
        let open = open.filter(|open| open.more.node == node);
        let Some(open) =
            open.filter(|open| self.clients.get(open.slot).is_some_and(|c| c.identity == identity))
        else {
            // Its client has given up on it, and does not take what it says for a promise.
            self.report.late_replies += 1;
            return Ok(());
        };
        match open.asked.answered_by(message.kind()) {
            Some(Answer::Offer) => {
                self.close(message.xid)?;
                self.select(open.slot, message.yiaddr, node)
            }
            Some(Answer::Ack) => self.acked(&message, &open, identity, now),
            Some(Answer::Nak) => self.refused(&message, &open, identity, now),
            None => self.unsound(&format!("in answer to {:?}: {message:?}", open.asked)),
        }
    }

    fn unsound(&mut self, what: &str) -> Result<()> {
        self.report.unsound_replies += 1;
        self.ledger.tell(|| format!("an unsound reply: {what}"));
        Ok(())
    }

    fn acked(&mut self, ack: &Message, open: &Open, identity: u32, now: u64) -> Result<()> {
        let Some(lease_secs) = ack.option_u32(51).filter(|secs| (1..=self.lease_secs).contains(secs)) else {
            return self.unsound(&format!("more than the lease time that was configured, or none: {ack:?}"));
        };
        self.close(ack.xid)?;
        let (mac, address) = (mac(identity), ack.yiaddr);
        if address != open.address {
            self.ledger.moved(mac, open.address, address, now);
        }
        self.ledger.acked(mac, address, open.sent_boot_ns, now, lease_secs);
        self.report.short_leases += u64::from(lease_secs < self.lease_secs);
        let client = self.client(open.slot)?;
        let (site, asking_since) = (client.site, client.asking_since);
        let until_boot_ns = open.sent_boot_ns + u64::from(lease_secs) * SECOND_NS;
        let half_ns = if lease_secs < self.lease_secs { u64::from(lease_secs) * SECOND_NS / 2 } else { 0 };
        let rests_until_boot_ns = open.sent_boot_ns + half_ns;
        let client = self.client(open.slot)?;
        let before = client.held.replace(Held { address, until_boot_ns, rests_until_boot_ns });
        client.asking_since = 0;
        if before.is_none() {
            self.count_bound(site, true);
        }
        let at_home = self.sites.get(site).is_some_and(|nodes| nodes.contains(&open.more.node));
        if let Some(counts) = self.report.nodes.get_mut(open.more.node) {
            counts.last_ack_boot_ns = now;
            if open.asked == Asked::Select {
                (counts.new_leases, counts.last_new_boot_ns) = (counts.new_leases + 1, now);
            }
            counts.renewals_answered += u64::from(open.asked == Asked::Renew);
        }
        match open.asked {
            Asked::Renew if address == open.address => {
                self.report.renewals_answered += 1;
                self.report.renewals_answered_elsewhere += u64::from(!at_home);
                let waited_ms = now.saturating_sub(asking_since) / 1_000_000;
                self.report.renewal_wait_ms_max = self.report.renewal_wait_ms_max.max(waited_ms);
            }
            Asked::Select => {
                self.report.new_leases += 1;
                let before = self.report.granted_by.insert(address, (open.more.node, now));
                self.report.reused_addresses += u64::from(before.is_some());
            }
            Asked::Renew | Asked::Reboot | Asked::Discover => {}
        }
        Ok(())
    }

    fn refused(&mut self, nak: &Message, open: &Open, identity: u32, now: u64) -> Result<()> {
        self.close(nak.xid)?;
        self.report.naks += 1;
        if let Some(counts) = self.report.nodes.get_mut(open.more.node) {
            counts.naks += 1;
        }
        // For one who was only offered the address, this is no promise broken: the ledger knows of none.
        self.ledger.refused(mac(identity), open.address, now);
        self.drop_lease(open.slot)?;
        self.without.push_back(open.slot);
        Ok(())
    }
}
