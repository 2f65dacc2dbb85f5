//! The engine at work on this node.
//!
//! **How a cluster begins.** All nodes of the configuration are its first voters. Each starts the engine with that list once
//! it is linked with a majority that has the same list and no cluster either. Whoever finds a cluster waits to be told.
//!
//! **Who may vote.** A node that has lost its disk does not know what it promised. A node without state that finds a
//! cluster votes for nobody until a leader has told it everything and every election it may have voted in is over.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use openraft::{
    BasicNode, ChangeMembers, Config, ServerState, Snapshot, SnapshotPolicy, raft::AppendEntriesResponse,
};
use tokio::{
    sync::{Semaphore, mpsc::Sender},
    time::{sleep, timeout},
};

use super::{
    Raft,
    calls::{Calls, MemberChange, Question, answer},
    candidacy::{Candidacy, LEASE_HEARTBEATS, stand},
    cluster::{Entry, Outcome},
    machine::{Agreed, Machine},
    network::Network,
    returned::Returned,
    store::{Store, StoreError},
};
use crate::{
    config::model::Failover,
    site::{
        delegation::{Command, Void},
        link::{hello::Hello, shared::Shared},
        roster::{Node, NodeKey},
    },
};

/// How often it is looked whether something is to be begun.
const TEND_EVERY: Duration = Duration::from_millis(200);
/// What a lease, the turns of a few nodes and an answer take, in heartbeats.
const ELECTION_HEARTBEATS: u32 = 6;
/// How long a newcomer may take to be told everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// Proposals and questions of others under way, at most; what is beyond is dropped, and made again by whoever made it.
const UNDER_WAY_MAX: usize = 256;

/// Why there is no consensus.
#[derive(Debug, thiserror::Error)]
pub enum CouncilError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine refuses.
    #[error("consensus between the nodes cannot start: {0}")]
    Engine(String),
}

/// How consensus stands, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who leads; `None` if nobody does as far as it knows.
    pub leader: Option<NodeKey>,
    /// Whether this node may vote.
    pub votes: bool,
    /// The term.
    pub term: u64,
    /// Names of the voters.
    pub voters: Vec<String>,
    /// The last entry applied.
    pub applied_index: u64,
    /// How long ago a majority last heard this node, if it leads.
    pub quorum_age_ms: Option<u64>,
}

/// What was heard of leaders.
#[derive(Clone, Copy, Debug)]
struct Led {
    since: Instant,
    last: Instant,
    /// The last entry that was agreed on.
    agreed: u64,
}

/// The engine and what is around it.
pub struct Council {
    raft: Raft,
    machine: Machine,
    store: Store,
    pub(super) links: Arc<Shared>,
    pub(super) calls: Arc<Calls>,
    nodes: Vec<Node>,
    me: Node,
    votes: AtomicBool,
    pub(super) heartbeat: Duration,
    pub(super) candidacy: Mutex<Candidacy>,
    /// What linked nodes said of themselves: whether there is a cluster, and whether they list the same nodes.
    said: Mutex<HashMap<NodeKey, (bool, bool)>>,
    /// Since when a leader has been heard, when it was last, and how far everything was agreed on then.
    led: Mutex<Option<Led>>,
    pub(super) under_way: Arc<Semaphore>,
    /// Held while it goes on without others.
    pub(super) going_on: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Council {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Council").field("me", &self.me.name).finish_non_exhaustive()
    }
}

/// The engine's settings: it asks within a heartbeat, so that must be longer than the slowest link's round trip.
fn settings(failover: &Failover) -> Config {
    let detection_ms = u64::from(failover.detection_interval_secs) * 1_000;
    let heartbeat_interval = (detection_ms / 4).clamp(500, 2_000);
    Config {
        cluster_name: "sites".to_owned(),
        heartbeat_interval,
        // Here a node stands when `candidacy` says so. What is left of the engine's timer is the lease: its longest election.
        enable_elect: false,
        election_timeout_min: heartbeat_interval * 3,
        election_timeout_max: heartbeat_interval * u64::from(LEASE_HEARTBEATS),
        // A snapshot has up to 4 MB, and the links may be capped.
        install_snapshot_timeout: 60_000,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(2_000),
        max_in_snapshot_log_to_keep: 500,
        purge_batch_size: 64,
        ..Config::default()
    }
}

