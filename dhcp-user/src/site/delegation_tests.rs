//! The machine by itself, and rule 1 of docs/sites.md: with clocks that run at different speed, messages that take any
//! time, and pauses, no two nodes ever both take themselves for the holder of a block.

use proptest::prelude::*;

use super::*;

const NODES: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];

const MCLT: Span = Span::from_secs(60);

fn founded(blocks: u32) -> Delegations {
    let mut state = Delegations::default();
    state
        .apply(&Command::Found {
            founder: NODES[0],
            store: StoreId(1),
            nodes: NODES.to_vec(),
            blocks,
            digest: 1,
        })
        .unwrap();
    state
}

fn renew(node: NodeId) -> Command {
    Command::Renew { node, stamp: 0, lasts: Span::from_secs(30), mclt: MCLT }
}

fn join(state: &mut Delegations, node: NodeId) {
    state.apply(&Command::Join { node, store: StoreId(1) }).unwrap();
    let attempt = state.member(node).unwrap().attempt;
    for by in state.members_in().collect::<Vec<_>>() {
        state.apply(&Command::Confirm { node, attempt, by }).unwrap();
    }
}

#[test]
fn a_cluster_is_founded_joined_and_shared_out() {
    let mut state = founded(6);
    let found =
        Command::Found { founder: NODES[1], store: StoreId(1), nodes: NODES.to_vec(), blocks: 6, digest: 1 };
    assert_eq!(state.apply(&found), Err(Void::Founded));
    assert_eq!(state.apply(&renew(NODES[1])), Err(Void::NotIn));
    let hand_on = |by, to, epoch| Command::Move { by, to, blocks: vec![(BlockId(3), epoch)] };
    assert_eq!(state.apply(&hand_on(NODES[0], NODES[1], 1)), Err(Void::NotIn));
    join(&mut state, NODES[1]);
    assert_eq!(state.apply(&hand_on(NODES[1], NODES[1], 1)), Err(Void::Overtaken), "it is not its to give");
    state.apply(&hand_on(NODES[0], NODES[1], 1)).unwrap();
    assert_eq!(state.apply(&hand_on(NODES[0], NODES[1], 1)), Err(Void::Overtaken));
    let held = Delegation::open(NODES[1], 2);
    assert_eq!(state.block(BlockId(3)), Some(held));
    assert_eq!(state.apply(&Command::Join { node: NODES[1], store: StoreId(1) }), Err(Void::NotOut));
    let nowhere = Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(6), 1)] };
    assert_eq!(state.apply(&nowhere), Err(Void::Overtaken));
    // Members come and go, but nobody goes who is counted on.
    state.apply(&Command::Enlist { node: NodeId(7) }).unwrap();
    assert_eq!(state.apply(&Command::Strike { node: NODES[1] }), Err(Void::NotGone));
    state.apply(&Command::Strike { node: NodeId(7) }).unwrap();
    assert_eq!(state.member(NodeId(7)), None);
}

#[test]
fn what_was_taken_over_moves_only_when_it_is_open() {
    let mut state = founded(2);
    join(&mut state, NODES[1]);
    state.apply(&Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(1), 1)] }).unwrap();
    // Nobody inherits who is not in: then all do that are.
    state.apply(&Command::PutOut { node: NODES[1], renewals: 0, heirs: vec![NODES[2]] }).unwrap();
    let taken = Delegation { holder: NODES[0], epoch: 3, taken_over: true, unheard: Span::ZERO };
    assert_eq!(state.block(BlockId(1)), Some(taken));
    join(&mut state, NODES[1]);
    let hand_on = Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(1), 3)] };
    assert_eq!(state.apply(&hand_on), Err(Void::Overtaken));
    let open = |epoch| Command::Open { by: NODES[0], blocks: vec![(BlockId(1), epoch)] };
    assert_eq!(state.apply(&open(2)), Err(Void::Overtaken));
    state.apply(&open(3)).unwrap();
    state.apply(&hand_on).unwrap();
}

