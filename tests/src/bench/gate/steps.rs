//! What the daemon does for a client, one step at a time, in memory but for the store's files.
//!
//! The same work every time, with seeds for everything random but the order of hash tables, whose share is small.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use dhcp_user::{
    fastpath::{
        answers::AnswerTable,
        kernel::{KernelPath, Mark},
    },
    lease::store::{Batch, LeaseStore as _, LogStore, Options},
    net::packet_socket::ReceivedFrame,
    server::{keeper::Keeper, memory::Memory, work::Work},
    site::replication::{self, Update},
    time::{Span, Timestamp},
};

use super::subject::{BOOT_NS, Style, Subject, offered};

/// Every step.
pub const ALL: [&str; 5] = ["dora", "dora_relayed", "commit", "sync_codec", "mark_sweep"];

/// Clients that a step is done for.
const CLIENTS: u32 = 256;
const FIRST_CLIENT: u32 = 1_000;
/// Where a REQUEST built for 0.0.0.0 has option 50's value; found by looking.
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 77);

/// A step that is set up: how many clients it is done for, and what does it.
pub struct Step {
    /// Its costs are divided by this.
    pub clients: u32,
    /// Does it, once.
    pub work: Box<dyn FnMut()>,
}

/// Sets a step up.
///
/// # Errors
///
/// When there is none of that name, or it does not do what it should.
pub fn step(name: &str) -> Result<Step> {
    match name {
        "dora" => dora(Style::ClientId),
        "dora_relayed" => dora(Style::Relayed),
        "commit" => commit(),
        "sync_codec" => sync_codec(),
        "mark_sweep" => mark_sweep(),
        other => anyhow::bail!("there is no step {other:?}: {ALL:?}"),
    }
}

/// DISCOVER, OFFER, REQUEST, ACK and what the kernel is taught, for new clients.
fn dora(style: Style) -> Result<Step> {
    let mut subject = Subject::new(BOOT_NS)?;
    // The first client's answers are rendered anew; everybody else shares them.
    subject.join(1, style)?;
    let received = |octets| ReceivedFrame { octets, checksum_pending: true };
    let mut frames: Vec<(ReceivedFrame, ReceivedFrame)> = (FIRST_CLIENT..FIRST_CLIENT + CLIENTS)
        .map(|client| (Subject::discover(client, style), Subject::select(client, style, UNKNOWN)))
        .map(|(discover, select)| (received(discover), received(select)))
        .collect();
    let (_, select) = frames.first().context("no client")?;
    let at = select.octets.windows(4).position(|octets| octets == UNKNOWN.octets());
    let at = at.context("the REQUEST has no option 50")?;
    let mut works: Vec<Work> = Vec::with_capacity(2);
    let work = move || {
        works.clear();
        let (mut offers, mut acks) = (Work::default(), Work::default());
        for (discover, select) in &mut frames {
            subject.core.receive(subject.now, 0, discover, &mut offers);
            let Some(address) = offered(&offers) else { continue };
            if let Some(place) = select.octets.get_mut(at..at + 4) {
                place.copy_from_slice(&address.octets());
            }
            subject.core.receive(subject.now, 0, select, &mut acks);
        }
        assert_eq!(acks.batch.leases.len(), CLIENTS as usize, "every client has its lease");
        assert!(acks.batch.leases.iter().all(|lease| lease.forms[0].is_some()), "the kernel knows each");
        works.extend([offers, acks]);
    };
    Ok(Step { clients: CLIENTS, work: Box::new(work) })
}

/// A subject whose kernel knows clients' leases, and the batch they came in.
fn joined() -> Result<(Subject, Batch)> {
    let mut subject = Subject::new(BOOT_NS)?;
    let mut batch = Batch::default();
    for client in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let address = subject.join(client, Style::ClientId)?;
        batch.leases.push(subject.core.engine.leases().get(address).context("no lease")?.clone());
    }
    Ok((subject, batch))
}

/// One batch of leases made durable.
fn commit() -> Result<Step> {
    let (_, batch) = joined()?;
    let folder = tempfile::tempdir().context("no folder for leases")?;
    let (mut store, _) = LogStore::open(folder.path(), &Options::default(), &mut drop)?;
    store.commit(&batch)?;
    let work = move || {
        // The folder lives as long as the store.
        let _ = &folder;
        store.commit(&batch).expect("leases are made durable");
    };
    Ok(Step { clients: CLIENTS, work: Box::new(work) })
}

/// Updates for another node, written and read.
fn sync_codec() -> Result<Step> {
    let (subject, batch) = joined()?;
    let mut updates: Vec<Update> = batch.leases.iter().map(|lease| Update::of(lease, 1, true)).collect();
    let now = subject.now;
    let work = move || {
        let octets = replication::encode(&mut updates, now);
        let (read, _) = replication::decode(&octets).expect("what was written can be read");
        assert_eq!(read.len(), updates.len(), "every update arrives");
    };
    Ok(Step { clients: CLIENTS, work: Box::new(work) })
}

/// Marks of renewals taken note of, horizons moved ahead, durably.
fn mark_sweep() -> Result<Step> {
    let (subject, batch) = joined()?;
    let timeline = subject.timeline;
    let folder = tempfile::tempdir().context("no folder for leases")?;
    let (store, _) = LogStore::open(folder.path(), &Options::default(), &mut drop)?;
    let memory = Memory {
        leases: Vec::new(),
        control: subject.core.learner.control,
        answers: AnswerTable::new(0),
        marks_known_since: Timestamp::ZERO,
        batch: Batch::default(),
    };
    let marks_at = |at| -> Vec<Mark> {
        let ethernet =
            batch.leases.iter().filter_map(|lease| Some((lease.address, lease.hardware.as_ethernet()?)));
        ethernet
            .map(|(address, chaddr)| Mark { address, chaddr, renewed_boot_ns: timeline.boot_ns(at) })
            .collect()
    };
    // The first renewal is within the horizon of the grant; the second moves it.
    let (first, later) = (subject.now + Span::from_secs(3_000), subject.now + Span::from_secs(5_000));
    let (first_marks, marks) = (marks_at(first), marks_at(later));
    let mut keeper = Keeper::<_, KernelPath>::new(subject.core, store, timeline, &memory);
    drop(keeper.take_marks(first, &first_marks)?);
    let work = move || {
        let _ = &folder;
        let moved = keeper.horizons_moved;
        drop(keeper.take_marks(later, &marks).expect("marks are taken note of"));
        assert_eq!(keeper.horizons_moved - moved, u64::from(CLIENTS), "every horizon moves");
    };
    Ok(Step { clients: CLIENTS, work: Box::new(work) })
}
