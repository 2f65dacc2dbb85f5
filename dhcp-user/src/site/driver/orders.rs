//! What an operator wants of nodes: handed to the node it is for, which may be another than the one that was asked.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Sites,
    pump::{ORDER, deliver},
};
use crate::{
    server::service::Event,
    site::{
        consensus::{calls::MemberChange, council::Standing, survivors::Left},
        link::wire::Lane,
        majority::Remaining,
        node::{Input, Order},
        roster::{Node, NodeKey},
    },
};

/// What can be wanted of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Hand all blocks on.
    Drain,
    /// Ask for blocks again.
    Resume,
}

impl From<Wish> for Order {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Drain => Self::Drain,
            Wish::Resume => Self::Resume,
        }
    }
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such site or node.
    #[error("there is no {what} {name} in dhcp.datacenter.multi_site.sites")]
    Unknown {
        /// Site or node.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It cannot be said to a node now.
    #[error("node {node} cannot be told: {reason}")]
    Untold {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// It would not be safe.
    #[error("{0}")]
    Unsafe(String),
}

/// An order came from another node.
pub(super) async fn received(sites: &Sites, from: NodeKey, octets: &[u8]) {
    if let Ok(wish) = postcard::from_bytes::<Wish>(octets) {
        let by = sites.links.roster.get(from).map_or("?", |node| &node.name);
        tracing::warn!(?wish, by, "an operator's order");
        deliver(&sites.to_node, Event::Site(Input::Order(wish.into()))).await;
    }
}

impl Sites {
    fn site_name(&self, at: usize) -> &str {
        let site = self.config.multi_site.as_ref().and_then(|section| section.sites.get(at));
        site.map_or("?", |site| &site.name)
    }

    fn site_at(&self, name: &str) -> Result<usize, OrderError> {
        let sites = self.config.multi_site.as_ref().map(|section| &section.sites);
        let at = sites.and_then(|sites| sites.iter().position(|known| known.name == name));
        at.ok_or_else(|| OrderError::Unknown { what: "site", name: name.to_owned() })
    }

    /// Tells all nodes of a site what is wanted of them; the names of those told.
    ///
    /// # Errors
    /// If there is no such site, or one of its nodes cannot be told; the others are then told all the same.
    pub async fn order(self: &Arc<Self>, site: &str, wish: Wish) -> Result<Vec<String>, OrderError> {
        let at = self.site_at(site)?;
        let (mut told, mut failed) = (Vec::new(), None);
        for node in self.links.roster.nodes().iter().filter(|node| node.site == at) {
            match self.order_node(node, wish).await {
                Ok(()) => told.push(node.name.clone()),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(told), Err)
    }

    async fn order_node(&self, node: &Node, wish: Wish) -> Result<(), OrderError> {
        if node.key == self.links.roster.me().key {
            tracing::warn!(?wish, "an operator's order");
            deliver(&self.to_node, Event::Site(Input::Order(wish.into()))).await;
            return Ok(());
        }
        let untold = |reason: String| OrderError::Untold { node: node.name.clone(), reason };
        let octets = postcard::to_stdvec(&wish).map_err(|error| untold(error.to_string()))?;
        let sent = self.links.send(node.key, None, Lane::Control, ORDER, &octets);
        sent.map_err(|error| untold(error.to_string()))
    }

    /// An operator says that a node is down: its blocks are taken over. Of two nodes at once, on that word alone; of more when
    /// its delegations have ended, which is for where that is not done by itself (`failover.enabled`).
    ///
    /// # Errors
    /// If there is no such node, it is linked, or that is done by itself.
    pub async fn partner_down(self: &Arc<Self>, name: &str) -> Result<(), OrderError> {
        let me = self.links.roster.me();
        let mut others = self.links.roster.nodes().iter().filter(|node| node.key != me.key);
        let unknown = || OrderError::Unknown { what: "node", name: name.to_owned() };
        let node = others.find(|node| node.name.eq_ignore_ascii_case(name)).cloned().ok_or_else(unknown)?;
        let site = self.site_name(node.site).to_owned();
        self.lost(
            &node.name,
            &[&node],
            &format!(". If all of its site is lost: `site partner-down --site {site}`"),
        )
        .await
    }

    /// An operator says that a whole site is down: its blocks are taken over. If those that are left are exactly half of those
    /// that decide, they decide from then on; if they are a majority, this is for where that is not done by itself.
    ///
    /// # Errors
    /// If there is no such site, this node is of it, one of its nodes is linked, too few are left, or that is done by itself.
    pub async fn site_down(self: &Arc<Self>, name: &str) -> Result<(), OrderError> {
        let at = self.site_at(name)?;
        if self.links.roster.me().site == at {
            let message =
                format!("this node is of site {name}, and it is up: ask a node of a site that is left");
            return Err(OrderError::Unsafe(message));
        }
        let nodes: Vec<&Node> = self.links.roster.nodes().iter().filter(|node| node.site == at).collect();
        self.lost(&format!("site {name}"), &nodes, "").await
    }

    /// Nodes are lost: those that are left decide without them if they must, and are told to take over from them. `hint` is what
    /// else may be said of these nodes if no majority is there.
    async fn lost(self: &Arc<Self>, what: &str, nodes: &[&Node], hint: &str) -> Result<(), OrderError> {
        let refused = |message: String| Err(OrderError::Unsafe(message));
        if let Some(there) = nodes.iter().find(|node| self.links.number(node.key).is_some()) {
            return refused(format!(
                "{} is linked with this node: it is not down. Stop it, or drain its site",
                there.name
            ));
        }
        let standing = self.council.standing();
        if standing.voters.is_empty() {
            return refused("there is no cluster yet, or this node has not been told of it".to_owned());
        }
        let keys: BTreeSet<NodeKey> = nodes.iter().map(|node| node.key).collect();
        match self.council.left_without(&keys).await.map_err(OrderError::Unsafe)? {
            Left::All => {}
            Left::Majority => self.majority_puts_out(&standing, hint)?,
            Left::Half(_) => {
                tracing::warn!(
                    lost = what,
                    "an operator says that it is lost for certain: those that are left go on without it"
                );
                let sites = Arc::clone(self);
                let going_on = self.runtime.spawn(async move { sites.council.go_on_without(&keys).await });
                let going_on = going_on.await.unwrap_or_else(|_| Err("this node is stopping".to_owned()));
                going_on.map_err(OrderError::Unsafe)?;
            }
            Left::Fewer => {
                return refused(format!(
                    "without {what} fewer than half of those that decide are left ({}), and the lost may have agreed on something that \
                     none of these knows. Start one of the lost nodes again, or another machine under its name with what it had \
                     in link.state_path, until half of them are there",
                    standing.voters.join(", ")
                ));
            }
        }
        tracing::warn!(
            lost = what,
            "what it holds is taken over, of three nodes and more when its delegations have ended"
        );
        for node in nodes {
            // One that has no number has never held anything.
            if let Some(number) = self.council.machine().cluster().number(node.key) {
                deliver(&self.to_node, Event::Site(Input::Order(Order::PartnerDown(number)))).await;
            }
        }
        Ok(())
    }

    /// Those that are left are a majority, who need no word for it, or need one and are there to hear it.
    fn majority_puts_out(&self, standing: &Standing, hint: &str) -> Result<(), OrderError> {
        let failover = self.config.multi_site.as_ref().map(|section| &section.failover);
        let by_itself = failover.filter(|failover| failover.enabled);
        let linked = |name: &&String| {
            let key = NodeKey::of(name);
            key == self.links.roster.me().key || self.links.number(key).is_some()
        };
        let there = standing.voters.iter().filter(linked).count();
        if Remaining::of(there, standing.voters.len()) != Remaining::Majority {
            let missing: Vec<&str> =
                standing.voters.iter().filter(|name| !linked(name)).map(String::as_str).collect();
            return Err(OrderError::Unsafe(format!(
                "no majority of the {} nodes that decide is up and linked, so none of them can say that another is out. Missing: {}{hint}",
                standing.voters.len(),
                missing.join(", ")
            )));
        }
        if let Some(failover) = by_itself {
            return Err(OrderError::Unsafe(format!(
                "a majority of the {} nodes puts a silent one out by itself, after failover_timeout ({} s) at the earliest: \
                 `site show` says when it has",
                standing.voters.len(),
                failover.failover_timeout_secs
            )));
        }
        if standing.leader.is_none() {
            let message = "no node leads at present, so none of them can say that another is out: try again";
            return Err(OrderError::Unsafe(message.to_owned()));
        }
        Ok(())
    }

    /// Adds a node to those that decide, or takes it away.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn change_members(self: &Arc<Self>, change: MemberChange) -> Result<(), String> {
        let sites = Arc::clone(self);
        let task = self.runtime.spawn(async move { sites.council.change(change).await });
        task.await.unwrap_or_else(|_| Err("this node is stopping".to_owned()))
    }
}
