//! The figures of one relay agent's clients, for people and for programs.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use crate::load::figures::Figures;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Clients.
    pub clients: u64,
    /// Leases the daemon has after they have all come.
    pub bound: u64,
    /// Their first leases.
    pub joined: Figures,
    /// Frames dropped meanwhile, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Renewals by unicast, through the router.
    pub straight: Renewed,
    /// Renewals by broadcast, through the relay agent, with option 82.
    pub relayed: Renewed,
    /// The most memory the daemon has had.
    pub memory_octets: u64,
}

/// One round of renewals.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// As clients saw it.
    pub figures: Figures,
    /// Answered in the kernel.
    pub by_kernel: u64,
    /// Answered by the daemon.
    pub by_daemon: u64,
    /// Frames dropped meanwhile, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Report {
    /// Everything.
    pub fn json(&self) -> Value {
        let renewed = |renewed: &Renewed| {
            json!({
                "figures": renewed.figures.json(), "by_kernel": renewed.by_kernel, "by_daemon": renewed.by_daemon,
                "dropped": renewed.dropped,
            })
        };
        json!({
            "clients": self.clients, "bound": self.bound,
            "joined": {"figures": self.joined.json(), "dropped": self.dropped},
            "renewed_straight": renewed(&self.straight), "renewed_relayed": renewed(&self.relayed),
            "daemon_rss_peak_bytes": self.memory_octets,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round =
            |f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures, dropped: &BTreeMap<_, u64>| {
                writeln!(f, "{name}\n{figures}")?;
                for (reason, count) in dropped.iter().filter(|(_, count)| **count > 0) {
                    writeln!(f, "  dropped      {count} x {reason}")?;
                }
                Ok(())
            };
        writeln!(f, "{} clients behind one relay agent, {} have leases", self.clients, self.bound)?;
        round(f, "first leases, all at once", &self.joined, &self.dropped)?;
        for (name, renewed) in
            [("renewals by unicast", &self.straight), ("renewals through the relay agent", &self.relayed)]
        {
            round(f, name, &renewed.figures, &renewed.dropped)?;
            let Renewed { by_kernel, by_daemon, .. } = renewed;
            writeln!(f, "  answered     {by_kernel} in the kernel, {by_daemon} by the daemon")?;
        }
        write!(f, "the daemon had {:.1} MiB at most", self.memory_octets as f64 / f64::from(1 << 20))
    }
}
