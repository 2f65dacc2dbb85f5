//! Several nodes in one process, linked by pipes: here what such a cluster is made of and how it is looked at.

mod damage;
mod survivors;
mod whole;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{Receiver, channel},
    task::JoinHandle,
    time::sleep,
};

use super::{
    calls::{ANSWER, MemberChange, QUESTION},
    cluster::{Entry, Outcome},
    council::Council,
    machine::Agreed,
    propose::Undecided,
    reservations::Edits,
    store::{Store, StoreError},
};
use crate::{
    config::{self, Config},
    site::{
        delegation::{Command, NodeId, Presence, StoreId, Void},
        link::{
            connection,
            greet::{accept, call},
            shaper::Shaper,
            shared::{Cut, Identity, LinkEvent, Shared, Timing},
            terms::Terms,
        },
        roster::Roster,
    },
    time::Span,
    time::Timestamp,
};

const SOON: Duration = Duration::from_secs(40);

fn config(node: usize, count: usize) -> Config {
    let nodes: Vec<String> = (0..count).map(|n| format!("n{n}.example")).collect();
    let nodes = serde_json::to_string(&nodes).unwrap();
    let text = format!(
        r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"enabled": true, "local_site": "s", "node": "n{node}.example",
            "sites": [{{"name": "s", "nodes": {nodes}}}],
            "failover": {{"detection_interval": 1, "failover_timeout": 3}},
            "synchronization": {{"encryption": false}}, "link": {{"listen": "127.0.0.1:8067"}}}}}}}}}}"#
    );
    config::parse(&text, "test").unwrap()
}

struct Node {
    links: Arc<Shared>,
    council: Arc<Council>,
    agreed: Arc<Mutex<Vec<Agreed>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    async fn start(number: usize, folder: &Path) -> Self {
        Self::start_of(number, 3, folder).await
    }

    async fn start_of(number: usize, count: usize, folder: &Path) -> Self {
        let config = config(number, count);
        let sites = config.multi_site.as_ref().unwrap();
        let roster = Roster::of(sites, "?").unwrap();
        let store = Store::open(folder, &roster.me().name).unwrap();
        let identity = Identity {
            roster,
            terms: Terms::of(&config),
            cluster: None,
            incarnation: store.incarnation,
            tls: None,
        };
        let timing = Timing {
            ping_every: Duration::from_millis(500),
            silence_max: SOON,
            greeting_max: SOON,
            write_max: SOON,
            again_min: SOON,
            again_max: SOON,
            lasted: SOON,
        };
        let start = Instant::now();
        let now = Arc::new(move || Timestamp(u64::try_from(start.elapsed().as_nanos()).unwrap()));
        let (events, from_links) = channel(256);
        let (to, mut from_council) = channel(256);
        let links = Arc::new(Shared::new(identity, Shaper::new(None), true, timing, now, events));
        let agreed = Arc::<Mutex<Vec<Agreed>>>::default();
        let (log, named) = (Arc::clone(&agreed), Arc::clone(&links));
        let listener = tokio::spawn(async move {
            while let Some(one) = from_council.recv().await {
                if let Agreed::Named(id, _) = one {
                    named.set_cluster(id);
                }
                log.lock().unwrap().push(one);
            }
        });
        let council = Council::start(&sites.failover, store, Arc::clone(&links), to).await.unwrap();
        let pump = tokio::spawn(pump(Arc::clone(&council), from_links));
        Self { links, council, agreed, tasks: vec![listener, pump] }
    }

    async fn stop(self) {
        self.council.stop().await;
        self.tasks.iter().for_each(JoinHandle::abort);
        for node in self.links.roster.others() {
            self.links.cut(node.key, Cut::Behind);
        }
    }

    fn reserved(&self) -> Vec<String> {
        let agreed = self.council.machine().reservations();
        let agreed = agreed.borrow();
        agreed.set.texts().values().map(ToString::to_string).collect()
    }

    fn commands(&self) -> Vec<Command> {
        let agreed = self.agreed.lock().unwrap();
        let commands = agreed.iter().filter_map(|one| match one {
            Agreed::Applied { command, .. } => Some(command.clone()),
            _ => None,
        });
        commands.collect()
    }
}

fn reserve(seen: u64, text: &str) -> Entry {
    Entry::Reserve(Edits { seen, texts: vec![([198, 18, 1, 9].into(), Some(text.into()))] })
}

