//! Several nodes in one process, linked by pipes: how a cluster begins, loses its leader, and takes back who was away; how half of it
//! goes on without the other half.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_goes_on_without_its_leader_and_takes_back_who_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: usize| folder.path().join(n.to_string());
    let mut nodes =
        [Node::start(0, &path(0)).await, Node::start(1, &path(1)).await, Node::start(2, &path(2)).await];
    // One alone begins nothing: it is not linked with a majority. Two others, started after them, have begun and agreed on
    // something by the time that this is looked at, so that the three have had their turn more than once.
    let pair = [Node::start_of(0, 2, &path(6)).await, Node::start_of(1, 2, &path(7)).await];
    connect(&pair[0], &pair[1]).await;
    until("two others to know their cluster", || {
        pair.iter().all(|node| node.council.machine().cluster().id.is_some())
    })
    .await;
    for node in pair {
        node.stop().await;
    }
    assert!(nodes.iter().all(|node| node.council.standing().voters.is_empty()));
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        connect(&nodes[a], &nodes[b]).await;
    }
    until("all to know the cluster", || {
        nodes.iter().all(|node| node.council.machine().cluster().id.is_some())
    })
    .await;
    let ids: Vec<_> = nodes.iter().map(|node| node.council.machine().cluster().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    // Whoever proposes, all apply the same in the same order.
    for (n, node) in nodes.iter().enumerate() {
        node.council.propose(Entry::Blocks(renew(n as u64)));
    }
    until("three commands everywhere", || nodes.iter().all(|node| node.commands().len() == 3)).await;
    assert!(nodes.iter().all(|node| node.commands() == nodes[0].commands()));
    assert_eq!(nodes[0].council.standing().voters.len(), 3);
    // Of two changes decided on the same reservations, at two nodes at once, one counts, and all know which.
    let (one, other) =
        tokio::join!(nodes[0].council.decide(reserve(0, "a")), nodes[1].council.decide(reserve(0, "b")));
    let (won, lost) = if one == Ok(Outcome::Reserved(1)) { ("a", other) } else { ("b", one) };
    assert_eq!(lost, Ok(Outcome::Void(Void::Overtaken)));
    until("the reservation everywhere", || nodes.iter().all(|node| node.reserved() == [won])).await;

    // The leader dies. The others go on.
    let led = leader(&nodes.each_ref()).unwrap();
    let [x, y] = [[1, 2], [0, 2], [0, 1]][led];
    let gone = std::mem::replace(&mut nodes[led], Node::start(led, &path(9)).await);
    gone.stop().await;
    until("another leader", || {
        let known = nodes[x].council.standing().leader;
        known.is_some() && known == nodes[y].council.standing().leader && known != Some(gone_key(led))
    })
    .await;
    nodes[x].council.propose(Entry::Blocks(renew(3)));
    decided(&nodes[y].council, reserve(1, "c")).await;
    until("the other reservation", || nodes[x].reserved() == ["c"]).await;
    until("a fourth command", || nodes[y].commands().len() == 4 && nodes[x].commands().len() == 4).await;

    // In its place comes one without a memory: it is told everything, and votes only then.
    connect(&nodes[led], &nodes[x]).await;
    connect(&nodes[led], &nodes[y]).await;
    until("the newcomer to know all", || nodes[led].commands() == nodes[x].commands()).await;
    assert_eq!(nodes[led].reserved(), ["c"]);
    assert!(!nodes[led].council.standing().votes, "it does not know how it voted");
    until("the newcomer to vote", || nodes[led].council.standing().votes).await;

    // Stopped and started on what it has on the disk, it is told nothing anew that it knew.
    let fresh = Node::start(led, &path(8)).await;
    let newcomer = std::mem::replace(&mut nodes[led], fresh);
    let known = newcomer.commands();
    newcomer.stop().await;
    // What still runs of it lets go of the file.
    until("the file to be free", || Store::open(&path(9), &format!("n{led}.example")).is_ok()).await;
    let again = Node::start(led, &path(9)).await;
    until("the disk to be read", || again.commands() == known && again.reserved() == ["c"]).await;
    until("it to vote again", || again.council.standing().votes).await;
}

