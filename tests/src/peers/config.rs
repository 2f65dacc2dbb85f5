//! The same service in each server's words: one subnet, one pool, mask, router, DNS server and domain, leases of an hour.

use std::{net::Ipv4Addr, path::Path};

use serde_json::{Value, json};

use super::ground::{FIRST, GATEWAY, INTERFACE, SERVER, SUBNET, address};

/// The lease time, seconds.
pub const LEASE_SECS: u32 = 3600;
const T1_SECS: u32 = LEASE_SECS / 2;
const T2_SECS: u32 = LEASE_SECS / 8 * 7;
const DNS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);
const DOMAIN: &str = "example.org";
const MASK: &str = "255.224.0.0";

fn last(pool: u32) -> Ipv4Addr {
    address(pool.saturating_sub(1))
}

/// Ours. `pins` is where the kernel's maps are pinned.
pub fn ours(folder: &Path, pins: &Path, pool: u32) -> Value {
    json!({"dhcp": {
        "interfaces": [{"name": INTERFACE, "address": SERVER}],
        "store": {"path": folder.join("leases")},
        "control": {"socket": folder.join("control.sock")},
        "fastpath": {"pin_path": pins},
        "lease_secs": LEASE_SECS,
        // As for the others: nobody asks whether addresses are in use, bounds anybody or keeps a log of who held what.
        "conflict_detection": {"mode": "off"},
        "limits": {"enabled": false},
        "audit": {"enabled": false},
        "subnets": [{
            "subnet": SUBNET,
            "pools": [{"range": format!("{FIRST}-{}", last(pool))}],
            "options": [
                {"name": "routers", "value": [GATEWAY]},
                {"name": "domain-name-servers", "value": [DNS]},
                {"name": "domain-name", "value": DOMAIN},
            ],
        }],
    }})
}

/// Kea's; `threads` for the multi-threaded one.
pub fn kea(folder: &Path, pool: u32, threads: Option<u32>) -> String {
    let threading = match threads {
        // What Kea's manual advises for its lease file: four threads, queues of 28.
        Some(threads) => {
            json!({"enable-multi-threading": true, "thread-pool-size": threads, "packet-queue-size": 28})
        }
        None => json!({"enable-multi-threading": false}),
    };
    json!({"Dhcp4": {
        "interfaces-config": {"interfaces": [INTERFACE], "dhcp-socket-type": "raw"},
        "lease-database": {
            "type": "memfile", "persist": true, "name": folder.join("kea-leases4.csv"), "lfc-interval": 0,
        },
        "multi-threading": threading,
        "valid-lifetime": LEASE_SECS, "renew-timer": T1_SECS, "rebind-timer": T2_SECS,
        "authoritative": true,
        "subnet4": [{
            "subnet": SUBNET, "id": 1,
            "pools": [{"pool": format!("{FIRST} - {}", last(pool))}],
            "option-data": [
                {"name": "routers", "data": GATEWAY},
                {"name": "domain-name-servers", "data": DNS},
                {"name": "domain-name", "data": DOMAIN},
            ],
        }],
        "loggers": [{
            "name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}],
        }],
    }})
    .to_string()
}

/// ISC dhcpd's. It takes a renewal that a router brings for one of the link it comes in on, so the server's own link and
/// the clients' are one shared network, in which that does no harm. It would answer early renewals without writing them down (`dhcp-cache-threshold`); clients renew at half
/// of their leases, when no cache applies, so it has none here.
pub fn dhcpd(pool: u32) -> String {
    let network = SUBNET.split('/').next().unwrap_or_default();
    format!(
        "authoritative;\nddns-update-style none;\nping-check false;\ndhcp-cache-threshold 0;\n\
         default-lease-time {LEASE_SECS};\nmax-lease-time {LEASE_SECS};\n\
         shared-network all {{\n subnet 198.18.0.0 netmask 255.255.255.0 {{ }}\n\
         subnet {network} netmask {MASK} {{\n  range {FIRST} {};\n  option routers {GATEWAY};\n  \
         option domain-name-servers {DNS};\n  option domain-name \"{DOMAIN}\";\n  \
         option dhcp-renewal-time {T1_SECS};\n  option dhcp-rebinding-time {T2_SECS};\n}}\n}}\n",
        last(pool)
    )
}

/// dnsmasq's.
pub fn dnsmasq(folder: &Path, pool: u32) -> String {
    format!(
        "port=0\nno-resolv\nno-hosts\nno-ping\nquiet-dhcp\ndhcp-authoritative\nuser=root\n\
         pid-file={folder}/dnsmasq.pid\nlog-facility={folder}/dnsmasq.log\n\
         interface={INTERFACE}\nbind-interfaces\ndhcp-leasefile={folder}/dnsmasq.leases\n\
         dhcp-lease-max={pool}\ndhcp-range={FIRST},{},{MASK},{LEASE_SECS}\n\
         dhcp-option=3,{GATEWAY}\ndhcp-option=6,{DNS}\ndhcp-option=15,{DOMAIN}\n",
        last(pool),
        folder = folder.display(),
    )
}
