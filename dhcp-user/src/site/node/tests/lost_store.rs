//! A node whose store was lost comes to the present by way of the past: at no moment of it does it take what it has for what it
//! joined with (docs/sites.md, rule 8).

use super::*;

/// The node that loses its store, and the store it joined with.
const ME: NodeId = NodeId(0);
const BEFORE: StoreId = StoreId(77);

fn found(blocks: u32, digest: u64) -> Command {
    let nodes = vec![ME, NodeId(1), NodeId(2)];
    Command::Found { founder: ME, store: BEFORE, nodes, blocks, digest }
}

/// What brings another node in.
fn joins(node: NodeId, by: &[NodeId]) -> Vec<Command> {
    let confirm = |&by: &NodeId| Command::Confirm { node, attempt: 1, by };
    [Command::Join { node, store: StoreId(5) }].into_iter().chain(by.iter().map(confirm)).collect()
}

impl Lab {
    /// A node is started over an empty store, and hears the log from its beginning; after each command it takes its turn.
    fn hear_from_the_beginning(&mut self, node: usize, log: &[Command]) {
        self.state = Delegations::default();
        self.nodes[node] = self.started(NodeId(node as u16), MemoryStore::new());
        self.proposed.clear();
        for (command, index) in log.iter().zip(2..) {
            self.now = self.now + Span::from_secs(2);
            self.tell(node, Input::Applied { index, command: command.clone() });
            self.turn(node);
        }
    }

    fn holds_any(&self, node: usize) -> bool {
        let authority = self.nodes[node].core.engine.authority().unwrap();
        (0..).map(BlockId).take(authority.blocks().len()).any(|block| authority.held(block).is_some())
    }

    /// Where the pools and their blocks are those of the lab.
    fn found(&self) -> Command {
        let blocks = self.nodes[0].core.engine.authority().unwrap().blocks();
        found(u32::try_from(blocks.len()).unwrap(), blocks.digest())
    }
}

#[test]
fn the_founder_that_reads_of_its_founding_has_not_founded_with_this_store() {
    let mut lab = Lab::new(3, 10);
    lab.hears = vec![false; 3];
    let log: Vec<Command> = [lab.found()].into_iter().chain(joins(NodeId(1), &[ME])).collect();
    lab.hear_from_the_beginning(0, &log);
    assert!(!lab.site(0).is_marked() && !lab.holds_any(0));
    let leaves = |command: &Command| matches!(command, Command::PutOut { node: ME, .. });
    assert!(lab.proposed.iter().any(leaves), "{:?}", lab.proposed);
    // It is put out, joins with what it has, and is trusted again.
    let mut log = log;
    log.push(Command::PutOut { node: ME, renewals: 0, heirs: Vec::new() });
    let store = lab.site(0).own_store();
    log.push(Command::Join { node: ME, store });
    for (command, index) in log[log.len() - 2..].iter().zip(100..) {
        lab.tell(0, Input::Applied { index, command: command.clone() });
        lab.now = lab.now + Span::from_secs(2);
        lab.turn(0);
    }
    assert!(lab.site(0).is_marked());
}

#[test]
fn who_reads_of_a_time_before_it_joined_is_no_newcomer_for_that() {
    let mut lab = Lab::new(3, 10);
    lab.hears = vec![false; 3];
    let Command::Found { nodes, blocks, digest, .. } = lab.found() else { return };
    let founded = Command::Found { founder: NodeId(1), store: StoreId(5), nodes, blocks, digest };
    let mut log = vec![founded, Command::Renew { node: NodeId(1), stamp: 0, lasts: Span(1), mclt: Span(1) }];
    let early = log.clone();
    log.push(Command::Join { node: ME, store: BEFORE });
    log.push(Command::Confirm { node: ME, attempt: 1, by: NodeId(1) });
    lab.hear_from_the_beginning(0, &early);
    let newcomer = |command: &Command| matches!(command, Command::Join { node: ME, .. });
    lab.now = lab.now + Span::from_secs(2);
    lab.turn(0);
    assert!(lab.proposed.iter().any(newcomer), "as far as it knows, it is");
    lab.hear_from_the_beginning(0, &log);
    assert!(lab.site(0).state().is_in(ME) && !lab.site(0).is_marked());
}

#[test]
fn who_takes_itself_for_the_last_one_asks_the_log() {
    let mut lab = Lab::new(3, 10);
    lab.hears = vec![false; 3];
    let log = vec![lab.found()];
    lab.hear_from_the_beginning(0, &log);
    for _ in 0..3 {
        lab.now = lab.now + Span::from_secs(2);
        lab.turn(0);
    }
    let store = lab.site(0).own_store();
    let goes_on = Command::Join { node: ME, store };
    assert!(lab.proposed.contains(&goes_on) && !lab.holds_any(0), "{:?}", lab.proposed);
    // It was not the last one: another had come in, which has what it lost.
    let log: Vec<Command> = log.into_iter().chain(joins(NodeId(1), &[ME])).chain([goes_on.clone()]).collect();
    lab.hear_from_the_beginning(0, &log);
    assert!(!lab.site(0).is_marked() && !lab.holds_any(0));
    // It was.
    lab.hear_from_the_beginning(0, &log[..1]);
    lab.now = lab.now + Span::from_secs(2);
    lab.turn(0);
    let goes_on = Command::Join { node: ME, store: lab.site(0).own_store() };
    lab.tell(0, Input::Applied { index: 100, command: goes_on });
    lab.turn(0);
    assert!(lab.site(0).is_marked() && lab.holds_any(0));
}