fn gone_key(n: usize) -> crate::site::roster::NodeKey {
    crate::site::roster::NodeKey::of(&format!("n{n}.example"))
}

#[test]
fn a_state_directory_is_one_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path(), "a").unwrap();
    let incarnation = first.incarnation;
    drop(first);
    assert_eq!(Store::open(folder.path(), "A").unwrap().incarnation, incarnation);
    let refused = Store::open(folder.path(), "b").unwrap_err();
    assert!(matches!(refused, StoreError::Other { .. }), "{refused}");
}

#[test]
fn what_another_release_wrote_is_refused_and_not_misread() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path(), "a").unwrap().set_format(1).unwrap();
    let refused = Store::open(folder.path(), "a").unwrap_err();
    assert!(matches!(refused, StoreError::Format { theirs: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("install the release that wrote it"), "{refused}");
}

/// Of two nodes one goes on alone when it is told to; the other is outvoted when it comes back, and told everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_one_goes_on_alone_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: usize| folder.path().join(n.to_string());
    let [a, b] = [Node::start_of(0, 2, &path(0)).await, Node::start_of(1, 2, &path(1)).await];
    connect(&a, &b).await;
    until("both to know the cluster", || {
        [&a, &b].iter().all(|node| node.council.machine().cluster().id.is_some())
    })
    .await;
    a.council.propose(Entry::Blocks(renew(1)));
    until("a command at both", || a.commands().len() == 1 && b.commands().len() == 1).await;
    let partner = b.links.roster.me().clone();
    b.stop().await;
    // Nothing is decided now. It is said whether it may be later, and soon it is not even tried.
    let end = Instant::now() + SOON;
    while let Err(Undecided::Unknown(why)) = a.council.decide(reserve(0, "a")).await {
        assert!(Instant::now() < end, "{why}");
    }
    let undecided = a.council.decide(reserve(0, "a")).await.unwrap_err();
    assert!(matches!(undecided, Undecided::Nothing(_)), "{undecided}");
    a.council.propose(Entry::Blocks(renew(2)));
    until("the link to be gone", || a.links.number(partner.key).is_none()).await;
    a.council.go_on_without(&[partner.key].into()).await.unwrap();
    a.council.go_on_without(&[partner.key].into()).await.unwrap();
    // A proposal made while nobody leads is dropped, and made again, as the node does.
    until("a to decide alone", || {
        a.council.propose(Entry::Blocks(renew(3)));
        a.commands().contains(&renew(3))
    })
    .await;
    assert_eq!(a.council.standing().voters, ["n0.example"]);
    // What was tried meanwhile may be decided now: then this is overtaken, and comes after it.
    while a.reserved() != ["b"] {
        let seen = a.council.machine().cluster().reservations.serial();
        decided(&a.council, reserve(seen, "b")).await;
    }
    until("the file to be free", || Store::open(&path(1), "n1.example").is_ok()).await;
    let b = Node::start_of(1, 2, &path(1)).await;
    connect(&a, &b).await;
    until("b to be told everything", || b.commands() == a.commands() && b.reserved() == ["b"]).await;
    assert_eq!(b.council.standing().voters, ["n0.example"]);
}

