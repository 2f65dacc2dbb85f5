//! A veth pair across two namespaces: the cable between a server and a client.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use xtask::xdp_pass::{Mode, XdpPass};

use crate::{netns::NetNs, wait::wait_until};

/// One end of a pair.
#[derive(Clone, Debug)]
pub struct End {
    /// The interface's name.
    pub name: String,
    /// Its number in its namespace.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// Both ends of a pair. It goes when either namespace does. Offloads are as the kernel sets them.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The end in the first namespace.
    pub a: End,
    /// The end in the second.
    pub b: End,
}

impl Veth {
    /// Joins `a` and `b` by a pair named `a_name` and `b_name`, both up. Hardware addresses are `02:00:00:00:00:0a` and
    /// `…:0b`, so that frames are the same in every run.
    ///
    /// # Errors
    ///
    /// When a name is taken or the links do not come up.
    pub fn new(a: &NetNs, a_name: &str, b: &NetNs, b_name: &str) -> Result<Self> {
        Self::with_macs((a, a_name, [2, 0, 0, 0, 0, 0x0a]), (b, b_name, [2, 0, 0, 0, 0, 0x0b]))
    }

    /// As [`Veth::new`], with hardware addresses of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Veth::new`].
    pub fn with_macs(a: (&NetNs, &str, [u8; 6]), b: (&NetNs, &str, [u8; 6])) -> Result<Self> {
        Self::join(a, b, "")
    }

    /// As [`Veth::new`], with so many queues each way, for as many processors; else all share one.
    ///
    /// # Errors
    ///
    /// As [`Veth::new`].
    pub fn with_queues(a: &NetNs, a_name: &str, b: &NetNs, b_name: &str, queues: usize) -> Result<Self> {
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        Self::join((a, a_name, [2, 0, 0, 0, 0, 0x0a]), (b, b_name, [2, 0, 0, 0, 0, 0x0b]), &queues)
    }

    fn join(a: (&NetNs, &str, [u8; 6]), b: (&NetNs, &str, [u8; 6]), queues: &str) -> Result<Self> {
        let ((a_ns, a_name, a_mac), (b_ns, b_name, b_mac)) = (a, b);
        a_ns.ip(&format!(
            "link add {a_name} address {} {queues} type veth peer name {b_name} address {} {queues} netns {}",
            colons(a_mac),
            colons(b_mac),
            b_ns.name()
        ))?;
        a_ns.ip(&format!("link set {a_name} up"))?;
        b_ns.ip(&format!("link set {b_name} up"))?;
        for (ns, name) in [(a_ns, a_name), (b_ns, b_name)] {
            wait_until(Duration::from_secs(5), &format!("link {name} to come up"), || {
                ns.ip(&format!("link show dev {name}")).is_ok_and(|text| text.contains("state UP"))
            })?;
        }
        Ok(Self {
            a: End { name: a_name.to_owned(), index: a_ns.if_index(a_name)?, mac: a_mac },
            b: End { name: b_name.to_owned(), index: b_ns.if_index(b_name)?, mac: b_mac },
        })
    }
}

impl End {
    /// Attaches an XDP program that passes every frame, in driver mode, for as long as the value returned lives. What
    /// the other end's program sends back (`XDP_TX`) arrives only then.
    ///
    /// # Errors
    ///
    /// When the end has an XDP program already, or without root.
    pub fn pass(&self, ns: &NetNs) -> Result<XdpPass> {
        let attached = ns.run(|| XdpPass::attach(self.index, Mode::Driver))?;
        attached.with_context(|| format!("on {} in {}", self.name, ns.name()))
    }
}

/// Gives an interface an address.
///
/// # Errors
///
/// When `ip` refuses it.
pub fn add_address(ns: &NetNs, interface: &str, address: Ipv4Addr, prefix_len: u8) -> Result<()> {
    ns.ip(&format!("address add {address}/{prefix_len} dev {interface}")).map(drop)
}

/// The IPv4 addresses an interface has now.
///
/// # Errors
///
/// When there is no such interface.
pub fn addresses(ns: &NetNs, interface: &str) -> Result<Vec<Ipv4Addr>> {
    let text = ns.ip(&format!("-4 -oneline address show dev {interface}"))?;
    Ok(text.split_whitespace().filter_map(|word| word.split_once('/')?.0.parse().ok()).collect())
}

/// A hardware address as one writes it.
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
