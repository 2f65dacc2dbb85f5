//! Leases of the first clients in each server's own lease file, half over: what a server has when renewals come.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::{config::LEASE_SECS, ground::address};
use crate::{load::mac, veth::colons};

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds since 1970 at which the leases end.
fn expires() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_secs() + u64::from(LEASE_SECS / 2))
}

/// Kea's memfile, as version 2.2 has it.
///
/// # Errors
///
/// When it cannot be written.
pub fn kea(path: &Path, clients: u32) -> Result<()> {
    let mut text = String::from(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n",
    );
    let expires = expires()?;
    for number in 0..clients {
        let mac = colons(mac(number));
        writeln!(text, "{},{mac},01:{mac},{LEASE_SECS},{expires},1,0,0,,0,", address(number))?;
    }
    write(path, &text)
}

/// dhcpd.leases.
///
/// # Errors
///
/// When it cannot be written.
pub fn dhcpd(path: &Path, clients: u32) -> Result<()> {
    let mut text = String::from("authoring-byte-order little-endian;\n");
    let (ends, starts) = (expires()?, expires()? - u64::from(LEASE_SECS));
    for number in 0..clients {
        let mac = mac(number);
        let id: String = std::iter::once(1).chain(mac).map(|octet| format!("\\{octet:03o}")).collect();
        writeln!(
            text,
            "lease {} {{\n  starts epoch {starts};\n  ends epoch {ends};\n  cltt epoch {starts};\n  \
             binding state active;\n  next binding state free;\n  hardware ethernet {};\n  uid \"{id}\";\n}}",
            address(number),
            colons(mac),
        )?;
    }
    write(path, &text)
}

/// dnsmasq.leases.
///
/// # Errors
///
/// When it cannot be written.
pub fn dnsmasq(path: &Path, clients: u32) -> Result<()> {
    let mut text = String::new();
    let expires = expires()?;
    for number in 0..clients {
        let mac = colons(mac(number));
        writeln!(text, "{expires} {mac} {} * 01:{mac}", address(number))?;
    }
    write(path, &text)
}
