//! Mode `sync`: an answer leaves only when every node that counts has the lease, so whoever granted it may be lost in the
//! very next moment.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{Figures, secs};
use crate::{
    cluster::{Cluster, Node},
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
        if round + 1 == rounds {
            break;
        }
        let back = Instant::now();
        cluster.nodes.get_mut(at).context("no such node")?.start()?;
        cluster.wait_in_step()?;
        figures.figures.insert("sync_back_and_active", secs(back));
    }
    figures.figures.insert("sync_acknowledged", acknowledged.into());
    figures.figures.insert("sync_rounds", f64::from(rounds));
    figures.figures.insert("sync_all", secs(began));
    Ok(figures)
}

/// Clients ask all at once; with the first ACK the node is lost. All that was acknowledged until then.
fn grant_and_lose(node: &mut Node, round: u8) -> Result<BTreeMap<Ipv4Addr, [u8; 6]>> {
    let socket = &node.cable.socket;
    let mut offered = BTreeMap::new();
    let mut ask_at = Instant::now();
    wait_for(ANSWERS, "offers", || {
        // As clients do: a node that has just come in may have no address to give out yet.
        if Instant::now() >= ask_at {
            ask_at = Instant::now() + ASK_AGAIN;
            for client in (0..CLIENTS).filter(|client| !offered.contains_key(client)) {
                let xid = u32::from_be_bytes([9, 1, round, client]);
                socket
                    .send(&Frame::request(1, mac(round, client)).option(55, &[1, 3, 6]).xid(xid).build())?;
            }
        }
        if let Some(reply) = reply(node, 2, round)? {
            offered.insert(reply.chaddr[5], reply.yiaddr);
        }
        Ok((offered.len() == usize::from(CLIENTS)).then_some(()))
    })?;
    for (client, address) in &offered {
        let frame = Frame::request(3, mac(round, *client))
            .option(50, &address.octets())
            .option(54, &SERVER.octets())
            .option(55, &[1, 3, 6]);
        socket.send(&frame.xid(u32::from_be_bytes([9, 3, round, *client])).build())?;
    }
    let first = wait_for(ANSWERS, "the first ACK", || reply(node, 5, round))?;
    node.lose()?;
    let mut granted = BTreeMap::from([(first.yiaddr, mac(round, first.chaddr[5]))]);
    // What left before the loss is in the socket.
    while let Some(ack) = reply(node, 5, round)? {
        granted.insert(ack.yiaddr, mac(round, ack.chaddr[5]));
    }
    Ok(granted)
}

fn reply(node: &Node, kind: u8, round: u8) -> Result<Option<Message>> {
    node.cable.socket.receive_where(Duration::from_millis(100), |frame| {
        let reply = Message::parse(frame).ok()?;
        let ours = reply.op == 2 && reply.kind() == kind && reply.chaddr.starts_with(&[2, 3, 0, 0, round]);
        ours.then_some(reply)
    })
}
