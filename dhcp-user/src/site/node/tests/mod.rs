//! A laboratory of a few nodes: keepers with their nodes, links that carry what is delivered, and a clock. What the
//! simulation of sites comes upon once in many seeds is told here in its order.

mod ahead;
mod audited;
mod bounds;
mod donors;
mod heard;
mod horizons;
mod lost_store;
mod passed;
mod silence;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use dhcp_common::{
    abi::{Answer, LeaseEntry},
    request::Interface,
};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::{
    audit::AuditEvent,
    config::model::{SyncMode, VlanTags},
    engine::{Ingress, SlowReason},
    fastpath::{error::FastPathError, kernel::Mark, lease_map::LeaseMap, stored::KEY_LEN},
    lease::{
        record::{LeaseRecord, LeaseState},
        store::{Batch, Contents, LeaseStore as _, MemoryStore, MetaKey, Recovered, StoredAnswer},
    },
    server::{
        keeper::{Aftermath, Keeper, Withdrawal},
        takeover::{Surroundings, remember},
        work::Outgoing,
    },
    site::{blocks::BlockId, delegation::StoreId},
    time::Span,
    timeline::BootId,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The mark of the stores that the cluster of a [`Lab`] was shared out among.
const MARK: [u8; 24] = [0; 24];

/// Maps that know nothing: what matters is when they are told to forget.
struct Maps;

impl LeaseMap for Maps {
    fn put_answer(&mut self, _: u32, _: &Answer) -> Result<(), FastPathError> {
        Ok(())
    }

    fn publish(&mut self, _: &LeaseEntry) -> bool {
        true
    }

    fn withdraw(&mut self, _: Ipv4Addr) {}

    fn renewed_boot_ns(&self, _: Ipv4Addr) -> Option<u64> {
        None
    }

    fn entries(&self) -> u32 {
        0
    }

    fn marks(&self, _: Range<u32>, _: u64) -> Vec<Mark> {
        Vec::new()
    }

    fn set_authority_until_boot_ns(&mut self, _: u64) {}

    fn carry_mark(&mut self, _: &Mark) {}
}

/// An address of the pool.
fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, last)
}

fn config() -> Arc<crate::config::model::Config> {
    let written = r#"{"dhcp": {
        "interfaces": [{"name": "sim0", "address": "198.18.0.1"}],
        "lease_secs": 600,
        "subnets": [{"subnet": "198.18.0.0/15", "interface": "sim0",
                     "pools": [{"range": "198.18.0.10 - 198.18.0.40"}, {"range": "198.18.1.0 - 198.18.254.255"}]}]
    }}"#;
    Arc::new(crate::config::parse(written, "test").unwrap())
}

/// Nodes that hold the blocks in turn: of the first pool .10 and .11, .12 to .15, .16 to .19 and so on.
struct Lab {
    now: Timestamp,
    nodes: Vec<Keeper<MemoryStore, Maps>>,
    batch_size: usize,
    mclt: Span,
    state: Delegations,
    /// Commands agreed on, and how many of them each node has applied.
    commands: Vec<Command>,
    applied: Vec<usize>,
    /// Whether nodes hear of new commands.
    hears: Vec<bool>,
    linked: bool,
    /// Nothing reaches this one.
    deaf: Option<u16>,
    ways: BTreeMap<(u16, u16), VecDeque<Message>>,
    withdrawn: Vec<Vec<Withdrawal>>,
    /// Whose replies went out, of which address.
    sent: Vec<Ipv4Addr>,
    /// What each node's audit log was told.
    audited: Vec<Vec<AuditEvent>>,
    /// What was proposed beside renewals, and is not agreed on.
    proposed: Vec<Command>,
    starts: u64,
    rng: SmallRng,
}

impl Lab {
    fn new(nodes: u16, batch_size: usize) -> Self {
        Self::with_mclt(nodes, batch_size, Span::from_secs(900))
    }

    fn with_mclt(nodes: u16, batch_size: usize, mclt: Span) -> Self {
        let blocks = crate::site::blocks::Blocks::of(&config());
        let members: Vec<NodeId> = (0..nodes).map(NodeId).collect();
        let count = u32::try_from(blocks.len()).unwrap();
        let mut lab = Self {
            now: Timestamp::ZERO + Span::from_secs(1_000_000),
            nodes: Vec::new(),
            batch_size,
            mclt,
            state: Delegations::shared_out(&members, count, blocks.digest()),
            commands: Vec::new(),
            applied: vec![0; usize::from(nodes)],
            hears: vec![true; usize::from(nodes)],
            linked: false,
            deaf: None,
            ways: BTreeMap::new(),
            withdrawn: vec![Vec::new(); usize::from(nodes)],
            sent: Vec::new(),
            audited: vec![Vec::new(); usize::from(nodes)],
            proposed: Vec::new(),
            starts: 0,
            rng: SmallRng::seed_from_u64(1),
        };
        for node in members {
            let mut store = MemoryStore::new();
            let mark = vec![(MetaKey::SiteMember, MARK.to_vec())];
            store.commit(&Batch { meta: mark, ..Batch::default() }).unwrap();
            let keeper = lab.started(node, store);
            lab.nodes.push(keeper);
        }
        lab.link(true);
        lab.run(10);
        lab
    }

