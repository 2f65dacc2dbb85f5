//! How half of a cluster goes on without the other half.

use super::*;

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
    // Neither asks in vain for ever, so each is made to stand: without the log of those that are left they are not elected.
    for back in [&one, &two] {
        let term = back.council.standing().term;
        back.council.raft().trigger().elect().await.unwrap();
        until("it to have stood", || back.council.standing().term > term).await;
    }
    for _ in 0..100 {
        assert!(!one.council.leads() && !two.council.leads());
        sleep(Duration::from_millis(10)).await;
    }
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
