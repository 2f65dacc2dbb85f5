//! What happens to sites, told from two looks at them: pure, so that every kind of news can be tried without a cluster. What
//! comes and goes between two looks is not told.

use std::collections::BTreeMap;

use super::{
    Sites,
    status::{SiteDetail, word},
};
use crate::{
    server::feed::{SiteChange, SiteNews},
    site::{
        delegation::{Delegation, NodeId},
        node::View,
    },
    time::Timestamp,
};

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The sites as this node sees them.
    pub sites: Vec<SiteDetail>,
    /// This node's name.
    pub me: String,
    /// Who leads.
    pub leader: Option<String>,
    /// What this node does.
    pub role: Option<String>,
    /// Whether the addresses its site's nodes share are here.
    pub service_addresses_here: Option<bool>,
    /// The nodes' names by the numbers the cluster gave them.
    pub names: BTreeMap<NodeId, String>,
    /// Who holds which block.
    pub blocks: Vec<Delegation>,
}

impl Sites {
    /// Looks; `view` is what the node in the service shows. `None` where there are no sites.
    pub fn look(&self, view: Option<&View>) -> Option<Look> {
        let section = self.config.multi_site.as_ref()?;
        let roster = &self.links.roster;
        let name = |key| roster.get(key).map(|node| node.name.clone());
        let (numbers, blocks) = self.council.machine().holdings();
        Some(Look {
            at: (self.links.now)(),
            sites: section.sites.iter().filter_map(|site| self.site(&site.name, view)).collect(),
            me: roster.me().name.clone(),
            leader: self.council.standing().leader.and_then(name),
            role: view.and_then(|view| word(view.role)),
            service_addresses_here: view.and_then(|view| view.shared_addresses_here),
            names: numbers.into_iter().filter_map(|(key, number)| Some((number, name(key)?))).collect(),
            blocks,
        })
    }
}

impl Look {
    fn site_of(&self, node: &str) -> Option<String> {
        let site = self.sites.iter().find(|site| site.members.iter().any(|member| member.name == node));
        site.map(|site| site.short.name.clone())
    }

    fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| format!("node number {}", node.0))
    }

    fn holds(&self, node: NodeId) -> bool {
        self.blocks.iter().any(|held| held.holder == node)
    }
}

/// News of a kind about nothing yet.
const fn news(kind: SiteChange, detail: String) -> SiteNews {
    SiteNews { kind, site: None, node: None, before: None, now: None, blocks: None, detail }
}

/// What has happened between two looks.
pub fn between(before: &Look, now: &Look) -> Vec<SiteNews> {
    let mut all = Vec::new();
    sites(before, now, &mut all);
    whole(before, now, &mut all);
    blocks(before, now, &mut all);
    all
}

/// Sites and their nodes.
fn sites(before: &Look, now: &Look, all: &mut Vec<SiteNews>) {
    for site in &now.sites {
        let name = &site.short.name;
        let Some(was) = before.sites.iter().find(|was| was.short.name == *name) else { continue };
        let of_site = |kind, detail| SiteNews { site: Some(name.clone()), ..news(kind, detail) };
        for member in &site.members {
            let node = &member.name;
            let Some(then) = was.members.iter().find(|then| then.name == *node) else { continue };
            let of_node = |kind, detail| SiteNews { node: Some(node.clone()), ..of_site(kind, detail) };
            if then.linked != member.linked {
                let trouble = member.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let (word, detail) = match member.linked {
                    true => ("up", format!("{node} is linked")),
                    false => ("down", format!("nothing is heard of {node}{trouble}")),
                };
                let was = if then.linked { "up" } else { "down" };
                let (before, now) = (Some(was.to_owned()), Some(word.to_owned()));
                all.push(SiteNews { before, now, ..of_node(SiteChange::Link, detail) });
            }
            if then.standing != member.standing && *node != now.me {
                let standing = member.standing.as_deref().unwrap_or("not known");
                let (before, now) = (then.standing.clone(), member.standing.clone());
                let detail = format!("what {node} can be counted on for: {standing}");
                all.push(SiteNews { before, now, ..of_node(SiteChange::Standing, detail) });
            }
        }
        if was.short.status != site.short.status {
            let detail = format!("{name} is {}: {}", site.short.status, site.reason);
            let (before, now) = (Some(was.short.status.clone()), Some(site.short.status.clone()));
            all.push(SiteNews { before, now, ..of_site(SiteChange::Status, detail) });
        }
    }
}

