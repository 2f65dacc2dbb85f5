//! What was promised to whom until when, by the frames that were seen to leave the machine and by nothing that the
//! server believes; and what the disk holds at that moment.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use dhcp_user::{
    config::model::Config,
    lease::{
        record::{LeaseRecord, LeaseState},
        store::Contents,
    },
    time::Timestamp,
};

use super::scenario::SEC;
use crate::parse::Message;

/// An address promised to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Whom.
    pub client: u16,
    /// Until when, in true time.
    pub until_ns: u64,
    /// Whether the kernel promised.
    pub by_kernel: bool,
}

/// A broken promise, or another invariant broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
    /// When, in true time.
    pub at_ns: u64,
    /// The address it is about.
    pub address: Option<Ipv4Addr>,
    /// The clients it is about.
    pub clients: Vec<u16>,
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    promises: BTreeMap<Ipv4Addr, Vec<Promise>>,
    /// The address each transaction asked for.
    asked: BTreeMap<u32, Ipv4Addr>,
    /// Transactions up to this one of a client ended with its giving back what it had: no ACK to them is taken.
    void: BTreeMap<u16, u16>,
}

/// What is known at the moment a frame leaves.
pub struct Evidence<'a> {
    /// What the disk holds.
    pub durable: &'a Contents,
    /// True time to the timeline of the daemon.
    pub timeline: &'a dyn Fn(u64) -> Timestamp,
    /// The configurations in force: with several nodes, that of the one that says it and that of the others.
    pub configs: &'a [Arc<Config>],
    /// Now, in true time.
    pub now_ns: u64,
    /// When what leaves was decided, in true time.
    pub decided_ns: u64,
    /// Whether the kernel sends it.
    pub by_kernel: bool,
}

