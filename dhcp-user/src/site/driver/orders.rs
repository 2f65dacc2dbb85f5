//! What an operator wants of nodes: handed to the node it is for, which may be another than the one that was asked.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Sites,
    pump::{ORDER, deliver},
};
use crate::{
    server::service::Event,
    site::{
        consensus::calls::MemberChange,
        link::wire::Lane,
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
    /// Tells all nodes of a site what is wanted of them; the names of those told.
    ///
    /// # Errors
    /// If there is no such site, or one of its nodes cannot be told; the others are then told all the same.
    pub async fn order(self: &Arc<Self>, site: &str, wish: Wish) -> Result<Vec<String>, OrderError> {
        let sites = self.config.multi_site.as_ref().map(|section| &section.sites);
        let at = sites.and_then(|sites| sites.iter().position(|known| known.name == site));
        let at = at.ok_or_else(|| OrderError::Unknown { what: "site", name: site.to_owned() })?;
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
        if self.links.number(node.key).is_some() {
            let message =
                format!("{name} is linked with this node: it is not down. Stop it, or drain its site");
            return Err(OrderError::Unsafe(message));
        }
        let standing = self.council.standing();
        let failover = self.config.multi_site.as_ref().map(|section| &section.failover);
        let by_itself = failover.filter(|failover| failover.enabled);
        if standing.voters.len() > 2 {
            if let Some(failover) = by_itself {
                let message = format!(
                    "a majority of the {} nodes puts a silent one out by itself, after failover_timeout ({} s) at the \
                     earliest: `site show` says when it has. Without a majority nothing moves",
                    standing.voters.len(),
                    failover.failover_timeout_secs
                );
                return Err(OrderError::Unsafe(message));
            }
            if standing.leader.is_none() {
                let message =
                    "no majority of the nodes is up and linked: none of them can say that another is out";
                return Err(OrderError::Unsafe(message.to_owned()));
            }
            tracing::warn!(
                node = node.name,
                "an operator says that a node is down: its blocks are taken over when its delegations have ended"
            );
        } else {
            tracing::warn!(
                node = node.name,
                "an operator says that the partner is down: its blocks are taken over"
            );
            let (sites, partner) = (Arc::clone(self), node.clone());
            let alone = self.runtime.spawn(async move { sites.council.go_on_without(&partner).await });
            let alone = alone.await.unwrap_or_else(|_| Err("this node is stopping".to_owned()));
            alone.map_err(OrderError::Unsafe)?;
        }
        let number = self.council.machine().cluster().number(node.key).ok_or_else(unknown)?;
        deliver(&self.to_node, Event::Site(Input::Order(Order::PartnerDown(number)))).await;
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
