//! Figures of sites and links, where there are several nodes.

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts};

use super::{Maker, signed};
use crate::site::{
    driver::{
        Sites,
        status::{SiteDetail, SyncDetail},
    },
    node::View,
};

/// What a site's status can be.
const STATUSES: [&str; 5] = ["active", "degraded", "suspect", "down", "unknown"];

/// What the figures are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteFigures {
    /// How this node and the others keep in step.
    pub sync: SyncDetail,
    /// All sites.
    pub sites: Vec<SiteDetail>,
    /// When the certificate of the links ends, seconds since the Unix epoch; `None` without encryption.
    pub certificate_expires_secs: Option<i64>,
}

impl SiteFigures {
    /// As `sites` has them now; `view` is what the node in the service shows.
    pub fn of(sites: &Sites, view: Option<&View>) -> Option<Self> {
        let names = sites.list(view).sites;
        Some(Self {
            sync: sites.sync(view)?,
            sites: names.iter().filter_map(|site| sites.site(&site.name, view)).collect(),
            certificate_expires_secs: sites.certificate_ends_secs(),
        })
    }
}

pub(super) fn all(made: &Maker<'_>, figures: &SiteFigures) -> prometheus::Result<()> {
    sites(made, &figures.sites)?;
    let sync = &figures.sync;
    for (name, help, value) in [
        ("dhcp_site_blocks", "Blocks of addresses there are.", sync.blocks),
        ("dhcp_site_blocks_held", "Blocks this node holds.", sync.blocks_held),
        (
            "dhcp_site_blocks_closed",
            "Blocks this node has taken over and may not give out of yet.",
            sync.blocks_closed,
        ),
    ] {
        made.gauge(name, help, value.unwrap_or(0).into())?;
    }
    made.gauge(
        "dhcp_site_automatic_failover",
        "1 if addresses move by themselves whichever one site is lost.",
        sync.automatic_failover.into(),
    )?;
    for (name, help, count) in [
        ("dhcp_site_sent_bytes_total", "Octets sent to other nodes.", sync.sent_octets),
        ("dhcp_site_received_bytes_total", "Octets received from other nodes.", sync.received_octets),
        (
            "dhcp_site_compression_saved_bytes_total",
            "Octets that compression saved.",
            sync.compression_saved_octets,
        ),
        (
            "dhcp_site_deduplicated_updates_total",
            "Updates not sent, for a later one of the same lease followed.",
            sync.deduplicated_updates.unwrap_or(0),
        ),
        ("dhcp_site_bandwidth_waits_total", "How often something waited for the cap.", sync.bandwidth_waits),
        ("dhcp_site_dropped_messages_total", "Messages that found no room.", sync.dropped_messages),
    ] {
        made.count(name, help, count)?;
    }
    let used = "What was sent in the last second, headers included.";
    made.gauge("dhcp_site_bandwidth_used_bytes_per_second", used, sync.bandwidth_used)?;
    if let Some(cap) = sync.bandwidth_cap {
        made.gauge("dhcp_site_bandwidth_cap_bytes_per_second", "The cap on that.", cap)?;
    }
    let failures = sync.failures.iter().map(|(reason, count)| (reason.as_str(), *count));
    made.counts("dhcp_site_link_failures_total", "Links refused or lost.", "reason", failures)?;
    if let Some(secs) = figures.certificate_expires_secs {
        let name = "dhcp_site_certificate_expiry_timestamp_seconds";
        let gauge = IntGauge::new(name, "When the certificate of the links ends, since the Unix epoch.")?;
        gauge.set(secs);
        made.0.register(Box::new(gauge))?;
    }
    Ok(())
}

fn sites(made: &Maker<'_>, sites: &[SiteDetail]) -> prometheus::Result<()> {
    let labels = ["site", "node"];
    let status = Opts::new("dhcp_site_status", "1 for the status a site has, as seen from this node.");
    let status = IntGaugeVec::new(status, &["site", "status"])?;
    let linked = IntGaugeVec::new(Opts::new("dhcp_site_node_linked", "1 if a node is linked."), &labels)?;
    let updates = Opts::new("dhcp_site_node_lag_updates", "Changes that a node has not acknowledged.");
    let updates = IntGaugeVec::new(updates, &labels)?;
    let lag = Opts::new("dhcp_site_node_lag_seconds", "For how long a node has not had everything.");
    let lag = IntGaugeVec::new(lag, &labels)?;
    let round_trip = Opts::new("dhcp_site_node_round_trip_seconds", "The round trip to a node.");
    let round_trip = GaugeVec::new(round_trip, &labels)?;
    for site in sites {
        let name = site.short.name.as_str();
        for word in STATUSES {
            status.with_label_values(&[name, word]).set((site.short.status == word).into());
        }
        for node in &site.members {
            let at = [name, node.name.as_str()];
            linked.with_label_values(&at).set(node.linked.into());
            updates.with_label_values(&at).set(signed(node.lag_updates.unwrap_or(0)));
            lag.with_label_values(&at).set(signed(node.lag_secs.unwrap_or(0)));
            if let Some(ms) = node.round_trip_ms {
                round_trip.with_label_values(&at).set(ms / 1_000.0);
            }
        }
    }
    for family in [status, linked, updates, lag] {
        made.0.register(Box::new(family))?;
    }
    made.0.register(Box::new(round_trip))
}