    fn settings(&self, me: NodeId) -> Settings {
        let places = (0..self.applied.len()).map(|node| Place {
            node: NodeId(node as u16),
            name: format!("node-{node}"),
            site: 0,
        });
        Settings {
            me,
            nodes: places.collect(),
            sites: vec![SiteFacts { name: "one".into(), priority: 1, latency_ms: 1 }],
            mclt: self.mclt,
            delegation: Span::from_secs(100_000),
            mode: SyncMode::Async,
            interval: Span::from_secs(2),
            batch_size: self.batch_size,
            failover: false,
            detection: Span::from_secs(100_000),
            failover_timeout: Span::from_secs(100_000),
            heirs: Vec::new(),
            donors: Vec::new(),
            named_donors: 0,
            balanced: false,
            shares_addresses: false,
        }
    }

    /// The daemon of a node, started over its store.
    fn started(&mut self, node: NodeId, store: MemoryStore) -> Keeper<MemoryStore, Maps> {
        let Contents { leases, answers, meta, .. } = store.durable().clone();
        let recovered = Recovered {
            answers: answers.into_iter().map(|(id, bytes)| StoredAnswer { id, bytes }).collect(),
            meta: meta.into_iter().collect(),
            ..Recovered::default()
        };
        let around = Surroundings {
            config: config(),
            servers: vec![SERVER],
            interfaces: vec![Interface { number: 0, mac: [2, 0, 0, 0, 0, 1] }],
            local: vec![SERVER],
            boot_id: BootId::new([1; 16]),
            boot_ns: self.now.0,
            wall_ns: self.now.0,
            random_key: (0..=255).cycle().take(KEY_LEN).collect(),
            seed: 1,
        };
        let leases = leases.into_values().collect();
        let (mut keeper, _) = remember(around, store, &recovered, leases).unwrap();
        self.starts += 1;
        let kept = |key| crate::server::memory::meta(&recovered, key);
        let (cursors, mark) = (kept(MetaKey::SiteCursors), kept(MetaKey::SiteMember));
        keeper.join_cluster(Node::new(self.settings(node), 1_000 + self.starts, cursors, mark));
        let state = Box::new(self.state.clone());
        let _ = keeper.site_input(self.now, Input::Restored { index: 1, state }).unwrap();
        keeper
    }

    /// Ends a node's daemon and starts another.
    fn restart(&mut self, node: usize) {
        let store = std::mem::take(&mut self.nodes[node].store);
        self.nodes[node] = self.started(NodeId(node as u16), store);
        self.applied[node] = 0;
        self.withdrawn[node].clear();
    }

    /// Links all nodes, or cuts all links.
    fn link(&mut self, linked: bool) {
        self.linked = linked;
        self.ways.clear();
        for node in 0..self.nodes.len() {
            for other in (0..self.nodes.len() as u16).filter(|other| usize::from(*other) != node).map(NodeId)
            {
                let input = if linked { Input::Connected(other) } else { Input::Lost(other) };
                self.tell(node, input);
            }
        }
    }

    fn tell(&mut self, node: usize, input: Input) {
        let aftermath = self.nodes[node].site_input(self.now, input).unwrap();
        self.carry(node, aftermath);
    }

    fn carry(&mut self, node: usize, aftermath: Aftermath) {
        self.withdrawn[node].extend(aftermath.withdrawn);
        self.audited[node].extend(aftermath.audit);
        self.sent.extend(aftermath.send.iter().filter_map(|reply| reply.promises));
        for output in aftermath.site {
            match output {
                Output::Send(to, message) if self.linked && self.deaf != Some(to.0) => {
                    self.ways.entry((node as u16, to.0)).or_default().push_back(message);
                }
                Output::Propose(command @ Command::Renew { .. }) => self.commands.push(command),
                Output::Propose(command) => self.proposed.push(command),
                Output::Send(..) => {}
            }
        }
    }

    fn turn(&mut self, node: usize) {
        while self.hears[node]
            && let Some(command) = self.commands.get(self.applied[node]).cloned()
        {
            self.applied[node] += 1;
            self.tell(node, Input::Applied { index: 1 + self.applied[node] as u64, command });
        }
        let aftermath = self.nodes[node].site_turn(self.now).unwrap();
        self.carry(node, aftermath);
    }

    /// What was sent to a node arrives.
    fn deliver(&mut self, to: usize) {
        for from in 0..self.nodes.len() as u16 {
            for message in self.ways.remove(&(from, to as u16)).unwrap_or_default() {
                self.tell(to, Input::Message(NodeId(from), message));
            }
        }
    }

