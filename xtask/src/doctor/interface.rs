//! What a network interface is good for: XDP in its driver, VLAN tags, queues.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use super::{Finding, State, ethtool, netdev, queues};
use crate::netif;

/// The largest MTU most drivers take with an XDP program without fragments: a page less headroom and trailer.
const MTU_MAX: u32 = 3498;

const AREA: &str = "interface";

/// Everything about the interface called `name`.
pub fn findings(name: &str) -> Vec<Finding> {
    let folder = PathBuf::from("/sys/class/net").join(name);
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
    let Some(index) = netif::index(name) else {
        let found = format!("there is no interface {name:?}");
        return vec![Finding::fault(State::Missing, AREA, "name", found, "`ip link` lists them")];
    };
    let driver = ethtool::driver(name).unwrap_or_else(|error| format!("unknown ({error})"));
    let mut findings = vec![
        Finding::ok(AREA, "driver", driver),
        xdp(netdev::driver_has_xdp(index)),
        vlan(name, ethtool::strips_vlan(name)),
        mtu(name, read("mtu").and_then(|text| text.parse().ok())),
    ];
    let processors = thread::available_parallelism().map_or(1, usize::from);
    findings.extend(queues::findings(name, &folder, Path::new("/proc/irq"), processors));
    findings
}

fn xdp(driver_has_it: io::Result<bool>) -> Finding {
    match driver_has_it {
        Ok(true) => Finding::ok(AREA, "XDP", "in the driver"),
        Ok(false) => Finding::fault(
            State::Warning,
            AREA,
            "XDP",
            "not in the driver: renewals are answered in generic mode, several times slower",
            "use a card whose driver has XDP, or cargo xtask run --mode generic to say that it is meant so",
        ),
        Err(error) => Finding::fault(
            State::Warning,
            AREA,
            "XDP",
            format!("the kernel does not tell ({error}); it does from 6.3 on"),
            "cargo xtask run --mode driver tries",
        ),
    }
}

fn vlan(name: &str, strips: io::Result<bool>) -> Finding {
    match strips {
        Ok(false) => Finding::ok(AREA, "VLAN offload", "off: XDP sees tags"),
        Ok(true) => Finding::fault(
            State::Warning,
            AREA,
            "VLAN offload",
            "on: the card takes tags off before XDP sees them, so that tagged clients' renewals look untagged",
            format!("ethtool -K {name} rxvlan off (if clients are behind VLAN tags)"),
        ),
        Err(error) => Finding::fault(
            State::Warning,
            AREA,
            "VLAN offload",
            format!("the driver does not tell ({error})"),
            format!("ethtool -k {name} | grep rx-vlan-offload"),
        ),
    }
}

fn mtu(name: &str, mtu: Option<u32>) -> Finding {
    match mtu {
        Some(mtu) if mtu <= MTU_MAX => Finding::ok(AREA, "MTU", mtu.to_string()),
        Some(mtu) => Finding::fault(
            State::Warning,
            AREA,
            "MTU",
            format!("{mtu}: many drivers refuse XDP above {MTU_MAX}"),
            format!("ip link set dev {name} mtu 1500"),
        ),
        None => {
            Finding::fault(State::Warning, AREA, "MTU", "not readable", format!("ip link show dev {name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_the_only_finding() {
        let found = findings("nosuchif");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].state, State::Missing);
    }

    #[test]
    fn every_fault_has_a_way_out() {
        let gone = || Err(io::Error::from(io::ErrorKind::NotFound));
        for finding in [
            xdp(Ok(false)),
            xdp(gone()),
            vlan("eth0", Ok(true)),
            vlan("eth0", gone()),
            mtu("eth0", Some(9000)),
        ] {
            assert_eq!(finding.state, State::Warning);
            assert!(finding.fix.is_some(), "{}", finding.found);
        }
    }
}
