//! What those who are left can do when others are lost.
//!
//! Whatever was agreed on is known to a majority of those who decided. If a majority is left it goes on by itself. If exactly half of
//! them is left, at least one of these knows all that was agreed on, for no majority is without one of them: they can go on when
//! somebody says that the others are lost for certain ([`consensus::survivors`](super::consensus)). If fewer are left the others may
//! have agreed on something that none of these knows: who holds which block cannot be said any more.

use crate::config::model::MultiSite;

/// Those who are left of all who decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// A majority: nobody needs to say anything.
    Majority,
    /// Exactly half.
    Half,
    /// Fewer: they cannot go on without one of the others.
    Fewer,
}

impl Remaining {
    /// So many are left, of so many.
    pub fn of(left: usize, all: usize) -> Self {
        match left.saturating_mul(2).cmp(&all) {
            std::cmp::Ordering::Greater => Self::Majority,
            std::cmp::Ordering::Equal => Self::Half,
            std::cmp::Ordering::Less => Self::Fewer,
        }
    }
}

/// What an operator should know of a site whose loss leaves no majority: failover by itself does not cover it.
pub fn warning(site: &str, remaining: Remaining) -> Option<String> {
    let mends = "a third site, or a single witness node elsewhere, mends that";
    match remaining {
        Remaining::Majority => None,
        Remaining::Half => Some(format!(
            "a lost site {site} leaves no majority: nothing moves by itself then, `site partner-down --site {site}` moves it by \
             hand; {mends}"
        )),
        Remaining::Fewer => Some(format!(
            "a lost site {site} leaves fewer than half of the nodes: nothing moves then, neither by itself nor by hand, until a \
             node of it is back; {mends}"
        )),
    }
}

/// The warnings of a configuration: one for each site without which there is no majority, if addresses are to move by themselves.
pub fn warnings(section: &MultiSite) -> Vec<String> {
    let all: usize = section.sites.iter().map(|site| site.nodes.len()).sum();
    // Of one site there is nobody to take over, and that is said elsewhere.
    if !section.enabled || !section.failover.enabled || section.sites.len() < 2 {
        return Vec::new();
    }
    let remaining = |site: usize| Remaining::of(all.saturating_sub(site), all);
    section.sites.iter().filter_map(|site| warning(&site.name, remaining(site.nodes.len()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn half_is_enough_by_hand_and_fewer_never() {
        let of = Remaining::of;
        assert_eq!((of(3, 4), of(2, 4), of(1, 4)), (Remaining::Majority, Remaining::Half, Remaining::Fewer));
        assert_eq!((of(3, 5), of(2, 5), of(1, 2)), (Remaining::Majority, Remaining::Fewer, Remaining::Half));
        assert_eq!((of(0, 0), of(1, 1), of(0, 1)), (Remaining::Half, Remaining::Majority, Remaining::Fewer));
    }

    fn warned(sites: &str, failover: bool) -> Vec<String> {
        let text = format!(
            r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"enabled": true, "local_site": "a", "sites": {sites},
                "failover": {{"enabled": {failover}}}, "link": {{"listen": "127.0.0.1:8067"}}}}}}}}}}"#
        );
        warnings(&config::parse(&text, "test").unwrap().multi_site.unwrap())
    }

    #[test]
    fn a_site_that_is_half_or_more_is_warned_of_and_a_third_site_or_a_witness_mends_it() {
        let two = r#"[{"name": "a", "nodes": ["a1", "a2"]}, {"name": "b", "nodes": ["b1", "b2"]}]"#;
        let said = warned(two, true);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("site a leaves no majority") && said[0].contains("partner-down --site a"));
        assert!(said[1].contains("--site b"), "{said:?}");
        assert!(warned(two, false).is_empty());
        let uneven = r#"[{"name": "a", "nodes": ["a1", "a2", "a3"]}, {"name": "b", "nodes": ["b1", "b2"]}]"#;
        let said = warned(uneven, true);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("site a leaves fewer than half"), "{said:?}");
        let witness = r#"[{"name": "a", "nodes": ["a1", "a2"]}, {"name": "b", "nodes": ["b1", "b2"]},
            {"name": "w", "nodes": ["w1"]}]"#;
        assert!(warned(witness, true).is_empty());
    }
}