#[test]
fn a_block_that_moves_has_newcomers_confirmed_anew() {
    let mut state = founded(1);
    join(&mut state, NODES[1]);
    state.apply(&Command::Join { node: NODES[2], store: StoreId(1) }).unwrap();
    // Node 1 has told all it had. What node 0 hands it now, it has not told.
    state.apply(&Command::Confirm { node: NODES[2], attempt: 1, by: NODES[1] }).unwrap();
    state.apply(&Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(0), 1)] }).unwrap();
    state.apply(&Command::Confirm { node: NODES[2], attempt: 2, by: NODES[0] }).unwrap();
    assert!(!state.is_in(NODES[2]));
    state.apply(&Command::Confirm { node: NODES[2], attempt: 2, by: NODES[1] }).unwrap();
    assert!(state.is_in(NODES[2]));
}

#[test]
fn a_renewal_and_putting_out_exclude_each_other() {
    let mut state = founded(1);
    let out = |renewals| Command::PutOut { node: NODES[1], renewals, heirs: vec![NODES[2], NODES[0]] };
    join(&mut state, NODES[1]);
    state.apply(&Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(0), 1)] }).unwrap();
    state.apply(&renew(NODES[1])).unwrap();
    assert_eq!(state.apply(&out(0)), Err(Void::Overtaken), "it renewed since");
    state.apply(&out(1)).unwrap();
    assert_eq!(state.apply(&renew(NODES[1])), Err(Void::NotIn));
    // An heir that is not in inherits nothing.
    let held = Delegation { holder: NODES[0], epoch: 3, taken_over: true, unheard: MCLT };
    assert_eq!(state.block(BlockId(0)), Some(held));
    let last = Command::PutOut { node: NODES[0], renewals: 0, heirs: vec![NODES[1]] };
    assert_eq!(state.apply(&last), Err(Void::LastOne));
}

/// A node is started anew with a shorter MCLT: what it promised before may reach as far as it did.
#[test]
fn the_longest_that_a_holder_may_have_promised_closes_its_blocks() {
    let mut state = founded(1);
    join(&mut state, NODES[1]);
    state.apply(&Command::Move { by: NODES[0], to: NODES[1], blocks: vec![(BlockId(0), 1)] }).unwrap();
    state.apply(&renew(NODES[1])).unwrap();
    let (lasts, mclt) = (Span::from_secs(3), Span::from_secs(5));
    state.apply(&Command::Renew { node: NODES[1], stamp: 1, lasts, mclt }).unwrap();
    assert_eq!(state.member(NODES[1]).map(|member| (member.lasts, member.mclt)), Some((lasts, MCLT)));
    state.apply(&Command::PutOut { node: NODES[1], renewals: 2, heirs: vec![] }).unwrap();
    assert_eq!(state.block(BlockId(0)).map(|held| held.unheard), Some(MCLT));
    // Its heir goes too, before it has opened the block.
    join(&mut state, NODES[1]);
    state.apply(&Command::PutOut { node: NODES[0], renewals: 0, heirs: vec![NODES[1]] }).unwrap();
    assert_eq!(state.block(BlockId(0)).map(|held| held.unheard), Some(MCLT));
    state.apply(&Command::Open { by: NODES[1], blocks: vec![(BlockId(0), 4)] }).unwrap();
    assert_eq!(state.block(BlockId(0)), Some(Delegation::open(NODES[1], 4)));
}

#[test]
fn other_pools_are_taken_over_by_one_and_nobody_who_lives_on_is_passed_over() {
    let mut state = founded(6);
    join(&mut state, NodeId(1));
    let lasts = Span::from_secs(10);
    let long = Command::Renew { node: NodeId(1), stamp: 1, lasts, mclt: Span::from_secs(900) };
    state.apply(&long).unwrap();
    let from = state.digest();
    let range = |first: u8, last: u8| ([198, 18, 0, first].into(), [198, 18, 0, last].into());
    state.apply(&Command::Pools { digest: from, pools: vec![range(10, 33)] }).unwrap();
    assert!(state.never_pooled(range(34, 40)) && !state.never_pooled(range(33, 40)));
    let recut = |state: &Delegations, by: u16| {
        Command::Recut(Recut {
            by: NodeId(by),
            from,
            digest: from + 1,
            blocks: 9,
            fresh: vec![BlockId(8)],
            pools: vec![range(34, 45)],
            renewals: state.renewals(),
        })
    };
    assert_eq!(state.apply(&recut(&state.clone(), 2)), Err(Void::NotIn));
    let decided = recut(&state, 1);
    state.apply(&renew(NodeId(0))).unwrap();
    assert_eq!(state.apply(&decided), Err(Void::Overtaken), "the founder has not ended");
    let before = state.blocks().map(|block| block.epoch).max().unwrap();
    let decided = recut(&state, 1);
    state.apply(&decided).unwrap();
    assert_eq!(state.apply(&decided), Err(Void::Overtaken));
    assert_eq!((state.digest(), state.blocks().len()), (from + 1, 9));
    assert_eq!(state.members_in().collect::<Vec<_>>(), [NodeId(1)]);
    let taken = |block: &Delegation| block.taken_over && block.unheard == Span::from_secs(900);
    let all: Vec<Delegation> = state.blocks().copied().collect();
    assert!(all.iter().all(|block| block.holder == NodeId(1) && block.epoch == before + 1));
    assert!(all[..8].iter().all(taken) && all[8] == Delegation::open(NodeId(1), before + 1));
    // What has been in a pool once is never new again.
    assert!(!state.never_pooled(range(12, 12)) && !state.never_pooled(range(45, 50)));
    assert!(state.never_pooled(range(46, 50)));
}

