//! Mode `sync`: an answer leaves only when every node that counts has the lease, so whoever granted it may be lost in the
//! very next moment.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::{Figures, secs};
use crate::{
    cluster::{AGREED, Cluster, Node},
    lab::{SERVER, set},
    packet::Frame,
    parse::Message,
    wait::wait_for,
};

/// Clients that ask in the same moment.
const CLIENTS: u8 = 12;
/// How long answers may take on a busy machine.
const ANSWERS: Duration = Duration::from_secs(20);
/// How long a client waits for an offer before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

fn mac(round: u8, client: u8) -> [u8; 6] {
    [2, 3, 0, 0, round, client]
}

/// Three nodes; each round one of them grants, and is lost as soon as the first answer is seen.
///
/// # Errors
///
/// When a lease that was acknowledged is not known to the others at once.
pub fn run(rounds: u8) -> Result<Figures> {
    let began = Instant::now();
    let mut figures = Figures::default();
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1), ("c", 1)], |config| {
        super::adapt(config);
        set(config, "/dhcp/datacenter/multi_site/synchronization/mode", json!("sync"));
    })?;
    cluster.start()?;
    cluster.wait_in_step()?;
    figures.figures.insert("sync_start", secs(began));
    let mut acknowledged = 0_u32;
    for round in 0..rounds {
        let at = usize::from(round) % cluster.nodes.len();
        let granted = grant_and_lose(cluster.nodes.get_mut(at).context("no such node")?, round)?;
        ensure!(!granted.is_empty(), "nothing was acknowledged");
        acknowledged += u32::try_from(granted.len())?;
        for node in cluster.nodes.iter().filter(|node| node.daemon.is_some()) {
            for (address, mac) in &granted {
                let lease = node.get(&format!("leases/{address}"));
                let lease = lease.with_context(|| format!("{} does not know {address}", node.name))?;
                let known =
                    lease["state"] == "bound" && lease["hw_address"] == crate::veth::colons(*mac).as_str();
                ensure!(known, "{} knows {address} as {lease}", node.name);
            }
        }
        let back = Instant::now();
        cluster.nodes.get_mut(at).context("no such node")?.start()?;
        cluster.wait_in_step()?;
        figures.figures.insert("sync_back_and_active", secs(back));
    }
    partition(&mut cluster, rounds, &mut figures)?;
    figures.figures.insert("sync_acknowledged", acknowledged.into());
    figures.figures.insert("sync_rounds", f64::from(rounds));
    figures.figures.insert("sync_all", secs(began));
    Ok(figures)
}

/// A node is cut off: nobody there is promised anything the others do not know of, and the others go on when it is out.
fn partition(cluster: &mut Cluster, round: u8, figures: &mut Figures) -> Result<()> {
    let (away, there) = (0, 1);
    let began = Instant::now();
    cluster.cut(away, true);
    let node = |number: usize| cluster.nodes.get(number).context("no such node");
    let mut said = false;
    wait_for(AGREED, "the node to say that it is cut off", || {
        // A client asks all the while: it may be offered an address, and is promised none.
        if let Some(ack) = ask(node(away)?, round, 0)? {
            bail!("{} was promised, and nobody else knows of it", ack.yiaddr);
        }
        let cut = node(away)?.get("sync")?["role"] == "cut";
        // Once more after that.
        Ok((std::mem::replace(&mut said, cut) && cut).then_some(()))
    })?;
    wait_for(AGREED, "a lease of those that are left", || ask(node(there)?, round, 1))?;
    figures.figures.insert("sync_cut_others_go_on", secs(began));
    let healed = Instant::now();
    cluster.cut(away, false);
    cluster.wait_in_step()?;
    figures.figures.insert("sync_healed_and_active", secs(healed));
    Ok(())
}

/// A client asks for an address until nothing more is said: what it was promised.
fn ask(node: &Node, round: u8, client: u8) -> Result<Option<Message>> {
    send(node, round, client, None)?;
    while let Some(said) = reply(node, &[2, 5], round)? {
        if said.kind() == 5 {
            return Ok(Some(said));
        }
        send(node, round, client, Some(said.yiaddr))?;
    }
    Ok(None)
}

/// A client asks for an address, or selects the one it was offered.
fn send(node: &Node, round: u8, client: u8, selected: Option<Ipv4Addr>) -> Result<()> {
    let kind = if selected.is_some() { 3 } else { 1 };
    let mut frame = Frame::request(kind, mac(round, client)).option(55, &[1, 3, 6]);
    if let Some(address) = selected {
        frame = frame.option(50, &address.octets()).option(54, &SERVER.octets());
    }
    node.cable.socket.send(&frame.xid(u32::from_be_bytes([9, kind, round, client])).build())
}

/// Clients ask all at once; with the first ACK the node is lost. All that was acknowledged until then.
fn grant_and_lose(node: &mut Node, round: u8) -> Result<BTreeMap<Ipv4Addr, [u8; 6]>> {
    let mut offered = BTreeMap::new();
    let mut ask_at = Instant::now();
    wait_for(ANSWERS, "offers", || {
        // As clients do: a node that has just come in may have no address to give out yet.
        if Instant::now() >= ask_at {
            ask_at = Instant::now() + ASK_AGAIN;
            for client in (0..CLIENTS).filter(|client| !offered.contains_key(client)) {
                send(node, round, client, None)?;
            }
        }
        if let Some(reply) = reply(node, &[2], round)? {
            offered.insert(reply.chaddr[5], reply.yiaddr);
        }
        Ok((offered.len() == usize::from(CLIENTS)).then_some(()))
    })?;
    for (client, address) in &offered {
        send(node, round, *client, Some(*address))?;
    }
    let first = wait_for(ANSWERS, "the first ACK", || reply(node, &[5], round))?;
    node.lose()?;
    let mut granted = BTreeMap::from([(first.yiaddr, mac(round, first.chaddr[5]))]);
    // What left before the loss is in the socket.
    while let Some(ack) = reply(node, &[5], round)? {
        granted.insert(ack.yiaddr, mac(round, ack.chaddr[5]));
    }
    Ok(granted)
}

fn reply(node: &Node, kinds: &[u8], round: u8) -> Result<Option<Message>> {
    node.cable.socket.receive_where(Duration::from_millis(100), |frame| {
        let reply = Message::parse(frame).ok()?;
        let ours =
            reply.op == 2 && kinds.contains(&reply.kind()) && reply.chaddr.starts_with(&[2, 3, 0, 0, round]);
        ours.then_some(reply)
    })
}
