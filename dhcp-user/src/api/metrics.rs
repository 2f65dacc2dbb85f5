//! Figures in Prometheus' text format, made from what the service shows of itself at the moment it is asked.

mod sites;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, process_collector::ProcessCollector,
};

use dhcp_common::reason::Reason;

pub use self::sites::SiteFigures;
use super::histogram::Counted;
use crate::{
    engine::SlowReason,
    lease::store::{FLUSH_BOUNDS_US, FlushSnapshot},
    server::{
        desk::ServiceHealth,
        latency::LATENCY_BOUNDS_US,
        view::{KernelStats, StatsView, SubnetView},
    },
};

/// What the figures are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Counters of kernel and daemon.
    pub stats: StatsView,
    /// Subnets with their pools.
    pub subnets: std::sync::Arc<[SubnetView]>,
    /// The store's flushes.
    pub flushes: FlushSnapshot,
    /// Messages by how long they took the daemon, and the microseconds altogether.
    pub latency: (Vec<u64>, u64),
    /// When the certificate ends, seconds since the Unix epoch; `None` without TLS.
    pub certificate_expires_secs: Option<i64>,
    /// Changes that could not be recorded.
    pub changes_lost: u64,
    /// Requests to the API.
    pub requests: u64,
    /// Questions to the service refused because too many waited.
    pub refused_busy: u64,
    /// Renewals that captures were to show, and did not.
    pub capture_left_out: u64,
    /// Which parts are there.
    pub health: ServiceHealth,
    /// Sites, where there are several nodes.
    pub sites: Option<SiteFigures>,
}

