//! Clients of a whole cluster: they renew, come and go at their site's nodes, turn to the next node when one is silent, as
//! frames do when a relay or an address moves, and judge every reply by one ledger over all nodes.
//!
//! The ledger knows replies alone; it shares nothing with the daemons.

mod clients;
mod judge;
mod report;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Serialize;
use serde_json::Value;

use self::clients::Clients;
pub use self::report::{NodeCounts, Report};
use super::Cluster;
use crate::{raw::RawSocket, wait::wait_for};

/// Clients there may be at all sites together.
pub const CLIENTS_MAX: u32 = 20_000;

/// How long the last round may take on a busy machine.
const LAST_ROUND: Duration = Duration::from_secs(60);

/// What clients do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Clients with a lease at a time, at each site.
    pub clients_per_site: u32,
    /// Renewals in a second, of all sites together.
    pub renewals_per_s: u32,
    /// Messages of new clients in a second, of all sites together, once everybody has a lease.
    pub arrivals_per_s: u32,
    /// Of a thousand turns, those in which a client gives its address back, and another comes.
    pub releases_per_mille: u32,
    /// Whether clients turn to other sites' nodes when their own are silent.
    pub roam: bool,
    /// Decides what clients do.
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients_per_site: 20,
            renewals_per_s: 60,
            arrivals_per_s: 60,
            releases_per_mille: 40,
            roam: true,
            seed: 1,
        }
    }
}

/// What the controller and the clients tell each other.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Every client is to renew once more, until answered.
    last_round: AtomicBool,
    renewals_per_s: AtomicU32,
    arrivals_per_s: AtomicU32,
    /// Further clients that come, by site.
    extra: Vec<AtomicU32>,
    /// The longest wait is to be measured anew.
    anew: AtomicBool,
    report: Mutex<Report>,
}

/// Clients at work; they stop when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Starts clients on the cables of all nodes.
    ///
    /// # Errors
    ///
    /// When a socket cannot be opened.
    pub fn start(cluster: &Cluster, load: &Load) -> Result<Self> {
        let sites = u32::try_from(cluster.sites.len()).context("too many sites")?;
        let clients = load.clients_per_site.saturating_mul(sites);
        ensure!(clients <= CLIENTS_MAX, "{clients} clients are more than {CLIENTS_MAX}");
        let open = |node: &super::Node| RawSocket::open(&node.cable.ns, "c0");
        let sockets = cluster.nodes.iter().map(open).collect::<Result<Vec<_>>>()?;
        let sites: Vec<Vec<usize>> = cluster.sites.iter().map(|site| cluster.of_site(site)).collect();
        let shared = Arc::new(Shared {
            renewals_per_s: load.renewals_per_s.into(),
            arrivals_per_s: load.arrivals_per_s.into(),
            extra: sites.iter().map(|_| AtomicU32::default()).collect(),
            report: Mutex::new(Report { clients: clients.into(), ..Report::of(sockets.len(), sites.len()) }),
            ..Shared::default()
        });
        let config = cluster.nodes.first().map(|node| &node.config).context("a cluster without nodes")?;
        let lease_secs = config.pointer("/dhcp/lease_secs").and_then(Value::as_u64);
        let lease_secs =
            lease_secs.and_then(|secs| u32::try_from(secs).ok()).context("no dhcp.lease_secs")?;
        let clients = Clients::new(sockets, sites, *load, lease_secs, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("clients".to_owned());
        let thread = thread.spawn(move || clients.run()).context("no thread for the clients")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was seen so far.
    pub fn report(&self) -> Report {
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on renewals and new clients in a second, of all sites together.
    pub fn set_load(&self, renewals_per_s: u32, arrivals_per_s: u32) {
        self.shared.renewals_per_s.store(renewals_per_s, Ordering::Relaxed);
        self.shared.arrivals_per_s.store(arrivals_per_s, Ordering::Relaxed);
    }

    /// So many more clients come to a site.
    pub fn more(&self, site: usize, clients: u32) {
        if let Some(extra) = self.shared.extra.get(site) {
            extra.fetch_add(clients, Ordering::Relaxed);
        }
    }

    /// From here on the longest wait for an answer is measured anew.
    pub fn measure_anew(&self) {
        self.shared.anew.store(true, Ordering::Relaxed);
    }

    /// Waits until what was seen is as wanted.
    ///
    /// # Errors
    ///
    /// When it is not in time, or the clients have ended.
    pub fn wait(&self, deadline: Duration, what: &str, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
        let found = wait_for(deadline, what, || {
            ensure!(
                self.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
                "the clients have ended"
            );
            let report = self.report();
            Ok(wanted(&report).then_some(report))
        });
        found.with_context(|| format!("the clients saw {:#?}", self.report()))
    }

    /// Waits until all clients have a lease.
    ///
    /// # Errors
    ///
    /// When they do not get them in time.
    pub fn wait_all_bound(&self, deadline: Duration) -> Result<Report> {
        self.wait(deadline, "all clients to have a lease", |report| report.bound >= report.clients)
    }

    /// Has every client with a lease renew it once more until it is answered, ends, and says what was seen.
    ///
    /// # Errors
    ///
    /// When the sockets failed, or the last round does not end.
    pub fn finish(mut self) -> Result<Report> {
        self.shared.last_round.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("they were ended before")?;
        let ended = wait_for(LAST_ROUND, "every client to renew once more", || {
            Ok(thread.is_finished().then_some(()))
        });
        self.shared.stop.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| anyhow!("the clients panicked"))??;
        ended.with_context(|| format!("the clients saw {:#?}", self.report()))?;
        Ok(self.report())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("the clients failed: {error:#}");
        }
    }
}
