//! What becomes of another configuration under a running daemon: nothing, a change, or a restart. Pure.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    config::model::{Api, Config},
    net::interface::InterfaceFacts,
    site::link::terms::Terms,
};

/// A configuration with what the machine's interfaces are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The file's text.
    pub text: Arc<str>,
    /// What it says.
    pub config: Arc<Config>,
    /// The interfaces, in its order.
    pub facts: Vec<InterfaceFacts>,
    /// Our address on each.
    pub servers: Vec<Ipv4Addr>,
}

/// What sockets there are to ask by whether addresses are in use; no more can be opened once privileges are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskingBy {
    /// ARP, on every interface.
    pub arp: bool,
    /// ICMP echo.
    pub echo: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: all is as it was.
    Nothing,
    /// The configuration changes.
    Change,
}

/// The change is more than a running daemon can take up; the keys whose values changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} changed, which needs a restart of the daemon; nothing was changed: restart it (the kernel goes on answering \
     meanwhile), or leave the key as it was",
    keys.join(", ")
)]
pub struct NeedsRestart {
    /// The keys, as in the file.
    pub keys: Vec<&'static str>,
}

/// Judges the step from what is in force to another configuration.
///
/// # Errors
/// The keys that need a restart.
pub fn decide(now: &Standing, next: &Standing, asking: AskingBy) -> Result<Decision, NeedsRestart> {
    let keys: Vec<_> =
        changed(now, next, asking).into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect();
    if !keys.is_empty() {
        return Err(NeedsRestart { keys });
    }
    let same = now.config == next.config && now.facts == next.facts && now.servers == next.servers;
    Ok(if same { Decision::Nothing } else { Decision::Change })
}

fn changed(now: &Standing, next: &Standing, asking: AskingBy) -> Vec<(&'static str, bool)> {
    let (is, was) = (&*next.config, &*now.config);
    let attached = |standing: &Standing| -> Vec<_> {
        let interfaces = standing.config.interfaces.iter().zip(&standing.facts);
        // An interface that was removed and made again has the same name and none of our sockets.
        interfaces.map(|(interface, facts)| (interface.name.clone(), interface.mode, facts.ifindex)).collect()
    };
    let in_cluster = is.multi_site.as_ref().is_some_and(|section| section.enabled);
    let relayed = is.subnets.iter().any(|subnet| subnet.link.is_none());
    let lacks_sockets =
        is.conflict_detection.is_some_and(|wanted| !asking.arp || wanted.relayed && relayed && !asking.echo);
    let Api {
        enabled,
        listen,
        tls,
        ref certificate,
        ref client_ca,
        clients: _,
        ref state_path,
        metrics_listen,
        requests_per_sec,
    } = is.api;
    vec![
        ("dhcp.interfaces", attached(now) != attached(next)),
        ("dhcp.store.path", is.store != was.store),
        ("dhcp.control.socket", is.control != was.control),
        ("dhcp.fastpath.pin_path", is.fastpath.pin_path != was.fastpath.pin_path),
        ("dhcp.audit", is.audit != was.audit),
        ("dhcp.conflict_detection", lacks_sockets),
        ("dhcp.datacenter.multi_site", is.multi_site != was.multi_site),
        // The other nodes hold this one to the pools it greeted them with.
        ("dhcp.subnets", in_cluster && Terms::of(is) != Terms::of(was)),
        ("dhcp.api.enabled", enabled != was.api.enabled),
        ("dhcp.api.listen", listen != was.api.listen),
        ("dhcp.api.tls", tls != was.api.tls),
        ("dhcp.api.certificate", *certificate != was.api.certificate),
        ("dhcp.api.client_ca", *client_ca != was.api.client_ca),
        ("dhcp.api.state_path", *state_path != was.api.state_path),
        ("dhcp.api.metrics_listen", metrics_listen != was.api.metrics_listen),
        ("dhcp.api.requests_per_sec", requests_per_sec != was.api.requests_per_sec),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config;

    fn standing(change: impl FnOnce(&mut Value)) -> Standing {
        let mut value = json!({"dhcp": {
            "interfaces": [{"name": "s0", "address": "198.18.0.1"}],
            "subnets": [{"subnet": "198.18.0.0/16", "interface": "s0",
                "pools": [{"range": "198.18.1.0-198.18.1.255"}]}],
        }});
        change(&mut value);
        let text = value.to_string();
        let config = Arc::new(config::parse(&text, "test").unwrap());
        let facts = config.interfaces.iter().map(|interface| InterfaceFacts {
            name: interface.name.clone(),
            ifindex: 7,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec![Ipv4Addr::new(198, 18, 0, 1)],
        });
        let facts: Vec<_> = facts.collect();
        let servers = vec![Ipv4Addr::new(198, 18, 0, 1); facts.len()];
        Standing { text: text.into(), config, facts, servers }
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Decision, Vec<&'static str>> {
        let all = AskingBy { arp: true, echo: true };
        decide(&standing(|_| ()), &standing(change), all).map_err(|error| error.keys)
    }

    #[test]
    fn the_same_is_nothing_and_what_shapes_replies_is_a_change() {
        assert_eq!(judged(|_| ()), Ok(Decision::Nothing));
        assert_eq!(judged(|c| c["dhcp"]["lease_secs"] = json!(99)), Ok(Decision::Change));
        assert_eq!(judged(|c| c["dhcp"]["limits"] = json!({"overall_per_sec": 9})), Ok(Decision::Change));
        let subnet = json!({"subnet": "198.19.0.0/24", "relays": ["198.19.0.1"],
            "pools": [{"range": "198.19.0.10-198.19.0.20"}]});
        let add = |c: &mut Value| c["dhcp"]["subnets"].as_array_mut().unwrap().push(subnet);
        assert_eq!(judged(add), Ok(Decision::Change));
    }

    #[test]
    fn what_is_opened_at_the_start_needs_another_start() {
        assert_eq!(
            judged(|c| {
                c["dhcp"]["store"] = json!({"path": "/elsewhere"});
                c["dhcp"]["fastpath"] = json!({"pin_path": "/sys/fs/bpf/elsewhere"});
            }),
            // The audit log and the API's files are in the store's directory unless they are put elsewhere.
            Err(vec!["dhcp.store.path", "dhcp.fastpath.pin_path", "dhcp.audit", "dhcp.api.state_path"])
        );
        assert_eq!(
            judged(|c| c["dhcp"]["interfaces"][0]["mode"] = json!("generic")),
            Err(vec!["dhcp.interfaces"])
        );
        assert_eq!(
            judged(|c| c["dhcp"]["control"] = json!({"socket": "/x"})),
            Err(vec!["dhcp.control.socket"])
        );
        assert_eq!(judged(|c| c["dhcp"]["api"] = json!({"enabled": false})), Err(vec!["dhcp.api.enabled"]));
    }

    #[test]
    fn an_interface_made_anew_and_sockets_that_are_not_there() {
        let now = standing(|_| ());
        let mut next = now.clone();
        next.facts[0].ifindex = 8;
        let all = AskingBy { arp: true, echo: true };
        assert_eq!(decide(&now, &next, all).unwrap_err().keys, ["dhcp.interfaces"]);
        next = now.clone();
        next.servers[0] = Ipv4Addr::new(198, 18, 0, 2);
        assert_eq!(decide(&now, &next, all), Ok(Decision::Change));
        let said = decide(&now, &now, AskingBy::default()).unwrap_err().to_string();
        assert!(said.starts_with("dhcp.conflict_detection changed, which needs a restart"), "{said}");
    }
}
