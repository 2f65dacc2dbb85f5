//! Going on without the other of two nodes, because an operator says that it is down for certain.
//!
//! Two voters agree on nothing without both. So this node takes the one entry the other can no longer agree to, "this node
//! alone decides", as if the other had led and told it. Nothing that was agreed on is lost: with two voters all of it is in this
//! node's log. The other, when it comes back, finds itself outvoted and is told everything.

use std::{collections::BTreeMap, time::Duration};

use openraft::{
    BasicNode, CommittedLeaderId, EntryPayload, LogId, Membership, Vote,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use tokio::time::{Instant, sleep};

use super::council::Council;
use crate::site::roster::Node;

/// How long this node may take to lead itself.
const LEADING_MAX: Duration = Duration::from_secs(30);

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
}