impl Council {
    /// Starts the engine on what the disk has; `to` is told what is agreed.
    ///
    /// # Errors
    /// If the disk or the engine refuses.
    pub async fn start(
        failover: &Failover,
        store: Store,
        links: Arc<Shared>,
        to: Sender<Agreed>,
    ) -> Result<Arc<Self>, CouncilError> {
        let engine = |error: &dyn std::fmt::Display| CouncilError::Engine(error.to_string());
        let machine = Machine::open(store.clone(), to)?;
        machine.tell().await;
        let config = settings(failover).validate().map_err(|error| engine(&error))?;
        let heartbeat = Duration::from_millis(config.heartbeat_interval);
        let calls = Arc::<Calls>::default();
        let network = Network { links: Arc::clone(&links), calls: Arc::clone(&calls) };
        let me = links.roster.me().clone();
        let raft = Raft::new(me.key.0, Arc::new(config), network, store.clone(), machine.clone()).await;
        let raft = raft.map_err(|error| engine(&error))?;
        let votes = store.may_vote()?;
        let council = Arc::new(Self {
            raft,
            machine,
            store,
            nodes: links.roster.nodes().to_vec(),
            me,
            links,
            calls,
            votes: AtomicBool::new(votes),
            heartbeat,
            candidacy: Mutex::new(Candidacy::new(heartbeat, Instant::now())),
            said: Mutex::default(),
            led: Mutex::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            going_on: tokio::sync::Mutex::default(),
        });
        tokio::spawn(tend(Arc::clone(&council)));
        tokio::spawn(stand(Arc::clone(&council)));
        Ok(council)
    }

    /// A node is linked, and said this.
    pub fn linked(&self, node: NodeKey, hello: &Hello) {
        let same = self.links.hello().terms.unshared_nodes(&hello.terms).is_empty();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(node, (hello.cluster.is_some(), same));
    }

