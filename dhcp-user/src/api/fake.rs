//! A service that is only a table of leases, for tests and fuzzing of the API: the real router, gate, rights, tokens and
//! record of changes stand before it. Compiled always, so that a workspace with tests is compiled once; nothing in the daemon
//! names it, and the linker leaves it out.

use std::{
    collections::BTreeMap,
    error::Error,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use super::{Api, access::tokens::Tokens, ask::ServiceHandle, changes::Changes};
use crate::{
    config::{self, Config},
    engine::is_of,
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        table::LeaseTable,
    },
    server::{
        desk::{self, Act, ActError, Change, ServiceHealth},
        explain::Explanation,
        reload::{
            InForce, Prospects, Reloader,
            decide::{AskingBy, Standing},
        },
        reserve::{Reserve, ReserveError},
        service::{Event, Query},
        tap::{TapError, TapOrder},
        view::{DaemonStats, LeaseView, StatsView},
    },
    time::{Span, Timestamp},
};

/// The first address that has a lease.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

/// What the service is to be like.
#[derive(Clone, Debug)]
pub struct Fake {
    /// Leases, of addresses from [`FIRST`] on; all bound but every tenth.
    pub leases: u32,
    /// The host name of each.
    pub hostname: fn(u32) -> String,
    /// How many pages of leases it was asked for.
    pub pages: Arc<AtomicUsize>,
    /// How often it was asked for what many look at.
    pub looks: Arc<AtomicUsize>,
}

impl Fake {
    /// So many leases, of hosts with these names.
    pub fn new(leases: u32, hostname: fn(u32) -> String) -> Self {
        Self { leases, hostname, pages: Arc::default(), looks: Arc::default() }
    }

    /// An API in front of it, under the configuration that `text` says; its files are in `folder`. The service's thread
    /// ends with the API.
    ///
    /// # Errors
    /// If the configuration is wrong or the folder cannot be used.
    pub fn api(&self, text: &str, folder: &Path) -> Result<Api, Box<dyn Error + Send + Sync>> {
        let config = Arc::new(config::parse(text, "the fake's")?);
        let (sender, receiver) = sync_channel(64);
        let (served, fake) = (Arc::clone(&config), self.clone());
        thread::Builder::new().spawn(move || fake.serve(&served, &receiver))?;
        let tokens = Tokens::open(folder.join("tokens.json"))?;
        let changes = Changes::open(folder.join("changes.ndjson"))?;
        // There is no such interface: another configuration is judged and never taken up. Reservations are.
        let in_force = InForce::new(Standing {
            text: text.into(),
            config,
            facts: Vec::new(),
            servers: vec![Ipv4Addr::new(198, 18, 0, 1)],
        });
        let (in_force, asking) = (in_force.clone(), AskingBy { arp: true, echo: true });
        let prospects =
            Prospects { in_force: in_force.clone(), pins: None, asking, taken: Default::default() };
        let reloader = Reloader::new(folder.join("dhcp.json"), prospects, sender.clone());
        let service = ServiceHandle::new(sender);
        let api = Api::new(service, Arc::default(), Arc::default(), in_force, tokens, changes);
        Ok(Api { reloader: Some(Arc::new(reloader)), ..api })
    }

    /// The lease with this number.
    pub fn record(&self, n: u32) -> LeaseRecord {
        let [_, a, b, c] = n.to_be_bytes();
        LeaseRecord {
            address: Ipv4Addr::from_bits(FIRST.to_bits().saturating_add(n)),
            state: if n % 10 == 9 { LeaseState::Free } else { LeaseState::Bound },
            client: ClientKey::Id(vec![1, a, b, c].into()),
            hardware: HardwareAddress::ethernet([2, 0, 0, a, b, c]),
            hostname: (self.hostname)(n).into_bytes().into(),
            relay_information: Box::default(),
            granted_at: Timestamp::ZERO,
            expires: Timestamp::ZERO + Span::from_secs(60),
            horizon: Timestamp::ZERO + Span::from_secs(120),
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        }
    }

    fn serve(&self, config: &Config, events: &Receiver<Event>) {
        let mut table = LeaseTable::from_records((0..self.leases).map(|n| self.record(n)));
        // Whoever asked may be gone; that is theirs to know.
        while let Ok(event) = events.recv() {
            match event {
                Event::Query(query) => self.answer(&mut table, config, query),
                Event::Reserve(order) => drop(order.to.send(reserved(&table, &order.reserve))),
                _ => return,
            }
        }
    }

