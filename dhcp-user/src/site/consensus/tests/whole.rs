//! How a cluster begins, loses its leader, and takes back who was away and takes in who is new.

use super::*;

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
