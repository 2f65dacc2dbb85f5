//! Going on without the other of two nodes, because an operator says that it is down for certain.
//!
//! Two voters agree on nothing without both. So this node takes the one entry the other can no longer agree to, "this node
//! alone decides", as if the other had led and told it. Nothing that was agreed on is lost: with two voters all of it is in this
//! node's log. The other, when it comes back, finds itself outvoted and is told everything; when it is in again, it is given
//! its vote back.

use std::{collections::BTreeMap, time::Duration};

use openraft::{
    BasicNode, CommittedLeaderId, EntryPayload, LogId, Membership, Vote,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use tokio::time::{Instant, sleep};

use super::{calls::MemberChange, council::Council};
use crate::site::{delegation::Presence, roster::Node};

/// How long this node may take to lead itself.
const LEADING_MAX: Duration = Duration::from_secs(30);
/// How long the other must be in and linked without a break before it is given its vote back: without it nothing is agreed
/// on any more from then on.
const BACK_FOR: Duration = Duration::from_secs(5);

impl Council {
    /// Lets this node decide alone.
    ///
    /// # Errors
    /// If the two are not all who decide, or it cannot be written.
    pub async fn go_on_without(&self, partner: &Node) -> Result<(), String> {
        let me = self.me();
        let standing = self.standing();
        let alone = |voters: &[String]| matches!(voters, [one] if *one == me.name);
        if alone(&standing.voters) {
            return Ok(());
        }
        let both = standing.voters.len() == 2 && standing.voters.contains(&partner.name);
        if !both || !standing.voters.contains(&me.name) {
            let voters = standing.voters.join(", ");
            return Err(format!("those who decide are not this node and {}, but: {voters}", partner.name));
        }
        let (last, term) = {
            let (data, server) = (self.raft().data_metrics(), self.raft().metrics());
            let last = data.borrow().last_log;
            let term = server.borrow().current_term;
            (last, term)
        };
        let term = term + 1;
        let index = last.map_or(0, |last| last.index + 1);
        let log_id = LogId::new(CommittedLeaderId::new(term, partner.key.0), index);
        let named = |node: &Node| (node.key.0, BasicNode { addr: node.name.clone() });
        let nodes: BTreeMap<u64, BasicNode> = [named(me), named(partner)].into();
        let payload = EntryPayload::Membership(Membership::new(vec![[me.key.0].into()], nodes));
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(term, partner.key.0),
            prev_log_id: last,
            entries: vec![openraft::Entry { log_id, payload }],
            leader_commit: Some(log_id),
        };
        match self.raft().append_entries(request).await {
            Ok(AppendEntriesResponse::Success) => {}
            Ok(other) => return Err(format!("this node's own log refuses ({other}): try again")),
            Err(error) => return Err(error.to_string()),
        }
        let end = Instant::now() + LEADING_MAX;
        while !self.leads() {
            if Instant::now() >= end {
                return Err("this node does not get to lead itself: see the log".to_owned());
            }
            sleep(Duration::from_millis(50)).await;
        }
        tracing::warn!(without = partner.name, "this node decides alone from now on");
        Ok(())
    }

    /// Gives the other of two nodes its vote back that it lost when an operator said that it was down: as soon as it is in and
    /// linked, which it must have been since `back_since`. One that was removed is no member, and stays away.
    pub(super) async fn take_back(&self, back_since: &mut Option<Instant>) {
        let alone = || matches!(&*self.standing().voters, [one] if *one == self.me().name);
        let mut others = self.links.roster.others();
        let back = match (others.next(), others.next()) {
            (Some(partner), None) if self.leads() && alone() => Some(partner).filter(|partner| {
                let presence = self.machine().presence(partner.key);
                presence == Some(Presence::In) && self.links.number(partner.key).is_some()
            }),
            _ => None,
        };
        let Some(partner) = back else {
            *back_since = None;
            return;
        };
        let since = *back_since.get_or_insert_with(Instant::now);
        if since.elapsed() < BACK_FOR {
            return;
        }
        *back_since = None;
        match self.change(MemberChange::Add { name: partner.name.clone() }).await {
            Ok(()) => tracing::warn!(node = partner.name, "the partner is back: both nodes decide again"),
            Err(error) => {
                tracing::warn!(node = partner.name, error, "the partner is back and has no vote yet");
            }
        }
    }
}
