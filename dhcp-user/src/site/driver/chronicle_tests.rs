//! Every kind of news, from two looks made up for it.

use serde_json::json;

use super::*;
use crate::time::Span;

fn detail(name: &str, status: &str, nodes: &[(&str, bool, &str)]) -> SiteDetail {
    let member = |(name, linked, standing): &(&str, bool, &str)| {
        let trouble = (!linked).then_some("no answer");
        json!({"name": name, "linked": linked, "leads": false, "votes": true, "standing": standing, "trouble": trouble})
    };
    let members: Vec<_> = nodes.iter().map(member).collect();
    serde_json::from_value(json!({"name": name, "status": status, "nodes": nodes.len(), "latency": 3,
        "last_sync": null, "reason": "the reason", "priority": 1, "expected_latency": 5, "members": members}))
    .unwrap()
}

fn block(holder: u16, taken_over: bool) -> Delegation {
    Delegation { holder: NodeId(holder), epoch: 1, taken_over, unheard: Span::ZERO }
}

/// `e1` and `e2` in the site east, `w1` in the site west; this is `e1`.
fn look(east: &str, west: (&str, bool, &str), blocks: &[(u16, bool)]) -> Look {
    Look {
        at: Timestamp::ZERO,
        sites: vec![
            detail("east", east, &[("e1", true, "active"), ("e2", true, "in")]),
            detail("west", west.0, &[("w1", west.1, west.2)]),
        ],
        me: "e1".to_owned(),
        leader: Some("w1".to_owned()),
        role: Some("active".to_owned()),
        service_addresses_here: Some(false),
        names: (0..).map(NodeId).zip(["e1", "e2", "w1"].map(str::to_owned)).collect(),
        blocks: blocks.iter().map(|(holder, taken_over)| block(*holder, *taken_over)).collect(),
    }
}

const WELL: (&str, bool, &str) = ("active", true, "in");

/// Kind, site, node, before, now and blocks, as one line each.
fn told(before: &Look, now: &Look) -> Vec<String> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let line = |news: SiteNews| {
        let kind = serde_json::to_value(news.kind).unwrap();
        let blocks = news.blocks.map(|blocks| format!(" {blocks}")).unwrap_or_default();
        let (site, node) = (dash(&news.site), dash(&news.node));
        format!(
            "{} {site} {node} {} > {}{blocks}",
            kind.as_str().unwrap(),
            dash(&news.before),
            dash(&news.now)
        )
    };
    between(before, now).into_iter().map(line).collect()
}

#[test]
fn where_nothing_happens_nothing_is_told() {
    let look = look("active", WELL, &[(0, false), (2, true)]);
    assert_eq!(told(&look, &look), [""; 0]);
    let mut later = look.clone();
    later.sites[1].short.last_sync = Some("later".to_owned());
    later.sites[1].reason = "in other words".to_owned();
    assert_eq!(told(&look, &later), [""; 0], "what moves all the time is no news");
}

#[test]
fn a_site_that_falls_silent_and_is_taken_over() {
    let well = look("active", WELL, &[(0, false), (1, false), (2, false), (2, false)]);
    let silent = look("active", ("down", false, "in"), &[(0, false), (1, false), (2, false), (2, false)]);
    assert_eq!(told(&well, &silent), ["link west w1 up > down", "status west - active > down"]);
    let words = between(&well, &silent);
    assert_eq!(words[0].detail, "nothing is heard of w1: no answer");
    assert_eq!(words[1].detail, "west is down: the reason");
    let mut taken = look("active", ("down", false, "out"), &[(0, false), (1, false), (0, true), (1, true)]);
    taken.leader = Some("e2".to_owned());
    assert_eq!(
        told(&silent, &taken),
        [
            "standing west w1 in > out",
            "leader east e2 w1 > e2",
            "taken_over east e1 w1 > e1 1",
            "taken_over east e2 w1 > e2 1",
        ]
    );
    let mut opened = taken.clone();
    opened.blocks[2].taken_over = false;
    opened.leader = None;
    assert_eq!(told(&taken, &opened), ["leader - - e2 > -", "opened east e1 - > - 1"]);
}

#[test]
fn a_node_that_is_drained() {
    let well = look("active", WELL, &[(0, false), (0, false), (0, false), (2, false)]);
    let mut some = look("active", WELL, &[(2, false), (2, false), (0, false), (2, false)]);
    some.role = Some("draining".to_owned());
    some.service_addresses_here = Some(true);
    assert_eq!(
        told(&well, &some),
        [
            "role east e1 active > draining",
            "service_addresses east e1 elsewhere > here",
            "handed_on west w1 e1 > w1 2",
        ]
    );
    let mut none = some.clone();
    none.blocks[2] = block(1, false);
    assert_eq!(told(&some, &none), ["handed_on east e2 e1 > e2 1", "drained east e1 - > - 0"]);
}

#[test]
fn what_cannot_be_compared_is_not() {
    let mut before = look("active", WELL, &[]);
    let now = look("active", WELL, &[(0, false), (1, false)]);
    assert_eq!(told(&before, &now), [""; 0], "a cluster begins");
    before.sites.clear();
    assert_eq!(told(&before, &now), [""; 0], "a site that was not there before");
    let (mut gone, mut other) = (now.clone(), now.clone());
    gone.blocks[1] = block(7, false);
    other.blocks[1] = block(0, false);
    let text = between(&gone, &other)[0].detail.clone();
    assert_eq!(text, "node number 7 has handed 1 blocks on to e1", "a node that was removed has no name");
}
