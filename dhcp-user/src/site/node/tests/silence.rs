//! When a node's silence says that its delegations have ended, and who may act on that (docs/sites.md, rule 1).

use super::*;

/// How far the clock goes at a time: less than half of how often nodes renew.
const STRIDE: Span = Span::from_secs(10_000);

impl Lab {
    /// Lets time pass in which these nodes renew and the others stand still; who was proposed to be put out, and when first.
    fn stand_still(&mut self, awake: &[usize], strides: usize) -> Option<(NodeId, Timestamp)> {
        self.proposed.clear();
        for _ in 0..strides {
            self.now = self.now + STRIDE;
            for _ in 0..2 {
                awake.iter().for_each(|node| self.turn(*node));
            }
            let mut found = self.proposed.iter();
            if let Some(Command::PutOut { node, .. }) =
                found.find(|command| matches!(command, Command::PutOut { .. }))
            {
                return Some((*node, self.now));
            }
        }
        None
    }
}

#[test]
fn without_failover_nobody_is_put_out_before_an_operator_says_so_and_its_delegations_have_ended() {
    let mut lab = Lab::new(3, 10);
    assert_eq!(lab.stand_still(&[0, 1], 30), None, "an operator has to say so");
    lab.tell(0, Input::Order(Order::PartnerDown(NodeId(2))));
    let began = lab.now;
    assert_eq!(lab.stand_still(&[0, 1], 1), Some((NodeId(2), began + STRIDE)), "it is long over");

    // Said too early, it is waited for.
    let mut lab = Lab::new(3, 10);
    lab.tell(0, Input::Order(Order::PartnerDown(NodeId(2))));
    let began = lab.now;
    let (node, at) = lab.stand_still(&[0, 1], 30).expect("it is put out");
    assert_eq!(node, NodeId(2));
    assert!(at >= began + Span::from_secs(100_000), "its delegations had not ended: {at:?}");

    // It was not down at all: what the operator said is void.
    let mut lab = Lab::new(3, 10);
    lab.tell(0, Input::Order(Order::PartnerDown(NodeId(2))));
    assert_eq!(lab.stand_still(&[0, 1, 2], 4), None);
    assert_eq!(lab.stand_still(&[0, 1], 30), None);
}

#[test]
fn who_joins_is_not_put_out_for_its_silence_before_that() {
    let mut lab = Lab::new(3, 10);
    assert_eq!(lab.stand_still(&[0, 1], 30), None);
    let renewals = lab.site(0).state().member(NodeId(2)).map_or(0, |member| member.renewals);
    lab.commands.push(Command::PutOut { node: NodeId(2), renewals, heirs: vec![NodeId(0)] });
    lab.commands.push(Command::Join { node: NodeId(2), store: StoreId(1) });
    // One that joins is put out whatever `failover` says, but only when it has been silent for long since.
    let began = lab.now;
    let (node, at) = lab.stand_still(&[0, 1], 30).expect("it never renews");
    assert_eq!(node, NodeId(2));
    assert!(at >= began + Span::from_secs(100_000), "{at:?}");
}
