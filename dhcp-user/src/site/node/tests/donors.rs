//! Whom a node asks for blocks, and who is given those of a node that is out.

use super::*;

#[test]
fn who_is_asked_and_who_takes_over_is_as_configured() {
    let mut lab = Lab::new(4, 10);
    let now = lab.now;
    let node = lab.nodes[0].site.as_mut().unwrap();
    // The first two are of one site, the others of one each.
    for (place, site) in node.settings.nodes.iter_mut().zip([0, 0, 1, 2]) {
        place.site = site;
    }
    (node.settings.donors, node.settings.heirs) = (vec![0, 2, 1], vec![1, 2, 0]);
    assert_eq!(node.donors(), [NodeId(1), NodeId(3), NodeId(2)]);
    node.settings.balanced = true;
    let mut with_free = |free: [u64; 3]| {
        for peer in &mut node.peers {
            peer.free = free[usize::from(peer.node.0) - 1];
        }
        node.donors()
    };
    assert_eq!(with_free([3, 9, 5]), [NodeId(2), NodeId(3), NodeId(1)]);
    assert_eq!(with_free([5, 5, 9]), [NodeId(3), NodeId(1), NodeId(2)], "the order counts among equals");
    // The own site comes first if it is named, and the site of the last, however few addresses they have.
    node.settings.named_donors = 2;
    let mut with_free = |free: [u64; 3]| {
        for peer in &mut node.peers {
            peer.free = free[usize::from(peer.node.0) - 1];
        }
        node.donors()
    };
    assert_eq!(with_free([1, 9, 2]), [NodeId(1), NodeId(3), NodeId(2)]);

    assert_eq!(node.heirs_of(now, NodeId(1)), [NodeId(0)], "the others of its site come first");
    assert_eq!(node.heirs_of(now, NodeId(3)), [NodeId(2)], "the first of the preferred sites");
    node.settings.heirs = vec![0, 1, 2];
    assert_eq!(node.heirs_of(now, NodeId(3)), [NodeId(0), NodeId(1)]);
}