    /// Lets time pass in which everything goes its way.
    fn run(&mut self, secs: u64) {
        (0..secs * 10).for_each(|_| self.step());
    }

    /// A tenth of a second of that.
    fn step(&mut self) {
        self.now = self.now + Span::from_millis(100);
        // All that was sent before: what two nodes say at a time crosses.
        let sent = std::mem::take(&mut self.ways);
        for ((from, to), messages) in sent {
            for message in messages {
                self.tell(usize::from(to), Input::Message(NodeId(from), message));
            }
        }
        for node in 0..self.nodes.len() {
            for withdrawal in std::mem::take(&mut self.withdrawn[node]) {
                self.forgotten(node, withdrawal);
            }
            self.turn(node);
        }
    }

    fn forgotten(&mut self, node: usize, withdrawal: Withdrawal) {
        let mut work = Work::default();
        self.nodes[node].forgotten(self.now, withdrawal, &mut work);
        let aftermath = self.nodes[node].settle(self.now, work).unwrap();
        self.carry(node, aftermath);
    }

    /// A client says something to a node.
    #[track_caller]
    fn say(&mut self, node: usize, kind: u8, client: u8, address: Ipv4Addr, reason: SlowReason) {
        let mac = [2, 0, 0, 0, 1, client];
        let mut payload = vec![0; 240];
        payload[..4].copy_from_slice(&[1, 1, 6, 0]);
        payload[28..34].copy_from_slice(&mac);
        payload[236..].copy_from_slice(&[99, 130, 83, 99]);
        payload.extend_from_slice(&[53, 1, kind]);
        let selecting = reason == SlowReason::AckedNew;
        if selecting {
            payload.extend_from_slice(&[50, 4]);
            payload.extend_from_slice(&address.octets());
        } else {
            payload[12..16].copy_from_slice(&address.octets());
        }
        if selecting || kind == 7 {
            payload.extend_from_slice(&[54, 4]);
            payload.extend_from_slice(&SERVER.octets());
        }
        payload.push(255);
        payload.resize(300, 0);
        let ingress = Ingress {
            interface: 0,
            vlans: VlanTags::default(),
            source_mac: mac,
            source_ip: if selecting { Ipv4Addr::UNSPECIFIED } else { address },
            destination_ip: SERVER,
            source_port: 68,
        };
        let engine = &mut self.nodes[node].core.engine;
        let outcome = engine.handle(self.now, &mut self.rng, &ingress, &payload);
        assert_eq!(outcome.reason, reason, "client {client} about {address} to node {node}");
        let mut work = Work::default();
        if outcome.effects.reply.is_some() {
            work.send.push(Outgoing { interface: 0, frame: Vec::new(), promises: Some(address) });
        }
        work.take(outcome.effects);
        let aftermath = self.nodes[node].settle(self.now, work).unwrap();
        self.carry(node, aftermath);
    }

    fn ask(&mut self, node: usize, client: u8, address: Ipv4Addr) {
        self.say(node, 3, client, address, SlowReason::AckedNew);
    }

    fn renew(&mut self, node: usize, client: u8, address: Ipv4Addr) {
        self.say(node, 3, client, address, SlowReason::AckedRenewal);
    }

    fn release(&mut self, node: usize, client: u8, address: Ipv4Addr) {
        self.say(node, 7, client, address, SlowReason::Released);
    }

    fn lease(&self, node: usize, address: Ipv4Addr) -> &LeaseRecord {
        self.nodes[node].core.engine.leases().get(address).unwrap()
    }

    /// Whether a node has a lease as bound, and has no doubt.
    fn is_bound(&self, node: usize, address: Ipv4Addr) -> bool {
        let leaving = self.nodes[node].core.engine.leases().leaving(address);
        self.lease(node, address).state == LeaseState::Bound && leaving.is_none()
    }

    fn site(&self, node: usize) -> &Node {
        self.nodes[node].site.as_ref().unwrap()
    }

    /// Whether all have everything of each other.
    fn in_step(&self) -> bool {
        let all = |node: &Node| node.peers.iter().all(|peer| peer.acked == node.log.end().seq);
        (0..self.nodes.len()).all(|node| all(self.site(node)) && !self.site(node).objecting())
    }
}

#[test]
fn leases_are_told_and_given_back() {
    let mut lab = Lab::new(3, 10);
    lab.ask(0, 1, ip(10));
    lab.run(5);
    assert!(lab.in_step() && (0..3).all(|node| lab.is_bound(node, ip(10))));
    lab.release(0, 1, ip(10));
    lab.run(5);
    assert!(lab.in_step() && (0..3).all(|node| lab.lease(node, ip(10)).state == LeaseState::Free));
    lab.ask(0, 2, ip(10));
}