/// A machine takes the place of one that was taken out: it counts as a voter only when it votes, so that whoever leads may be
/// lost from that moment on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_added_votes_when_it_counts_as_a_voter() {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: usize| folder.path().join(n.to_string());
    let mut nodes =
        [Node::start(0, &path(0)).await, Node::start(1, &path(1)).await, Node::start(2, &path(2)).await];
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        connect(&nodes[a], &nodes[b]).await;
    }
    until("all to know the cluster and who leads", || {
        nodes.iter().all(|node| node.council.machine().cluster().id.is_some())
            && leader(&nodes.each_ref()).is_some()
    })
    .await;
    let led = leader(&nodes.each_ref()).unwrap();
    let [taken_out, stays] = [[1, 2], [0, 2], [0, 1]][led];
    let name = format!("n{taken_out}.example");
    let gone = std::mem::replace(&mut nodes[taken_out], Node::start(taken_out, &path(9)).await);
    gone.stop().await;
    nodes[led].council.change(MemberChange::Remove { name: name.clone() }).await.unwrap();
    connect(&nodes[taken_out], &nodes[led]).await;
    connect(&nodes[taken_out], &nodes[stays]).await;
    nodes[led].council.change(MemberChange::Add { name }).await.unwrap();
    assert!(nodes[taken_out].council.standing().votes);
    let leader_lost = std::mem::replace(&mut nodes[led], Node::start(led, &path(8)).await);
    leader_lost.stop().await;
    until("another leader", || {
        let [known, other] = [stays, taken_out].map(|n| nodes[n].council.standing().leader);
        known.is_some() && known == other && known != Some(gone_key(led))
    })
    .await;
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

/// Half of the nodes are lost, and one of those that are left has a shorter log than the other. What only the longer has was agreed on
/// and stays; the shorter one is asked, and the longer goes on. The lost ones do not win an election when they are back, not even
/// with one of the others; they are given their votes back when they are in, but one that was removed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_nodes_go_on_from_the_longest_log_and_take_the_others_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = begun(4, folder.path()).await;
    all_in(&nodes[0].as_ref().unwrap().council, &[0, 1, 2, 3]).await;
    let led = leader(&nodes.iter().flatten().collect::<Vec<_>>()).unwrap();
    let [behind, ahead, other] = [1, 2, 3].map(|n| (led + n) % 4);
    let node =
        |nodes: &[Option<Node>], n: usize| nodes[n].as_ref().map(|node| Arc::clone(&node.council)).unwrap();
    until("everybody to have everything", || {
        let commands = nodes[led].as_ref().unwrap().commands();
        nodes.iter().flatten().all(|node| node.commands() == commands)
    })
    .await;
    // The leader and two more agree on something of which the fourth does not hear.
    for n in [led, ahead, other] {
        part(nodes[behind].as_ref().unwrap(), nodes[n].as_ref().unwrap()).await;
    }
    assert_eq!(decided(&node(&nodes, led), Entry::Blocks(renew(7))).await, Outcome::Done);
    until("those that are left to have it", || nodes[ahead].as_ref().unwrap().commands().contains(&renew(7)))
        .await;
    assert!(!nodes[behind].as_ref().unwrap().commands().contains(&renew(7)));
    let lost = [gone_key(led), gone_key(other)].into();
    // All that are left must be linked, and none of the lost.
    let refused = node(&nodes, behind).go_on_without(&lost).await.unwrap_err();
    assert!(refused.contains(&format!("n{ahead}.example is not linked with n{behind}.example")), "{refused}");
    connect(nodes[behind].as_ref().unwrap(), nodes[ahead].as_ref().unwrap()).await;
    let refused = node(&nodes, behind).go_on_without(&lost).await.unwrap_err();
    assert!(refused.contains("it is not down"), "{refused}");
    lose(&mut nodes, &[led, other]).await;
    node(&nodes, behind).go_on_without(&lost).await.unwrap();
    let left = [behind, ahead];
    until("those that are left to decide", || {
        left.iter().all(|n| voters(nodes[*n].as_ref().unwrap()) == names(&left))
    })
    .await;
    assert_eq!(decided(&node(&nodes, behind), Entry::Blocks(renew(8))).await, Outcome::Done);
    until("both to have everything", || {
        let commands = left.map(|n| nodes[n].as_ref().unwrap().commands());
        commands[0] == commands[1] && [renew(7), renew(8)].iter().all(|command| commands[0].contains(command))
    })
    .await;

    // The lost ones are back, and linked alone with the one of the others that does not lead: by what they know these three are a
    // majority.
    let leads = |n: &usize| nodes[*n].as_ref().unwrap().council.leads();
    until("one of those that are left to lead", || left.iter().any(leads)).await;
    let quiet = left.into_iter().find(|n| !leads(n)).unwrap();
    let [one, two] = [restart(led, 4, folder.path()).await, restart(other, 4, folder.path()).await];
    part(nodes[behind].as_ref().unwrap(), nodes[ahead].as_ref().unwrap()).await;
    connect(&one, &two).await;
    connect(&one, nodes[quiet].as_ref().unwrap()).await;
    connect(&two, nodes[quiet].as_ref().unwrap()).await;
    let term = one.council.standing().term.max(two.council.standing().term);
    until("them to have tried elections", || {
        one.council.standing().term.max(two.council.standing().term) > term + 1
    })
    .await;
    assert!(!one.council.leads() && !two.council.leads());
    assert!(!one.commands().contains(&renew(8)));

    // All are linked again: they are told everything, and decide nothing.
    connect(nodes[behind].as_ref().unwrap(), nodes[ahead].as_ref().unwrap()).await;
    let loud = if quiet == ahead { behind } else { ahead };
    connect(&one, nodes[loud].as_ref().unwrap()).await;
    connect(&two, nodes[loud].as_ref().unwrap()).await;
    let council = node(&nodes, ahead);
    until("them to be told everything", || {
        [&one, &two].iter().all(|node| node.commands().contains(&renew(8)) && voters(node) == names(&left))
    })
    .await;
    // Both are put out, which is what comes of their silence; one is removed for good, the other joins again.
    for n in [led, other] {
        let node = number(&council, n);
        let renewals = council.machine().cluster().delegations.member(node).unwrap().renewals;
        let put_out = Command::PutOut { node, renewals, heirs: Vec::new() };
        assert_eq!(decided(&council, Entry::Blocks(put_out)).await, Outcome::Done);
    }
    let end = Instant::now() + SOON;
    let remove = MemberChange::Remove { name: format!("n{other}.example") };
    while let Err(error) = council.change(remove.clone()).await {
        assert!(Instant::now() < end, "{error}");
    }
    let those_in = left.map(|n| number(&council, n));
    join(&council, number(&council, led), &those_in).await;
    until("it to decide again", || voters(nodes[ahead].as_ref().unwrap()) == names(&[behind, ahead, led]))
        .await;
    until("it to know that", || voters(&one) == names(&[behind, ahead, led])).await;
    let deciders = nodes[ahead].as_ref().unwrap();
    assert!(deciders.links.number(gone_key(other)).is_some(), "it was there all the time");
    assert!(council.machine().presence(gone_key(other)).is_none(), "it is a member");
}