/// The cluster and this node in it.
fn whole(before: &Look, now: &Look, all: &mut Vec<SiteNews>) {
    let of_me = |kind, detail| {
        let (site, node) = (now.site_of(&now.me), Some(now.me.clone()));
        SiteNews { site, node, ..news(kind, detail) }
    };
    if before.leader != now.leader {
        let detail = match &now.leader {
            Some(leader) => format!("{leader} leads"),
            None => "no node leads: nothing is decided".to_owned(),
        };
        let site = now.leader.as_ref().and_then(|leader| now.site_of(leader));
        let (node, was, is) = (now.leader.clone(), before.leader.clone(), now.leader.clone());
        all.push(SiteNews { site, node, before: was, now: is, ..news(SiteChange::Leader, detail) });
    }
    if before.role != now.role {
        let role = now.role.as_deref().unwrap_or("not known");
        let (was, is) = (before.role.clone(), now.role.clone());
        let detail = format!("{} is {role}", now.me);
        all.push(SiteNews { before: was, now: is, ..of_me(SiteChange::Role, detail) });
    }
    let here = |look: &Look| {
        look.service_addresses_here.map(|here| if here { "here".to_owned() } else { "elsewhere".to_owned() })
    };
    let (was, is) = (here(before), here(now));
    if was != is {
        let place = if is.as_deref() == Some("here") { "on" } else { "not on" };
        let detail = format!("the addresses that the site's nodes share are {place} {}", now.me);
        all.push(SiteNews { before: was, now: is, ..of_me(SiteChange::ServiceAddresses, detail) });
    }
}

/// Who holds what.
fn blocks(before: &Look, now: &Look, all: &mut Vec<SiteNews>) {
    // Before a cluster began, or under other pools, there is nothing to compare with.
    if before.blocks.len() != now.blocks.len() {
        return;
    }
    let mut moved: BTreeMap<(SiteChange, NodeId, NodeId), u32> = BTreeMap::new();
    for (was, is) in before.blocks.iter().zip(&now.blocks) {
        let kind = match (was.holder == is.holder, was.taken_over, is.taken_over) {
            (false, _, true) => SiteChange::TakenOver,
            (false, _, false) => SiteChange::HandedOn,
            (true, true, false) => SiteChange::Opened,
            (true, ..) => continue,
        };
        *moved.entry((kind, was.holder, is.holder)).or_insert(0) += 1;
    }
    let mut givers = Vec::new();
    for (&(kind, from, to), &count) in &moved {
        let (giver, taker) = (now.name(from), now.name(to));
        let detail = match kind {
            SiteChange::TakenOver => {
                format!("{taker} has taken {count} blocks of {giver} over: {giver} was put out")
            }
            SiteChange::Opened => {
                format!("{taker} gives addresses out of {count} blocks that it had taken over")
            }
            _ => {
                givers.push(from);
                format!("{giver} has handed {count} blocks on to {taker}")
            }
        };
        let (site, node, blocks) = (now.site_of(&taker), Some(taker.clone()), Some(count));
        let (was, is) = match kind {
            SiteChange::Opened => (None, None),
            _ => (Some(giver), Some(taker)),
        };
        all.push(SiteNews { site, node, before: was, now: is, blocks, ..news(kind, detail) });
    }
    givers.dedup();
    for giver in givers.into_iter().filter(|giver| !now.holds(*giver)) {
        let name = now.name(giver);
        let detail = format!("{name} has handed on all that it held");
        let (site, node) = (now.site_of(&name), Some(name));
        all.push(SiteNews { site, node, blocks: Some(0), ..news(SiteChange::Drained, detail) });
    }
}

#[cfg(test)]
#[path = "chronicle_tests.rs"]
mod tests;