/// Decides it as soon as somebody leads.
async fn decided(council: &Council, entry: Entry) -> Outcome {
    let end = Instant::now() + SOON;
    loop {
        match council.decide(entry.clone()).await {
            Ok(outcome) => return outcome,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn pump(council: Arc<Council>, mut events: Receiver<LinkEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            LinkEvent::Up(node, _, hello) => council.linked(node, &hello),
            LinkEvent::Down(node, _) => council.lost(node),
            LinkEvent::Message { from, kind: QUESTION, octets, .. } => council.asked(from, &octets),
            LinkEvent::Message { from, kind: ANSWER, octets, .. } => council.answered(from, &octets),
            LinkEvent::Message { .. } => panic!("who sends that?"),
        }
    }
}

async fn connect(a: &Node, b: &Node) {
    let (one, two) = tokio::io::duplex(1 << 20);
    let (to, from) = (Arc::clone(&a.links), Arc::clone(&b.links));
    let node = to.roster.get(from.roster.me().key).unwrap().clone();
    let (called, accepted) = tokio::join!(call(&to, one, &node), accept(&from, two));
    let (called, accepted) = (called.unwrap(), accepted.unwrap());
    tokio::spawn(async move { connection::run(&to, called).await });
    tokio::spawn(async move { connection::run(&from, accepted).await });
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn renew(stamp: u64) -> Command {
    let (lasts, mclt) = (Span::from_secs(30), Span::from_secs(60));
    Command::Renew { node: NodeId(0), stamp, lasts, mclt }
}

fn leader(nodes: &[&Node]) -> Option<usize> {
    let known = nodes[0].council.standing().leader?;
    nodes.iter().position(|node| node.links.roster.me().key == known)
}

fn gone_key(n: usize) -> crate::site::roster::NodeKey {
    crate::site::roster::NodeKey::of(&format!("n{n}.example"))
}

/// Nodes that are all linked and know their cluster and who leads.
async fn begun(count: usize, folder: &Path) -> Vec<Option<Node>> {
    let mut nodes = Vec::new();
    for n in 0..count {
        nodes.push(Node::start_of(n, count, &folder.join(n.to_string())).await);
    }
    for (n, node) in nodes.iter().enumerate() {
        for other in &nodes[..n] {
            connect(node, other).await;
        }
    }
    until("all to know the cluster and who leads", || {
        let all: Vec<&Node> = nodes.iter().collect();
        nodes.iter().all(|node| node.council.machine().cluster().id.is_some()) && leader(&all).is_some()
    })
    .await;
    // Whoever was told of the cluster before it began itself votes a little later.
    until("all to vote", || nodes.iter().all(|node| node.council.standing().votes)).await;
    nodes.into_iter().map(Some).collect()
}

async fn lose(nodes: &mut [Option<Node>], lost: &[usize]) {
    for n in lost {
        nodes[*n].take().unwrap().stop().await;
    }
    let unlinked = |node: &Node| lost.iter().all(|n| node.links.number(gone_key(*n)).is_none());
    until("their links to be gone", || nodes.iter().flatten().all(unlinked)).await;
}

async fn restart(n: usize, count: usize, folder: &Path) -> Node {
    let path = folder.join(n.to_string());
    until("the file to be free", || Store::open(&path, &format!("n{n}.example")).is_ok()).await;
    Node::start_of(n, count, &path).await
}

async fn part(a: &Node, b: &Node) {
    let (one, other) = (a.links.roster.me().key, b.links.roster.me().key);
    a.links.cut(other, Cut::Behind);
    until("both to be parted", || a.links.number(other).is_none() && b.links.number(one).is_none()).await;
}

/// All nodes are members, and in.
async fn all_in(council: &Council, nodes: &[u16]) {
    let ids: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
    let found =
        Command::Found { founder: ids[0], store: StoreId(1), nodes: ids.clone(), blocks: 4, digest: 1 };
    assert_eq!(decided(council, Entry::Blocks(found)).await, Outcome::Done);
    for n in 1..ids.len() {
        join(council, ids[n], &ids[..n]).await;
    }
}

async fn join(council: &Council, node: NodeId, those_in: &[NodeId]) {
    assert_eq!(
        decided(council, Entry::Blocks(Command::Join { node, store: StoreId(1) })).await,
        Outcome::Done
    );
    let mut attempt = 0;
    until("the node to join as far as is known here", || {
        let cluster = council.machine().cluster();
        let joining = cluster
            .delegations
            .member(node)
            .filter(|member| matches!(member.presence, Presence::Joining { .. }));
        attempt = joining.map_or(0, |member| member.attempt);
        attempt > 0
    })
    .await;
    for by in those_in {
        let confirm = Command::Confirm { node, attempt, by: *by };
        assert_eq!(decided(council, Entry::Blocks(confirm)).await, Outcome::Done);
    }
}

fn number(council: &Council, n: usize) -> NodeId {
    council.machine().cluster().number(gone_key(n)).unwrap()
}

fn voters(node: &Node) -> Vec<String> {
    let mut voters = node.council.standing().voters;
    voters.sort();
    voters
}

fn names(numbers: &[usize]) -> Vec<String> {
    let mut names: Vec<String> = numbers.iter().map(|n| format!("n{n}.example")).collect();
    names.sort();
    names
}
