//! Running the daemon, checking its configuration, and taking away what it left in the kernel.

use std::{
    io::IsTerminal,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use super::EXIT_USAGE;
use crate::{
    api::{
        ask::ServiceHandle,
        hangup,
        start::{Behind, prepare},
    },
    config::{self, Config, ConfigError},
    control::server,
    fastpath::{pins, predecessor},
    lease::store::make_ready,
    privilege::manager,
    server::{
        reload::{Reloader, applied},
        service::Event,
        start::{Started, start},
    },
    site::{
        driver::{self, Ends},
        majority,
    },
};

/// What an operator should know of a configuration that is good.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let of_sites = config.multi_site.as_ref().map(majority::warnings).unwrap_or_default();
    config::open_figures(&config.api).into_iter().chain(of_sites).collect()
}

/// Checks a configuration file.
pub fn check_config(path: &Path) -> u8 {
    match config::load(path) {
        Ok(config) => {
            let pools: usize = config.subnets.iter().map(|subnet| subnet.pools.len()).sum();
            let reservations: usize = config.subnets.iter().map(|subnet| subnet.reservations.len()).sum();
            println!(
                "{}: good: {} interfaces, {} subnets, {pools} pools, {reservations} reservations",
                path.display(),
                config.interfaces.len(),
                config.subnets.len(),
            );
            for warning in warnings(&config) {
                eprintln!("warning: {warning}");
            }
            0
        }
        Err(error) => {
            eprintln!("{error}");
            EXIT_USAGE
        }
    }
}

/// Says whether a start would take over from the daemon before it.
pub fn check_takeover(path: &Path) -> u8 {
    // As a start reads it: what was applied over the file, if anything was.
    let config = match in_force(path) {
        Ok((config, _)) => config,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_USAGE;
        }
    };
    match predecessor::check(&config.fastpath.pin_path) {
        Ok(0) => {
            println!("no program is pinned in {}: nothing to take over", config.fastpath.pin_path.display());
        }
        Ok(_) => println!("the maps pinned in {} can be taken over", config.fastpath.pin_path.display()),
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    }
    0
}

/// Runs the daemon until it is told to stop.
pub fn run(path: &Path, log_json: bool) -> u8 {
    // First of all: which configuration counts may be a matter for the log.
    start_logging(log_json);
    let (config, text) = match in_force(path) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_USAGE;
        }
    };
    for warning in warnings(&config) {
        tracing::warn!("{warning}");
    }
    match serve(path, &config, &text) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            1
        }
    }
}

/// What the file says, or what was applied over it.
fn in_force(path: &Path) -> Result<(Config, String), ConfigError> {
    let text = config::read(path)?;
    let config = config::parse(&text, &path.display().to_string())?;
    match applied::over(&text, &config.api.state_path) {
        None => Ok((config, text)),
        Some(applied) => {
            let origin = format!("what was applied over {}", path.display());
            Ok((config::parse(&applied, &origin)?, applied))
        }
    }
}

/// Detaches the program of a daemon that is not to come back.
pub fn unload(path: &Path) -> u8 {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_USAGE;
        }
    };
    match pins::unload(&config.fastpath.pin_path) {
        Ok(interfaces) if interfaces.is_empty() => println!("no program was attached"),
        Ok(interfaces) => println!("detached from {}", interfaces.join(", ")),
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    }
    0
}

fn start_logging(json: bool) {
    // What the kernel program says is asked for by `fastpath.kernel_log`: then it is wanted.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,dhcp_ebpf=debug,openraft=off"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if json {
        logging.json().init();
    } else {
        logging.init();
    }
}

fn serve(path: &Path, config: &Config, text: &str) -> Result<()> {
    // First of all, so that a second daemon is refused before it touches anything.
    let listener = server::bind(&config.control.socket)?;
    let own_socket = config.control.socket.clone();
    // Before anything is put into it: by default the API's files and the other nodes' are kept there, too.
    make_ready(&config.store.path).inspect_err(|_| drop(std::fs::remove_file(&own_socket)))?;
    // Whoever finds it would take it for a daemon's that died.
    let api = prepare(&config.api).inspect_err(|_| drop(std::fs::remove_file(&own_socket)))?;
    let sites = driver::prepare(config).inspect_err(|_| drop(std::fs::remove_file(&own_socket)))?;
    let Started { mut service, events, control_socket, feed, flushes, latency, prospects, turns } =
        start(config, text).inspect_err(|_| drop(std::fs::remove_file(&own_socket)))?;
    let sites = match sites {
        Some(prepared) => {
            let (to, from_node) = driver::from_node();
            let ends = Ends { service: events.clone(), from_node };
            let clock = service.clock();
            let now = Arc::new(move || clock.now());
            let sites = prepared.start(&prospects.in_force.config(), now, ends);
            let sites = sites.inspect_err(|_| drop(std::fs::remove_file(&own_socket)))?;
            service.connect_sites(to);
            Some(sites)
        }
        None => None,
    };
    // Not before: its threads are to start without the privileges that the start has given up.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no asynchronous runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
        let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
        let (ended, end) = tokio::sync::oneshot::channel();
        thread::Builder::new()
            .name("service".to_owned())
            .spawn(move || drop(ended.send(service.run())))
            .context("no thread for the service")?;
        let mut hangup = signal(SignalKind::hangup()).context("no signal handler")?;
        let reloader = Arc::new(Reloader::new(path.to_owned(), prospects, events.clone()));
        if let Some(sites) = &sites {
            reloader.follow(Arc::clone(sites));
        }
        let behind = Behind {
            service: ServiceHandle::new(events.clone()),
            feed,
            flushes,
            latency,
            reloader: Arc::clone(&reloader),
            sites,
        };
        let changes = api.changes();
        api.serve(behind, UnixListener::from_std(listener)?);
        tracing::info!(control = %control_socket.display(), "serving");
        manager::ready();
        let mut watchdog = Watchdog::new(turns);
        let mut end = end;
        let ended = loop {
            tokio::select! {
                _ = interrupt.recv() => stop(&events),
                _ = terminate.recv() => stop(&events),
                _ = hangup.recv() => drop(tokio::spawn(hangup::reload(Arc::clone(&reloader), changes.clone()))),
                () = watchdog.wait() => watchdog.tell(),
                ended = &mut end => break ended,
            }
        };
        if let Err(error) = std::fs::remove_file(&control_socket) {
            tracing::warn!(%error, "the control socket stays behind");
        }
        ended.context("the service's thread died")?.context("stopped")
    })
}

fn stop(events: &SyncSender<Event>) {
    manager::stopping();
    // However full the queue is, it is being emptied.
    let events = events.clone();
    tokio::task::spawn_blocking(move || drop(events.send(Event::Stop)));
}

/// Tells the service manager that the service's thread works: only while it does.
struct Watchdog {
    period: Option<Duration>,
    turns: Arc<AtomicU64>,
    seen: u64,
}

impl Watchdog {
    fn new(turns: Arc<AtomicU64>) -> Self {
        Self { period: manager::watchdog_period(), turns, seen: 0 }
    }

    /// Until the manager is to hear of us; for ever if it does not care.
    async fn wait(&self) {
        match self.period {
            Some(period) => tokio::time::sleep(period).await,
            None => std::future::pending().await,
        }
    }

    fn tell(&mut self) {
        let turns = self.turns.load(Ordering::Relaxed);
        if turns != self.seen {
            manager::alive();
        }
        self.seen = turns;
    }
}