/// What the pools were was not said in time, and they change twice: those of the beginning are not new when they come back.
#[test]
fn pools_nobody_told_of_are_never_new_again() {
    let mut state = founded(1);
    let range = |first: u8, last: u8| ([198, 18, 0, first].into(), [198, 18, 0, last].into());
    state
        .apply(&Command::Recut(Recut {
            by: NODES[0],
            from: state.digest(),
            digest: 2,
            blocks: 1,
            fresh: Vec::new(),
            pools: vec![range(40, 50)],
            renewals: state.renewals(),
        }))
        .unwrap();
    assert!(!state.never_pooled(range(10, 33)) && !state.never_pooled(range(60, 70)));
}

#[test]
fn who_was_removed_is_remembered_until_it_is_added_again() {
    let mut state = founded(1);
    assert!(!state.any_struck());
    state.apply(&Command::Strike { node: NODES[2] }).unwrap();
    assert!(state.any_struck());
    state.apply(&Command::Enlist { node: NODES[2] }).unwrap();
    assert!(!state.any_struck());
}

#[test]
fn who_joins_is_waited_for_at_once_and_is_in_when_all_confirmed() {
    let mut state = founded(0);
    join(&mut state, NODES[1]);
    state.apply(&Command::Join { node: NODES[2], store: StoreId(1) }).unwrap();
    assert_eq!(state.audience(NODES[0]).collect::<Vec<_>>(), [NODES[1], NODES[2]]);
    let confirm = |attempt, by| Command::Confirm { node: NODES[2], attempt, by };
    state.apply(&confirm(1, NODES[0])).unwrap();
    assert!(!state.is_in(NODES[2]));
    // Node 1 goes: what it alone had told node 2 is node 0's to tell now.
    state.apply(&Command::PutOut { node: NODES[1], renewals: 0, heirs: vec![NODES[0]] }).unwrap();
    assert!(!state.is_in(NODES[2]));
    assert_eq!(state.apply(&confirm(1, NODES[0])), Err(Void::Overtaken));
    state.apply(&confirm(2, NODES[0])).unwrap();
    assert!(state.is_in(NODES[2]));
}

/// A node as far as rule 1 goes: its copy of the state, how much of the log it applied, and when its delegations end.
struct Node {
    state: Delegations,
    applied: usize,
    proposed_at: Option<u64>,
    held_until: u64,
    /// When it applied the last renewal of each node, and which it was.
    heard: BTreeMap<NodeId, (u64, u64)>,
    /// Its clock gains so many thousandths on true time.
    gains: i64,
}

const TERM: u64 = 1_000;
/// Clocks are allowed to run two per cent apart.
const WAIT: u64 = TERM * 102 / 100 + 1;

impl Node {
    fn clock(&self, now: u64) -> u64 {
        now.saturating_add_signed(now as i64 * self.gains / 1_000)
    }

    /// Applies the log up to `upto`; `log` has who proposed each command.
    fn catch_up(&mut self, me: NodeId, log: &[Command], upto: usize, now: u64) {
        let clock = self.clock(now);
        while self.applied < upto {
            let command = &log[self.applied];
            self.applied += 1;
            let done = self.state.apply(command);
            if let (Command::Renew { node, .. }, Ok(())) = (command, done) {
                let renewals = self.state.member(*node).unwrap().renewals;
                self.heard.insert(*node, (clock, renewals));
                if *node == me
                    && let Some(proposed) = self.proposed_at.take()
                {
                    self.held_until = proposed + TERM;
                }
            }
        }
    }

