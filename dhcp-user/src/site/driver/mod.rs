//! What connects a node with the others: a runtime of its own, in which links and consensus run, and a pump between them and
//! the node in the service's thread.
//!
//! * [`pump`]: who is told what, in which order. [`status`]: how all of it is shown. [`orders`]: what an operator wants of nodes;
//!   `reservations`: what is to be reserved at all of them.
//! * [`chronicle`]: what happens to sites, for who follows the events.
//! * [`lost`]: what is done when consensus cannot be written to disk.

pub mod chronicle;
mod lost;
pub mod orders;
pub mod pump;
mod reservations;
pub mod status;

use std::{
    sync::{Arc, Mutex, mpsc::SyncSender},
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use self::pump::{FromService, ToPump};
use super::{
    consensus::{
        council::{Council, CouncilError},
        store::{Store, StoreError},
    },
    link::{
        reach,
        shaper::Shaper,
        shared::{Identity, Now, Shared, Timing},
        terms::Terms,
        tls::Tls,
    },
    roster::{Node, Roster, RosterError},
};
use crate::{
    api::tls::TlsError,
    config::model::{Config, MultiSite},
    server::service::Event,
};

/// Events of links, agreements and outputs of the node that wait for the pump, each.
const QUEUE: usize = 4_096;
/// Threads of the runtime: one may wait for a disk or compress.
const WORKERS: usize = 2;

/// Why this node cannot be one of several.
#[derive(Debug, thiserror::Error)]
pub enum SitesError {
    /// It is not clear which node this is.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// Certificates.
    #[error(
        "links to other nodes: {0} (`simple-dhcpd-datacenter pki node NAME` makes what dhcp.datacenter.multi_site.link wants)"
    )]
    Tls(#[from] TlsError),
    /// What the nodes agreed on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Consensus.
    #[error(transparent)]
    Council(#[from] CouncilError),
    /// A thread was refused.
    #[error("links to other nodes cannot start: {0}")]
    Runtime(std::io::Error),
}

/// All that can be refused, looked at before the service starts.
#[derive(Debug)]
pub struct Prepared {
    roster: Roster,
    tls: Option<Tls>,
    store: Store,
}

/// Looks at names, certificates and the state directory; `None` if sites are not in use.
///
/// # Errors
/// If one of them cannot be used.
pub fn prepare(config: &Config) -> Result<Option<Prepared>, SitesError> {
    let Some(section) = config.multi_site.as_ref().filter(|section| section.enabled) else { return Ok(None) };
    let roster = Roster::here(section)?;
    let tls = if section.synchronization.encryption {
        Some(Tls::open(&section.link, &roster.me().name)?)
    } else {
        tracing::warn!(
            listen = %section.link.listen,
            "synchronization.encryption is OFF: whoever is between the nodes reads every lease, and can forge leases \
             and take addresses over"
        );
        None
    };
    let store = Store::open(&section.link.state_path, &roster.me().name)?;
    Ok(Some(Prepared { roster, tls, store }))
}

/// Links, consensus and the way to them.
#[derive(Debug)]
pub struct Sites {
    /// The configuration.
    pub config: Arc<Config>,
    /// The links.
    pub links: Arc<Shared>,
    /// Consensus.
    pub council: Arc<Council>,
    runtime: tokio::runtime::Handle,
    to_node: SyncSender<Event>,
    /// Why the reservations that are agreed on are not in force here.
    trouble: Mutex<Option<String>>,
}

impl Sites {
    /// This node.
    pub fn me(&self) -> &Node {
        self.links.roster.me()
    }
}

/// Where a pump's ends are.
pub struct Ends {
    /// To the service's thread.
    pub service: SyncSender<Event>,
    /// From the node in it.
    pub from_node: FromService,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ends")
    }
}

/// The queue from the node to the pump.
pub fn from_node() -> (ToPump, FromService) {
    pump::queue(QUEUE)
}

impl Prepared {
    /// Which node this is.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Links this node with the others, in threads of its own.
    ///
    /// # Errors
    /// If the disk or the system refuses.
    pub fn start(self, config: &Arc<Config>, now: Now, ends: Ends) -> Result<Arc<Sites>, SitesError> {
        let config = Arc::clone(config);
        let (started, wait) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .thread_name("sites")
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(self.run(config, now, ends, started)),
                Err(error) => drop(started.send(Err(SitesError::Runtime(error)))),
            }
        };
        thread::Builder::new().name("sites-main".to_owned()).spawn(run).map_err(SitesError::Runtime)?;
        wait.blocking_recv().unwrap_or_else(|_| {
            Err(SitesError::Runtime(std::io::Error::other("the thread of the links has ended")))
        })
    }

    async fn run(
        self,
        config: Arc<Config>,
        now: Now,
        ends: Ends,
        started: oneshot::Sender<Result<Arc<Sites>, SitesError>>,
    ) {
        let Self { roster, tls, store } = self;
        let Some(section) = config.multi_site.clone() else { return };
        let (link_events, from_links) = mpsc::channel(QUEUE);
        let (agreed, from_council) = mpsc::channel(QUEUE);
        let identity = Identity {
            roster,
            terms: Terms::of(&config),
            cluster: None,
            incarnation: store.incarnation,
            tls,
        };
        let bandwidth = &section.bandwidth;
        let cap = bandwidth.optimization.then_some(bandwidth.max_mbit_per_s);
        let compress = section.synchronization.compression;
        let links = Shared::new(identity, Shaper::new(cap), compress, timing(&section), now, link_events);
        let links = Arc::new(links);
        let to_node = ends.service.clone();
        // The council tells what it begins with before it is there: somebody must be listening.
        let pump = pump::Pump::new(Arc::clone(&links), ends, from_links, from_council);
        let failover = &section.failover;
        let (pump, council) = pump.beside(Council::start(failover, store, Arc::clone(&links), agreed)).await;
        let council = match council {
            Ok(council) => council,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
        reach::start(&links, section.link.listen);
        let runtime = tokio::runtime::Handle::current();
        let trouble = Mutex::default();
        let sites =
            Arc::new(Sites { config, links, council: Arc::clone(&council), runtime, to_node, trouble });
        if started.send(Ok(Arc::clone(&sites))).is_err() {
            return;
        }
        let watched = (Arc::clone(&council), section.link.state_path.clone(), sites.to_node.clone());
        let watch = tokio::spawn(lost::watch(watched.0, watched.1, watched.2));
        pump.run(&sites).await;
        watch.abort();
        council.stop().await;
    }
}

/// How often links ask and how long they wait, by how soon a silent site is to be noticed.
fn timing(section: &MultiSite) -> Timing {
    let detection = Duration::from_secs(section.failover.detection_interval_secs.into());
    Timing {
        ping_every: (detection / 4).clamp(Duration::from_millis(200), Duration::from_secs(2)),
        silence_max: detection.max(Duration::from_secs(3)),
        greeting_max: Duration::from_secs(5),
        write_max: Duration::from_secs(10),
        again_min: Duration::from_millis(100),
        again_max: Duration::from_secs(2),
        lasted: Duration::from_secs(5),
    }
}
