//! A site's status and what is wrong, from views and links made up for it.

use std::time::Duration;

use super::*;
use crate::site::{node::view::Counts, roster::Roster};

/// `e1` in the site east, which is this node, `w1` and `w2` in the site west; told every 60 s.
fn section(mode: &str) -> MultiSite {
    let text = format!(
        r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"local_site": "east", "node": "e1",
            "synchronization": {{"mode": "{mode}", "interval": 60}},
            "sites": [{{"name": "east", "nodes": ["e1"]}}, {{"name": "west", "nodes": ["w1", "w2"]}}]}}}}}}}}"#
    );
    crate::config::parse(&text, "test").unwrap().multi_site.unwrap()
}

fn peer(name: &str, standing: Standing, lag_secs: u64) -> PeerView {
    PeerView {
        node: 1,
        name: name.to_owned(),
        site: "west".to_owned(),
        connected: true,
        standing,
        suspect: false,
        blocks_held: 1,
        free: 0,
        lag_updates: lag_secs * 7,
        lag_secs,
        last_sync: None,
        latency: None,
        updates_sent: 0,
        octets_sent: 0,
        updates_received: 0,
        octets_received: 0,
    }
}

fn view(role: Role, peers: Vec<PeerView>) -> View {
    View {
        role,
        applied_index: 1,
        held_until: Timestamp::ZERO,
        blocks_held: 1,
        blocks_closed: 0,
        blocks: 3,
        epoch: 1,
        awaiting: 0,
        shared_addresses_here: None,
        peers,
        counts: Counts::default(),
    }
}

/// West's status and the reason, as this node has it with links to all of west's nodes but `cut`.
fn west(peers: Vec<PeerView>, cut: Option<&str>) -> (&'static str, String) {
    let section = section("async");
    let roster = Roster::of(&section, "e1").unwrap();
    let nodes: Vec<&Node> = roster.nodes().iter().filter(|node| node.site == 1).collect();
    let links: Vec<PeerStatus> = nodes
        .iter()
        .map(|node| PeerStatus {
            node: (*node).clone(),
            up: cut != Some(node.name.as_str()),
            silent: Some(Duration::ZERO),
            round_trip: None,
            offset: None,
            trouble: None,
            queued: 0,
            links: 1,
        })
        .collect();
    let view = view(Role::Active, peers);
    let seen = Seen {
        section: &section,
        me: roster.me(),
        nodes,
        peers: &links,
        view: Some(&view),
        now: Timestamp::ZERO,
    };
    seen.status()
}

#[test]
fn a_node_that_is_linked_and_far_behind_is_not_in_step() {
    let with = |w1, w2| west(vec![peer("w1", Standing::In, w1), peer("w2", Standing::In, w2)], None);
    assert_eq!(with(0, 0).0, "active");
    assert_eq!(with(70, 61).0, "active", "it is told every 60 s");
    assert_eq!(with(0, 71), ("degraded", "w2 lags 71 s behind: 497 changes are not acknowledged".to_owned()));
    let (status, reason) = with(7_200, 9_000);
    assert_eq!(status, "degraded");
    assert!(reason.contains("w1 lags 7200 s") && reason.contains("; w2 lags 9000 s"), "{reason}");
}

#[test]
fn all_that_is_wrong_with_a_site_is_said() {
    let peers = vec![peer("w1", Standing::Joining, 90), peer("w2", Standing::In, 500)];
    let (status, reason) = west(peers, Some("w2"));
    assert_eq!(status, "degraded");
    assert_eq!(
        reason,
        "w2: not linked yet; w1 is joining; w1 lags 90 s behind: 630 changes are not acknowledged"
    );
}

#[test]
fn mode_sync_says_when_there_is_no_second_copy() {
    let alone = |mode: &str, role, standings: [Standing; 2]| {
        let peers = ["w1", "w2"].into_iter().zip(standings).map(|(name, is)| peer(name, is, 0)).collect();
        without_a_copy(section(mode).synchronization.mode, &view(role, peers)).is_some()
    };
    let (out, joining) = ([Standing::Out, Standing::Stranger], [Standing::Out, Standing::Joining]);
    assert!(alone("sync", Role::Active, out) && alone("sync", Role::Draining, out));
    assert!(!alone("sync", Role::Active, joining), "its acknowledgements are waited for");
    assert!(!alone("sync", Role::Active, [Standing::In, Standing::Out]));
    assert!(!alone("sync", Role::Waiting, out), "it grants nothing");
    assert!(!alone("async", Role::Active, out), "nobody was promised that");
}
