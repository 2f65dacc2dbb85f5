//! What templates of requests cost: on the wire, and at a standby that teaches its kernel from them.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{abi::Form, request::Interface};
use dhcp_user::{
    config::{self, model::VlanTags},
    engine::Engine,
    lease::{
        record::{ClientKey, LeaseRecord},
        table::LeaseTable,
    },
    server::work::Work,
    site::replication::{Asked, Template, Way},
};
use rand::{SeedableRng as _, rngs::SmallRng};

use crate::{oracle::mind, packet::Frame};

/// Where the options of a frame's BOOTP message end up: behind Ethernet, IPv4 and UDP.
const BOOTP_AT: usize = 14 + 20 + 8;
/// Kinds of clients: what they ask for, and who made them.
const KINDS: [(&[u8], &[u8]); 4] = [
    (&[1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42], b""),
    (&[1, 3, 6, 12, 15, 28, 42], b"udhcp 1.36.1"),
    (&[1, 3, 15, 6, 26, 33, 121, 42], b"dhcpcd-9.4.1:Linux-6.1.0:x86_64:GenuineIntel"),
    (&[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252], b"MSFT 5.0"),
];

/// The first address of the pool here.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 16);
/// The server's address and the lease time of everything here.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// How the client of a lease asks: it is of one of a few kinds.
///
/// # Errors
///
/// When its request cannot be made again from the template, which is a bug.
pub fn asked(lease: &LeaseRecord) -> Result<Asked> {
    let mac = lease.hardware.as_ethernet().context("not Ethernet")?;
    let (wishes, maker) = KINDS[usize::from(mac[5]) % KINDS.len()];
    let mut frame = Frame::renewal(mac, lease.address, [2, 0, 0, 0, 0, 1], SERVER);
    if let ClientKey::Id(id) = &lease.client {
        frame = frame.option(61, id);
    }
    frame = frame.option(12, &lease.hostname).option(55, wishes);
    if !maker.is_empty() {
        frame = frame.option(60, maker);
    }
    let frame = frame.build();
    let way = Way { form: Form::Direct, interface: 0, vlans: VlanTags::default() };
    let template = frame.get(BOOTP_AT..).and_then(|request| Template::of(request, way, lease));
    Ok([Some(Arc::new(template.context("a request that cannot be made again")?)), None])
}

/// How many of these leases a second the learner of a standby can make known to its kernel.
///
/// # Errors
///
/// When one cannot be taught.
pub fn taught_per_s<'a>(leases: impl Iterator<Item = &'a LeaseRecord>, lease_secs: u64) -> Result<f64> {
    let text = format!(
        r#"{{"dhcp": {{"interfaces": ["s0"], "lease_secs": {lease_secs}, "subnets": [{{"subnet": "198.18.0.0/15",
            "interface": "s0", "pools": [{{"range": "{FIRST}-198.19.255.250"}}], "options": [
            {{"name": "routers", "value": ["198.18.0.1"]}}, {{"name": "domain-name-servers", "value": ["198.18.0.2"]}}]}}]}}}}"#
    );
    let config = Arc::new(config::parse(&text, "bench")?);
    let control = mind::control(&mut SmallRng::seed_from_u64(1), 1);
    let interface = Interface { number: 0, mac: [2, 0, 0, 0, 0, 1] };
    let mut learner = mind::learner(control, config.fastpath.answers_max, vec![interface]);
    let engine = Engine::new(config, vec![SERVER], LeaseTable::default());
    let told: Vec<_> =
        leases.map(|lease| Ok((lease, asked(lease)?))).collect::<Result<_>>().context("no template")?;
    let mut work = Work::default();
    let began = Instant::now();
    for (lease, asked) in &told {
        let forms = learner.learn_told(&engine, lease, asked, &mut work);
        ensure!(forms[0].is_some(), "{} could not be taught", lease.address);
    }
    Ok(told.len() as f64 / began.elapsed().as_secs_f64())
}