/// An invariant and how it was broken.
pub type Broken = (&'static str, String, Vec<u16>);

impl Oracle {
    /// A client asks for an address.
    pub fn asked(&mut self, xid: u32, address: Option<Ipv4Addr>) {
        if let Some(address) = address {
            self.asked.insert(xid, address);
        }
    }

    /// A client gives an address back, its transactions up to `last` being over.
    pub fn given_back(&mut self, client: u16, address: Ipv4Addr, last: u16) {
        self.void.insert(client, last);
        if let Some(promises) = self.promises.get_mut(&address) {
            promises.retain(|promise| promise.client != client);
        }
    }

    /// Promises that hold at a moment.
    pub fn holding(&self, now_ns: u64) -> impl Iterator<Item = (Ipv4Addr, Promise)> {
        self.promises.iter().flat_map(move |(address, promises)| {
            promises.iter().filter(move |p| p.until_ns > now_ns).map(|promise| (*address, *promise))
        })
    }

    /// A reply leaves the machine.
    pub fn left(&mut self, message: &Message, evidence: &Evidence<'_>) -> Result<(), Broken> {
        let client = (message.xid >> 16) as u16;
        let mac = client_mac(client);
        if message.chaddr.get(..6) != Some(&mac[..]) {
            return Err((
                "sound-reply",
                format!("a reply to transaction {:08x} of another client", message.xid),
                vec![client],
            ));
        }
        let void = self.void.get(&client).is_some_and(|last| (message.xid & 0xffff) as u16 <= *last);
        match message.kind() {
            5 => self.acked(client, message, void, evidence),
            6 if !void => self.refused(client, message, evidence),
            _ => Ok(()),
        }
    }

    fn acked(
        &mut self,
        client: u16,
        message: &Message,
        void: bool,
        evidence: &Evidence<'_>,
    ) -> Result<(), Broken> {
        let Some(secs) = message.option_u32(51) else { return Ok(()) };
        let address = message.yiaddr;
        let until_ns = evidence.decided_ns + u64::from(secs) * SEC;
        let by = if evidence.by_kernel { "the kernel" } else { "the daemon" };
        let wanted = (evidence.timeline)(until_ns);
        // A client's request and its giving back may come up together, and be durable together, before the one is
        // answered: as if it had been answered before.
        if void && !evidence.by_kernel {
            return Ok(());
        }
        if let Err(lack) = covered(evidence.durable.leases.get(&address), client, wanted) {
            return Err((
                "durable-before-ack",
                format!("{by} promised {address} to client {client}, but {lack}"),
                vec![client],
            ));
        }
        if void {
            return Ok(());
        }
        let now_ns = evidence.now_ns;
        if let Some(other) = self
            .promises
            .get(&address)
            .and_then(|promises| promises.iter().find(|p| p.client != client && p.until_ns > now_ns).copied())
        {
            let left = (other.until_ns - now_ns) as f64 / 1e9;
            return Err((
                "one-client-each",
                format!(
                    "{by} promised {address} to client {client} while it is client {}'s for another {left:.3} s",
                    other.client
                ),
                vec![client, other.client],
            ));
        }
        // Who takes an address gives up the one it had on that link.
        let [_, _, link, _] = address.octets();
        for (held, promises) in &mut self.promises {
            if *held != address && held.octets()[2] == link {
                promises.retain(|promise| promise.client != client);
            }
        }
        let promises = self.promises.entry(address).or_default();
        promises.retain(|promise| promise.until_ns > now_ns);
        let by_kernel = evidence.by_kernel;
        match promises.iter_mut().find(|promise| promise.client == client) {
            Some(known) => *known = Promise { client, until_ns: known.until_ns.max(until_ns), by_kernel },
            None => promises.push(Promise { client, until_ns, by_kernel }),
        }
        Ok(())
    }

    fn refused(&self, client: u16, message: &Message, evidence: &Evidence<'_>) -> Result<(), Broken> {
        let Some(address) = self.asked.get(&message.xid) else { return Ok(()) };
        let holds = self.promises.get(address).and_then(|promises| {
            promises.iter().find(|p| p.client == client && p.until_ns > evidence.now_ns)
        });
        let pooled = evidence
            .configs
            .iter()
            .flat_map(|config| &config.subnets)
            .flat_map(|subnet| &subnet.pools)
            .any(|pool| (pool.first..=pool.last).contains(address));
        match holds {
            Some(promise) if pooled => {
                let left = (promise.until_ns - evidence.now_ns) as f64 / 1e9;
                Err((
                    "no-nak-in-error",
                    format!("client {client} was refused {address}, which is its for another {left:.3} s"),
                    vec![client],
                ))
            }
            _ => Ok(()),
        }
    }

    /// What a restart found: every promise that holds must be in it.
    pub fn recovered(
        &self,
        durable: &Contents,
        now_ns: u64,
        timeline: &dyn Fn(u64) -> Timestamp,
    ) -> Result<(), (Ipv4Addr, Broken)> {
        for (address, promise) in self.holding(now_ns) {
            let wanted = timeline(promise.until_ns);
            if let Err(lack) = covered(durable.leases.get(&address), promise.client, wanted) {
                let what = format!("{address} is client {}'s, but after a restart {lack}", promise.client);
                return Err((address, ("recovered", what, vec![promise.client])));
            }
        }
        Ok(())
    }
}

/// Whether a durable record covers a promise, or what it lacks.
fn covered(record: Option<&LeaseRecord>, client: u16, wanted: Timestamp) -> Result<(), String> {
    let Some(record) = record else { return Err("nothing durable says so".to_owned()) };
    if record.state != LeaseState::Bound {
        return Err(format!("durably it is {:?}", record.state));
    }
    if record.hardware.as_ethernet() != Some(client_mac(client)) {
        return Err(format!("durably it is {}'s", record.hardware));
    }
    if wanted > record.horizon {
        let beyond = wanted.since(record.horizon).0 as f64 / 1e9;
        return Err(format!("{beyond:.3} s of that are beyond the durable horizon"));
    }
    Ok(())
}

/// The hardware address of a client.
pub fn client_mac(client: u16) -> [u8; 6] {
    let [high, low] = client.to_be_bytes();
    [2, 0, 0, 1, high, low]
}