/// Three of six go on: all three together first, so that none of them can be won over by the lost ones, then a majority of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_six_go_on_and_two_of_them_are_a_majority_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = begun(6, folder.path()).await;
    lose(&mut nodes, &[3, 4, 5]).await;
    let lost = [3, 4, 5].map(gone_key).into();
    let council =
        |n: usize, nodes: &[Option<Node>]| nodes[n].as_ref().map(|node| Arc::clone(&node.council)).unwrap();
    council(1, &nodes).go_on_without(&lost).await.unwrap();
    until("a majority of three to decide", || {
        nodes.iter().flatten().all(|node| {
            let metrics = node.council.raft().metrics();
            let membership = metrics.borrow().membership_config.clone();
            membership.membership().get_joint_config().len() == 1 && voters(node) == names(&[0, 1, 2])
        })
    })
    .await;
    lose(&mut nodes, &[2]).await;
    assert_eq!(decided(&council(0, &nodes), reserve(0, "a")).await, Outcome::Reserved(1));
    until("the other to have it", || nodes[1].as_ref().unwrap().reserved() == ["a"]).await;
    // Of these three one is left without the other: fewer than half.
    lose(&mut nodes, &[1]).await;
    let refused = council(0, &nodes).go_on_without(&[gone_key(1), gone_key(2)].into()).await.unwrap_err();
    assert!(refused.contains("fewer than half"), "{refused}");
    let refused = council(0, &nodes).go_on_without(&[gone_key(1)].into()).await.unwrap_err();
    assert!(refused.contains("are a majority"), "{refused}");
}