    fn answer(&self, table: &mut LeaseTable, config: &Config, query: Query) {
        if matches!(query, Query::Health(_) | Query::Subnets(..) | Query::Sites(_)) {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        match query {
            Query::Page(wanted, to) => {
                self.pages.fetch_add(1, Ordering::Relaxed);
                let search = wanted.search(table);
                let between = |first, last| search.between(first, last);
                drop(to.send(desk::page(&wanted, between, |lease| Some(view(lease)))));
            }
            Query::Lease(address, to) => drop(to.send(table.get(address).map(view))),
            Query::Stats(to) => drop(to.send(stats())),
            Query::Subnets(from, to) => drop(to.send(desk::subnets(config, from, |_, _| 3))),
            Query::Health(to) => {
                let health = ServiceHealth {
                    fast_path_wanted: 1,
                    fast_path_attached: 1,
                    interfaces_lost: 0,
                    attached_again: 0,
                    problems: Vec::new(),
                    store_refusals: 0,
                    commits: 1,
                };
                drop(to.send(health));
            }
            Query::Explain(subject, to) => {
                drop(to.send(Explanation { summary: format!("{subject:?}"), ..Explanation::default() }));
            }
            Query::Sites(to) => drop(to.send(None)),
            Query::Change(change) => {
                let done = changed(table, &change);
                drop(change.to.send(done));
            }
            Query::Tap(TapOrder::Recipe(to)) => drop(to.send(Err(TapError::NoFastPath))),
            Query::Tap(_) => {}
        }
    }
}

fn view(lease: &LeaseRecord) -> LeaseView {
    LeaseView::new(lease, false, Timestamp::ZERO, false, None)
}

fn changed(table: &mut LeaseTable, change: &Change) -> Result<LeaseView, ActError> {
    let lease = table.get(change.address).cloned().ok_or(ActError::NoLease)?;
    if change.expected.as_ref().is_some_and(|tags| !tags.contains(&view(&lease).version)) {
        return Err(ActError::Changed);
    }
    if lease.state != LeaseState::Bound {
        return Err(ActError::NotBound);
    }
    let state = if change.act == Act::Release { LeaseState::Free } else { LeaseState::Bound };
    let changed = LeaseRecord { state, expires: Timestamp::ZERO + Span::from_secs(600), ..lease };
    table.put(changed.clone());
    Ok(view(&changed))
}

fn reserved(table: &LeaseTable, reserve: &Reserve) -> Result<(), ReserveError> {
    let named = |lease: &LeaseRecord| {
        let identities = reserve.changes.iter().flat_map(|change| [&change.before, &change.after]);
        identities.flatten().any(|identity| is_of(lease, identity))
    };
    let mut elsewhere =
        table.iter().filter(|lease| !reserve.within.iter().any(|prefix| prefix.contains(&lease.address)));
    if !reserve.within.is_empty() && elsewhere.any(|lease| lease.state == LeaseState::Bound && named(lease)) {
        return Err(ReserveError::Elsewhere);
    }
    for change in &reserve.changes {
        let Some(identity) = change.after.as_ref().filter(|_| !reserve.even_if_held) else { continue };
        let held = table.get(change.address).filter(|lease| lease.state == LeaseState::Bound);
        if let Some(lease) = held.filter(|lease| !is_of(lease, identity)) {
            let holder = lease.hardware.to_string();
            return Err(ReserveError::Held { address: change.address, holder });
        }
    }
    Ok(())
}

/// What it says of itself.
pub fn stats() -> StatsView {
    StatsView {
        kernel: None,
        daemon: DaemonStats {
            acks: 7,
            messages: [("offered".to_owned(), 3)].into(),
            frames: [("received".to_owned(), 9)].into(),
            queue_drops: 0,
            queue_gave_way: 0,
            offers_gave_way: 0,
            quarantines_cut_short: 0,
            send_errors: 0,
            store_refusals: 0,
            commits: 5,
            unpublishable: 0,
            offers: 0,
        },
        leases: BTreeMap::from([("bound".to_owned(), 9)]),
        probes: None,
        audit: None,
    }
}