    /// A node is not linked any more.
    pub fn lost(&self, node: NodeKey) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// What is agreed, as far as this node knows.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How consensus stands.
    pub fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let name = |id: u64| membership.get_node(&id).map(|node| node.addr.clone());
        Standing {
            leader: metrics.current_leader.map(NodeKey),
            votes: self.votes.load(Relaxed),
            term: metrics.current_term,
            voters: membership.voter_ids().filter_map(name).collect(),
            applied_index: metrics.last_applied.map_or(0, |applied| applied.index),
            quorum_age_ms: metrics.millis_since_quorum_ack,
        }
    }

    /// Why the engine has stopped, if it has: nothing is agreed on any more then.
    pub fn failure(&self) -> Option<String> {
        self.raft.metrics().borrow().running_state.as_ref().err().map(ToString::to_string)
    }

    pub(super) const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Log and votes, for whoever only reads.
    pub(super) fn log_store(&self) -> Store {
        self.store.clone()
    }

    /// The longest an election may be waited for.
    pub(super) fn election_max(&self) -> Duration {
        self.heartbeat * ELECTION_HEARTBEATS
    }

    pub(super) const fn me(&self) -> &Node {
        &self.me
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// An answer came.
    pub fn answered(&self, from: NodeKey, octets: &[u8]) {
        self.calls.answered(from, octets);
    }

    /// A question came; it is answered by and by.
    pub fn asked(self: &Arc<Self>, from: NodeKey, octets: &[u8]) {
        let Some((number, question)) = super::calls::read(octets) else {
            if self.links.counts.failed(&format!("{from:?}"), "question") {
                tracing::warn!(?from, "a question of consensus that makes no sense");
            }
            return;
        };
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else { return };
        let council = Arc::clone(self);
        tokio::spawn(async move {
            council.reply(from, number, question).await;
            drop(place);
        });
    }

    async fn reply(&self, from: NodeKey, number: u64, question: Question) {
        let links = &self.links;
        match question {
            Question::Append(request) => {
                let agreed = request.leader_commit.map_or(0, |log_id| log_id.index);
                // Before it is on the disk: a slow disk here says nothing of the leader.
                self.hear_from(request.vote);
                let done = self.raft.append_entries(request).await;
                // One that was outvoted meanwhile leads nobody.
                if done.as_ref().is_ok_and(|answer| !matches!(answer, AppendEntriesResponse::HigherVote(_))) {
                    self.led(agreed);
                }
                answer(links, from, number, &done.map_err(|error| error.to_string()));
            }
            Question::Vote(request) => {
                let done = if self.votes.load(Relaxed) {
                    self.raft.vote(request).await.map_err(|error| error.to_string())
                } else {
                    Err("it does not know yet how it voted before".to_owned())
                };
                answer(links, from, number, &done);
            }
            Question::Snapshot { vote, meta, octets } => {
                self.hear_from(vote);
                let snapshot = Snapshot { meta, snapshot: Box::new(octets) };
                let done = self.raft.install_full_snapshot(vote, snapshot).await;
                answer(links, from, number, &done.map_err(|error| error.to_string()));
            }
            Question::Propose(entry) => answer(links, from, number, &self.write(entry).await),
            Question::Membership(change) => answer(links, from, number, &self.change_here(change).await),
            Question::WouldVote => answer(links, from, number, &Ok::<_, String>(self.votes.load(Relaxed))),
            Question::WouldBack(end) => answer(links, from, number, &Ok::<_, String>(self.would_back(end))),
            Question::Ready(without) => answer(links, from, number, &self.ready(&without).await),
            Question::Promise { without, vote } => {
                answer(links, from, number, &self.promise(&without, vote).await);
            }
        }
    }

    /// A leader is heard.
    fn led(&self, agreed: u64) {
        let now = Instant::now();
        let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        let led = led.get_or_insert(Led { since: now, last: now, agreed });
        (led.last, led.agreed) = (now, led.agreed.max(agreed));
    }

    /// Adds a node to the voters, or takes it away.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn change(&self, change: MemberChange) -> Result<(), String> {
        if self.leads() {
            return self.change_here(change).await;
        }
        // The leader waits for three things, each so long: that is to be heard from it, and not that it was late.
        self.ask_leader(&Question::Membership(change), CATCH_UP_MAX * 3).await
    }

    async fn change_here(&self, change: MemberChange) -> Result<(), String> {
        let late =
            |_| "it takes too long: is the node up and linked, and a majority of the others?".to_owned();
        match change {
            MemberChange::Add { name } => {
                let key = NodeKey::of(&name);
                if !self.nodes.iter().any(|node| node.key == key) {
                    return Err(format!(
                        "node {name} is not in the leader's dhcp.datacenter.multi_site.sites"
                    ));
                }
                // Before it decides anything: it could never be told of a lease.
                self.machine.cluster().number_for(key).map_err(|void| void.to_string())?;
                let learner = self.raft.add_learner(key.0, BasicNode { addr: name }, true);
                let added = timeout(CATCH_UP_MAX, learner).await.map_err(late)?;
                added.map_err(|error| error.to_string())?;
                timeout(CATCH_UP_MAX, self.would_vote(key)).await.map_err(late)?;
                let voters = ChangeMembers::AddVoterIds([key.0].into());
                let added = timeout(CATCH_UP_MAX, self.raft.change_membership(voters, true)).await;
                added.map_err(late)?.map_err(|error| error.to_string())?;
                self.write(Entry::Enroll(key)).await?;
                let number = self.machine.cluster().number(key).ok_or("it has got no number")?;
                // Void if it is a member of old.
                self.write(Entry::Blocks(Command::Enlist { node: number })).await.map(drop)
            }
            MemberChange::Remove { name } => {
                let key = NodeKey::of(&name);
                if let Some(number) = self.machine.cluster().number(key) {
                    let struck = self.write(Entry::Blocks(Command::Strike { node: number })).await?;
                    if let Outcome::Void(void @ Void::NotGone) = struck {
                        return Err(void.to_string());
                    }
                }
                // One that was said to be lost, and did not come back, is told everything and decides nothing.
                let votes = {
                    let metrics = self.raft.metrics();
                    let metrics = metrics.borrow();
                    metrics.membership_config.membership().voter_ids().any(|id| id == key.0)
                };
                let gone = match votes {
                    true => ChangeMembers::RemoveVoters([key.0].into()),
                    false => ChangeMembers::RemoveNodes([key.0].into()),
                };
                let gone = timeout(CATCH_UP_MAX, self.raft.change_membership(gone, false)).await;
                gone.map_err(late)?.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Waits until a node that is told everything would vote. One that counts as a voter before it does is missing from every
    /// majority: with as many others gone as a cluster of that size bears, nobody could be elected to tell it the rest.
    async fn would_vote(&self, node: NodeKey) {
        if node == self.me().key {
            return;
        }
        let ask = || self.calls.ask(&self.links, node, &Question::WouldVote, CATCH_UP_MAX);
        while !matches!(ask().await, Ok(true)) {
            sleep(TEND_EVERY).await;
        }
    }

    /// Ends the engine in order.
    pub async fn stop(&self) {
        drop(self.raft.shutdown().await);
    }

    /// Starts the engine with the configuration's nodes if it is time; whether there is nothing more to begin.
    async fn begin(&self) -> Result<bool, String> {
        if self.raft.is_initialized().await.map_err(|error| error.to_string())? {
            return Ok(true);
        }
        let (founded, alike) = {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let founded = said.values().any(|(founded, _)| *founded);
            (founded, said.values().filter(|(_, same)| *same).count())
        };
        if founded || (alike + 1) * 2 <= self.nodes.len() {
            return Ok(false);
        }
        let members: BTreeMap<u64, BasicNode> =
            self.nodes.iter().map(|node| (node.key.0, BasicNode { addr: node.name.clone() })).collect();
        // Before the first vote: whoever is in the first membership remembers all votes it gives.
        self.store.set_voter().await.map_err(|error| error.to_string())?;
        self.raft.initialize(members).await.map_err(|error| error.to_string())?;
        tracing::info!(nodes = self.nodes.len(), "the nodes begin a cluster");
        self.votes.store(true, Relaxed);
        Ok(true)
    }

    /// Lets a newcomer vote once it knows everything.
    async fn enfranchise(&self) -> Result<(), String> {
        let led = *self.led.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(led) = led else { return Ok(()) };
        let long_enough = led.since.elapsed() >= self.election_max() * 2;
        let applied = self.raft.metrics().borrow().last_applied;
        // Its own log may have less than everything: what counts is how far the leader, heard just now, says it goes.
        let caught_up = applied.is_some_and(|applied| applied.index >= led.agreed);
        if long_enough && caught_up && led.last.elapsed() < self.election_max() {
            self.store.set_voter().await.map_err(|error| error.to_string())?;
            self.votes.store(true, Relaxed);
            tracing::info!("this node has been told everything and votes from now on");
        }
        Ok(())
    }
}

/// Begins what is to be begun, and tells who leads when that changes.
async fn tend(council: Arc<Council>) {
    let (mut begun, mut leader, mut told, mut returned) = (false, None, false, Returned::default());
    loop {
        sleep(TEND_EVERY).await;
        if let Some(failure) = council.failure() {
            if failure != openraft::error::Fatal::<u64>::Stopped.to_string() {
                tracing::error!(
                    failure,
                    "consensus has stopped on this node: nothing more is agreed on here"
                );
            }
            return;
        }
        let done = if !begun {
            council.begin().await.map(|done| begun = done)
        } else if !council.votes.load(Relaxed) {
            council.enfranchise().await
        } else {
            Ok(())
        };
        match done {
            Ok(()) => told = false,
            Err(error) if !told => {
                told = true;
                tracing::warn!(error, "no cluster yet");
            }
            Err(_) => {}
        }
        if council.leads() && council.machine.cluster().id.is_none() {
            let nodes = council.nodes.iter().map(|node| node.key).collect();
            drop(council.write(Entry::Begin { cluster: rand::random(), nodes }).await);
        }
        council.settle().await;
        council.take_back(&mut returned).await;
        let standing = council.standing();
        if standing.leader != leader {
            leader = standing.leader;
            let name = council.nodes.iter().find(|node| Some(node.key) == leader);
            let name = name.map_or("nobody", |node| node.name.as_str());
            tracing::info!(leader = name, term = standing.term, "leader of the cluster");
        }
    }
}
