//! Votes for those who are back: a node that lost its vote because an operator said that it was lost, and with nothing else, is told
//! everything and does not decide (`survivors`). One that was removed by hand is no member, and stays away.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{calls::MemberChange, council::Council};
use crate::site::{delegation::Presence, roster::NodeKey};

/// How long a node must be in and linked without a break before it is given its vote back: without it there may be no
/// majority any more from then on.
const BACK_FOR: Duration = Duration::from_secs(5);

/// Since when those who have no vote are back.
#[derive(Debug, Default)]
pub(super) struct Returned(BTreeMap<NodeKey, Instant>);

impl Council {
    /// Those who are told everything and do not decide, though they are in and linked: nobody is in who never decided, and nobody who was
    /// removed is a member.
    fn back(&self) -> BTreeMap<NodeKey, String> {
        if !self.leads() {
            return BTreeMap::new();
        }
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        // While it changes it is somebody else's turn.
        if membership.get_joint_config().len() != 1 {
            return BTreeMap::new();
        }
        let told = membership.learner_ids().map(NodeKey);
        let back = told.filter(|node| {
            self.machine().presence(*node) == Some(Presence::In) && self.links.number(*node).is_some()
        });
        back.filter_map(|node| Some((node, self.links.roster.get(node)?.name.clone()))).collect()
    }

    /// Gives those who are back their votes. To be called now and then.
    pub(super) async fn take_back(&self, returned: &mut Returned) {
        let back = self.back();
        returned.0.retain(|node, _| back.contains_key(node));
        for (node, name) in back {
            if returned.0.entry(node).or_insert_with(Instant::now).elapsed() < BACK_FOR {
                continue;
            }
            // Whatever comes of it, it is tried again after a while only.
            returned.0.remove(&node);
            match self.change(MemberChange::Add { name: name.clone() }).await {
                Ok(()) => {
                    tracing::warn!(node = name, "a node that was said to be lost is back, and decides again")
                }
                Err(error) => tracing::warn!(node = name, error, "a node is back and has no vote yet"),
            }
        }
    }
}