/// The text of a scrape.
///
/// # Errors
/// If two figures have one name, which the tests would have told.
pub fn text(figures: &Figures) -> prometheus::Result<String> {
    let registry = Registry::new();
    let made = Maker(&registry);
    let Figures { stats, subnets, flushes, .. } = figures;
    let health = &figures.health;
    for (name, help, count) in [
        (
            "dhcp_kernel_interfaces_wanted",
            "Interfaces the kernel program should run on.",
            health.fast_path_wanted,
        ),
        ("dhcp_kernel_interfaces_attached", "Interfaces it runs on.", health.fast_path_attached),
        (
            "dhcp_interfaces_lost",
            "Interfaces that are gone or were made anew: nothing is received there.",
            health.interfaces_lost,
        ),
    ] {
        made.gauge(name, help, count as u64)?;
    }
    made.count(
        "dhcp_kernel_attached_again_total",
        "How often the kernel program was attached again because somebody had taken it away.",
        health.attached_again,
    )?;
    if let Some(kernel) = &stats.kernel {
        kernel_figures(&made, kernel)?;
    }
    let daemon = &stats.daemon;
    // Also what never happened: a rate that begins with a first event would not show that one.
    let messages = SlowReason::ALL.iter().map(|reason| reason.as_str());
    let messages = messages.map(|reason| (reason, daemon.messages.get(reason).copied().unwrap_or(0)));
    made.counts("dhcp_daemon_messages_total", "Messages handled by the daemon.", "reason", messages)?;
    let frames = daemon.frames.iter().map(|(kind, count)| (kind.as_str(), *count));
    made.counts("dhcp_daemon_frames_total", "Frames that came up to the daemon.", "kind", frames)?;
    made.count("dhcp_daemon_acks_total", "ACKs sent by the daemon.", daemon.acks)?;
    made.count("dhcp_daemon_queue_drops_total", "Frames dropped: the queue was full.", daemon.queue_drops)?;
    made.count("dhcp_daemon_send_errors_total", "Replies that could not be sent.", daemon.send_errors)?;
    made.count("dhcp_daemon_unpublishable_total", "Renewals the kernel cannot learn.", daemon.unpublishable)?;
    for (name, help, count) in [
        ("dhcp_daemon_queue_gave_way_total", "Frames dropped for others more urgent.", daemon.queue_gave_way),
        ("dhcp_daemon_offers_gave_way_total", "Offers taken back for others.", daemon.offers_gave_way),
        (
            "dhcp_daemon_quarantines_cut_short_total",
            "Declined addresses given again before their time.",
            daemon.quarantines_cut_short,
        ),
    ] {
        made.count(name, help, count)?;
    }
    if let Some(audit) = &stats.audit {
        made.count("dhcp_audit_lines_total", "Lines of the audit log.", audit.lines)?;
        made.count("dhcp_audit_lost_total", "Lines of the audit log that could not be written.", audit.lost)?;
    }
    if let Some(probes) = &stats.probes {
        made.count(
            "dhcp_probes_total",
            "Addresses asked for before they were offered.",
            probes.engine.asked,
        )?;
        made.count("dhcp_probe_conflicts_total", "Addresses found in use.", probes.engine.conflicts)?;
        made.count("dhcp_probe_send_errors_total", "Questions that could not be sent.", probes.send_errors)?;
    }
    made.gauge("dhcp_daemon_offers", "Open offers.", daemon.offers)?;
    made.count("dhcp_store_commits_total", "Batches made durable.", daemon.commits)?;
    let refusals = daemon.store_refusals;
    made.count("dhcp_store_refusals_total", "Replies not sent: their leases were not durable.", refusals)?;
    made.gauge(
        "dhcp_store_failing",
        "1 if the last batch could not be made durable.",
        flushes.failing.into(),
    )?;
    registry.register(Box::new(Counted::new(
        "dhcp_store_flush_duration_seconds",
        "How long it took to make a batch durable.",
        &FLUSH_BOUNDS_US,
        &flushes.counts,
        flushes.sum_us,
    )))?;
    let (counts, sum_us) = &figures.latency;
    registry.register(Box::new(Counted::new(
        "dhcp_daemon_message_duration_seconds",
        "How long messages took the daemon, from being read to their replies, durable, on their way.",
        &LATENCY_BOUNDS_US,
        counts,
        *sum_us,
    )))?;
    let leases = IntGaugeVec::new(Opts::new("dhcp_leases", "Leases by state."), &["state"])?;
    for state in ["bound", "free", "quarantined"] {
        leases.with_label_values(&[state]).set(signed(stats.leases.get(state).copied().unwrap_or(0)));
    }
    registry.register(Box::new(leases))?;
    pools(&registry, subnets)?;
    if let Some(secs) = figures.certificate_expires_secs {
        let name = "dhcp_api_certificate_expiry_timestamp_seconds";
        let gauge = IntGauge::new(name, "When the API's certificate ends, since the Unix epoch.")?;
        gauge.set(secs);
        registry.register(Box::new(gauge))?;
    }
    if let Some(figures) = &figures.sites {
        sites::all(&made, figures)?;
    }
    made.count("dhcp_api_changes_lost_total", "Changes that could not be recorded.", figures.changes_lost)?;
    made.count("dhcp_api_requests_total", "Requests to the API.", figures.requests)?;
    made.count(
        "dhcp_api_refused_busy_total",
        "Questions to the service refused because too many waited.",
        figures.refused_busy,
    )?;
    made.count(
        "dhcp_capture_left_out_total",
        "Renewals that captures were to show, and had no room for.",
        figures.capture_left_out,
    )?;
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let build = Gauge::with_opts(
        Opts::new("dhcp_build_info", "The version that runs.")
            .const_label("version", env!("CARGO_PKG_VERSION")),
    )?;
    build.set(1.0);
    registry.register(Box::new(build))?;
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn kernel_figures(made: &Maker<'_>, kernel: &KernelStats) -> prometheus::Result<()> {
    made.count("dhcp_kernel_answered_total", "Renewals answered in the kernel.", kernel.answered)?;
    let all = Reason::ALL.iter().filter(|&&reason| reason != Reason::Answered).map(|reason| reason.as_str());
    let all = all.map(|reason| (reason, kernel.reasons.get(reason).copied().unwrap_or(0)));
    let (dropped, passed): (Vec<_>, Vec<_>) = all
        .partition(|(reason, _)| reason.starts_with("limited_") || *reason == Reason::WriteFailed.as_str());
    let help = "Frames passed up by the kernel program.";
    made.counts("dhcp_kernel_passed_total", help, "reason", passed.into_iter())?;
    let help = "Frames dropped by the kernel program.";
    made.counts("dhcp_kernel_dropped_total", help, "reason", dropped.into_iter())?;
    made.gauge("dhcp_kernel_answers", "Distinct answers the kernel holds.", kernel.answers)?;
    made.gauge("dhcp_kernel_answers_max", "Distinct answers the kernel can hold.", kernel.answers_max)?;
    made.gauge("dhcp_kernel_lease_slots", "Entries of the lease map.", kernel.lease_slots)?;
    made.gauge(
        "dhcp_kernel_authority_seconds",
        "How long the kernel may answer without hearing from the daemon.",
        kernel.authority_secs,
    )?;
    made.gauge(
        "dhcp_kernel_authority_remaining_seconds",
        "How much of that is left.",
        kernel.authority_remaining_secs,
    )?;
    made.count(
        "dhcp_horizons_moved_total",
        "Leases whose horizon was moved ahead because the kernel had renewed them.",
        kernel.horizons_moved,
    )?;
    let modes = IntGaugeVec::new(
        Opts::new("dhcp_kernel_interface_info", "How the kernel program runs on an interface."),
        &["interface", "mode"],
    )?;
    for (interface, mode) in &kernel.interfaces {
        modes.with_label_values(&[interface, mode]).set(1);
    }
    made.0.register(Box::new(modes))
}

fn pools(registry: &Registry, subnets: &[SubnetView]) -> prometheus::Result<()> {
    let labels = ["subnet", "first", "last"];
    let size = IntGaugeVec::new(Opts::new("dhcp_pool_addresses", "Addresses of a pool."), &labels)?;
    let free = IntGaugeVec::new(
        Opts::new("dhcp_pool_free_addresses", "Addresses of a pool that a new client can have at once."),
        &labels,
    )?;
    let used = GaugeVec::new(
        Opts::new("dhcp_pool_used_ratio", "The part of a pool that is not free, 0 to 1."),
        &labels,
    )?;
    for subnet in subnets {
        let prefix = subnet.subnet.to_string();
        for pool in &subnet.pools {
            let (first, last) = (pool.first.to_string(), pool.last.to_string());
            let at = [prefix.as_str(), first.as_str(), last.as_str()];
            size.with_label_values(&at).set(signed(pool.size));
            free.with_label_values(&at).set(signed(pool.free));
            used.with_label_values(&at).set(pool.size.saturating_sub(pool.free) as f64 / pool.size as f64);
        }
    }
    registry.register(Box::new(size))?;
    registry.register(Box::new(free))?;
    registry.register(Box::new(used))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn count(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    fn counts<'v>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'v str, u64)>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counters.with_label_values(&[value]).inc_by(count);
        }
        self.0.register(Box::new(counters))
    }

    fn gauge(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(signed(value));
        self.0.register(Box::new(gauge))
    }
}