    fn holds(&self, me: NodeId, now: u64) -> bool {
        let holder = self.state.block(BlockId(0)).map(|block| block.holder);
        holder == Some(me) && self.clock(now) < self.held_until
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Propose(usize),
    PutOut(usize, usize),
    CatchUp(usize, usize),
    Rejoin(usize),
    /// A proposal that was made reaches the log only now.
    Arrive(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..700_u64).prop_map(Step::Pass),
        4 => (0..3_usize).prop_map(Step::Propose),
        3 => (0..3_usize, 0..3_usize).prop_map(|(by, whom)| Step::PutOut(by, whom)),
        6 => (0..3_usize, 1..9_usize).prop_map(|(node, few)| Step::CatchUp(node, few)),
        1 => (0..3_usize).prop_map(Step::Rejoin),
        6 => (0..6_usize).prop_map(Step::Arrive),
    ]
}

/// Whether two nodes ever both took themselves for the holder. `wait` is what proposers wait before they put out.
fn both_hold(steps: &[Step], gains: [i64; 3], wait: u64) -> bool {
    let mut log = vec![Command::Found {
        founder: NODES[0],
        store: StoreId(1),
        nodes: NODES.to_vec(),
        blocks: 1,
        digest: 1,
    }];
    for node in [NODES[1], NODES[2]] {
        log.push(Command::Join { node, store: StoreId(1) });
        log.push(Command::Confirm { node, attempt: 1, by: NODES[0] });
        log.push(Command::Confirm { node, attempt: 1, by: NODES[1] });
    }
    let mut nodes = gains.map(|gains| Node {
        state: Delegations::default(),
        applied: 0,
        proposed_at: None,
        held_until: 0,
        heard: BTreeMap::new(),
        gains,
    });
    let (mut now, mut flying) = (1_000, Vec::new());
    for step in steps {
        match *step {
            Step::Pass(time) => now += time,
            Step::Propose(i) => {
                let clock = nodes[i].clock(now);
                if nodes[i].proposed_at.is_none() {
                    nodes[i].proposed_at = Some(clock);
                    flying.push(renew(NODES[i]));
                }
            }
            Step::PutOut(by, whom) => {
                let clock = nodes[by].clock(now);
                if let Some(&(heard, renewals)) = nodes[by].heard.get(&NODES[whom])
                    && clock >= heard + wait
                {
                    flying.push(Command::PutOut { node: NODES[whom], renewals, heirs: vec![NODES[by]] });
                }
            }
            Step::CatchUp(i, few) => {
                let upto = (nodes[i].applied + few).min(log.len());
                nodes[i].catch_up(NODES[i], &log, upto, now);
            }
            Step::Rejoin(i) => {
                let attempt = nodes[i].state.member(NODES[i]).map_or(0, |member| member.attempt) + 1;
                log.push(Command::Join { node: NODES[i], store: StoreId(1) });
                log.extend(NODES.map(|by| Command::Confirm { node: NODES[i], attempt, by }));
            }
            Step::Arrive(which) => {
                if !flying.is_empty() {
                    log.push(flying.remove(which % flying.len()));
                }
            }
        }
        if (0..3).filter(|&i| nodes[i].holds(NODES[i], now)).count() > 1 {
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_two_nodes_hold_a_block(
        steps in prop::collection::vec(step(), 1..200),
        gains in [-9..9_i64, -9..9_i64, -9..9_i64],
    ) {
        prop_assert!(!both_hold(&steps, gains, WAIT));
    }
}

#[test]
fn who_does_not_wait_for_the_end_is_found_out() {
    use Step::{Arrive, CatchUp, Pass, Propose, PutOut};
    let steps = |passed| {
        vec![
            CatchUp(0, 9),
            CatchUp(1, 9),
            Propose(0),
            Arrive(0),
            CatchUp(0, 9),
            CatchUp(1, 9),
            Pass(passed),
            PutOut(1, 0),
            Propose(1),
            Arrive(0),
            Arrive(0),
            CatchUp(1, 9),
        ]
    };
    assert!(both_hold(&steps(500), [0; 3], 400), "taken over before the delegation ended");
    assert!(!both_hold(&steps(500), [0; 3], WAIT));
}
